"""Signatures of webhooks by the Standard Webhooks scheme (https://www.standardwebhooks.com). Pure.

A receiver recomputes the HMAC-SHA256 of `<webhook-id>.<webhook-timestamp>.<body>` with its secret, compares in constant
time, and refuses times that are more than REPLAY_WINDOW_S away from its own; verifiers exist for most languages. The
installation's secret never leaves it: each user's is derived from it, so whoever can check his own webhooks can make
nobody else's.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode

ID_HEADER = "webhook-id"
"""The message's key, and the body's `id`: the same on each attempt."""
TIMESTAMP_HEADER = "webhook-timestamp"
"""Unix seconds of this attempt."""
SIGNATURE_HEADER = "webhook-signature"
"""`v1,` and the base64 HMAC-SHA256."""

SECRET_PREFIX = "whsec_"  # noqa: S105 - how a secret of this scheme begins
REPLAY_WINDOW_S = 300


def signing_secret(secret: str, user_id: int | None) -> str:
    """What a user's receivers check with: `whsec_` and 32 bytes in base64; None is for those who run the installation.

    Args:
        secret: the installation's, any text. One that begins with `whsec_` is a text like any other.
        user_id: `users.id`.
    """
    name = "operator" if user_id is None else f"user/{user_id}"
    derived = hmac.new(secret.encode(), f"botfleet webhook {name}".encode(), hashlib.sha256).digest()
    return SECRET_PREFIX + b64encode(derived).decode()


def sign(secret: str, *, key: str, timestamp: int, body: bytes) -> str:
    """The value of SIGNATURE_HEADER.

    Args:
        secret: see `signing_secret`.
        key: the value of ID_HEADER; holds no dot.
        timestamp: the value of TIMESTAMP_HEADER.
        body: as it is sent.
    """
    signed = f"{key}.{timestamp}.".encode() + body
    made = hmac.new(b64decode(secret.removeprefix(SECRET_PREFIX)), signed, hashlib.sha256).digest()
    return f"v1,{b64encode(made).decode()}"
