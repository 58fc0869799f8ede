"""Words of messages: no secrets, no second header, never too long."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.channels.messages import Item, Message, document, one_line, subject, text
from worker.channels.telegram import LENGTH_LIMIT, cut_to_length

AT = datetime(2026, 11, 24, 8, 30, tzinfo=UTC)
KEY = "3f2a91bc-0000-4000-8000-000000000000"
API_KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
"""The example key of Binance's public documentation: 64 letters and digits."""


def item(number: int = 1, **changes: object) -> Item:
    values: dict[str, object] = {
        "id": number,
        "kind": "position_closed",
        "severity": "info",
        "title": f"Closed {number}",
        "body": "Closed by held",
        "at": AT,
        "subject": "desk/eth",
        "mode": "paper",
        "bot_id": 7,
    }
    return Item(**{**values, **changes})  # type: ignore[arg-type]


def message(*items: Item) -> Message:
    return Message(KEY, 1, items or (item(),))


@pytest.mark.parametrize(
    ("hostile", "secret"),
    [
        ("connection to postgresql://bot:hunter2@db:5432/x failed", "hunter2"),
        (f"binance {{'apiKey': '{API_KEY}'}} rejected", API_KEY),
        (f"GET /api/v3/account?timestamp=1&signature={'ab' * 32} 401", "ab" * 32),
        ("X-MBX-APIKEY: short-but-named", "short-but-named"),
        ("Authorization: Bearer abcdefghijklmnop1234", "abcdefghijklmnop1234"),
        ("bot123456789:AAEhBOweik6ad9r_QXMENQjcrGbqCr4K-bc is wrong", "AAEhBOweik6ad9r_QXMENQjcrGbqCr4K"),
        ("the password is hunter2!", "hunter2!"),
        ("api_secret=s3cr3t&x=1", "s3cr3t"),
        ('{"secretKey": "tiny"}', "tiny"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig-nature", "eyJzdWIiOiIxIn0"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQ\nabc\n-----END EC PRIVATE KEY-----", "MHcCAQ"),
    ],
)
def test_no_secret_gets_out_by_any_way(hostile: str, secret: str) -> None:
    sent = message(item(title=hostile, body=hostile, facts={"error": hostile, "api_secret": "named"}))
    for words in (subject(sent), text(sent), document(sent).decode(), cut_to_length(sent)):
        assert secret not in words
    assert "named" not in document(sent).decode().replace("short-but-named", "")


@pytest.mark.parametrize(
    "harmless",
    [
        "Closed 1.5 ETHBTC @ 0.1: +0.00123 (+1.20 %)",
        "order " + "0a" * 16 + " was rejected: Account has insufficient balance",
        "pod bot-7-eth-dip-fixed-e12 waits: ErrImagePull",
        "strategy.parameters.entry_logic.params.rsi_oversold: must be at most 50",
    ],
)
def test_what_people_need_stays(harmless: str) -> None:
    assert one_line(harmless) == harmless


def test_no_line_break_reaches_a_subject() -> None:
    hostile = "x\r\nBcc: thief@example.com\n\n\x00\u2028<script>"
    assert subject(message(item(title=hostile))) == (
        "🟢 INFO desk/eth PAPER · x Bcc: thief@example.com \ufffd\ufffd<script>"
    )


@given(title=st.text(max_size=6_000), body=st.text(max_size=9_000), count=st.integers(1, 60))
@example(title="t", body="😀" * 3_000, count=1)  # two units each: 2,000 of them fit into a body, not into a text
@example(title="t" * 300, body="b", count=60)
def test_telegrams_limit_holds_for_any_text(title: str, body: str, count: int) -> None:
    """Telegram counts UTF-16 units."""
    sent = message(*(item(n, title=title, body=body) for n in range(1, count + 1)))
    words = cut_to_length(sent)
    assert len(words.encode("utf-16-le")) // 2 <= LENGTH_LIMIT == 4_096
    assert words.endswith(f"#{sent.reference}")
    whole = text(sent)
    assert (words == whole) == (len(whole.encode("utf-16-le")) // 2 <= LENGTH_LIMIT)
    if words != whole:
        assert words.removesuffix(f"\n#{sent.reference}").endswith("…")


@given(st.text(max_size=300))
def test_cleaning_twice_changes_nothing(words: str) -> None:
    assert one_line(one_line(words)) == one_line(words)


def test_a_group_says_what_it_holds() -> None:
    sent = message(*(item(n, kind="bot_error", severity="warning", title=f"Run {n} ended") for n in range(1, 41)))
    words = text(sent).splitlines()
    assert words[0] == "🟡 WARNING desk/eth · 40 bot error since 08:30Z"
    assert words[1] == "08:30:00Z Run 1 ended"
    assert words[-2] == "… and 10 more: botfleet notify list"
    assert len(words) == 33


def test_several_bots_are_told_apart() -> None:
    sent = message(item(1), item(2, subject="desk/ltc", kind="bot_error", severity="critical"))
    words = text(sent)
    assert words.startswith("🔴 CRITICAL 2 bots · 2 messages since 08:30Z\n08:30:00Z desk/eth: Closed 1")


def test_a_webhooks_body_is_the_same_bytes_each_time() -> None:
    sent = message(item(facts={"b": "1", "a": ["x", {"net_pnl": "0.1"}]}))
    assert document(sent) == document(sent)
    content = json.loads(document(sent))
    assert content["id"] == KEY
    assert content["notifications"][0]["facts"] == {"a": ["x", {"net_pnl": "0.1"}], "b": "1"}


def test_one_line_is_cut_visibly() -> None:
    assert one_line("a" * 39 + " " + "b" * 39, 60) == "a" * 39 + " " + "b" * 19 + "…"
