"""What logs and people are told of a bar: the decision with all its inputs in one line, each fill, and a giving up."""

from __future__ import annotations

from botrunner.trading.state import BarOutcome
from botrunner.trading.trades import Trade
from fleet.events import Event, EventKind, Severity, number
from fleet.log import get_logger

log = get_logger("bot")


def log_outcome(outcome: BarOutcome, *, ready: bool) -> None:
    """Log what was decided and what was filled.

    Args:
        ready: whether the indicators had had candles enough.
    """
    _log_decision(outcome, ready=ready)
    orders = {order.client_order_id: order for order in outcome.orders}
    for fill in outcome.fills:
        order = orders[fill.client_order_id]
        log.info(
            "filled",
            client_order_id=order.client_order_id,
            signal_at=order.signal_at,
            leg=order.leg,
            side=order.side,
            quantity=str(fill.quantity),
            price=str(fill.price),
            reason=order.reason,
            balance=f"{outcome.balance:.8f}",
        )
    if outcome.denial:
        log.info("entry_denied", signal_at=outcome.bar_at, denial=outcome.denial)


def _log_decision(outcome: BarOutcome, *, ready: bool) -> None:
    """All that a decision was made of: at INFO when something was wanted, else at DEBUG."""
    candle, signal, account = outcome.candle, outcome.signal, outcome.account
    if candle is None:
        return
    tell = log.info if signal else log.debug
    trade, counters = account.trade, account.counters
    tell(
        "decided",
        ready=ready,
        signal=signal.kind if signal else None,
        direction=signal.direction if signal else None,
        reason=signal.reason if signal else None,
        denial=outcome.denial,
        client_order_ids=[order.client_order_id for order in outcome.orders],
        open=str(candle.open),
        high=str(candle.high),
        low=str(candle.low),
        close=str(candle.close),
        volume=str(candle.volume),
        position=str(trade.size_open) if trade else "0",
        bars_held=account.bars_held,
        balance=f"{outcome.balance:.8f}",
        trades_today=counters.trades_today,
        pnl_today=str(counters.pnl_today),
    )


def gave_up_open_event(bot_id: int, symbol: str, trade: Trade, why: str) -> Event:
    """What a person is told when a bot has given up before its exchange confirmed that the position is closed."""
    return Event(
        kind=EventKind.BOT_DISABLED,
        title=f"Gave up; {number(trade.size_open)} {symbol} may still be open",
        body=f"{why}. Its {trade.direction} position was to be closed, as trading.on_failure says, but the exchange "
        "hasn't confirmed that: look there whether it is still open, and close it by hand if so.",
        facts={"entry_order_id": trade.entry_order_id, "size_open": str(trade.size_open)},
        dedupe_key=f"gave_up_open:{bot_id}:{trade.entry_order_id}",
        severity=Severity.CRITICAL,
    )


def gave_up_event(bot_id: int, symbol: str, trade: Trade, why: str) -> Event:
    """What a person is told of a position that was closed because its bot gave up."""
    price = "-" if trade.exit_price is None else number(trade.exit_price)
    return Event(
        kind=EventKind.BOT_DISABLED,
        title=f"Gave up and closed {number(trade.size)} {symbol} @ {price}",
        body=f"{why}. Its {trade.direction} position was closed at the last close, as trading.on_failure says; net "
        f"{number(trade.net_pnl, signed=True)}.",
        facts={"entry_order_id": trade.entry_order_id, "net_pnl": str(trade.net_pnl), "price": price},
        dedupe_key=f"gave_up:{bot_id}:{trade.entry_order_id}",
        severity=Severity.CRITICAL,
    )
