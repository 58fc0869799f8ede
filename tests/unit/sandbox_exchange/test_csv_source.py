from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from sandbox_exchange.csv_source import CandleFileError, load_directory, load_file
from sandbox_exchange.wire import exact
from tests.unit.sandbox_exchange.worlds import FIVE_MINUTES, HEADER, START, write_csv

GOOD = f"{START},0.0984,0.0994766,0.09828605,0.0994766,1820.54447418"
NEXT = f"{START + FIVE_MINUTES},1,1,1,1,0"


def _file(folder: Path, *rows: str, header: str = HEADER, name: str = "ETH_BTC-5m.csv") -> Path:
    path = folder / name
    path.write_text("\n".join((header, *rows)) + "\n")
    return path


def test_values_come_back_digit_by_digit(tmp_path: Path) -> None:
    source = load_file(_file(tmp_path, GOOD, f"{START + FIVE_MINUTES},0.10,0.1000,1e-7,0.1,1482"))

    first, second = source.between(START, START + 2 * FIVE_MINUTES)

    assert [exact(value) for value in first[1:6]] == GOOD.split(",")[1:]
    assert [exact(value) for value in second[1:6]] == ["0.10", "0.1000", "0.0000001", "0.1", "1482"]
    assert (source.symbol, source.interval_ms, source.tick) == ("ETHBTC", FIVE_MINUTES, Decimal("1e-8"))
    assert (source.first_open, source.end) == (START, START + 2 * FIVE_MINUTES)


def test_windows_line_ends_a_byte_order_mark_and_a_blank_last_line_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "ETHBTC-5m.csv"
    path.write_bytes(f"\ufeff{HEADER}\r\n{GOOD}\r\n{NEXT}\r\n\r\n".encode())

    source = load_file(path)

    assert source.symbol == "ETHBTC"
    assert [candle.close for candle in source.between(0, 2**60)] == [Decimal("0.0994766"), Decimal(1)]


def test_gaps_stay_gaps(tmp_path: Path) -> None:
    late = START + 7 * FIVE_MINUTES
    source = load_file(_file(tmp_path, GOOD, f"{late},1,1,1,1,1"))

    assert [candle.open_time for candle in source.between(START, late + 1)] == [START, late]
    assert source.between(START + 1, late) == []


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("1,2,3", "3 fields instead of the 6"),
        (f"{START},1,1,1,1,1,1", "7 fields"),
        ("2020-09-13,1,1,1,1,1", "not a Unix time in whole ms"),
        ("-5,1,1,1,1,1", "not a Unix time in whole ms"),
        (f"{START + FIVE_MINUTES},1,x,1,1,1", "not a number"),
        (f"{START + FIVE_MINUTES},1,nan,1,1,1", "not a finite number"),
        (f"{START + FIVE_MINUTES},1,1,0,1,1", "above zero"),
        (f"{START + FIVE_MINUTES},1,1,1,1,-1", "above zero and volume not below"),
        (f"{START + FIVE_MINUTES},1,1e12,1,1,1e12", "their product is above"),
        (f"{START + FIVE_MINUTES}000,1,1,1,1,1", "not microseconds"),
        (f"{START + FIVE_MINUTES}000000,1,1,1,1,1", "not nanoseconds"),
        (f"{START // 1000 * 300},1,1,1,1,1", "not seconds"),
        (f"+{START + FIVE_MINUTES},1,1,1,1,1", "not a Unix time in whole ms"),
        (f"{START + FIVE_MINUTES}.0,1,1,1,1,1", "not a Unix time in whole ms"),
        (
            f"{START + FIVE_MINUTES},0.00009298000000000001,1,0.00009,1,1",
            "0.00009298000000000001 is 0.00009298 with a float's noise",
        ),
        (f"{START + FIVE_MINUTES},1,2,1.5,1.7,1", "must lie between low 1.5 and high 2"),
        (f"{START + FIVE_MINUTES},1,1.000000001,1,1,1", "more than the 8 decimals"),
        (f"{START + FIVE_MINUTES + 1},1,1,1,1,1", "not the open of a bar of 5 min"),
        (f"{START},1,1,1,1,1", "repeats that of the row before"),
        (f"{START - FIVE_MINUTES},1,1,1,1,1", "is earlier than that of the row before"),
    ],
)
def test_a_malformed_row_is_named_by_file_and_line(tmp_path: Path, row: str, problem: str) -> None:
    path = _file(tmp_path, GOOD, row, f"{START + 20 * FIVE_MINUTES},1,1,1,1,1")

    with pytest.raises(CandleFileError) as caught:
        load_file(path)

    assert str(caught.value).startswith(f"{path}:3: ")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("prices.csv", "rename it to SYMBOL-INTERVAL.csv"),
        ("ETH_BTC-7m.csv", "interval '7m' is not one of 1s, 1m, 3m"),
        ("ETH_BTC-1M.csv", "interval '1M'"),
        ("ABCXYZ-5m.csv", "cannot tell base from quote"),
    ],
)
def test_a_misnamed_file_is_refused(tmp_path: Path, name: str, problem: str) -> None:
    with pytest.raises(CandleFileError, match=problem):
        load_file(_file(tmp_path, GOOD, name=name))


def test_a_wrong_header_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CandleFileError, match=r":1: the header must be 'timestamp,open"):
        load_file(_file(tmp_path, GOOD, header="time,open,high,low,close,volume"))
    with pytest.raises(CandleFileError, match=r"columns are in another order: reorder every row"):
        load_file(_file(tmp_path, GOOD, header="timestamp,close,high,low,open,volume"))
    with pytest.raises(CandleFileError, match=r"write the header above the first row"):
        load_file(_file(tmp_path, NEXT, header=GOOD))
    with pytest.raises(CandleFileError, match=r":1: no candles"):
        load_file(_file(tmp_path))


def test_bars_of_another_interval_than_the_names_are_refused(tmp_path: Path) -> None:
    hours = write_csv(tmp_path / "ETH_BTC-5m.csv", bars=30, interval_ms=12 * FIVE_MINUTES)
    with pytest.raises(CandleFileError, match=r":2: 29 of 29 rows are followed by one 1h later: .* rename it"):
        load_file(hours)
    # most bars missing is no other interval as long as the distances say none
    rows = [f"{START + n * FIVE_MINUTES},1,1,1,1,1" for n in (0, 1, 8, 15, 22)]
    assert len(load_file(_file(tmp_path, *rows)).times) == 5


def test_a_directory_needs_one_file_a_symbol(tmp_path: Path) -> None:
    with pytest.raises(CandleFileError, match="no file named"):
        load_directory(tmp_path)
    with pytest.raises(CandleFileError, match="not a directory"):
        load_directory(tmp_path / "missing")
    write_csv(tmp_path / "ETH_BTC-5m.csv", bars=3)
    write_csv(tmp_path / "ETH_BTC-1h.csv", bars=3, interval_ms=12 * FIVE_MINUTES)
    with pytest.raises(CandleFileError, match=r"ETHBTC is already given by ETH_BTC-1h\.csv"):
        load_directory(tmp_path)


def test_the_real_files_are_read_as_they_are(candle_folder: Path) -> None:
    for source in load_directory(candle_folder):
        rows = source.path.read_text().splitlines()[1:]
        candles = source.between(source.first_open, source.end)
        assert len(candles) == len(rows)
        for row, candle in zip(rows, candles, strict=True):
            assert row.split(",") == [str(candle.open_time), *(exact(value) for value in candle[1:6])]
