"""Binance's market streams as values: names, requests on the connection, kline events. Pure, but for a counter or two.

Source: https://github.com/binance/binance-spot-api-docs/blob/master/web-socket-streams.md (July 2026). Offered is
`<symbol>@kline_<interval>`; as at Binance, any other name can be subscribed to and stays silent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from sandbox_exchange.candles import INTERVAL_MS, Candle
from sandbox_exchange.market import Listing, Market
from sandbox_exchange.wire import JsonObject, JsonValue, exact

MAX_STREAMS = 1024
"""Of one connection; Binance's limit."""

MOST_CLOSED = 1000
"""Closing events after one jump of the clock; older ones are left out, as after a lost connection."""

_NAME = re.compile(r"(?P<symbol>[a-z0-9]+)@kline_(?P<interval>[0-9]+[a-zA-Z])")
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_ID_TEXT = re.compile(r"[A-Za-z0-9_-]{1,36}")


@dataclass(frozen=True, slots=True)
class KlineStream:
    """A stream that speaks: its name, whose candles, of which interval."""

    name: str
    listing: Listing
    interval: str

    @property
    def interval_ms(self) -> int:
        """Length of a candle."""
        return INTERVAL_MS[self.interval]


def kline_stream(name: str, market: Market) -> KlineStream | None:
    """The stream of that name; None for one that stays silent (unknown symbol, interval or kind)."""
    found = _NAME.fullmatch(name)
    if found is None or found["interval"] not in INTERVAL_MS:
        return None
    listing = market.listings.get(found["symbol"].upper())
    if listing is None or not listing.series.serves(INTERVAL_MS[found["interval"]]):
        return None
    return KlineStream(name=name, listing=listing, interval=found["interval"])


@dataclass(frozen=True, slots=True)
class Moment:
    """A candle as it is told at one time; `closed` when it is the last word on it."""

    candle: Candle
    closed: bool


