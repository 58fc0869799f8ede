from __future__ import annotations

from pathlib import Path

import pytest

from sandbox_exchange.candles import DAY_MS, HOUR_MS, MINUTE_MS
from sandbox_exchange.csv_source import CsvSource, load_file
from sandbox_exchange.market import SYNTHETIC_EPOCH_MS, AtEnd, Market, Origin, open_market
from tests.unit.sandbox_exchange.worlds import FIVE_MINUTES, START, write_csv

HALF_DAY = DAY_MS // 2


@pytest.fixture
def recorded(tmp_path: Path) -> list[CsvSource]:
    """Five days of 5m candles, and two days of 1m candles from noon on, 100 days later."""
    return [
        load_file(write_csv(tmp_path / "ETH_BTC-5m.csv", bars=5 * 288)),
        load_file(
            write_csv(
                tmp_path / "XRP_ETH-1m.csv",
                bars=2 * 1440,
                interval_ms=MINUTE_MS,
                first_open=START + 100 * DAY_MS + HALF_DAY,
            )
        ),
    ]


def _open(
    recorded: list[CsvSource], *, seed: int | None = None, history: int = 300, at_end: AtEnd = AtEnd.STOP
) -> Market:
    return open_market(recorded=recorded, seed=seed, history=history, at_end=at_end)


def test_the_clock_starts_after_the_history_of_the_first_symbol(recorded: list[CsvSource]) -> None:
    market = _open(recorded)

    assert market.start_ms == START + 300 * FIVE_MINUTES
    assert market.listings["ETHBTC"].series.shift_ms == 0


def test_other_dates_are_shifted_by_whole_days_with_their_own_history_behind_the_start(
    recorded: list[CsvSource],
) -> None:
    market = _open(recorded)
    series = market.listings["XRPETH"].series

    assert series.shift_ms % DAY_MS == 0
    before_start_ms = market.start_ms - series.first_open
    assert 300 * MINUTE_MS <= before_start_ms < 300 * MINUTE_MS + DAY_MS
    assert series.klines(interval_ms=MINUTE_MS, now=market.start_ms)


def test_order_of_the_sources_does_not_matter(recorded: list[CsvSource]) -> None:
    assert _open(recorded).start_ms == _open(recorded[::-1]).start_ms


def test_stop_ends_with_the_longest_series_and_loop_never(recorded: list[CsvSource]) -> None:
    assert _open(recorded).end_ms == START + 5 * DAY_MS
    looped = _open(recorded, at_end=AtEnd.LOOP)
    assert looped.end_ms is None
    assert any("ETHBTC: starts again every 5 days" in note for note in looped.notes)


def test_a_file_shorter_than_the_history_keeps_its_second_half_to_play(recorded: list[CsvSource]) -> None:
    market = _open(recorded[:1], history=5 * 288)

    assert market.start_ms == START + 5 * 144 * FIVE_MINUTES
    assert "720 instead of 1440" in market.notes[0]


def test_a_series_that_ends_before_the_start_is_announced(recorded: list[CsvSource], tmp_path: Path) -> None:
    noon = write_csv(tmp_path / "LTC_BTC-1h.csv", bars=4, interval_ms=HOUR_MS, first_open=START + HALF_DAY)

    market = _open([recorded[0], load_file(noon)], history=1)

    assert any("LTCBTC: its candles end before the clock starts" in note for note in market.notes)


def test_synthetic_symbols_come_only_when_asked_for(recorded: list[CsvSource]) -> None:
    assert set(_open(recorded).listings) == {"ETHBTC", "XRPETH"}

    market = _open(recorded, seed=7)

    assert set(market.listings) == {"ETHBTC", "XRPETH", "BTCUSDT", "ETHUSDT", "SOLUSDT"}
    assert market.listings["BTCUSDT"].origin is Origin.SYNTHETIC
    assert market.listings["ETHBTC"].origin is Origin.CSV


def test_a_recorded_symbol_replaces_the_synthetic_one(tmp_path: Path) -> None:
    source = load_file(write_csv(tmp_path / "BTC_USDT-1h.csv", bars=50, interval_ms=HOUR_MS))

    market = _open([source], seed=7, history=10)

    assert market.listings["BTCUSDT"].origin is Origin.CSV
    assert market.notes == ("BTCUSDT: recorded candles replace the synthetic ones",)


@pytest.mark.parametrize("with_files", [True, False])
def test_synthetic_symbols_have_their_history_in_hours(recorded: list[CsvSource], with_files: bool) -> None:
    market = _open(recorded if with_files else [], seed=7, history=100)
    hours = market.listings["SOLUSDT"].series.klines(interval_ms=HOUR_MS, now=market.start_ms)

    assert len([bar for bar in hours if bar.open_time + HOUR_MS <= market.start_ms]) >= 100
    if not with_files:
        assert hours[0].open_time == SYNTHETIC_EPOCH_MS


def test_a_market_without_symbols_is_refused() -> None:
    with pytest.raises(ValueError, match="give --candles DIR or"):
        _open([])
