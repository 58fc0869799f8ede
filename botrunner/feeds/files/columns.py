"""Which column is what: by name where there is a header, else by place, if the candles agree. Pure.

Guarantees: a column is never taken for another because it stands where that one usually does. Names are compared
without case, spaces and punctuation; `data.*_col` of the config comes first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

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
        *("opentime", "timeopen", "opentimestamp", "timestampopen", "opentimems", "openat", "timeperiodstart"),
        *("starttime", "startat", "startedat", "start", "begintime", "candlebegintime", "timestampms", "timestamp"),
        *("unixtimestamp", "unixtime", "unix", "epochms", "epoch", "mts", "ts", "bartime", "datetime", "date", "time"),
        *("t", "indexlevel0"),
    ),
    "open": ("open", "o", "openprice", "priceopen", "openingprice"),
    "high": ("high", "h", "highprice", "pricehigh", "highestprice"),
    "low": ("low", "l", "lowprice", "pricelow", "lowestprice"),
    "close": ("close", "c", "closeprice", "priceclose", "closingprice"),
    "volume": ("volume", "vol", "v", "basevolume", "volumebase", "volumetraded", "volumefrom"),
}
"""Names that tools give a column, the surest first; none of a close's time, an average price or a quote volume."""

QUOTE_VOLUMES = ("quotevolume", "volumequote", "quoteassetvolume", "turnover", "amount", "volumeto", "value")
"""What is traded in quote currency, which no strategy expects as volume."""

POSITIONAL = (6, 7, 12)
"""Columns of known files without a header: time and candle; with a count behind (Kraken); Binance's archive."""

ENOUGH = 10
"""Candles from which on their values tell about the columns' order."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Places of the columns in a row, from 0.

    Attributes:
        time: one, or a date's and a time's. values: open, high, low, close, volume.
        names: the same in words, for people.
        notes: what people should know of the choice.
    """

    time: tuple[int, ...]
    values: tuple[int, int, int, int, int]
    names: Mapping[str, str]
    notes: tuple[str, ...] = ()


def plain_name(name: str) -> str:
    """The name in small letters, letters and digits alone: `<Open Time>` is `opentime`."""
    return "".join(sign for sign in name.lower() if sign.isalnum())


def columns_by_name(names: Sequence[str], *, chosen: Mapping[str, str], base: str = "", quote: str = "") -> Columns:
    """The columns of a header.

    Args:
        names: of the header.
        chosen: field → column, of the config's `data.*_col`.
        base, quote: currencies of the market, which some tools put behind `volume`.

    Raises:
        Unclear: a column is missing, or more than one could be meant.
    """
    found: dict[str, tuple[int, ...]] = {}
    notes: list[str] = []
    for field in ("time", *FIELDS):
        if field in chosen:
            found[field] = (_chosen(field, chosen[field], names),)
        elif field == "time":
            found[field] = _time(names, notes)
        else:
            spellings = NAMES[field]
            if field == "volume" and base:
                spellings = (*spellings, f"volume{base.lower()}", f"vol{base.lower()}")
            found[field] = (_named(field, spellings, names, quote),)
    _check_distinct(found, names)
    return Columns(
        time=found["time"],
        values=(found["open"][0], found["high"][0], found["low"][0], found["close"][0], found["volume"][0]),
        names={field: " + ".join(names[place] for place in places) for field, places in found.items()},
        notes=tuple(notes),
    )


def columns_by_place(width: int, *, chosen: Mapping[str, str]) -> Columns:
    """The columns of a file without a header: those of `chosen` are numbers from 1 on.

    Raises:
        Unclear: nobody can tell what they are.
    """
    names = [str(number + 1) for number in range(width)]
    places = {field: _chosen(field, name, names) for field, name in chosen.items()}
    missing = [field for field in ("time", *FIELDS) if field not in places]
    if missing and width not in POSITIONAL:
        raise Unclear(
            f"there is no header, and {width} columns may be anything: write a first line like "
            "timestamp,open,high,low,close,volume, or give "
            f"{', '.join(KEYS[field] for field in missing)} as numbers of columns ('1' is the first)"
        )
    usual = {field: place for place, field in enumerate(("time", *FIELDS))}
    places = {**usual, **places}
    _check_distinct({field: (place,) for field, place in places.items()}, names)
    return Columns(
        time=(places["time"],),
        values=(places["open"], places["high"], places["low"], places["close"], places["volume"]),
        names={field: f"column {place + 1}" for field, place in places.items()},
    )


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


def _time(names: Sequence[str], notes: list[str]) -> tuple[int, ...]:
    found = [name for name in NAMES["time"] if _places(name, names)]
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
    other = ""
    if field == "volume":
        quoted = (*QUOTE_VOLUMES, *((f"volume{quote.lower()}",) if quote else ()))
        some = [name for name in names if plain_name(name) in quoted or plain_name(name).startswith("volume")]
        other = f"; {some[0]} isn't known to be in base currency" if some else ""
    raise Unclear(
        f"no column is known as {field}: there are {_listed(names)}{other}; name it {field}, or give {KEYS[field]}"
    )


def _places(spelling: str, names: Sequence[str]) -> list[int]:
    """Where a name stands. Of letters the small one counts where there are both: Binance's T and V are other things."""
    alike = [place for place, name in enumerate(names) if plain_name(name) == spelling]
    small = [place for place in alike if names[place].strip() == spelling]
    return small if len(spelling) == 1 and len(small) == 1 else alike


def _check_distinct(found: Mapping[str, tuple[int, ...]], names: Sequence[str]) -> None:
    taken: dict[int, str] = {}
    for field, places in found.items():
        for place in places:
            if place in taken:
                raise Unclear(
                    f"column {shown(names[place])} can't be both {taken[place]} and {field}: see {KEYS[taken[place]]} "
                    f"and {KEYS[field]}"
                )
            taken[place] = field


def _listed(names: Sequence[str]) -> str:
    some = ", ".join(shown(name) for name in names[:20])
    return some if len(names) <= 20 else f"{some} and {len(names) - 20} more"
