"""The reader of candle files: whatever bytes come in, candles or one sentence come out; what is written comes back."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from botrunner.feeds.files.cells import decimals_of, read_numbers, without_noise
from botrunner.feeds.files.errors import CandleFileInvalid
from botrunner.feeds.files.reader import Wanted, read_candle_file
from botrunner.feeds.files.survey import survey
from botrunner.feeds.source import read_candles
from botrunner.market.candle import Candle, is_sound
from fleet.times import from_ms
from tests.unit.botrunner.feeds.candle_shapes import DAY, M5, NEW, OHLCV, SAMPLE, START, archive, cells, lines, series

D = Decimal


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


# --- any bytes -----------------------------------------------------------------------------------------------------

TOKENS = st.sampled_from(
    [*",;\t|\n\r\"'[]{}:+-.", "\r\n", "\ufeff", "\0", *OHLCV.split(","), "open_time", "date", "t", "o", "nan", "1e400",
     str(START), str(START + M5), str(START // 1000), "2018-01-10 05:00", "0.1", "0.2", "1_0", "９", "-1", "", "null"]
)  # fmt: skip


def hostile() -> st.SearchStrategy[bytes]:
    texts = st.lists(TOKENS | st.text(max_size=5), max_size=60).map(
        lambda parts: "".join(parts).encode("utf-8", "replace")
    )
    return st.binary(max_size=300) | texts | st.builds(damaged, st.integers(0, 10**6), st.integers(1, 6))


def damaged(seed: int, times: int) -> bytes:
    """A good file of one of the formats with some bytes changed, removed or put in."""
    rng = Random(seed)
    good = [lines(SAMPLE), archive(SAMPLE), json.dumps([cells(c) for c in SAMPLE]), lines(SAMPLE, None, by=";")]
    raw = bytearray(rng.choice(good).encode())
    if rng.random() < 0.2:
        raw = bytearray(gzip.compress(bytes(raw)))
    for _ in range(times):
        at = rng.randrange(len(raw))
        raw[at : at + rng.randrange(3)] = bytes(
            rng.choice(b'\x00,;\n\r"0159.-eE[]{}\xff ') for _ in range(rng.randrange(3))
        )
    return bytes(raw)


@settings(max_examples=600)
@given(hostile(), st.sampled_from([None, M5, DAY]))
def test_any_bytes_give_sound_candles_or_one_sentence(folder: Path, raw: bytes, interval_ms: int | None) -> None:
    path = folder / "any.csv"
    path.write_bytes(raw)
    try:
        found = read_candle_file(path, Wanted(interval_ms))
    except CandleFileInvalid as error:
        said = str(error)
        assert str(path) in said
        assert "\n" not in said
        assert len(said) < 1000
        return
    assert found.candles
    assert all(is_sound(candle) for candle in found.candles)
    assert all(before.open_ms < after.open_ms for before, after in pairwise(found.candles))
    assert found.interval_ms == interval_ms or interval_ms is None
    assert len({candle.open_ms % found.interval_ms for candle in found.candles}) == 1
    assert 0 < found.tick <= 1


# --- there and back ------------------------------------------------------------------------------------------------

Writer = Callable[[Sequence[Candle]], bytes]


def by_csv(dialect: str = "excel", *, names: str = OHLCV, order: Sequence[int] = range(6), scale: int = 1) -> Writer:
    def write(candles: Sequence[Candle]) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.writer(text, dialect)
        writer.writerow([names.split(",")[place] for place in order])
        for c in candles:
            row = [str(c.open_ms * scale), *cells(c)[1:]]
            writer.writerow([row[place] for place in order])
        return text.getvalue().encode()

    return write


def by_arrow(candles: Sequence[Candle]) -> bytes:
    import pyarrow as pa
    import pyarrow.feather

    floats = {name: [float(getattr(c, name)) for c in candles] for name in ("open", "high", "low", "close", "volume")}
    times = pa.array([c.open_ms for c in candles], pa.timestamp("ms", "UTC"))
    sink = io.BytesIO()
    pyarrow.feather.write_feather(pa.table({"date": times, **floats}), sink)
    return sink.getvalue()


WRITERS: dict[str, Writer] = {
    "csv": by_csv(),
    "tabs": by_csv("excel-tab"),
    "quoted": by_csv("unix"),
    "another order": by_csv(order=(5, 2, 0, 4, 3, 1)),
    "short names": by_csv(names="t,o,h,l,c,v"),
    "microseconds": by_csv(scale=1000),
    "nanoseconds": by_csv(scale=1_000_000),
    "seconds": lambda candles: lines(replace(c, open_ms=c.open_ms // 1000) for c in candles).encode(),
    "newest first": lambda candles: lines(reversed(candles)).encode(),
    "shuffled and twice": lambda candles: lines(Random(4).sample([*candles, *candles], 2 * len(candles))).encode(),
    "windows": lambda candles: ("\ufeff" + lines(candles, by=";", end="\r\n")).encode(),
    "gzip": lambda candles: gzip.compress(lines(candles).encode()),
    "dates": lambda candles: "\n".join(
        [OHLCV, *(",".join([from_ms(c.open_ms).isoformat(), *cells(c)[1:]]) for c in candles)]
    ).encode(),
    "floats": lambda candles: json.dumps([[c.open_ms, *(float(x) for x in cells(c)[1:])] for c in candles]).encode(),
    "float noise": lambda candles: (
        lines(candles).encode()
        if not candles
        else "\n".join(
            [OHLCV, *(",".join([str(c.open_ms), *(f"{float(x):.17g}" for x in cells(c)[1:])]) for c in candles)]
        ).encode()
    ),
    "objects": lambda candles: json.dumps(
        [dict(zip(OHLCV.split(","), cells(c), strict=True)) for c in candles]
    ).encode(),
    "feather": by_arrow,
}


@st.composite
def walks(draw: st.DrawFn) -> list[Candle]:
    """Sound candles of five minutes of up to twelve digits, some missing, some still."""
    rng = Random(draw(st.integers(0, 10**9)))
    decimals, at = draw(st.integers(0, 14)), draw(st.sampled_from([START, NEW, 1_000_000_200_000]))
    unit = D(1).scaleb(-decimals)
    close, made = rng.randint(10, 10**9), []
    for _ in range(draw(st.integers(2, 30))):
        opened, close = close, max(2, close + rng.randint(-close // 9 - 1, close // 8 + 1))
        high, low = max(opened, close) + rng.randint(0, 5), max(1, min(opened, close) - rng.randint(0, 5))
        volume = D(rng.choice((0, rng.randint(1, 10**12)))) / 10**6
        made.append(Candle(at, *(number * unit for number in (opened, high, low, close)), volume))
        at += M5 * rng.choice((1, 1, 1, 1, 1, 2, 7))
    # the distance that most candles have is the interval's
    return [replace(c, open_ms=made[0].open_ms + n * M5) for n, c in enumerate(made)] if len(made) < 8 else made


@settings(max_examples=300)
@given(walks(), st.sampled_from(sorted(WRITERS)))
def test_what_is_written_in_any_shape_comes_back(folder: Path, candles: list[Candle], shape: str) -> None:
    path = folder / "written"
    path.write_bytes(WRITERS[shape](candles))
    found = read_candle_file(path, Wanted(M5))
    assert found.candles == candles
    most = max(decimals_of(price) for c in candles for price in (c.open, c.high, c.low, c.close))
    if most >= 8:
        assert found.tick == D(1).scaleb(-most)
    else:
        assert D("1e-8") <= found.tick <= D(1).scaleb(-most)
    assert all(price % found.tick == 0 for c in candles for price in (c.open, c.high, c.low, c.close))


@given(st.decimals(D("1e-12"), D("1e9"), places=8).filter(lambda number: number > 0))
def test_what_a_float_means_is_found_again(number: Decimal) -> None:
    if len(number.normalize().as_tuple().digits) > 13:
        return
    for noise in (1.0, 1 + 2.3e-16, 1 - 1.2e-16):
        assert without_noise(D(repr(float(number) * noise))) == number


def test_long_numbers_that_are_meant_stay() -> None:
    for text in ("12345678.12345678", "0.1234567890123456789", "1820.5444741812345"):
        assert without_noise(D(text)) == D(text)
        assert read_numbers([text]).noisy == 0
    assert read_numbers(["1e-3", " 5 ", "0.00009298000000000001"]).values == [D("0.001"), D(5), D("0.00009298")]


# --- what is told --------------------------------------------------------------------------------------------------


def test_the_interval_comes_from_the_candles_where_none_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(lines(series(step=DAY, start=START - START % DAY)))
    found = read_candle_file(path)
    assert (found.interval_ms, found.interval_from) == (DAY, "the distance of 23 of 23 candles from the next")
    assert read_candles(path) == found.candles
    path.write_text(lines(SAMPLE[:1]))
    with pytest.raises(CandleFileInvalid, match="a single candle has no interval"):
        read_candle_file(path)
    assert "nothing but data.interval says" in read_candle_file(path, Wanted(M5)).notes[0]


def test_a_market_that_seldom_trades_is_no_other_interval(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    minutes = [0, 7, 11, 12, 30, 41, 49, 75]
    path.write_text(lines(replace(c, open_ms=START + m * 60_000) for c, m in zip(SAMPLE, minutes, strict=False)))
    found = read_candle_file(path, Wanted(60_000))
    assert found.survey().missing == 75 - 7
    assert found.survey().longest_gap is not None


def test_gaps_jumps_and_spikes_are_counted() -> None:
    walk = series(40)
    broken = [*walk[:10], *walk[12:20], replace(walk[20], high=walk[20].low * 3), *walk[21:]]
    broken[30:] = [replace(c, open=c.open * 2, high=c.high * 2, low=c.low * 2, close=c.close * 2) for c in broken[30:]]
    found = survey(broken, interval_ms=M5)
    assert (found.candles, found.gaps, found.missing, found.jumps, found.still) == (38, 1, 2, 2, 0)
    assert [jump.spike for jump in found.first_jumps] == [True, False]
    assert found.largest_jump == found.first_jumps[0]
    assert survey(walk, interval_ms=M5).largest_jump is None


TICKS = [
    (["0.0984"], D("0.000001"), "0.01 % of 0.09 has six decimals"),
    (["0.09843217"], D("1e-8"), "the file's own"),
    (["100", "110"], D("0.01"), "whole prices say little: 0.01 % of 100"),
    (["43120.5"], D("0.1"), "the file's own, finer than 0.01 %"),
    (["0.000000012345"], D("1e-12"), "the file's own beyond eight"),
    (["0.00000002"], D("1e-8"), "no finer than eight decimals for its few digits"),
    (["0.000092980000000000010"], D("1e-8"), "noise has no say"),
    (["0.1234567890123456789012"], D("1e-18"), "what the database stores"),
    (["7", "0.070000"], D("0.000001"), "the lowest price counts"),
]  # fmt: skip


@pytest.mark.parametrize(("prices", "tick", "why"), TICKS, ids=[row[2] for row in TICKS])
def test_the_tick_is_that_of_the_files_decimals(prices: list[str], tick: Decimal, why: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("\n".join([OHLCV, *(f"{START + n * M5},{p},{p},{p},{p},1" for n, p in enumerate(prices))]))
    assert read_candle_file(path, Wanted(M5)).tick == tick


def test_quantities_are_as_fine_as_volumes_but_eight_decimals_at_least(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    for volume, step in (("5", "1e-8"), ("5.123456789", "1e-9")):
        path.write_text(f"{OHLCV}\n{START},1,1,1,1,{volume}\n")
        assert read_candle_file(path, Wanted(M5)).step == D(step)


def test_without_pyarrow_text_is_read_and_the_rest_refused_in_words(tmp_path: Path) -> None:
    feather, text = tmp_path / "x.feather", tmp_path / "x.csv"
    feather.write_bytes(by_arrow(SAMPLE))
    text.write_text(lines(SAMPLE))
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from pathlib import Path\n"
        "from botrunner.feeds.files.reader import read_candle_file\n"
        f"print(len(read_candle_file(Path({str(text)!r})).candles))\n"
        f"try: read_candle_file(Path({str(feather)!r}))\n"
        "except Exception as error: print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.splitlines()
    assert found[0] == "24"
    assert "pip install 'botfleet[backtest]'" in found[1]
    assert "convert the file to CSV" in found[1]


def test_a_small_archive_of_something_huge_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botrunner.feeds.files.table.BYTES_MOST", 1 << 20)
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"0" * (2 << 20)))
    with pytest.raises(CandleFileInvalid, match="more than 1 MiB"):
        read_candle_file(path)
