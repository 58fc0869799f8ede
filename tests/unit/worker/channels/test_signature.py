"""A webhook's signature, checked as a receiver in any language would."""

from __future__ import annotations

import hashlib
import hmac

from worker.channels.signature import sign, signing_key


def test_a_receiver_can_check_it_with_its_own_key_alone() -> None:
    key = signing_key("installation secret", 7)
    body = b'{"id":"x"}'
    expected = hmac.new(key.encode(), b"1700000000." + body, hashlib.sha256).hexdigest()
    assert sign(key, timestamp=1_700_000_000, body=body) == f"v1={expected}"


def test_keys_differ_by_owner_and_don_t_tell_the_secret() -> None:
    keys = {signing_key("installation secret", owner) for owner in (1, 2, None)}
    assert len(keys) == 3
    assert signing_key("another", 1) not in keys


def test_time_and_body_are_both_signed() -> None:
    signatures = {
        sign("k", timestamp=1, body=b"1"),
        sign("k", timestamp=2, body=b"1"),
        sign("k", timestamp=1, body=b"2"),
    }
    assert len(signatures) == 3
