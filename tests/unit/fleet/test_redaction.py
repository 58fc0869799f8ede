"""What is masked, what stays, and that neither can be made slow."""

from __future__ import annotations

import base64
import json
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fleet.redaction import (
    MASK,
    WORDS,
    forget,
    guard,
    guard_environment,
    guard_url,
    is_secret_name,
    redact,
    safe_json,
    safe_notification,
    safe_text,
)

TOKEN = "123456789:AAEhBOweik6ad9r_QXMENQjcrGbqCr4K-bc"
API_KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
"""The example key of Binance's public documentation."""


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        # passwords of URLs, written as people write them
        ("to postgresql://bot:s3cr%40t@db:5432/x failed", "to postgresql://bot:***@db:5432/x failed"),
        ("postgresql://u:p@ss@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:pa/ss@h/d", "postgresql://u:***@h/d"),
        ("redis://:pw@h:1", "redis://:***@h:1"),
        ("postgresql://a:one@h,postgresql://b:two@h", "postgresql://a:***@h,postgresql://b:***@h"),
        ("https://ghp_abcdef0123456789abcd@github.com/x", "https://***@github.com/x"),
        # paths that are passwords
        (f"POST https://api.telegram.org/bot{TOKEN}/sendMessage", "POST https://api.telegram.org/bot***/sendMessage"),
        ("http://127.0.0.1:1/bot123:short/getMe", "http://127.0.0.1:1/bot***/getMe"),
        (f"bot{quote(TOKEN)} is wrong", "bot*** is wrong"),
        ("https://hooks.slack.com/services/T0/B0/xyz", "https://hooks.slack.com/services/***"),
        ("https://discord.com/api/webhooks/12/abc-d?wait=1", "https://discord.com/api/webhooks/***?wait=1"),
        # named values
        ("host=db password=hunter2 user=bot", "host=db password=*** user=bot"),
        (r"password='it\'s me' host=x", "password='***' host=x"),
        ("password=abc;def user=x", "password=*** user=x"),
        ("(password=x), token=y", "(password=***), token=***"),
        ("?symbol=A&signature=ab12&recvWindow=5", "?symbol=A&signature=***&recvWindow=5"),
        ("{'X-MBX-APIKEY': 'k 9', 'b': 1}", "{'X-MBX-APIKEY': '***', 'b': 1}"),
        (r'{"apiKey":"q"} {\"token\": \"z z\"}', r'{"apiKey":"***"} {\"token\": \"***\"}'),
        ("Authorization: Bearer abc", "Authorization: Bearer ***"),
        ("'Authorization': 'Basic dTpw'", "'Authorization': 'Basic ***'"),
        ("password: swordfish", "password: ***"),
        ("PGPASSWORD=a SMTP_PASSWORD=b", "PGPASSWORD=*** SMTP_PASSWORD=***"),
        ("AWS_SECRET_ACCESS_KEY=a", "AWS_SECRET_ACCESS_KEY=***"),
        ("the password is hunter2!", "the password is ***"),
        ("AUTH PLAIN AGJvdABwdw==", "AUTH PLAIN ***"),
        # what looks like nothing else
        (f"key {API_KEY} refused", "key *** refused"),
        ("signed " + "a1" * 32, "signed ***"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig-nature", "***"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY----- x", "*** x"),
        ("xoxb-123456789012-abcdefABCDEF", "***"),
    ],
)
def test_a_secrets_form_is_masked(text: str, masked: str) -> None:
    assert redact(text) == masked
    assert redact(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        "can not read /data/candles/recorded-2018/BTCUSDT-1h-2018-01-01-2018-12-31.csv",
        "/srv/MyStrategy2018Backtest/FinalVersion3Tuned/run",
        "the token is 5 % up",
        "the token is worth 5 %, and the signature is valid",
        "secret: not found",
        "password: must not be empty",
        "token: can't be read",
        "BOTFLEET_TELEGRAM_TOKEN is not set",
        "tokens_used=5 secretary: Bob password_changed_at=2018-01-01 secret_name=botfleet-database",
        "password authentication failed for user bot",
        "Basic authentication failed; bearer authentication too",
        "order " + "0a" * 16 + " was rejected: Account has insufficient balance",
        "pod bot-7-eth-dip-fixed-e12 of botfleet-controller-7d9f8b6c5d-x2x9z-aaaaaaaa waits: ErrImagePull",
        "image registry.local:5000/bot@sha256:" + "ab12" * 16,
        "http://sandbox:8080/@x and https://example.com/@name",
        "run 3f2a91bc-0000-4000-8000-000000000000 at 2018-01-10T00:00:00+00:00",
        "Closed 1.5 ETHBTC @ 0.1: +0.00123 (+1.20 %)",
        "strategy.parameters.entry_logic.params.rsi_oversold: must be at most 50",
        "postgresql://botfleet@db/botfleet",
    ],
)
def test_innocent_words_stay(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *((name, True) for name in ("password", "smtp_password", "apiKey", "API_KEY", "X-MBX-APIKEY", "telegramToken")),
        *((name, True) for name in ("BOTFLEET_WEBHOOK_SECRET", "secretKey", "AWS_SECRET_ACCESS_KEY", "Authorization")),
        *((name, True) for name in ("signature", "private_key", "credentials", "access-token")),
        *((name, False) for name in ("tokens_used", "secretary", "password_changed_at", "secret_name", "token_count")),
        *((name, False) for name in ("idempotency_key", "dedupe_key", "key", "author", "PWD", "GPG_KEY", "monkey", "")),
    ],
)
def test_names_say_what_is_secret(name: str, secret: bool) -> None:
    assert is_secret_name(name) is secret


