"""Rules of a configuration that need more than one value, or a list of names, to judge.

They read the raw tree, so they apply even where other sections are broken: the owner sees all errors at
once. A value of the wrong type is left to the section's own check. Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import JsonValue

from fleet.config.errors import ConfigError
from fleet.config.scan import Tree, shown
from fleet.config.translate import nearest

BROKERS = ("binance",)
DATA_SOURCES = ("binance", "file")
DEFAULT_LOOKBACK_BARS = 500

SAME_VALUE = (
    ("symbol", "data.symbol"),
    ("trading.position_size", "strategy.parameters.position_size"),
    ("broker.cash", "broker.initial_balance"),
    ("broker.paper_trading_config.commission_rate", "broker.commission"),
    ("risk_management.max_drawdown_pct", "trading.max_drawdown_pct"),
    ("risk_management.max_exposure", "trading.max_exposure"),
    ("id", "bot_id"),
)
"""Two places for one value. The first is the one to use; both with different values is an error."""


def value_at(tree: Tree, path: str) -> JsonValue:
    """The value at a dotted path, None where there is none."""
    current: JsonValue = tree
    for key in path.split("."):
        if not isinstance(current, dict):
            return None
        current = current.get(key)
    return current


def cross_errors(tree: Tree, *, brokers: frozenset[str], bars_needed: int) -> Iterator[ConfigError]:
    """Errors across sections.

    `brokers` are known besides the built-in ones; `bars_needed` is what the mixins look back, 0 if unknown.
    """
    yield from _two_places(tree)
    yield from _names(tree, brokers)
    yield from _market(tree, bars_needed)
    if value_at(tree, "broker.trading_mode") == "live":
        yield from _live(tree)
    yield from _paper(tree)
    risk = value_at(tree, "risk_management")
    if isinstance(risk, dict) and risk.get("trailing_stop") is True and risk.get("trailing_stop_pct") is None:
        yield ConfigError("risk_management.trailing_stop_pct", "is required with trailing_stop")
    if isinstance(risk, dict) and risk.get("max_portfolio_risk") is not None and risk.get("stop_loss_pct") is None:
        yield ConfigError(
            "risk_management.stop_loss_pct",
            "is required with max_portfolio_risk",
            "the risk of a position is what it loses at its stop",
        )


def _live(tree: Tree) -> Iterator[ConfigError]:
    """Real money needs a second confirmation and two limits, whatever else is right."""
    yield ConfigError("broker.trading_mode", "live trading is not part of this version", 'use "paper" instead')
    if value_at(tree, "broker.live_trading_confirmed") is not True:
        yield ConfigError("broker.live_trading_confirmed", 'must be true with trading_mode "live"')
    for name, what in (
        ("max_position_size", "the largest position's value in quote currency"),
        ("max_daily_loss", "the loss per UTC day, in quote currency, that ends a day's trading"),
    ):
        if value_at(tree, f"risk_management.{name}") is None:
            yield ConfigError(f"risk_management.{name}", 'is required with trading_mode "live"', what)


def _two_places(tree: Tree) -> Iterator[ConfigError]:
    for first, second in SAME_VALUE:
        one, other = value_at(tree, first), value_at(tree, second)
        if one is None or other is None or one == other or _differ_in_kind(one, other):
            continue
        yield ConfigError(first, f"is {shown(one)} but {second} is {shown(other)}", "they mean the same; remove one")


def _differ_in_kind(one: JsonValue, other: JsonValue) -> bool:
    """Whether one of them is of a wrong type, which its own section reports."""
    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in (one, other)]
    texts = [isinstance(value, str) for value in (one, other)]
    return not (all(numbers) or all(texts))


def _names(tree: Tree, brokers: frozenset[str]) -> Iterator[ConfigError]:
    for path, what, known in (
        ("broker.type", "broker", sorted({*BROKERS, *brokers})),
        ("data.data_source", "data source", sorted(DATA_SOURCES)),
    ):
        name = value_at(tree, path)
        if isinstance(name, str) and name not in known:
            yield ConfigError(path, f"unknown {what} {shown(name)}", nearest(name, known))


def _paper(tree: Tree) -> Iterator[ConfigError]:
    base = "broker.paper_trading_config"
    paper = value_at(tree, base)
    if not isinstance(paper, dict):
        return
    low, high = paper.get("min_latency_ms"), paper.get("max_latency_ms")
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        yield ConfigError(f"{base}.min_latency_ms", f"is {shown(low)}, above max_latency_ms {shown(high)}")
    if paper.get("slippage_model") != "fixed":
        return
    amounts = [key for key in ("fixed_slippage", "slippage_ticks") if paper.get(key) is not None]
    if not amounts:
        yield ConfigError(f"{base}.fixed_slippage", 'is required with slippage_model "fixed"', "or slippage_ticks")
    if len(amounts) == 2:
        yield ConfigError(f"{base}.slippage_ticks", "is another unit for fixed_slippage", "remove one")


def _market(tree: Tree, bars_needed: int) -> Iterator[ConfigError]:
    if value_at(tree, "symbol") is None and value_at(tree, "data.symbol") is None:
        yield ConfigError("symbol", "is required", 'the market as the exchange writes it, like "BTCUSDT"')
    if value_at(tree, "data.data_source") == "file" and not value_at(tree, "data.file_path"):
        yield ConfigError("data.file_path", 'is required with data_source "file"')
    lookback = value_at(tree, "data.lookback_bars")
    bars = lookback if isinstance(lookback, int | float) else DEFAULT_LOOKBACK_BARS
    if bars < bars_needed:
        yield ConfigError(
            "data.lookback_bars",
            f"is {shown(bars)}, but the entry and exit look back {bars_needed} bars",
            "raise it or shorten the periods",
        )
