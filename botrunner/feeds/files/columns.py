"""Which column is what: by name where there is a header, else by place, if the candles agree. Pure.

Guarantees: a column is never taken for another because it stands where that one usually does. Names are compared
without case, spaces and punctuation; `data.*_col` of the config comes first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise

from botrunner.feeds.files.cells import is_time
from botrunner.feeds.files.errors import Unclear, shown

FIELDS = ("open", "high", "low", "close", "volume")

KEYS: Mapping[str, str] = {
    "time": "data.datetime_col",
    "open": "data.open_col",
    "high": "data.high_col",
    "low": "data.low_col",
    "close": "data.close_col",
    "volume": "data.volume_col",
}
"""Keys of the config that name a column."""

NAMES: Mapping[str, tuple[str, ...]] = {
    "time": (
        *("opentime", "timeperiodstart", "timeopen", "opentimestamp", "timestampopen", "opentimems", "openat"),
        *("starttime", "startat", "startedat", "start", "begintime", "candlebegintime", "timestampms", "timestamp"),
        *("unixtimestamp", "unixtime", "unix", "epochms", "epoch", "mts", "ts", "bartime", "datetime", "date", "time"),
        *("gmttime", "timegmt", "timeutc", "utctime", "datetimeutc", "dateutc", "t", "indexlevel0"),
    ),
    "open": ("open", "o", "openprice", "priceopen", "openingprice"),
    "high": ("high", "h", "highprice", "pricehigh", "highestprice"),
    "low": ("low", "l", "lowprice", "pricelow", "lowestprice"),
    "close": ("close", "c", "closeprice", "priceclose", "closingprice"),
    "volume": ("volume", "vol", "v", "basevolume", "volumebase", "volumetraded", "volumefrom"),
}
"""Names that tools give a column, the surest first; none of a close's time, an average price or a quote volume."""

INDEX_NAMES = ("", "index", "unnamed0", "level0")
"""What pandas makes of an index without a name: times, or the rows' numbers."""

MARKET_NAMES = ("symbol", "pair", "ticker", "instrument", "instrumentname", "instid", "market")
"""Columns that say whose candle a row is."""

QUOTE_VOLUMES = ("quotevolume", "volumequote", "quoteassetvolume", "turnover", "amount", "volumeto", "value")
"""What is traded in quote currency, which no strategy expects as volume."""

POSITIONAL = (6, 7, 12)
"""Columns of known files without a header: time and candle; with a count behind (Kraken); Binance's archive."""

IN_QUOTE: Mapping[str, str] = {"adjclose": "Yahoo Finance", "marketcap": "CoinMarketCap"}
"""Columns that give away whose file it is, where the volume of a cryptocurrency is in quote currency."""

BEHIND: Mapping[int, int] = {7: 6, 12: 7}
"""Columns of a file without a header → which may be the volume in quote currency."""

ENOUGH = 10
"""Candles from which on their values tell about the columns' order."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Places of the columns in a row, from 0.

    Attributes:
        time: one, or a date's and a time's. values: open, high, low, close, volume.
        names: the same in words, for people.
        markets: columns that say whose candle a row is.
        quote_volumes: columns, as the config names them, that may be the volume in quote currency, of a volume that
            the config didn't choose.
        notes: what people should know of the choice.
    """

    time: tuple[int, ...]
    values: tuple[int, int, int, int, int]
    names: Mapping[str, str]
    notes: tuple[str, ...] = ()
    markets: tuple[int, ...] = ()
    quote_volumes: Mapping[str, int] = field(default_factory=dict)


def plain_name(name: str) -> str:
    """The name in small letters, letters and digits alone: `<Open Time>` is `opentime`."""
    return "".join(sign for sign in name.lower() if sign.isalnum())


def columns_by_name(
    names: Sequence[str], *, chosen: Mapping[str, str], base: str = "", quote: str = "", first: Sequence[str] = ()
) -> Columns:
    """The columns of a header.

    Args:
        names: of the header.
        chosen: field → column, of the config's `data.*_col`.
        base, quote: currencies of the market, which some tools put behind `volume`.
        first: cells of the first row: an index without a name is taken for the time if it has one there.

    Raises:
        Unclear: a column is missing, or more than one could be meant.
    """
    found: dict[str, tuple[int, ...]] = {}
    notes: list[str] = []
    for wanted in ("time", *FIELDS):
        if wanted in chosen:
            found[wanted] = (_chosen(wanted, chosen[wanted], names),)
        elif wanted == "time":
            found[wanted] = _time(names, first, notes)
        else:
            spellings = NAMES[wanted]
            if wanted == "volume" and base:
                spellings = (*spellings, f"volume{base.lower()}", f"vol{base.lower()}")
            found[wanted] = (_named(wanted, spellings, names, quote),)
    _check_distinct(found, names)
    notes += [
        f"{shown(name)} is a column of {IN_QUOTE[plain_name(name)]}, which gives the volume of cryptocurrencies in "
        "quote currency: what a strategy or the paper broker makes of volume is wrong then"
        for name in names
        if plain_name(name) in IN_QUOTE and "volume" not in chosen
    ]
    return Columns(
        time=found["time"],
        values=(found["open"][0], found["high"][0], found["low"][0], found["close"][0], found["volume"][0]),
        names={key: " + ".join(names[place] for place in places) for key, places in found.items()},
        notes=tuple(notes),
        markets=tuple(place for place, name in enumerate(names) if plain_name(name) in MARKET_NAMES),
        quote_volumes={} if "volume" in chosen else _quote_volumes(names, found["volume"][0], quote),
    )


