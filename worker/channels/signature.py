"""Signatures of webhooks: HMAC-SHA256 over time and body, with a key for each owner. Pure.

A receiver recomputes the signature with its key, compares in constant time, and refuses times that are more than
REPLAY_WINDOW_S away from its own. The installation's secret never leaves it: an owner's key is derived from it.
"""

from __future__ import annotations

import hashlib
import hmac

TIMESTAMP_HEADER = "Botfleet-Timestamp"
"""Unix seconds of this attempt."""
SIGNATURE_HEADER = "Botfleet-Signature"
"""`v1=` and the hex HMAC-SHA256 of `<timestamp>.<body>`."""
KEY_HEADER = "Idempotency-Key"
"""The message's key: the same on each attempt, and the body's `id`."""

REPLAY_WINDOW_S = 300


def signing_key(secret: str, owner: int | None) -> str:
    """The owner's key, as hex text; None is for those who run the installation."""
    name = "operator" if owner is None else f"user/{owner}"
    return hmac.new(secret.encode(), f"botfleet webhook {name}".encode(), hashlib.sha256).hexdigest()


def sign(key: str, *, timestamp: int, body: bytes) -> str:
    """The value of SIGNATURE_HEADER."""
    return "v1=" + hmac.new(key.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
