"""Candle files in the shapes that people have, each with what comes of it; docs/user/candle-files.md is made of them.

`python -m tests.unit.botrunner.feeds.candle_shapes` writes the table of that page anew.
"""

from __future__ import annotations

import gzip
import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

from botrunner.feeds.files.errors import CandleFileInvalid
from botrunner.feeds.files.reader import CandleFile, Wanted, read_candle_file
from botrunner.market.candle import Candle
from fleet.times import from_ms

PAGE = Path(__file__).resolve().parents[4] / "docs" / "user" / "candle-files.md"
BEGIN, END = "<!-- shapes: begin -->\n", "<!-- shapes: end -->\n"

D = Decimal
M5, H1, DAY = 300_000, 3_600_000, 86_400_000
START = 1_515_560_400_000
"""2018-01-10 05:00 UTC."""
NEW = 1_736_467_200_000
"""2025-01-10 00:00 UTC."""
MONDAY = 1_515_369_600_000
"""2018-01-08 00:00 UTC."""


def series(count: int = 24, *, start: int = START, step: int = M5, scale: str = "1", decimals: int = 8) -> list[Candle]:
    """Candles that walk up and down around 0.0984, opening where the last one closed."""
    made, close = [], D("0.0984")
    for number in range(count):
        opened, close = close, close + D((number * 7919) % 2001 - 990) / 10_000_000
        high, low = max(opened, close) + D("0.0000123"), min(opened, close) - D("0.00003217")
        prices = [(price * D(scale)).quantize(D(1).scaleb(-decimals)) for price in (opened, high, low, close)]
        made.append(Candle(start + number * step, *prices, D(1820 + number) + D("0.54447418")))
    return made


SAMPLE = series()
HOURS = series(step=H1)
NOW = series(start=NEW)
OHLCV = "timestamp,open,high,low,close,volume"


def cells(c: Candle) -> list[str]:
    return [f"{c.open_ms}", f"{c.open}", f"{c.high}", f"{c.low}", f"{c.close}", f"{c.volume}"]


def lines(candles: Iterable[Candle], header: str | None = OHLCV, *, by: str = ",", end: str = "\n") -> str:
    """A table with one row per candle."""
    rows = [by.join(cells(c)) for c in candles]
    return end.join([*([] if header is None else [header.replace(",", by)]), *rows, ""])


def formatted(candles: Iterable[Candle], header: str | None, row: Callable[[Candle], str]) -> str:
    return "\n".join([*([] if header is None else [header]), *(row(c) for c in candles), ""])


def times(write: Callable[[int], object], candles: Sequence[Candle] = SAMPLE) -> str:
    return formatted(candles, OHLCV, lambda c: ",".join([str(write(c.open_ms)), *cells(c)[1:]]))


def changed(index: int, **cell: object) -> str:
    """The sample with one row otherwise."""
    place = {name: number for number, name in enumerate(OHLCV.split(","))}
    rows = [cells(c) for c in SAMPLE]
    for name, value in cell.items():
        rows[index][place[name]] = str(value)
    return "\n".join([OHLCV, *(",".join(row) for row in rows), ""])


def archive(candles: Iterable[Candle], *, unit: int = 1) -> str:
    """Twelve columns, as data.binance.vision has them."""
    rows = []
    for c in candles:
        _, o, h, low, close, v = cells(c)
        rows.append(f"{c.open_ms * unit},{o},{h},{low},{close},{v},{(c.open_ms + M5) * unit - 1},180.2,77,9.1,0.9,0")
    return "\n".join(rows) + "\n"


def kucoin(candles: Iterable[Candle], header: str | None) -> str:
    def row(c: Candle) -> str:
        return f"{c.open_ms // 1000},{c.open},{c.close},{c.high},{c.low},{c.volume},180.55"

    return formatted(candles, header, row)


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name.replace("__", "/").replace("_csv", ".csv"), content)
    return buffer.getvalue()