def _quote_volumes(names: Sequence[str], volume: int, quote: str) -> dict[str, int]:
    known = (*QUOTE_VOLUMES, *((f"volume{quote.lower()}",) if quote else ()))
    return {name: place for place, name in enumerate(names) if place != volume and plain_name(name) in known}


_DAY = re.compile(r"\s*\d{4}[-/.]?\d{2}[-/.]?\d{2}\s*", re.ASCII)
_CLOCK = re.compile(r"\s*\d{1,2}:\d{2}(:\d{2})?\s*", re.ASCII)


def columns_by_place(width: int, *, chosen: Mapping[str, str], first: Sequence[str] = ()) -> Columns:
    """The columns of a file without a header: those of `chosen` are numbers from 1 on, `first` is the first row.

    Raises:
        Unclear: nobody can tell what they are.
    """
    names = [str(number + 1) for number in range(width)]
    if not chosen and width == len(FIELDS) + 2 and _DAY.fullmatch(first[0]) and _CLOCK.fullmatch(first[1]):
        # MetaTrader 4's: a day and a time of day in front
        shifted = {key: f"column {place}" for place, key in enumerate(FIELDS, start=3)}
        return Columns(time=(0, 1), values=(2, 3, 4, 5, 6), names={"time": "column 1 + column 2", **shifted})
    places = {key: _chosen(key, name, names) for key, name in chosen.items()}
    missing = [key for key in ("time", *FIELDS) if key not in places]
    if missing and width not in POSITIONAL:
        raise Unclear(
            f"there is no header, and {width} columns may be anything: write a first line like "
            "timestamp,open,high,low,close,volume, or give "
            f"{', '.join(KEYS[key] for key in missing)} as numbers of columns ('1' is the first)"
        )
    usual = {key: place for place, key in enumerate(("time", *FIELDS))}
    places = {**usual, **places}
    _check_distinct({key: (place,) for key, place in places.items()}, names)
    return Columns(
        time=(places["time"],),
        values=(places["open"], places["high"], places["low"], places["close"], places["volume"]),
        names={key: f"column {place + 1}" for key, place in places.items()},
        quote_volumes={} if "volume" in chosen or width not in BEHIND else {f"{BEHIND[width] + 1}": BEHIND[width]},
    )


def check_market(cells: Sequence[str]) -> int | None:
    """The first row (from 0) of a column of markets that is of another one than those before; None: there is none.

    An empty cell says nothing.
    """
    said = {plain_name(cell) for cell in set(cells)} - {""}
    if len(said) < 2:
        return None
    first = next(name for name in map(plain_name, cells) if name)
    return next(index for index, cell in enumerate(cells) if plain_name(cell) not in ("", first))


def check_volume(name: str, other: str, rows: Sequence[tuple[Decimal, Decimal, Decimal, Decimal]]) -> None:
    """Whether a volume is in base currency, as far as the column that is said to be in quote currency tells.

    Args:
        name, other: the column taken for the volume, and the other one.
        rows: low, high, volume and the other one.

    Raises:
        Unclear: the two are the wrong way round: volume divided by the other one is the price (Poloniex, HTX, inverse
            contracts).
    """
    traded = [row for row in rows if row[2] > 0 and row[3] > 0]
    if len(traded) < ENOUGH:
        return
    right = sum(low * _LITTLE_LESS <= quote / base <= high * _LITTLE_MORE for low, high, base, quote in traded)
    wrong = sum(low * _LITTLE_LESS <= base / quote <= high * _LITTLE_MORE for low, high, base, quote in traded)
    if 10 * wrong >= 9 * len(traded) and 10 * right < len(traded):
        raise Unclear(
            f"{name} is in quote currency: divided by column {other} it is the price; give {KEYS['volume']}: {other!r}"
        )


_LITTLE_LESS, _LITTLE_MORE = Decimal("0.99"), Decimal("1.01")
"""A volume that was rounded leaves the price about what it is."""