def closed_between(stream: KlineStream, *, since_ms: int, now_ms: int) -> list[Moment]:
    """The candles that closed after `since_ms`, up to `now_ms`, oldest first."""
    step = stream.interval_ms
    first_open = (since_ms // step) * step
    candles = stream.listing.series.klines(interval_ms=step, now=now_ms, start=first_open)
    done = [candle for candle in candles if since_ms < candle.open_time + step <= now_ms]
    return [Moment(candle, closed=True) for candle in done[-MOST_CLOSED:]]


def running_at(stream: KlineStream, *, now_ms: int) -> Moment | None:
    """The candle that runs; None while nothing traded in it."""
    step = stream.interval_ms
    candles = stream.listing.series.klines(interval_ms=step, now=now_ms, start=now_ms // step * step)
    return Moment(candles[-1], closed=False) if candles else None


def kline_event(stream: KlineStream, moment: Moment, *, now_ms: int) -> JsonObject:
    """The event's payload."""
    candle, step = moment.candle, stream.interval_ms
    symbol = stream.listing.symbol
    first_trade = candle.open_time // 1000
    return {
        "e": "kline",
        "E": now_ms,
        "s": symbol,
        "k": {
            "t": candle.open_time,
            "T": candle.open_time + step - 1,
            "s": symbol,
            "i": stream.interval,
            "f": first_trade,
            "L": first_trade + candle.trades - 1 if candle.trades else -1,
            "o": exact(candle.open),
            "c": exact(candle.close),
            "h": exact(candle.high),
            "l": exact(candle.low),
            "v": exact(candle.volume),
            "n": candle.trades,
            "x": moment.closed,
            "q": exact(candle.quote_volume),
            "V": exact(_half(candle.volume)),
            "Q": exact(_half(candle.quote_volume)),
            "B": "0",
        },
    }


def _half(value: Decimal) -> Decimal:
    # taken for bought by takers: files do not say
    return (value / 2).quantize(Decimal("0.00000001"), ROUND_HALF_EVEN)


class RequestRefused(Exception):
    """A frame that makes no sense; Binance's code and text, and the id as far as it was readable."""

    def __init__(self, code: int, message: str, request_id: JsonValue = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.request_id = request_id

    def reply(self) -> JsonObject:
        """What the client is told."""
        return {"error": {"code": self.code, "msg": self.message}, "id": self.request_id}


class Subscriptions:
    """What one connection is subscribed to.

    Args:
        names: of the URL.
        combined: whether events are wrapped as `{stream, data}`: the default of /stream, not of /ws.
    """

    def __init__(self, names: Iterable[str], *, combined: bool) -> None:
        self._names = dict.fromkeys(names)
        self.combined = combined

    def __iter__(self) -> Iterator[str]:
        return iter([*self._names])

    def answer(self, text: str) -> JsonObject:
        """Obey a frame; the reply. Never raises: a frame that makes no sense changes nothing."""
        try:
            method, params, request_id = _request(text)
            return {"result": self._obey(method, params, request_id), "id": request_id}
        except RequestRefused as refusal:
            return refusal.reply()

    def wrap(self, name: str, payload: JsonObject) -> JsonObject:
        """An event as this connection wants it."""
        return {"stream": name, "data": payload} if self.combined else payload

    def _obey(self, method: str, params: list[JsonValue], request_id: JsonValue) -> JsonValue:
        match method:
            case "SUBSCRIBE":
                added = _stream_names(params, request_id)
                if len({*self._names, *added}) > MAX_STREAMS:
                    raise RequestRefused(2, f"Invalid request: more than {MAX_STREAMS} streams", request_id)
                self._names.update(dict.fromkeys(added))
            case "UNSUBSCRIBE":
                for name in _stream_names(params, request_id):
                    self._names.pop(name, None)
            case "LIST_SUBSCRIPTIONS":
                return [*self._names]
            case "SET_PROPERTY":
                _check_property(params, request_id, count=2)
                if not isinstance(params[1], bool):
                    raise RequestRefused(1, "Invalid value type: expected Boolean", request_id)
                self.combined = params[1]
            case _:
                _check_property(params, request_id, count=1)
                return self.combined
        return None


def _request(text: str) -> tuple[str, list[JsonValue], JsonValue]:
    try:
        fields = json.loads(text)
    except ValueError as error:
        line, column = getattr(error, "lineno", 1), getattr(error, "colno", 1)
        raise RequestRefused(3, f"Invalid JSON: expected value at line {line} column {column}") from None
    if not isinstance(fields, dict):
        raise RequestRefused(2, "Invalid request: expected an object")
    request_id = fields.get("id")
    if not _is_id(request_id):
        raise RequestRefused(2, "Invalid request: request ID must be an unsigned integer")
    unknown = sorted(fields.keys() - {"method", "params", "id"})
    if unknown:
        raise RequestRefused(2, f"Invalid request: unknown field `{unknown[0]}`", request_id)
    method, params = fields.get("method"), fields.get("params", [])
    if method is None:
        raise RequestRefused(2, "Invalid request: missing field `method`", request_id)
    if method not in _METHODS:
        raise RequestRefused(
            2, f"Invalid request: unknown variant `{method}`, expected one of {', '.join(_METHODS)}", request_id
        )
    if not isinstance(params, list):
        raise RequestRefused(2, "Invalid request: params must be a list", request_id)
    return method, params, request_id


def _is_id(value: JsonValue) -> bool:
    if isinstance(value, str):
        return _ID_TEXT.fullmatch(value) is not None
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64)


def _stream_names(params: list[JsonValue], request_id: JsonValue) -> list[str]:
    names = [name for name in params if isinstance(name, str) and name]
    if not params or len(names) != len(params):
        raise RequestRefused(2, "Invalid request: params must be a list of stream names", request_id)
    return names


def _check_property(params: list[JsonValue], request_id: JsonValue, *, count: int) -> None:
    if len(params) > count:
        raise RequestRefused(2, "Invalid request: too many parameters", request_id)
    if not params or not isinstance(params[0], str):
        raise RequestRefused(2, "Invalid request: property name must be a string", request_id)
    if params[0] != "combined":
        raise RequestRefused(0, "Unknown property", request_id)
    if len(params) < count:
        raise RequestRefused(2, "Invalid request: missing property value", request_id)
