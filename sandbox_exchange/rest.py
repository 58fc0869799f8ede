"""Binance's market data endpoints over the sandbox's candles.

Source: https://github.com/binance/binance-spot-api-docs/blob/master/rest-api.md (July 2026). Not offered: the
interval sizes 3d, 1w and 1M, time zones other than UTC, trades.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from sandbox_exchange.book import Book, Level, make_book
from sandbox_exchange.candles import DAY_MS, MINUTE_MS, Candle, merge, revised
from sandbox_exchange.gateway import ApiRequest, Route
from sandbox_exchange.market import Listing, Market
from sandbox_exchange.params import Params, invalid, invalid_interval, unknown_symbol
from sandbox_exchange.weights import DEFAULT_LIMIT
from sandbox_exchange.wire import JsonObject, JsonValue, exact, number

_AVERAGE_MINUTES = 5
_UTC_OFFSETS = ("0", "0:00", "00:00", "+0", "-0")


@dataclass(frozen=True, slots=True)
class MarketDataApi:
    """The handlers. `weight_limit` is what exchangeInfo states (0, unlimited, is stated as Binance's own)."""

    market: Market
    weight_limit: int

    def routes(self) -> tuple[Route, ...]:
        """All endpoints with their weights."""
        return (
            Route("ping", self.ping, _always(1)),
            Route("time", self.time, _always(1)),
            Route("exchangeInfo", self.exchange_info, _always(20)),
            Route("klines", self.klines, _always(2)),
            Route("ticker/24hr", self.ticker_24hr, _day_ticker_weight),
            Route("ticker/price", self.ticker_price, _one_or_all(2, 4)),
            Route("ticker/bookTicker", self.ticker_book, _one_or_all(2, 4)),
            Route("depth", self.depth, _depth_weight),
            Route("avgPrice", self.average_price, _always(2)),
        )

    def ping(self, _: ApiRequest) -> JsonValue:
        """Nothing, as proof of life."""
        return {}

    def time(self, request: ApiRequest) -> JsonValue:
        """The simulated time."""
        return {"serverTime": request.now_ms + request.effects.skew_ms}

    def exchange_info(self, request: ApiRequest) -> JsonValue:
        """Limits, symbols and their filters."""
        return {
            "timezone": "UTC",
            "serverTime": request.now_ms,
            "rateLimits": [
                {
                    "rateLimitType": "REQUEST_WEIGHT",
                    "interval": "MINUTE",
                    "intervalNum": 1,
                    "limit": self.weight_limit or DEFAULT_LIMIT,
                }
            ],
            "exchangeFilters": [],
            "symbols": [listing.rules.info() for listing in self._selected(request.params)],
        }

    def klines(self, request: ApiRequest) -> JsonValue:
        """Candles, the running one included."""
        params = request.params
        series = self._one(params).series
        interval_ms = params.interval_ms()
        if not series.serves(interval_ms):
            raise invalid_interval()
        if (params.text("timeZone") or "0") not in _UTC_OFFSETS:
            raise invalid("timeZone")
        start, end = params.integer("startTime"), params.integer("endTime")
        limit = params.limit(default=500, maximum=1000)
        late_ms = request.effects.late_ms
        hidden = late_ms // interval_ms + 1 if late_ms else 0
        candles = series.klines(interval_ms=interval_ms, now=request.now_ms, start=start, end=end, limit=limit + hidden)
        if late_ms:
            kept = [
                candle for candle in candles if not 0 <= request.now_ms - (candle.open_time + interval_ms) < late_ms
            ]
            candles = kept[-limit:] if start is None else kept[:limit]
        if request.effects.revised_ms:
            candles = _revised(candles, interval_ms=interval_ms, until=request.now_ms - request.effects.revised_ms)
        if request.effects.duplicate:
            candles = _newest_closed_twice(candles, interval_ms=interval_ms, now=request.now_ms)
        return [_kline(candle, interval_ms) for candle in candles]

    def ticker_24hr(self, request: ApiRequest) -> JsonValue:
        """Statistics of the last 24 hours."""
        mini = request.params.choice("type", ("FULL", "MINI")) == "MINI"
        return self._each(request, lambda listing: self._day_ticker(listing, request.now_ms, mini=mini))

    def ticker_price(self, request: ApiRequest) -> JsonValue:
        """Last prices."""
        return self._each(
            request,
            lambda listing: {
                "symbol": listing.symbol,
                "price": number(listing.series.last_price(request.now_ms)),
            },
        )

    def ticker_book(self, request: ApiRequest) -> JsonValue:
        """Best bids and asks."""
        return self._each(
            request,
            lambda listing: {
                "symbol": listing.symbol,
                **_best(self._book(listing, request.now_ms, depth=1)),
            },
        )

    def depth(self, request: ApiRequest) -> JsonValue:
        """The order book."""
        listing = self._one(request.params)
        limit = request.params.limit(default=100, maximum=5000)
        book = self._book(listing, request.now_ms, depth=limit)
        return {"lastUpdateId": book.update_id, "bids": _levels(book.bids), "asks": _levels(book.asks)}

    def average_price(self, request: ApiRequest) -> JsonValue:
        """Mean price by volume of the last five minutes, or of the last candle where candles are longer."""
        listing = self._one(request.params)
        span_ms = max(_AVERAGE_MINUTES * MINUTE_MS, listing.series.interval_ms)
        recent = self._recent(listing, request.now_ms, span_ms=span_ms)
        volume = sum((candle.volume for candle in recent), Decimal(0))
        traded = sum((candle.quote_volume for candle in recent), Decimal(0))
        price = traded / volume if volume else listing.series.last_price(request.now_ms)
        return {"mins": _AVERAGE_MINUTES, "price": number(price), "closeTime": request.now_ms}

    def _one(self, params: Params) -> Listing:
        return self._listing(params.symbol())

    def _listing(self, symbol: str) -> Listing:
        listing = self.market.listings.get(symbol)
        if listing is None:
            raise unknown_symbol()
        return listing

    def _selected(self, params: Params) -> Iterable[Listing]:
        names = params.symbol_selection()
        return self.market.listings.values() if names is None else [self._listing(name) for name in names]

    def _each(self, request: ApiRequest, describe: Callable[[Listing], JsonObject]) -> JsonValue:
        """An object for `symbol`, a list for `symbols` or all."""
        entries: list[JsonValue] = [describe(listing) for listing in self._selected(request.params)]
        return entries[0] if request.params.asks_one_symbol else entries

    def _book(self, listing: Listing, now: int, *, depth: int) -> Book:
        rules = listing.rules
        return make_book(
            symbol=listing.symbol,
            price=listing.series.last_price(now),
            tick=rules.tick,
            lot_step=rules.lot_step,
            min_notional=rules.min_notional,
            now=now,
            depth=depth,
        )

    def _recent(self, listing: Listing, now: int, *, span_ms: int) -> list[Candle]:
        series = listing.series
        return series.klines(interval_ms=series.interval_ms, now=now, start=now - span_ms + 1)

    def _day_ticker(self, listing: Listing, now: int, *, mini: bool) -> JsonObject:
        recent = self._recent(listing, now, span_ms=DAY_MS)
        last = listing.series.last_price(now)
        day = merge(recent, open_time=recent[0].open_time) if recent else _quiet_day(last, now)
        shared: JsonObject = {
            "symbol": listing.symbol,
            "openPrice": number(day.open),
            "highPrice": number(day.high),
            "lowPrice": number(day.low),
            "lastPrice": number(last),
            "volume": exact(day.volume),
            "quoteVolume": exact(day.quote_volume),
            "openTime": now - DAY_MS,
            "closeTime": now,
            "firstId": 0,
            "lastId": max(0, day.trades - 1),
            "count": day.trades,
        }
        if mini:
            return shared
        average = day.quote_volume / day.volume if day.volume else last
        return {
            **shared,
            "priceChange": number(last - day.open),
            "priceChangePercent": format((100 * (last / day.open - 1)).quantize(Decimal("0.001")), "f"),
            "weightedAvgPrice": number(average),
            "prevClosePrice": number(day.open),
            "lastQty": number(listing.rules.lot_step),
            **_best(self._book(listing, now, depth=1)),
        }


def _always(weight: int) -> Callable[[Params], int]:
    return lambda _: weight


def _one_or_all(one: int, everything: int) -> Callable[[Params], int]:
    return lambda params: one if params.asks_one_symbol else everything


def _day_ticker_weight(params: Params) -> int:
    """2 for one or up to 20 symbols, 40 up to 100, else 80."""
    if params.asks_one_symbol:
        return 2
    names = params.symbol_selection()
    if names is None or len(names) > 100:
        return 80
    return 2 if len(names) <= 20 else 40


def _depth_weight(params: Params) -> int:
    """By the number of levels, 5000 at most."""
    limit = params.limit(default=100, maximum=5000)
    return next(weight for most, weight in ((100, 5), (500, 25), (1000, 50), (5000, 250)) if limit <= most)


def _kline(candle: Candle, interval_ms: int) -> JsonValue:
    # half of the volume counts as bought by takers: files do not say
    half_base = (candle.volume / 2).quantize(Decimal("0.00000001"), ROUND_HALF_EVEN)
    half_quote = (candle.quote_volume / 2).quantize(Decimal("0.00000001"), ROUND_HALF_EVEN)
    return [
        candle.open_time,
        exact(candle.open),
        exact(candle.high),
        exact(candle.low),
        exact(candle.close),
        exact(candle.volume),
        candle.open_time + interval_ms - 1,
        exact(candle.quote_volume),
        candle.trades,
        exact(half_base),
        exact(half_quote),
        "0",
    ]


def _newest_closed_twice(candles: list[Candle], *, interval_ms: int, now: int) -> list[Candle]:
    closed = sum(candle.open_time + interval_ms <= now for candle in candles)
    return [*candles[:closed], *candles[max(0, closed - 1) :]]


def _revised(candles: list[Candle], *, interval_ms: int, until: int) -> list[Candle]:
    return [revised(candle) if candle.open_time + interval_ms <= until else candle for candle in candles]


def _quiet_day(price: Decimal, now: int) -> Candle:
    return Candle(now - DAY_MS, price, price, price, price, Decimal(0), Decimal(0), 0)


def _best(book: Book) -> JsonObject:
    """The best level of each side; zero where a side is empty."""
    none = Level(Decimal(0), Decimal(0))
    bid, ask = next(iter(book.bids), none), next(iter(book.asks), none)
    return {
        "bidPrice": number(bid.price),
        "bidQty": number(bid.quantity),
        "askPrice": number(ask.price),
        "askQty": number(ask.quantity),
    }


def _levels(levels: Iterable[Level]) -> list[JsonValue]:
    return [[number(level.price), number(level.quantity)] for level in levels]