def iso(ms: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    return f"{from_ms(ms):{form}}"


def freqtrade(kind: str) -> bytes:
    """What `freqtrade download-data` writes: pandas' to_feather and to_json, floats and a column `date`."""
    if kind == "json":
        return json.dumps([[c.open_ms, *(float(text) for text in cells(c)[1:])] for c in SAMPLE]).encode()
    import pandas as pd

    table = pd.DataFrame(
        {
            "date": pd.to_datetime([c.open_ms for c in SAMPLE], unit="ms", utc=True),
            **{name: [float(getattr(c, name)) for c in SAMPLE] for name in ("open", "high", "low", "close", "volume")},
        }
    )
    buffer = io.BytesIO()
    if kind == "feather":
        table.to_feather(buffer, compression="lz4")
    else:
        table.set_index("date").to_parquet(buffer)
    return buffer.getvalue()


def noisy(c: Candle) -> str:
    def noise(price: Decimal) -> str:
        return repr(float(price) * (1 + 2.3e-16))  # the next float or the one after

    return ",".join([str(c.open_ms), *(noise(p) for p in (c.open, c.high, c.low, c.close)), str(c.volume)])


def metatrader(c: Candle) -> str:
    return "\t".join([iso(c.open_ms, "%Y.%m.%d"), iso(c.open_ms, "%H:%M:%S"), *cells(c)[1:]])


def crypto_data_download() -> str:
    head = "https://www.CryptoDataDownload.com\nunix,date,symbol,open,high,low,close,Volume ETH,Volume BTC,tradecount\n"
    rows = [
        f"{c.open_ms},{iso(c.open_ms)},ETH/BTC,{c.open},{c.high},{c.low},{c.close},{c.volume},180.2,9"
        for c in reversed(SAMPLE)
    ]
    return head + "\n".join(rows) + "\n"


def pandas_json(orient: str, *, index: bool) -> str:
    """What pandas' to_json writes: an object of objects, by column or by row."""
    import pandas as pd

    table = pd.DataFrame(
        {name: [float(getattr(c, name)) for c in SAMPLE] for name in ("open", "high", "low", "close", "volume")}
    )
    opens = [c.open_ms for c in SAMPLE]
    table = table.set_index(pd.Index(opens)) if index else table.assign(timestamp=opens)
    text: str = table.to_json(orient=orient)  # type: ignore[call-overload]
    return text


def naive_parquet() -> bytes:
    import pandas as pd

    table = pd.read_parquet(io.BytesIO(freqtrade("parquet"))).reset_index()
    buffer = io.BytesIO()
    table.assign(date=table["date"].dt.tz_localize(None)).to_parquet(buffer)
    return buffer.getvalue()


def yahoo(candles: Sequence[Candle], *, tickers: Sequence[str] = ("ETH-BTC",)) -> str:
    """What yfinance's download writes: a line of the header for price, ticker and index each."""
    names = [name for name in ("Close", "High", "Low", "Open", "Volume") for _ in tickers]
    head = [["Price", *names], ["Ticker", *tickers * 5], ["Date", *[""] * len(names)]]
    rows = [[iso(c.open_ms, "%Y-%m-%d"), *(str(getattr(c, name.lower())) for name in names)] for c in candles]
    return "".join(",".join(row) + "\n" for row in (*head, *rows))


def bybit() -> str:
    rows = [[*cells(c), str(c.volume * c.close)] for c in reversed(SAMPLE)]
    return json.dumps({"retCode": 0, "result": {"symbol": "ETHBTC", "list": rows}, "retExtInfo": {}, "time": 1})


def poloniex(volume: str, quote_volume: str) -> str:
    rows = [
        {
            **{name: str(getattr(c, name)) for name in ("open", "high", "low", "close")},
            "date": c.open_ms // 1000,
            volume: str(c.volume),
            quote_volume: str(c.volume * c.close),
        }
        for c in SAMPLE
    ]
    return json.dumps(rows)


def of_markets(*markets: str) -> str:
    return formatted(
        SAMPLE,
        "timestamp,symbol,open,high,low,close,volume",
        lambda c: ",".join(
            [str(c.open_ms), markets[(c.open_ms - START) // M5 * len(markets) // len(SAMPLE)], *cells(c)[1:]]
        ),
    )


def with_jump() -> list[Candle]:
    """500 candles missing, and the price ten times as high behind them."""
    later = series(12, start=START + (12 + 500) * M5, scale="10")
    return [*SAMPLE[:12], *later]


@dataclass(frozen=True)
class Shape:
    """A file and what comes of it.

    Attributes:
        name: in words. content: bytes, text, or None for none.
        expected: candles that are read, or a part of the refusal's words.
        note: part of a note that is told; empty for none.
    """

    name: str
    content: bytes | str | None
    expected: Sequence[Candle] | str = field(default_factory=lambda: SAMPLE)
    note: str = ""
    file: str = "ETH_BTC-5m.csv"
    interval_ms: int = M5
    columns: Mapping[str, str] = field(default_factory=dict)
    made: Callable[[Path], None] | None = None

    def write(self, folder: Path) -> Path:
        path = folder / self.file
        if self.made is not None:
            self.made(path)
        elif self.content is not None:
            path.write_bytes(self.content.encode() if isinstance(self.content, str) else self.content)
        return path

    def read(self, folder: Path) -> CandleFile:
        wanted = Wanted(self.interval_ms, self.columns, base="ETH", quote="BTC", symbol="ETHBTC")
        return read_candle_file(self.write(folder), wanted)


_PLAIN = lines(SAMPLE)
_OWN = "when,first,top,bottom,last,size"
_OWN_COLUMNS = {"time": "when", "open": "first", "high": "top", "low": "bottom", "close": "last", "volume": "size"}

READ = (
    Shape("CSV: timestamp,open,high,low,close,volume, Unix ms", _PLAIN),
    Shape("the same without a header", lines(SAMPLE, None)),
    Shape("no line end at the end", _PLAIN.rstrip()),
    Shape("Windows line ends", lines(SAMPLE, end="\r\n")),
    Shape("old Macintosh line ends", lines(SAMPLE, end="\r")),
    Shape("mixed line ends, blank lines", _PLAIN.replace("\n", "\r\n", 5).replace("\r\n", "\n\n", 2)),
    Shape("byte order mark and header", "\ufeff" + _PLAIN),
    Shape("byte order mark without a header", "\ufeff" + lines(SAMPLE, None)),
    Shape("UTF-16 (a spreadsheet's Unicode text)", lines(SAMPLE, by="\t").encode("utf-16")),
    Shape("separated by semicolons", lines(SAMPLE, by=";")),
    Shape("separated by tabs", lines(SAMPLE, by="\t"), file="ETH_BTC-5m.tsv"),
    Shape("separated by |", lines(SAMPLE, by="|")),
    Shape("`sep=;` above the header", "sep=;\n" + lines(SAMPLE, by=";"), note="above the header"),
    Shape("blanks around the fields", _PLAIN.replace(",", " , ")),
    Shape("everything quoted", "\n".join('"' + line.replace(",", '","') + '"' for line in _PLAIN.splitlines())),
    Shape("a comma at the end of each row", _PLAIN.replace("\n", ",\n").replace("volume,", "volume", 1)),
    Shape("header in capitals and two words", lines(SAMPLE, "Open Time,OPEN,High,LOW,Close,Volume")),
    Shape("t,o,h,l,c,v", lines(SAMPLE, "t,o,h,l,c,v")),
    Shape(
        "columns in another order (timestamp,close,high,low,open,volume)",
        formatted(SAMPLE, "timestamp,close,high,low,open,volume", lambda c: ",".join(cells(c)[i] for i in (0, 4, 2, 3, 1, 5))),
    ),
    Shape("a column whose name begins with a digit", formatted(SAMPLE, f"{OHLCV},24h_volume", lambda c: f"{','.join(cells(c))},9")),
    Shape(
        "a row number in front, more columns behind",
        formatted(SAMPLE, f",{OHLCV},quote_volume,trades", lambda c: f"7,{','.join(cells(c))},180.2,12"),
    ),
    Shape("KuCoin with header: time,open,close,high,low,volume,turnover, Unix s", kucoin(SAMPLE, "time,open,close,high,low,volume,turnover")),
    Shape("Binance's archive: zip, 12 columns, no header, ms", zipped(ETHBTC_csv=archive(SAMPLE).encode()), file="ETHBTC-5m-2018-01.zip"),
    Shape("Binance's archive since 2025: µs", zipped(ETHBTC_csv=archive(NOW, unit=1000).encode()), NOW, file="ETHBTC-5m-2025-01.zip"),
    Shape(
        "Binance's archive of futures, with header",
        "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n" + archive(SAMPLE),
    ),
    Shape(
        "archives of two years in one file: ms, then µs",
        archive(SAMPLE[:12]) + archive(SAMPLE[12:], unit=1000),
        note="times are written in more than one way: ms from line 1 on, µs from line 13 on",
    ),
    Shape("gzip of CSV", gzip.compress(_PLAIN.encode()), file="ETH_BTC-5m.csv.gz"),
    Shape("freqtrade's Feather", freqtrade("feather"), file="ETH_BTC-5m.feather"),
    Shape("freqtrade's JSON", freqtrade("json"), file="ETH_BTC-5m.json"),
    Shape("freqtrade's JSON in a gzip", gzip.compress(freqtrade("json")), file="ETH_BTC-5m.json.gz"),
    Shape("Parquet with the time as index", freqtrade("parquet"), file="ETH_BTC-5m.parquet"),
    Shape(
        "Binance's API as JSON: texts, 12 columns",
        json.dumps([[int(row.split(",")[0]), *row.split(",")[1:]] for row in archive(SAMPLE).splitlines()]),
        file="ETH_BTC-5m.json",
    ),
    Shape("JSON: a list of objects", json.dumps([dict(zip(OHLCV.split(","), cells(c), strict=True)) for c in SAMPLE])),
    Shape("JSON: an object a line", formatted(SAMPLE, None, lambda c: json.dumps(dict(zip("tohlcv", cells(c), strict=True))))),
    Shape(
        "JSON: a list a column (TradingView's)",
        json.dumps({"s": "ok", **{name: [cells(c)[i] for c in SAMPLE] for i, name in enumerate("tohlcv")}}),
    ),
    Shape("dates with offset", times(lambda ms: f"{from_ms(ms):%Y-%m-%dT%H:%M:%S}+00:00")),
    Shape("dates of another offset", times(lambda ms: f"{from_ms(ms + 2 * H1):%Y-%m-%dT%H:%M:%S}+02:00")),
    Shape("dates without offset", times(iso), note="taken for UTC"),
    Shape("dates with Z and milliseconds", times(lambda ms: f"{from_ms(ms):%Y-%m-%dT%H:%M:%S}.000Z")),
    Shape("dates as 2018.01.10 05:00 and 2018/01/10 5:00", times(lambda ms: iso(ms, "%Y.%m.%d %H:%M") if ms % 600_000 else f"2018/01/10 {from_ms(ms).hour}:{from_ms(ms):%M}"), note="UTC"),
    Shape(
        "MetaTrader: <DATE> <TIME> <OPEN> ..., tabs",
        formatted(SAMPLE, "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<VOL>", metatrader),
        note="UTC",
    ),
    Shape(
        "days as 20180110",
        formatted(series(step=DAY, start=MONDAY), OHLCV.replace("timestamp", "date"), lambda c: ",".join([iso(c.open_ms, "%Y%m%d"), *cells(c)[1:]])),
        series(step=DAY, start=MONDAY),
        note="UTC",
        interval_ms=DAY,
    ),
    Shape("Unix s", times(lambda ms: ms // 1000)),
    Shape("Unix µs", times(lambda ms: ms * 1000)),
    Shape("Unix ns", times(lambda ms: ms * 1_000_000)),
    Shape("Unix s before 2001: their distance tells the unit", times(lambda ms: ms // 1000, series(start=900_000_000_000)), series(start=900_000_000_000)),
    Shape("times as 1515560400000.0", times(lambda ms: f"{ms}.0")),
    Shape("times as 1.5155604E+12", times(lambda ms: f"{D(ms).normalize():E}")),
    Shape("times as +1515560400000, no header", formatted(SAMPLE, None, lambda c: "+" + ",".join(cells(c)))),
    Shape("a float's noise (0.09840000000000002)", formatted(SAMPLE, OHLCV, noisy), note="numbers had a float's noise"),
    Shape("newest first", lines(reversed(SAMPLE)), note="the newest candle comes first"),
    Shape("two months joined in the wrong order", lines([*SAMPLE[12:], *SAMPLE[:12]]), note="rows aren't in order of time, first line 14"),
    Shape("rows twice", lines([*SAMPLE[:5], *SAMPLE[3:]]), note="2 rows are there twice, first line 7"),
    Shape("files joined with their headers", lines(SAMPLE[:12]) + lines(SAMPLE[12:]), note="the header is repeated 1 times, first at line 14"),
    Shape("CryptoDataDownload: address, unix and date, Volume ETH and Volume BTC, newest first", crypto_data_download(), note="above the header"),
    Shape("names of one's own, with data.datetime_col and so on", lines(SAMPLE, _OWN), columns=_OWN_COLUMNS),
    Shape(
        "KuCoin without a header, with data.close_col: '3', high_col: '4', low_col: '5'",
        kucoin(SAMPLE, None),
        columns={"close": "3", "high": "4", "low": "5"},
    ),
    Shape("Kraken's archive: a count behind the volume, no header, Unix s", formatted(SAMPLE, None, lambda c: f"{c.open_ms // 1000},{','.join(cells(c)[1:])},17")),
    Shape("weeks, from Monday on", lines(series(step=7 * DAY, start=MONDAY)), series(step=7 * DAY, start=MONDAY), interval_ms=7 * DAY, file="ETH_BTC-1w.csv"),
    Shape(
        "weeks, from Sunday on",
        lines(series(step=7 * DAY, start=MONDAY - DAY)),
        series(step=7 * DAY, start=MONDAY - DAY),
        note="weeks begin on Sunday",
        interval_ms=7 * DAY,
    ),
    Shape("three days", lines(series(step=3 * DAY, start=MONDAY)), series(step=3 * DAY, start=MONDAY), interval_ms=3 * DAY, file="ETH_BTC-3d.csv"),
    Shape("candles without volume", lines(replace(c, volume=D(0)) for c in SAMPLE), [replace(c, volume=D(0)) for c in SAMPLE], note="no candle has volume"),
    Shape("500 candles missing, and ten times the price behind them", lines(with_jump()), with_jump()),
    Shape("pandas' to_csv with an index that has no name", lines(SAMPLE, ",open,high,low,close,volume"), note="column 1, which has no name of its own, is taken for the time"),
    Shape("pandas' index written as `Unnamed: 0`, dates", times(iso).replace("timestamp", "Unnamed: 0"), note="column 1, which has no name of its own"),
    Shape("pandas' to_json: an object a column", pandas_json("columns", index=False), file="ETH_BTC-5m.json"),
    Shape("pandas' to_json with the time as index", pandas_json("columns", index=True), note="column 1, which has no name", file="ETH_BTC-5m.json"),
    Shape("pandas' to_json(orient='index')", pandas_json("index", index=True), note="column 1, which has no name", file="ETH_BTC-5m.json"),
    Shape("Parquet with times without zone", naive_parquet(), note="times of 'date' have no time zone and are taken for UTC", file="ETH_BTC-5m.parquet"),
    Shape("yfinance: three lines of header (Price, Ticker, Date)", yahoo(series(step=DAY, start=MONDAY)), series(step=DAY, start=MONDAY), note="the header has 3 lines and is that of 'ETH-BTC'", interval_ms=DAY),
    Shape("Yahoo: Date,Open,High,Low,Close,Adj Close,Volume", formatted(series(step=DAY, start=MONDAY), "Date,Open,High,Low,Close,Adj Close,Volume", lambda c: ",".join([iso(c.open_ms, "%Y-%m-%d"), *cells(c)[1:5], "1", str(c.volume)])), series(step=DAY, start=MONDAY), note="gives the volume of cryptocurrencies in quote currency", interval_ms=DAY),
    Shape("MetaTrader 4: 2018.01.10,05:00,... without a header", formatted(SAMPLE, None, lambda c: ",".join([iso(c.open_ms, "%Y.%m.%d"), iso(c.open_ms, "%H:%M"), *cells(c)[1:]])), note="UTC"),
    Shape("JForex: Time (UTC)", times(lambda ms: iso(ms, "%Y.%m.%d %H:%M:%S")).replace("timestamp", "Time (UTC)"), note="UTC"),
    Shape("dates with UTC or GMT behind", times(lambda ms: iso(ms) + (" GMT" if ms % 600_000 else " UTC"))),
    Shape("CoinAPI: time_period_start beside the first trade's time_open", formatted(SAMPLE, "time_open,time_period_start,price_open,price_high,price_low,price_close,volume_traded", lambda c: f"{c.open_ms + 1123},{','.join(cells(c))}"), note="time_period_start is taken for the time"),
    Shape("a spreadsheet's empty rows: separators alone", ",,,,,\n" + _PLAIN + ",,,,,\n,,,,,\n"),
    Shape("a spreadsheet's title above the header", "ETH/BTC,,,,,\n,,,,,\n" + _PLAIN, note="line 1 is above the header and left out"),
    Shape("words and a date above the header", "Symbol,ETHBTC\nInterval,5m\nFrom,2018-01-10\n\n" + _PLAIN, note="lines 1 to 3 are above the header and left out"),
    Shape("files joined with their headers and byte order marks", "\ufeff" + lines(SAMPLE[:12]) + "\ufeff" + lines(SAMPLE[12:]), note="the header is repeated 1 times, first at line 14"),
    Shape("JSON of Bybit's API: result.list, newest first", bybit(), note="the newest candle comes first", file="ETH_BTC-5m.json"),
    Shape("JSON by market and interval", json.dumps({"ETH/BTC": {"5m": [[c.open_ms, *map(float, cells(c)[1:])] for c in SAMPLE]}}), file="ETH_BTC-5m.json"),
    Shape("JSON: an API's answer a line", "\n".join(json.dumps([[int(row[0]), *row[1:]] for row in map(cells, part)]) for part in (SAMPLE[:9], SAMPLE[9:])), file="ETH_BTC-5m.json"),
    Shape("volume and quote volume, the right way round", poloniex("volume", "quoteVolume"), file="ETH_BTC-5m.json"),
    Shape("a column that names another market", of_markets("LTC/BTC"), note="the candles are of 'LTC/BTC', the config's symbol is ETHBTC"),
    Shape("a column that names the market in two ways", of_markets("ETHBTC", "ETH/BTC")),
    Shape("a column of the market that is empty in some rows", of_markets("", "ETHBTC", "")),
    Shape("candles of 5m, then of 15m", lines([*SAMPLE[:14], *series(10, start=START + 17 * M5, step=3 * M5)]), [*SAMPLE[:14], *series(10, start=START + 17 * M5, step=3 * M5)], note="from 2018-01-10T06:25:00 on 10 candles follow one another at 15m"),
    Shape("prices of 0.0000000120", lines(series(scale="1.22E-7", decimals=12)), series(scale="1.22E-7", decimals=12)),
)  # fmt: skip

REFUSED = (
    Shape("candles of 1h for data.interval 5m", lines(HOURS), "the file has candles of 1h (23 of 23"),
    Shape("candles of 1m for data.interval 5m", lines(series(step=60_000)), "the file has candles of 1m"),
    Shape("candles of 1h with one of 5m", lines([*HOURS[:9], replace(HOURS[8], open_ms=HOURS[8].open_ms + M5), *HOURS[9:]]), "the file has candles of 1h"),
    Shape("one candle between the others", lines([*SAMPLE, replace(SAMPLE[0], open_ms=START + 24 * M5 + 60_000)]), "doesn't open at a whole number of data.interval"),
    Shape("days of another time zone", lines(series(step=DAY, start=MONDAY - 8 * H1)), "doesn't open at a multiple of data.interval (1d) in UTC", interval_ms=DAY),
    Shape("KuCoin's order without a header", kucoin(SAMPLE, None), "time,open,close,high,low,volume, as KuCoin"),
    Shape("open and close swapped without a header", formatted(SAMPLE, None, lambda c: ",".join(cells(c)[i] for i in (0, 4, 2, 3, 1, 5))), "open and close seem to be swapped"),
    Shape("an average price before the volume, no header", formatted(SAMPLE, None, lambda c: ",".join([*cells(c)[:5], str((c.low + c.high) / 2), "77"])), "an average price and no volume"),
    Shape("eight columns without a header (Kraken's API)", formatted(SAMPLE, None, lambda c: ",".join([*cells(c), "1", "2"])), "8 columns may be anything"),
    Shape("five columns without a header", formatted(SAMPLE, None, lambda c: ",".join(cells(c)[:5])), "5 columns may be anything"),
    Shape("header without volume", formatted(SAMPLE, "timestamp,open,high,low,close", lambda c: ",".join(cells(c)[:5])), "no column is known as volume"),
    Shape("volume in quote currency alone", lines(SAMPLE, "timestamp,open,high,low,close,quote_volume"), "quote_volume isn't known to be in base currency"),
    Shape("two columns close", formatted(SAMPLE, OHLCV + ",Close", lambda c: ",".join([*cells(c), "1"])), "more than one column can be close"),
    Shape("names that nobody knows", lines(SAMPLE, _OWN), "no column is known as the time"),
    Shape("the close's time alone", lines(SAMPLE, "close_time,open,high,low,close,volume"), "close_time is when a candle ends"),
    Shape("data.open_col names no column", _PLAIN, "data.open_col: there is no column 'opening'", columns={"open": "opening"}),
    Shape("one column for two", _PLAIN, "can't be both open and close", columns={"close": "open"}),
    Shape("a candle twice with other values (revised)", lines([*SAMPLE[:5], replace(SAMPLE[4], volume=D(9)), *SAMPLE[5:]]), ":7: a candle of 2018-01-10T05:20:00 with other values than line 6"),
    Shape("price 0", changed(3, low="0"), ":5: low 0 isn't above 0"),
    Shape("negative price", changed(3, low="-1"), ":5: low -1 isn't above 0"),
    Shape("negative volume", changed(3, volume="-1"), ":5: volume -1 is below 0"),
    Shape("high below low", changed(3, high="0.09", low="0.1"), ":5: high 0.09 is below low 0.1"),
    Shape("close above high", changed(3, close="0.2"), "is below close 0.2"),
    Shape("NaN", changed(3, open="NaN"), ":5: open 'NaN' is no number: delete the row"),
    Shape("an empty cell", changed(3, open=""), ":5: open is empty"),
    Shape("a price of 60 digits", changed(3, open="0." + "1" * 60), ":5: open '0.111"),
    Shape("1_000", changed(3, volume="1_000"), ":5: volume '1_000' is no number"),
    Shape("thousands with commas", changed(3, volume='"1,820.5"'), ":5: volume '1,820.5' has a comma"),
    Shape("decimals with commas", lines(SAMPLE, by=";").replace(".", ","), ":2: open '0,09840000' has a comma"),
    Shape("dates that may begin with day or month", times(lambda ms: iso(ms, "%d/%m/%Y %H:%M")), ":2: time '10/01/2018 05:00' may be day or month first"),
    Shape("times as 201801100500", times(lambda ms: iso(ms, "%Y%m%d%H%M")), "is no Unix time from 2001 to 2100"),
    Shape("times cut by a spreadsheet (1.51556E+12)", times(lambda ms: f"{float(ms):.5E}"), "other values than line"),
    Shape("a damaged time", changed(3, timestamp="15155613x0000"), ":5: time '15155613x0000' is no Unix time"),
    Shape("a single old time", times(lambda ms: 900_000_000, SAMPLE[:1]), "can't be told apart"),
    Shape("the last line cut off", _PLAIN[:-40], ":25: 3 columns instead of 6; it is the last one: was the file cut off?"),
    Shape("a sum below the table", _PLAIN + "total,24\n", ":26: 2 columns instead of 6"),
    Shape("a quotation mark that never ends", _PLAIN.replace("0.0984", '"0.0984', 1), "is a quotation mark missing"),
    Shape("a field of 200,000 characters", _PLAIN + "1" * 200_000, "field larger than field limit"),
    Shape("an empty file", "", "it is empty"),
    Shape("a header alone", OHLCV + "\n", "no candles below its header"),
    Shape("no table", "Not Found\n", "no line has the columns of candles"),
    Shape("a web page", "<!DOCTYPE html>\n<html><body>404</body></html>\n", "no line has the columns of candles"),
    Shape("a picture", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "NUL byte"),
    Shape("Latin-1", (OHLCV + "\n").encode() + b"\xe9,1,1,1,1,1\n", "no UTF-8 at line 2"),
    Shape("a spreadsheet's workbook", zipped(xl__workbook=b"<x/>"), "save the sheet as CSV", file="ETH_BTC-5m.xlsx"),
    Shape("a zip of two files", zipped(a_csv=b"1", b_csv=b"2"), "an archive must have one file in it, not 2 ('a.csv', 'b.csv')", file="many.zip"),
    Shape("a gzip cut off", gzip.compress(_PLAIN.encode())[:-20], "can't be read", file="ETH_BTC-5m.csv.gz"),
    Shape("HDF5 (old freqtrade)", b"\x89HDF\r\n\x1a\n", "a file of HDF5, which isn't read", file="ETH_BTC-5m.h5"),
    Shape("Feather cut off", freqtrade("feather")[:-30], "no whole Feather file", file="ETH_BTC-5m.feather"),
    Shape("JSON cut off", freqtrade("json")[:-30], "is not JSON", file="ETH_BTC-5m.json"),
    Shape("JSON of something else", '{"code": "400100", "msg": "no such symbol"}', "JSON of another shape", file="ETH_BTC-5m.json"),
    Shape("JSON of KuCoin's API, whose order nothing says", json.dumps({"code": "200000", "data": [row.split(",") for row in kucoin(reversed(SAMPLE), None).split()]}), "as KuCoin", file="ETH_BTC-5m.json"),
    Shape("JSON of Python with NaN", json.dumps([[c.open_ms, *map(float, cells(c)[1:5]), float("nan")] for c in SAMPLE], indent=1), "it holds NaN, which is not JSON; the first NaN is at line 8, column 3: delete the row", file="ETH_BTC-5m.json"),
    Shape("JSON of two markets", json.dumps({name: [[c.open_ms, 1, 1, 1, 1, 1] for c in SAMPLE] for name in ("ETH/BTC", "LTC/BTC")}), "JSON with 2 tables of candles ('ETH/BTC', 'LTC/BTC')", file="ETH_BTC-5m.json"),
    Shape("candles of two markets, one behind the other", of_markets("ETHBTC", "LTCBTC"), ":14: a candle of 'LTCBTC', and line 2 has one of 'ETHBTC'"),
    Shape("yfinance: two tickers", yahoo(series(step=DAY, start=MONDAY), tickers=("ETH-BTC", "LTC-BTC")), "candles of more than one market side by side ('ETH-BTC', 'LTC-BTC')", interval_ms=DAY),
    Shape("Poloniex: volume in quote currency, quoteVolume in base", poloniex("quoteVolume", "volume"), "volume is in quote currency: divided by column quoteVolume it is the price"),
    Shape("the same without a header: volume in quote currency, then in base", formatted(SAMPLE, None, lambda c: ",".join([*cells(c)[:5], str(c.volume * c.close), str(c.volume)])), "column 6 is in quote currency: divided by column 7 it is the price; give data.volume_col: '7'"),
    Shape("a row number without a name and no known time", formatted(SAMPLE, ",when,open,high,low,close,volume", lambda c: f"7,{','.join(cells(c))}"), "no column is known as the time"),
    Shape("a spreadsheet's days as 43110.208333", times(lambda ms: f"{25569 + ms / DAY:.6f}"), ":2: time '43110.208333' is no Unix time"),
    Shape("a spreadsheet's days as 43110", times(lambda ms: 25569 + ms // DAY), ":2: time 43110 is before 2001 or of no known unit"),
    Shape("an old spreadsheet program's workbook", b"\xd0\xcf\x11\xe0\xa1\xb1", "a file of an old spreadsheet program (xls)", file="ETH_BTC-5m.xls"),
    Shape("a gzip of a gzip", gzip.compress(gzip.compress(b"1")), "a file of gzip in a gzip", file="ETH_BTC-5m.csv.gz"),
    Shape("a folder", None, "it is a folder", file="candles", made=lambda path: path.mkdir()),
    Shape("no file", None, "can't be read", file="none.csv"),
)  # fmt: skip

SHAPES = (*READ, *REFUSED)


def outcome(shape: Shape, folder: Path) -> str:
    """What comes of a shape, in a cell of the page's table."""
    try:
        found = shape.read(folder)
    except CandleFileInvalid as error:
        said = str(error).replace(f"{folder}/", "")
        return "refused: " + (said if len(said) <= 260 else said[:259].rstrip() + "…")
    notes = "".join(f"; told: {note}" for note in found.notes)
    return f"read, times {found.times}, tick {found.tick:f}{notes}"


def table() -> str:
    """The page's table."""
    rows = ["| file | what comes of it |", "| --- | --- |"]
    for shape in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            said = outcome(shape, Path(folder))
        rows.append(
            "| " + " | ".join(text.replace("|", "\\|").replace("<", "&lt;") for text in (shape.name, said)) + " |"
        )
    return "\n".join(rows) + "\n"


def page() -> str:
    """The page with the table as the code says it now."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page())
