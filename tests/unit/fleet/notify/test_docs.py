"""docs/user/notifications.md is held to the code: its table of kinds, and the snippet that receivers copy."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from fleet.config import NotificationsSection
from fleet.events import EventKind, severity_of, switch_of
from fleet.notify.signature import KEY_HEADER, REPLAY_WINDOW_S, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign, signing_key
from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "docs" / "user" / "notifications.md").read_text()


def test_the_table_names_every_kind_with_its_urgency_and_switch() -> None:
    rows = {
        kind: (urgency, switch) for kind, urgency, switch in re.findall(r"^\| `(\w+)` \| (\w+) \| (.+) \|$", TEXT, re.M)
    }
    assert set(rows) == set(EventKind)
    for kind in EventKind:
        urgency, words = rows[kind]
        switch = switch_of(kind)
        assert urgency == severity_of(kind)
        if switch is not None:
            assert words == f"`{switch}`"
            assert switch in NotificationsSection.model_fields
        else:
            assert words.startswith(("none", "asked for by"))


def snippet() -> Callable[[dict[str, str], bytes, str], bool]:
    found = re.search(r"```python\n(.*?)```", TEXT, re.S)
    assert found
    names: dict[str, Any] = {}
    exec(found[1], names)
    made: Callable[[dict[str, str], bytes, str], bool] = names["is_genuine"]
    return made


def test_the_snippet_takes_what_is_genuine_and_nothing_else() -> None:
    is_genuine = snippet()
    key, body, now = signing_key("secret", 1), b'{"id":"x"}', int(time.time())

    def headers(timestamp: int, signed: bytes = body, by: str = key) -> dict[str, str]:
        return {TIMESTAMP_HEADER: str(timestamp), SIGNATURE_HEADER: sign(by, timestamp=timestamp, body=signed)}

    assert is_genuine(headers(now), body, key)
    assert not is_genuine(headers(now, signed=b"{}"), body, key)
    assert not is_genuine(headers(now, by=signing_key("secret", 2)), body, key)
    assert not is_genuine(headers(now - REPLAY_WINDOW_S - 60), body, key)
    assert not is_genuine({**headers(now), TIMESTAMP_HEADER: str(now + 1)}, body, key)
    assert all(f"`{name}`" in TEXT for name in (KEY_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER))
