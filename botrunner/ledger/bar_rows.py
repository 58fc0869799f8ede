"""From what a bar caused to the rows of its tables. Pure.

The same bar gives the same rows, whoever writes them: the bot to PostgreSQL, a backtest to memory.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from botrunner.market.candle import Candle
from botrunner.trading.orders import Fill, Order
from botrunner.trading.state import BarOutcome
from botrunner.trading.trades import Trade
from fleet.config import BotConfig, LogicSpec
from fleet.states import TradeStatus
from fleet.trading_day import utc_day


@dataclass(frozen=True, slots=True, kw_only=True)
class BarRows:
    """The rows of one bot.

    Attributes:
        bot_id: names the account of its fills.
        config: names market, strategy and mixins in rows.
        exchange: of fills, e.g. `paper-binance`.
        quote_currency: in which the market counts money; empty until it is known, which is before the first bar.
    """

    bot_id: int
    config: BotConfig
    exchange: str
    quote_currency: str = ""

    def order(self, order: Order) -> dict[str, Any]:
        """Of `trading_orders`."""
        return {
            "client_order_id": order.client_order_id,
            "symbol": self.config.symbol,
            "signal_at": order.signal_at,
            "leg": order.leg,
            "attempt": order.attempt,
            "side": order.side,
            "type": order.type,
            "price": order.price,
            "quantity": order.quantity,
            "state": order.state,
            "exchange_order_id": order.exchange_order_id,
            "filled_quantity": order.filled_quantity,
            "average_price": order.average_price,
            "reason": order.reason if order.rejection is None else f"{order.reason}; rejected: {order.rejection}",
        }

    def fill(self, fill: Fill) -> dict[str, Any]:
        """Of `trading_fills`."""
        row = asdict(fill)
        del row["side"]
        # a paper account is the bot's own: its trade ids are unique within it
        return {**row, "exchange": self.exchange, "account": f"bot-{self.bot_id}"}

    def position(self, trade: Trade) -> dict[str, Any]:
        """Of `trading_positions`, with the row of `trading_trades` under `trade`."""
        closed = not trade.is_open
        return {
            "symbol": self.config.symbol,
            "direction": trade.direction,
            "opened_at": trade.entry_at,
            "closed_at": trade.exit_at if closed else None,
            "qty_open": trade.size_open,
            "avg_price": trade.entry_price,
            "realized_pnl": trade.net_pnl if closed else trade.gross_pnl,
            "status": TradeStatus.CLOSED if closed else TradeStatus.OPEN,
            "trade": self.trade(trade),
        }

    def trade(self, trade: Trade) -> dict[str, Any]:
        """Of `trading_trades`."""
        closed = not trade.is_open
        entry, leave = self.config.entry, self.config.exit
        return {
            "trade_type": self.config.trading_mode,
            "strategy_name": self.config.strategy_type,
            "symbol": self.config.symbol,
            "interval": self.config.interval,
            "direction": trade.direction,
            "entry_order_id": trade.entry_order_id,
            "exit_order_id": trade.exit_order_id,
            "signal_at": trade.signal_at,
            "entry_time": trade.entry_at,
            "exit_time": trade.exit_at if closed else None,
            "entry_price": trade.entry_price,
            "exit_price": trade.exit_price,
            "entry_value": trade.entry_value,
            "exit_value": trade.exit_value if closed else None,
            "size": trade.size,
            "commission": trade.commission,
            "gross_pnl": trade.gross_pnl if closed else None,
            "net_pnl": trade.net_pnl if closed else None,
            "pnl_percentage": trade.pnl_percentage if closed else None,
            "entry_logic_name": entry.name,
            "entry_logic_params": logic_params(entry),
            "exit_logic_name": leave.name,
            "exit_logic_params": logic_params(leave),
            "exit_reason": trade.exit_reason if closed else None,
            "status": TradeStatus.CLOSED if closed else TradeStatus.OPEN,
            "quote_currency": self.quote_currency,
            "extra_metadata": _extra_metadata(trade),
        }

    def bar(self, outcome: BarOutcome) -> dict[str, Any] | None:
        """Of `trading_bars`; None for what happens between bars."""
        candle, trade = outcome.candle, outcome.account.trade
        if candle is None:
            return None
        return {
            "bar_at": candle.open_at,
            "symbol": self.config.symbol,
            "interval": self.config.interval,
            "open": candle.open,
            "high": candle.high,
            "low": candle.low,
            "close": candle.close,
            "volume": candle.volume,
            "equity": outcome.balance,
            "position": Decimal(0) if trade is None else trade.side.sign * trade.size_open,
        }

    def opening(self, equity: Decimal, first: Candle) -> dict[str, Any]:
        """Of `trading_equity`: with what a market was begun. No bar shows it, as the first one may trade already."""
        closes_at = first.open_at + timedelta(seconds=self.config.interval_s)
        return {
            "symbol": self.config.symbol,
            "interval": self.config.interval,
            "day": utc_day(closes_at),
            "equity": equity,
            "at": first.open_at,
        }


def _extra_metadata(trade: Trade) -> dict[str, str] | None:
    """What of a trade has no column of its own: fees taken in the base currency, and dust that was written off."""
    extras: dict[str, str] = {}
    if trade.base_fee:
        extras |= {"base_fee": f"{trade.base_fee:f}", "base_fee_value": f"{trade.base_fee_value:f}"}
    if trade.dust:
        price = trade.exit_price or trade.entry_price
        extras |= {"dust": f"{trade.dust:f}", "dust_value": f"{trade.dust * price:f}"}
    return extras or None


def logic_params(spec: LogicSpec) -> dict[str, Any]:
    """A mixin's parameters as JSON, defaults included."""
    params = spec.params
    return params.model_dump(mode="json") if hasattr(params, "model_dump") else dict(params)