def check_order(rows: Sequence[tuple[Decimal, Decimal, Decimal, Decimal, Decimal]]) -> None:
    """Whether candles of a file without a header can be open, high, low, close, volume, oldest first.

    Raises:
        Unclear: their values say that the columns stand in another order.
    """
    if any(high < max(open_, low, close) or low > min(open_, close) for open_, high, low, close, _ in rows):
        by_kucoin = all(
            low >= max(open_, high, close) and close <= min(open_, high) for open_, high, low, close, _ in rows
        )
        order = "time,open,close,high,low,volume, as KuCoin and Bitfinex have it" if by_kucoin else "another order"
        raise Unclear(f"there is no header, and the values aren't time,open,high,low,close,volume but {order}: {_ASK}")
    moved = [row for row in rows if row[1] > row[2]]
    if len(moved) < ENOUGH:
        return
    if all(low <= volume <= high for _, high, low, _, volume in moved):
        raise Unclear(
            "there is no header, and the sixth column always lies between low and high, so it is an average price "
            f"and no volume: {_ASK}"
        )
    as_said = sum(abs(after[0] - before[3]) for before, after in pairwise(rows))
    swapped = sum(abs(after[3] - before[0]) for before, after in pairwise(rows))
    if 2 * swapped < as_said:
        raise Unclear(
            "there is no header, and each candle's fifth column fits the next one's second better than the other way "
            f"round, so open and close seem to be swapped: {_ASK}"
        )


_ASK = (
    "write a first line that names the columns, or say in the config which is which, as data.open_col: '2', "
    "data.close_col: '3' and so on ('1' is the first)"
)


def _chosen(field: str, name: str, names: Sequence[str]) -> int:
    exact = [place for place, other in enumerate(names) if other == name]
    alike = exact or [place for place, other in enumerate(names) if other.strip().lower() == name.strip().lower()]
    if len(alike) != 1:
        problem = "more than one column" if alike else "no column"
        raise Unclear(f"{KEYS[field]}: there is {problem} {shown(name)}; there are {_listed(names)}")
    return alike[0]


def _time(names: Sequence[str], first: Sequence[str], notes: list[str]) -> tuple[int, ...]:
    found = [name for name in NAMES["time"] if _places(name, names)]
    unnamed = [
        place
        for place, (name, cell) in enumerate(zip(names, first, strict=False))
        if plain_name(name) in INDEX_NAMES and is_time(cell)
    ]
    if not found and len(unnamed) == 1:
        notes.append(f"column {unnamed[0] + 1}, which has no name of its own, is taken for the time")
        return (unnamed[0],)
    if not found:
        closes = [name for name in names if plain_name(name) in ("closetime", "timeclose", "endtime", "timeperiodend")]
        also = f"; {closes[0]} is when a candle ends, and its beginning is needed" if closes else ""
        raise Unclear(
            f"no column is known as the time of a candle's open: there are {_listed(names)}{also}; name it timestamp, "
            f"or give {KEYS['time']}"
        )
    if found[:2] == ["date", "time"]:
        return _named("time", ("date",), names, ""), _named("time", ("time",), names, "")
    if len(found) > 1:
        notes.append(f"{names[_named('time', found, names, '')]} is taken for the time, not {', '.join(found[1:])}")
    return (_named("time", found, names, ""),)


def _named(field: str, spellings: Sequence[str], names: Sequence[str], quote: str) -> int:
    for spelling in spellings:
        places = _places(spelling, names)
        if len(places) > 1:
            raise Unclear(
                f"more than one column can be {field}: {_listed([names[place] for place in places])}; say which with "
                f"{KEYS[field]}, or rename one"
            )
        if places:
            return places[0]
    other, instead = "", ""
    if field == "volume":
        quoted = (*QUOTE_VOLUMES, *((f"volume{quote.lower()}",) if quote else ()))
        some = [name for name in names if plain_name(name) in quoted or plain_name(name).startswith("volume")]
        other = f"; {some[0]} isn't known to be in base currency" if some else ""
        instead = "" if other else ", or add a column volume of 0 if there is none"
    raise Unclear(
        f"no column is known as {field}: there are {_listed(names)}{other}; name it {field}, or give {KEYS[field]}"
        f"{instead}"
    )


def _places(spelling: str, names: Sequence[str]) -> list[int]:
    """Where a name stands. Of letters the small one counts where there are both: Binance's T and V are other things."""
    alike = [place for place, name in enumerate(names) if plain_name(name) == spelling]
    small = [place for place in alike if names[place].strip() == spelling]
    return small if len(spelling) == 1 and len(small) == 1 else alike


def _check_distinct(found: Mapping[str, tuple[int, ...]], names: Sequence[str]) -> None:
    taken: dict[int, str] = {}
    for key, places in found.items():
        for place in places:
            if place in taken:
                raise Unclear(
                    f"column {shown(names[place])} can't be both {taken[place]} and {key}: see {KEYS[taken[place]]} "
                    f"and {KEYS[key]}"
                )
            taken[place] = key


def _listed(names: Sequence[str]) -> str:
    some = ", ".join(shown(name) for name in names[:20]) or "none"
    return some if len(names) <= 20 else f"{some} and {len(names) - 20} more"
