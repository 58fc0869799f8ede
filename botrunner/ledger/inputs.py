"""Records what a bot takes from outside besides its bars' candles, so that a replay can take the same.

A run's first bar records the version, the market's rules, the limits in force and, where the bot begins in a market,
the candles it was warmed up with; later bars record limits that changed, and entries refused for a reason outside the
bot. Everything else that a bot does follows from its config and its bars. The rows are `trading_inputs`, each written
in its bar's transaction: a few per run, none for most bars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, cast

from pydantic import JsonValue

from botrunner.feeds.source import CandleSource
from botrunner.market.candle import Candle
from botrunner.market.codec import dump_candles, dump_market
from botrunner.market.rules import Market
from botrunner.trading.risk import TENANT_LIMITS, Denial
from botrunner.trading.state import BarOutcome
from fleet import __version__
from fleet.config import BotConfig

OUTSIDE = (*TENANT_LIMITS, Denial.LATE_CANDLE)
"""Denials that follow neither from the config nor from the bars; a stop is told by `BarOutcome.stopping`."""

Row = Mapping[str, Any]


class InputRecorder:
    """Records what one run takes from outside."""

    def __init__(self) -> None:
        self._market: Market | None = None
        self._recorded: BotConfig | None = None
        self._warmup: Sequence[Candle] | None = None

    def recording(self, source: CandleSource, market: Market) -> CandleSource:
        """The source, with the candles of the first warm-up recorded, and the rules that the run goes by."""
        self._market = market
        return cast(CandleSource, _RecordedSource(source, self))

    def warmed_up(self, candles: Sequence[Candle]) -> None:
        """The engine asked for these candles; the first ones count."""
        if self._warmup is None:
            self._warmup = candles

    def row(self, outcome: BarOutcome, *, begins: bool) -> Row | None:
        """The row of `trading_inputs` to write with a bar; None for nothing new.

        Args:
            outcome: of the bar.
            begins: whether it is the bot's first bar in this market.
        """
        if outcome.candle is None or outcome.config is None:
            return None
        denied = _denied(outcome)
        if outcome.config is self._recorded and denied is None:
            return None
        assert self._market is not None, "no bar comes before its source"
        first, limits = self._recorded is None, limits_of(outcome.config)
        changed = self._recorded is None or limits != limits_of(self._recorded)
        if not changed and denied is None:
            return None
        return {
            "bar_at": outcome.bar_at,
            "version": __version__ if first else None,
            "market": dump_market(self._market) if first else None,
            "limits": limits if changed else None,
            "warmup": dump_candles(self._warmup or ()) if first and begins else None,
            "denied": denied,
        }

    def committed(self, outcome: BarOutcome) -> None:
        """The bar is durable, and so is its row."""
        if outcome.candle is not None and outcome.config is not None:
            self._recorded, self._warmup = outcome.config, ()


def _denied(outcome: BarOutcome) -> Denial | None:
    """Why no position might be opened at this bar, if the reason came from outside."""
    if outcome.stopping:
        return Denial.STOPPING
    return outcome.denial if outcome.denial in OUTSIDE else None


class _RecordedSource:
    """A candle source whose warm-up candles are recorded; everything else goes straight through."""

    def __init__(self, source: CandleSource, recorder: InputRecorder) -> None:
        self._source = source
        self._recorder = recorder

    def history(self, start_ms: int, end_ms: int) -> list[Candle]:
        candles = self._source.history(start_ms, end_ms)
        self._recorder.warmed_up(candles)
        return candles

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


def limits_of(config: BotConfig) -> dict[str, JsonValue]:
    """The section risk_management as it was written, without what it leaves out."""
    section = config.document.risk_management.model_dump(exclude_unset=True)
    return {key: _as_written(value) for key, value in section.items()}


def _as_written(value: Any) -> JsonValue:
    if isinstance(value, Decimal):
        # of a JSON number, whose shortest text it is: so the float gives the same Decimal again
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Mapping):
        return {str(key): _as_written(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_written(item) for item in value]
    return cast(JsonValue, value)
