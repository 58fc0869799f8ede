"""Binance's spot market through ccxt: rules, server time and candles.

Only the bot's own symbol is asked for, since the whole exchangeInfo takes tens of megabytes to parse.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from functools import partial
from importlib import import_module
from typing import Any, TypeVar

from botrunner.brokers.binance_stream import closed_candle_ms, stream_url
from botrunner.brokers.ccxt_import import exchange_class
from botrunner.brokers.errors import ExchangeAway, ExchangeRefused, MarketHalted, UnknownSymbol
from botrunner.feeds.candles import Candle
from botrunner.feeds.stream import StreamSpec
from botrunner.risk import Market
from fleet.redaction import safe_text

T = TypeVar("T")

TIMEOUT_MS = 5_000
"""Longest wait for one answer; part of T_stop + order time-out + drift < T_dead."""

RATE_WINDOW_S = 60.0
"""Binance counts request weight by the minute."""

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
            parsed = self._client.parse_market(listed[0])
        return _market(symbol, parsed)

    def server_time_ms(self) -> int:
        """The exchange's clock, Unix ms.

        Raises:
            ExchangeAway: no usable answer.
        """
        with self._errors():
            return int(_expected(self._client.publicGetTime(), dict)["serverTime"])

    def candles(self, symbol: str, interval: str, *, since_ms: int, limit: int) -> list[Candle]:
        """Candles from `since_ms` on, in order, the running one included.

        Raises:
            ExchangeAway: no usable answer. ExchangeRefused: e.g. an interval that Binance doesn't have.
        """
        # the raw answer: ccxt's parser makes an empty list of garbage, and floats of the wire's decimals
        with self._errors(symbol):
            rows = self._client.publicGetKlines(
                {"symbol": symbol, "interval": interval, "startTime": since_ms, "limit": limit}
            )
            return [Candle(int(row[0]), *(Decimal(cell) for cell in row[1:6])) for row in _expected(rows, list)]

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
            raise _away(error, retry_after_s=_retry_after_s(self._client.last_response_headers)) from error
        except (errors.OperationFailed, errors.BadResponse) as error:
            raise _away(error) from error
        except errors.ExchangeError as error:
            raise ExchangeRefused(_told(error)) from error
        except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, IndexError) as error:
            # a foreign body gets through ccxt's checks and fails where it is read
            raise ExchangeAway(f"Binance's answer makes no sense: {_told(error)}") from error


def _away(error: Exception, *, retry_after_s: float = 0.0) -> ExchangeAway:
    return ExchangeAway(_told(error), retry_after_s=retry_after_s)


def _told(error: Exception) -> str:
    """What ccxt says, which may hold a signed address."""
    return f"{type(error).__name__}: {safe_text(error, 300)}"


def _retry_after_s(headers: Any) -> float:
    """Retry-After of a refused request, seconds; a minute, Binance's window, when it can't be read."""
    for name, value in dict(headers or {}).items():
        if str(name).lower() == "retry-after":
            with suppress(ValueError):
                return max(float(value), 0.0) or RATE_WINDOW_S
    return RATE_WINDOW_S


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
        raise ExchangeAway(f"Binance's answer makes no sense: {safe_text(answer, 100)!r}")
    return answer