# --- known values --------------------------------------------------------------------------------------------------

hard_secrets = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp")), min_size=8, max_size=40
).filter(lambda it: it == it.strip() and it not in WORDS and set(it) - set("*…"))


@given(secret=hard_secrets)
@example(secret="p\"a's\\s/w@r:d%20+")
def test_a_known_value_is_found_however_it_is_written(secret: str) -> None:
    forget()
    guard(secret, user="bot")
    for written in (
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        quote(secret),
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        base64.b64encode(secret.encode()).decode().rstrip("="),
        base64.b64encode(f"bot:{secret}".encode()).decode().rstrip("="),
        base64.b64encode(f"\0bot\0{secret}".encode()).decode().rstrip("="),
    ):
        assert written not in redact(f"<{written}>")


@given(password=hard_secrets)
@example(password="with/slash@and:colon")
def test_a_database_urls_password_is_known_from_its_url(password: str) -> None:
    forget()
    guard_url(f"postgresql://bot:{quote(password, safe='')}@db:5432/fleet")
    assert password not in redact(f"server says {password} was wrong")


@pytest.mark.parametrize(
    "form", ["postgres//bot:{}@db/x", "postgresql:/bot:{}@db/x", "bot:{}@db:5432/x", "postgres:bot:{}@db"]
)
@pytest.mark.parametrize("password", ["verysecretword", "p@ss w%rd:é", "/-_:@@"])
def test_the_password_of_a_mistyped_url_is_known(form: str, password: str) -> None:
    for written in (password, quote(password, safe="")):
        forget()
        guard_environment({"BOTFLEET_DATABASE_URL": form.format(written)})
        said = redact(f"missing = after {form.format(written)!r}, {password} and {written}")
        assert password not in said
        assert written not in said


def test_a_raw_password_in_a_url_is_known() -> None:
    guard_url("postgresql://bot:pa/ss\"w'0rd@db/fleet")
    guard_url("host=db password='s p 4 c e' user=bot")
    assert redact("pa/ss\"w'0rd and s p 4 c e") == "*** and ***"


def test_a_short_or_common_value_eats_no_words() -> None:
    guard("a", "1234", "secret", "hunter", "botfleet", "abc123")
    guard_url("postgresql://botfleet:botfleet@db/botfleet")
    text = "a bot of botfleet has 1234 secret abc1234 hunters"
    assert redact(text) == text
    assert redact("said abc123.") == "said ***."


def test_a_known_value_that_a_cut_went_through_is_masked() -> None:
    guard("Correct-Horse-7")
    head, tail = ("x" * 200 + " Correct-Horse-7")[:-3], "Horse-7 " + "y" * 200
    assert redact(head) == "x" * 200 + " " + MASK
    assert redact("…" + tail) == MASK + " " + "y" * 200


