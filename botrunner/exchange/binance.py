"""Binance's spot market through ccxt: rules, server time and candles.

Only the bot's own symbol is asked for, since the whole exchangeInfo takes tens of megabytes to parse.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from email.utils import parsedate_to_datetime
from functools import partial
from importlib import import_module
from typing import Any, TypeVar

from urllib3.exceptions import HTTPError

from botrunner.exchange.binance_stream import closed_candle_ms, stream_url
from botrunner.exchange.broker import Usage
from botrunner.exchange.ccxt_import import exchange_class
from botrunner.exchange.errors import ExchangeAway, ExchangeRefused, MarketHalted, UnknownSymbol, said
from botrunner.exchange.shared_rules import outlandish
from botrunner.exchange.stream import StreamSpec
from botrunner.market.candle import Candle, CandleUnreadable, is_time_ms, read_candle
from botrunner.market.rules import Market
from fleet.foreign import BYTES_LIMIT, Unreadable, load_json
from fleet.log import get_logger
from fleet.retry_after import retry_after_s

log = get_logger("binance")

T = TypeVar("T")

TIMEOUT_MS = 5_000
"""Longest wait for one answer; part of T_stop + order time-out + drift < T_dead."""

RATE_WINDOW_S = 60.0
"""Binance counts request weight by the minute."""

WEIGHT_LIMIT = 6_000
"""Request weight that one address has in each minute (rest-api.md, July 2026)."""

LONGEST_BAN_S = 3 * 24 * 3600.0
"""Binance's; what says more is misread."""

_PRIVATE_LOOKUPS = {"fetchMargins": False, "fetchCurrencies": False, "fetchMarkets": {"types": ["spot"]}}
"""Without these ccxt asks signed endpoints that a bot without keys can't use."""

_MAINTENANCE_STATES = ("BREAK", "HALT", "AUCTION_MATCH", "END_OF_DAY")


class BinanceBroker:
    """A connection to Binance or to a server that speaks its API.

    Args:
        base_url: e.g. `http://sandbox:8080`; None for the public API.
    """

    name = "binance"

    def __init__(self, *, base_url: str | None) -> None:
        self._client = exchange_class("binance")(
            {"timeout": TIMEOUT_MS, "enableRateLimit": True, "options": dict(_PRIVATE_LOOKUPS)}
        )
        # what ccxt makes of bodies: nothing that raises, nothing of any size
        self._client.parse_json = _parsed
        self._client.session.hooks["response"].append(_bounded)
        # ccxt would repeat POSTs too
        self._client.options["maxRetriesOnFailure"] = 0
        # load_markets would fill these with signed questions; a spot bot has no use for them
        self._client.options |= {"crossMarginPairsData": [], "isolatedMarginPairsData": []}
        self._base_url = base_url
        if base_url:
            self._client.urls["api"] = _moved(self._client.urls["api"], base_url.rstrip("/"))

    def market(self, symbol: str) -> Market:
        """The symbol's rules.

        Raises:
            UnknownSymbol: not listed, or not open for trading. ExchangeAway, ExchangeRefused.
        """
        with self._errors(symbol):
            answer = self._client.publicGetExchangeInfo({"symbol": symbol})
            listed = [row for row in _expected(answer, dict)["symbols"] if row["symbol"] == symbol]
            if not listed:
                raise UnknownSymbol(f"symbol: Binance lists no market {symbol!r}")
            if listed[0].get("status") in _MAINTENANCE_STATES:
                raise MarketHalted(f"Binance has halted {symbol}: status {listed[0]['status']}")
            market = _market(symbol, self._client.parse_market(listed[0]))
            fault = outlandish(market, symbol)
            if fault is not None:
                raise ExchangeAway(f"Binance's rules of {symbol} make no sense: {fault}")
        return market

    def server_time_ms(self) -> int:
        """The exchange's clock, Unix ms.

        Raises:
            ExchangeAway: no usable answer.
        """
        with self._errors():
            server_ms = _expected(self._client.publicGetTime(), dict)["serverTime"]
        if not is_time_ms(server_ms):
            raise ExchangeAway(f"Binance's clock makes no sense: {said(server_ms)}")
        return int(server_ms)

    def candles(self, symbol: str, interval: str, *, since_ms: int, limit: int) -> list[Candle]:
        """Candles from `since_ms` on, in order, the running one included; unreadable ones are left out and named.

        Raises:
            ExchangeAway: no usable answer. ExchangeRefused: e.g. an interval that Binance doesn't have.
        """
        # the raw answer: ccxt's parser makes an empty list of garbage, and floats of the wire's decimals
        with self._errors(symbol):
            rows = self._client.publicGetKlines(
                {"symbol": symbol, "interval": interval, "startTime": since_ms, "limit": limit}
            )
        return _candles(_expected(rows, list), symbol)

    def usage(self) -> Usage | None:
        """What the last answer said of the address's requests."""
        return _usage(_headers(self._client))

    def candle_stream(self, symbol: str, interval: str) -> StreamSpec:
        """The market's kline stream; asks nobody."""
        return StreamSpec(
            url=stream_url(self._base_url, symbol, interval),
            closed_ms=partial(closed_candle_ms, symbol=symbol, interval=interval),
        )

    @contextmanager
    def _errors(self, symbol: str | None = None) -> Iterator[None]:
        """ccxt's errors as ours. Its base classes are imported with the exchange."""
        errors = import_module("ccxt.base.errors")
        try:
            yield
        except errors.BadSymbol as error:
            raise UnknownSymbol(f"symbol: Binance lists no market {symbol!r}") from error
        except (errors.RateLimitExceeded, errors.DDoSProtection) as error:
            raise _away(error, retry_after_s=pause_s(_headers(self._client), str(error))) from error
        except (errors.OperationFailed, errors.BadResponse) as error:
            raise _away(error) from error
        except errors.ExchangeError as error:
            raise ExchangeRefused(_told(error)) from error
        except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, IndexError, RecursionError) as error:
            # a foreign body gets through ccxt's checks and fails where it is read
            raise ExchangeAway(f"Binance's answer makes no sense: {_told(error)}") from error


