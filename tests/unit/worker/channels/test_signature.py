"""A webhook's signature, checked by the verifier of Standard Webhooks, which shares no code with ours."""

from __future__ import annotations

from base64 import b64decode
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from worker.channels.signature import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign, signing_secret

BODY = '{"id":"k","text":"löne"}'.encode()
SECRET = signing_secret("installation secret", 7)


def headers(*, key: str = "k", timestamp: int | None = None, body: bytes = BODY, by: str = SECRET) -> dict[str, str]:
    at = int(datetime.now(UTC).timestamp()) if timestamp is None else timestamp
    signature = sign(by, key=key, timestamp=at, body=body)
    return {ID_HEADER: key, TIMESTAMP_HEADER: str(at), SIGNATURE_HEADER: signature}


def test_the_schemes_own_verifier_takes_it() -> None:
    assert Webhook(SECRET).verify(BODY, headers())["text"] == "löne"


def test_the_schemes_own_example() -> None:
    """From its specification and the tests of its libraries."""
    made = sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        key="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1_614_265_330,
        body=b'{"test": 2432232314}',
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "forged",
    [
        {**headers(), ID_HEADER: "another"},
        {**headers(), TIMESTAMP_HEADER: str(int(datetime.now(UTC).timestamp()) + 1)},
        headers(body=b"{}"),
        headers(by=signing_secret("installation secret", 8)),
        headers(by=signing_secret("another", 7)),
        headers(timestamp=int(datetime.now(UTC).timestamp()) - 400),
    ],
    ids=["another key", "another time", "another body", "another user", "another installation", "old"],
)
def test_key_time_and_body_are_signed_for_one_user(forged: dict[str, str]) -> None:
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(BODY, forged)


@pytest.mark.parametrize("installation", ["a text", "whsec_", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "ü" * 5])
def test_a_users_secret_is_of_the_scheme_whatever_the_installations_is(installation: str) -> None:
    secrets = {signing_secret(installation, user_id) for user_id in (1, 2, None)}
    assert len(secrets) == 3
    for secret in secrets:
        assert len(b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
        assert secret != installation


def test_a_secret_follows_from_the_key_of_earlier_versions() -> None:
    """docs/user/notifications.md tells receivers so; the old key of user 1 of the installation `secret` was this one."""
    old = "705bd7cafa737fe29eeb40abd29de9400ef5188aac567f05b1730dc68d6e0878"
    assert b64decode(signing_secret("secret", 1).removeprefix("whsec_")).hex() == old
