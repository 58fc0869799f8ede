"""What goes to the database can be stored and read again; the statements themselves: tests/integration."""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.foreign import Unreadable, load_json
from fleet.trading_service.adapt import (
    EARLIEST,
    FOREIGN,
    LATEST,
    NotStorable,
    dump_json,
    object_read,
    storable,
    text_for_people,
)
from tests.hostile_json import json_texts

texts = st.text(st.characters() | st.characters(categories=("Cs", "Cc")))
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)


@given(texts)
def test_a_storable_text_is_utf8_without_nul_and_otherwise_the_same(text: str) -> None:
    stored = storable(text)
    stored.encode()
    assert "\0" not in stored
    assert len(stored) == len(text)
    assert all(new in (old, "\ufffd") for old, new in zip(text, stored, strict=True))


@given(documents)
def test_json_for_the_database_has_nothing_that_jsonb_refuses(document: Any) -> None:
    text = dump_json(document)
    assert "\\u0000" not in text.replace("\\\\", "")
    json.loads(text.encode().decode("utf-8"), object_pairs_hook=lambda pairs: [storable(key) for key, _ in pairs])
    read = load_json(text)
    assert not isinstance(read, Unreadable)
    assert dump_json(read) == text


def test_a_pair_of_surrogates_is_a_character_and_half_of_one_is_not() -> None:
    assert load_json(dump_json({"a": "🚀", "b": "\ud83d"})) == {"a": "🚀", "b": "\ufffd"}
    assert load_json(dump_json(["\\u0000"])) == ["\\u0000"], "a backslash of the text itself stays"


@pytest.mark.parametrize("document", [float("nan"), [float("inf")], 10**400, "x" * 2**20])
def test_what_could_not_be_read_again_is_not_stored(document: object) -> None:
    with pytest.raises(NotStorable, match="so it is not stored"):
        dump_json(document)


@given(json_texts)
def test_a_column_is_an_object_or_says_why_not(text: str) -> None:
    document = object_read(load_json(text))
    assert isinstance(document, dict | Unreadable)
    assert not isinstance(document, Unreadable) or document.reason


def test_words_for_people() -> None:
    assert text_for_people(None) is None
    assert text_for_people("a\0\x1b[31mb") == "a\ufffdb"
    assert len(text_for_people("x" * 10_000) or "") == 2_000


def read(type_name: str, text: str) -> Any:
    loader = FOREIGN.adapters.get_loader(psycopg.adapters.types[type_name].oid, psycopg.pq.Format.TEXT)
    assert loader is not None
    return loader(0, FOREIGN).load(text.encode())


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("infinity", LATEST),
        ("-infinity", EARLIEST),
        ("294276-12-31 23:59:59.999999+00", LATEST),
        ("9999-12-31 23:59:59.999999-12", LATEST),
        ("4714-11-24 00:00:00+00 BC", EARLIEST),
        ("0001-01-01 00:00:00+14", EARLIEST),
        ("2026-11-26 14:50:00.5+00", datetime.fromisoformat("2026-11-26T14:50:00.5+00:00")),
    ],
)
def test_every_moment_of_the_database_can_be_read_shown_anywhere_and_reckoned_with(text: str, moment: datetime) -> None:
    found = read("timestamptz", text)
    assert found == moment
    for zone in ("Pacific/Kiritimati", "Etc/GMT+12"):
        assert (found + timedelta(days=400) - timedelta(days=800)).astimezone(ZoneInfo(zone))


def test_days_and_times_of_day_can_be_read_too() -> None:
    days = [read("date", text) for text in ("infinity", "-infinity", "5874897-12-31", "0044-03-15 BC", "2026-11-26")]
    assert days == [LATEST.date(), EARLIEST.date(), LATEST.date(), EARLIEST.date(), date(2026, 11, 26)]
    assert [read("time", text) for text in ("24:00:00", "07:30:00")] == [time.max, time(7, 30)]