def _away(error: Exception, *, retry_after_s: float = 0.0) -> ExchangeAway:
    return ExchangeAway(_told(error), retry_after_s=retry_after_s)


def _told(error: Exception) -> str:
    """What ccxt says."""
    return said(f"{type(error).__name__}: {error}")


def _bounded(response: Any, **_: Any) -> None:
    """A hook of requests, before the body is read: an answer of any size must not fill a bot's memory.

    Raises:
        ExchangeAway: it is larger than any honest one, or breaks off.
    """
    try:
        body = response.raw.read(BYTES_LIMIT + 1, decode_content=True)
    except (HTTPError, OSError) as error:
        raise ExchangeAway(f"Binance's answer broke off: {_told(error)}") from error
    if len(body) > BYTES_LIMIT:
        response.close()
        raise ExchangeAway(f"Binance's answer is longer than {BYTES_LIMIT} bytes")
    response.raw.release_conn()
    response._content, response._content_consumed = body, True


def _parsed(body: str) -> Any:
    """The document, or None for what isn't one: ccxt takes that for a text."""
    document = load_json(body)
    return None if isinstance(document, Unreadable) else document


def _headers(client: Any) -> Mapping[str, str]:
    """Of the last answer, names in lower case."""
    return {str(name).lower(): str(value) for name, value in dict(client.last_response_headers or {}).items()}


_BANNED_UNTIL = re.compile(r"banned until (\d{13})(?!\d)")


def pause_s(headers: Mapping[str, str], text: str) -> float:
    """How long a refused client should stay away, seconds: what Retry-After says, else what the text says of a ban,
    else a minute, Binance's window.

    Args:
        headers: names in lower case. text: of the refusal.
    """
    now_s = _date_s(headers)
    if asked_s := _asked_s(headers.get("retry-after", ""), now_s):
        return asked_s
    ban = _BANNED_UNTIL.search(text)
    if ban is not None and now_s is not None:
        return min(max(int(ban[1]) / 1000 - now_s, 1.0), LONGEST_BAN_S)
    return RATE_WINDOW_S


def _asked_s(header: str, now_s: float | None) -> float | None:
    """What Retry-After says; a date only against the server's own clock, and ten digits are a Unix time, no wait."""
    if header.isdigit():
        return retry_after_s(header, now_s=0.0, most_s=LONGEST_BAN_S) if len(header) < 10 else None
    return None if now_s is None else retry_after_s(header, now_s=now_s, most_s=LONGEST_BAN_S)


def _usage(headers: Mapping[str, str]) -> Usage | None:
    used, now_s = headers.get("x-mbx-used-weight-1m", ""), _date_s(headers)
    if not (used.isascii() and used.isdigit() and len(used) < 10):
        return None
    turns_s = RATE_WINDOW_S if now_s is None else RATE_WINDOW_S - now_s % RATE_WINDOW_S
    return Usage(share=int(used) / WEIGHT_LIMIT, turns_s=turns_s)


def _date_s(headers: Mapping[str, str]) -> float | None:
    """The server's date, Unix seconds."""
    try:
        return parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _candles(rows: list[Any], symbol: str) -> list[Candle]:
    found, faults = [], []
    for number, row in enumerate(rows):
        try:
            found.append(read_candle(row))
        except CandleUnreadable as error:
            faults.append(f"row {number}: {error}")
    if faults:
        log.warning("candle_unreadable", symbol=symbol, rows=len(faults), of=len(rows), first=faults[0])
    if faults and not found:
        raise ExchangeAway(f"Binance's candles of {symbol} make no sense: {faults[0]}")
    return found


def _moved(urls: Any, base: str) -> Any:
    """All of ccxt's URLs, nested ones too, with the base in place of scheme and host."""
    if isinstance(urls, dict):
        return {key: _moved(value, base) for key, value in urls.items()}
    host_and_path = str(urls).partition("://")[2]
    path = host_and_path.partition("/")[2]
    return f"{base}/{path}"


def _market(symbol: str, parsed: dict[str, Any]) -> Market:
    precision, limits = parsed["precision"], parsed["limits"]
    return Market(
        symbol=symbol,
        base=parsed["base"],
        quote=parsed["quote"],
        tick=_exact(precision["price"]),
        step=_exact(precision["amount"]),
        min_quantity=_exact(limits["amount"]["min"] or 0),
        min_notional=_exact(limits["cost"]["min"] or 0),
        maker_fee=_exact(parsed["maker"]),
        taker_fee=_exact(parsed["taker"]),
    )


def _exact(number: float | int | str) -> Decimal:
    """The decimal that was on the wire: ccxt's floats are its shortest representation."""
    return Decimal(repr(number) if isinstance(number, float) else number)


def _expected(answer: Any, kind: type[T]) -> T:
    """The answer, when it has the expected JSON type; an empty or HTML body with status 200 has not."""
    if not isinstance(answer, kind):
        raise ExchangeAway(f"Binance's answer makes no sense: {said(answer)[:100]!r}")
    return answer
