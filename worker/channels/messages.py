"""The words: one or several notifications as a message for people, or as JSON for programs. Pure.

Guarantees: no secret that looks like one gets out, no control character (so no second mail header), and no text longer
than its channel takes. What is cut off is said to be cut off; the history has it whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fleet.redaction import MASK, is_secret_name, safe_text

REFERENCE_LENGTH = 12
"""Characters of the idempotency key at the end of a text: how people and Telegram tell a repetition."""

SUBJECT_LIMIT = 200
BODY_LIMIT = 2_000
"""Characters of one notification's body; an exception's text can be longer."""

LISTED = 30
"""Notifications that a grouped message lists; the others are counted."""

_SIGNS: Mapping[str, str] = {"info": "🟢 INFO", "warning": "🟡 WARNING", "critical": "🔴 CRITICAL"}
_RANKS = ("info", "warning", "critical")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One notification as a message tells it.

    Attributes:
        subject: whom it is about: `user/bot`, a user, or the installation.
        mode: `paper`, `live`, or empty for what isn't about one bot.
    """

    id: int
    kind: str
    severity: str
    title: str
    body: str
    at: datetime
    subject: str
    mode: str = ""
    bot_id: int | None = None
    epoch: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent at once.

    Attributes:
        key: the idempotency key: the same for each attempt, different for each message.
        user_id: whose message it is; None for those who run the installation.
        items: oldest first; at least one.
    """

    key: str
    user_id: int | None
    items: tuple[Item, ...]

    @property
    def severity(self) -> str:
        """The most urgent of its items'."""
        return max((item.severity for item in self.items), key=_RANKS.index)

    @property
    def reference(self) -> str:
        """The key's beginning, as texts show it."""
        return self.key.replace("-", "")[:REFERENCE_LENGTH]


def cut(text: str, limit: int) -> str:
    """At most `limit` characters; the last one is an ellipsis if any are missing."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def one_line(text: str, limit: int = SUBJECT_LIMIT) -> str:
    """Cleaned, on one line, cut."""
    return cut(" ".join(safe_text(text, BODY_LIMIT, lines=False).split()), limit)


def subject(message: Message) -> str:
    """The first line: severity, whom it is about, what happened."""
    first = message.items[0]
    sign = _SIGNS[message.severity]
    if len(message.items) == 1:
        mode = f" {first.mode.upper()}" if first.mode else ""
        return one_line(f"{sign} {first.subject}{mode} · {first.title}")
    about = {item.subject for item in message.items}
    kinds = {item.kind for item in message.items}
    what = first.kind.replace("_", " ") if len(kinds) == 1 else "messages"
    who = first.subject if len(about) == 1 else f"{len(about)} bots"
    return one_line(f"{sign} {who} · {len(message.items)} {what} since {first.at:%H:%MZ}")


def text(message: Message, *, limit: int | None = None) -> str:
    """The message as plain text; it ends with the beginning of its key.

    Args:
        message: what to say.
        limit: characters (UTF-16 units, as Telegram counts) that the channel takes; None: any number.
    """
    footer = f"\n#{message.reference}"
    whole = f"{subject(message)}\n{_details(message)}"
    return (whole if limit is None else _fit(whole, limit - _units(footer))) + footer


def _details(message: Message) -> str:
    if len(message.items) == 1:
        return safe_text(message.items[0].body, BODY_LIMIT)
    lines = [f"{item.at:%H:%M:%SZ} {one_line(_listed(item, message))}" for item in message.items[:LISTED]]
    missing = len(message.items) - len(lines)
    return "\n".join([*lines, *([f"… and {missing} more: botfleet notify list"] if missing else [])])


def _listed(item: Item, message: Message) -> str:
    several = len({other.subject for other in message.items}) > 1
    return f"{item.subject}: {item.title}" if several else item.title


def _units(value: str) -> int:
    return len(value.encode("utf-16-le")) // 2


def _fit(value: str, units: int) -> str:
    if _units(value) <= units:
        return value
    while _units(value) > units - 1:
        value = value[: -max(1, (_units(value) - units + 2) // 2)]
    return value + "…"


def document(message: Message) -> bytes:
    """The body of a webhook: the same bytes for the same message."""
    content = {
        "id": message.key,
        "severity": message.severity,
        "summary": subject(message),
        "notifications": [
            {
                "id": item.id,
                "kind": item.kind,
                "severity": item.severity,
                "title": one_line(item.title),
                "body": safe_text(item.body, BODY_LIMIT),
                "facts": _clean_json(item.facts),
                "about": item.subject,
                "bot_id": item.bot_id,
                "epoch": item.epoch,
                "mode": item.mode or None,
                "at": item.at.isoformat(),
            }
            for item in message.items
        ],
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def _clean_json(value: Any) -> Any:
    if isinstance(value, str):
        return safe_text(value, BODY_LIMIT)
    if isinstance(value, Mapping):
        return {
            safe_text(key, SUBJECT_LIMIT, lines=False): (
                MASK if isinstance(item, str) and is_secret_name(str(key)) else _clean_json(item)
            )
            for key, item in value.items()
        }
    if isinstance(value, Sequence):
        return [_clean_json(item) for item in value]
    return value
