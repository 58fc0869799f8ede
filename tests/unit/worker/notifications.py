"""Notifications as the outbox gives them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fleet.trading_service.outbox import StoredNotification

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def notification(**changes: Any) -> StoredNotification:
    """About bot 7 of user 1."""
    usual: dict[str, Any] = dict.fromkeys(StoredNotification.__dataclass_fields__) | {
        "id": 1, "bot_id": 7, "user_id": 1, "kind": "bot_error", "severity": "info", "title": "t", "body": "b",
        "created_at": NOW,
    }  # fmt: skip
    return StoredNotification(**{**usual, **changes})