def test_an_environment_tells_its_secrets() -> None:
    guard_environment(
        {
            "BOTFLEET_DATABASE_URL": "postgresql://u:first-pw-1@h/d",
            "MY_EXCHANGE_API_KEY": "second-key-2",
            "BOTFLEET_BOT_DATABASE_SECRET": "botfleet-database",
            "URLS": '{"binance": "http://me:third-pw-3@sandbox:8080"}',
            "PWD": "/home/somebody",
            "TOKENS_USED": "fifty-five",
        }
    )
    text = "first-pw-1 second-key-2 third-pw-3 botfleet-database /home/somebody fifty-five"
    assert redact(text) == "*** *** *** botfleet-database /home/somebody fifty-five"


def test_secrets_of_one_occasion() -> None:
    assert redact("hook /in/abcdefgh said no", also=["/in/abcdefgh"]) == "hook *** said no"


# --- texts and documents that are stored ---------------------------------------------------------------------------


def test_masked_before_it_is_cut() -> None:
    for limit in range(20, 60):
        assert "hunter2" not in safe_text("x" * 20 + " postgresql://u:hunter2hunter2@h/d " + "y" * 90, limit)


def test_an_escape_sequence_hides_no_secret() -> None:
    guard("Correct-Horse-7")
    assert safe_text("Correct\x1b[0m-Horse-7 \x00pass\x1b[1mword=tiny", 100) == "*** \ufffdpassword=***"


def test_documents_are_masked_by_name_and_by_form() -> None:
    nested: object = "postgresql://u:pw@h/d"
    for _ in range(2_000):
        nested = [nested]
    document = {"a": [{"apiKey": "k", "n": 5}], "url": "postgresql://u:pw@h/d", "api_key=zzz": None, "deep": nested}
    masked = safe_json(document, 100)
    assert masked["a"] == [{"apiKey": MASK, "n": 5}]
    assert masked["url"] == "postgresql://u:***@h/d"
    assert "pw" not in str(masked)
    assert "zzz" not in str(masked)
    note = safe_notification({"title": "t\x00", "body": "token=abc", "facts": None, "kind": "k"})
    assert note == {"title": "t\ufffd", "body": "token=***", "facts": None, "kind": "k"}


PIECES = (
    *("://", "a:", "b@", "password", "=", ": ", '"', "'", "\\", " ", "token", " is ", "/bot12:", "eyJ", ".", "Basic "),
    *(
        "Bearer ",
        "…",
        "***",
        "-----BEGIN ",
        "PRIVATE KEY-----",
        "sha256:",
        "Aa0" * 14,
        "%3A",
        "\x1b[0m",
        "\n",
        ",",
        ")",
    ),
)
pieces = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=25).map("".join)


@given(text=pieces, limit=st.integers(0, 80))
def test_masking_and_cutting_twice_changes_nothing(text: str, limit: int) -> None:
    """The controller compares a row's message with the one it would write: one that changes is written for ever."""
    assert redact(redact(text)) == redact(text)
    once = safe_text(text, limit)
    assert len(once) <= limit
    assert safe_text(once, limit) == once


# --- time ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "a",
            "1",
            "a.",
            "://",
            "a://b:",
            "a:b@",
            "a://b:c@d,",
            "password=",
            'password="',
            "password='\\",
            "password=)",
        ),
        *(
            "password=,a",
            "password : ",
            "token is ",
            "token: a ",
            "token:\\\\\\\\",
            "eyJ-",
            "-----BEGIN ",
            "AUTH PLAIN ",
        ),
        *("Basic a", "bot1:", "/bot/bot", "%3A", "a+/", '\\"', "sha256:", "secret-key", "Aa0", "\x1b[", "x-mbx-"),
    ],
)
def test_time_grows_with_the_length_alone(unit: str) -> None:
    """Four times the text takes about four times as long; a search that begins anew at each letter takes sixteen."""

    def best_s(size: int) -> float:
        text = (unit * (size // len(unit) + 1))[:size]
        taken = []
        for _ in range(3):
            began = time.thread_time()
            redact(text)
            taken.append(time.thread_time() - began)
        return min(taken)

    assert best_s(80_000) / best_s(20_000) < 10
