"""docs/user/notifications.md is held to the code: its table of kinds, and the snippet that receivers copy."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from fleet.config import NotificationsSection
from fleet.events import EventKind, severity_of, switch_of
from tests.conftest import REPOSITORY
from worker.channels.signature import (
    ID_HEADER,
    REPLAY_WINDOW_S,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    sign,
    signing_secret,
)

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
    found = re.search(r"```python\n(import base64.*?)```", TEXT, re.S)
    assert found
    names: dict[str, Any] = {}
    exec(found[1], names)
    made: Callable[[dict[str, str], bytes, str], bool] = names["is_genuine"]
    return made


def test_the_snippet_takes_what_is_genuine_and_nothing_else() -> None:
    is_genuine = snippet()
    secret, body, now = signing_secret("secret", 1), b'{"id":"x"}', int(time.time())

    def headers(timestamp: int, signed: bytes = body, by: str = secret) -> dict[str, str]:
        signature = sign(by, key="x", timestamp=timestamp, body=signed)
        return {ID_HEADER: "x", TIMESTAMP_HEADER: str(timestamp), SIGNATURE_HEADER: signature}

    assert is_genuine(headers(now), body, secret)
    # a sender that changes its secret signs with both for a while
    assert is_genuine({**headers(now), SIGNATURE_HEADER: f"v1,bad= {headers(now)[SIGNATURE_HEADER]}"}, body, secret)
    assert not is_genuine(headers(now, signed=b"{}"), body, secret)
    assert not is_genuine(headers(now, by=signing_secret("secret", 2)), body, secret)
    assert not is_genuine(headers(now - REPLAY_WINDOW_S - 60), body, secret)
    assert not is_genuine({**headers(now), TIMESTAMP_HEADER: str(now + 1)}, body, secret)
    assert not is_genuine({**headers(now), ID_HEADER: "y"}, body, secret)
    assert all(f"`{name}`" in TEXT for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER))


def test_the_library_that_the_text_names_takes_what_is_genuine() -> None:
    [lines] = re.findall(r"```python\n(from standardwebhooks.*?)```", TEXT, re.S)
    secret, body, now = signing_secret("secret", 1), b'{"id":"x"}', int(time.time())
    signature = sign(secret, key="x", timestamp=now, body=body)
    headers = {ID_HEADER: "x", TIMESTAMP_HEADER: str(now), SIGNATURE_HEADER: signature}
    names: dict[str, Any] = {"secret": secret, "body": body, "headers": headers}
    exec(lines, names)
    assert names["document"] == {"id": "x"}
    with pytest.raises(WebhookVerificationError):
        exec(lines, {**names, "body": b"{}"})
