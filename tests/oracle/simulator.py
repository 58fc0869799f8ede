"""A second paper broker, written from docs/: no line of it comes from the engine, and it imports nothing of it.

Rules that docs/ didn't state were found by experiments with the engine, judged, and then written into docs/.

One long class on purpose: a bar reads from top to bottom as docs/user/paper-trading.md tells it. Everything is Decimal; times
are Unix milliseconds; a side is +1 (long, buy) or -1 (short, sell); fractions of percent are fractions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal, localcontext
from hashlib import blake2b
from typing import Any

from tests.oracle.signals import Held, signals_of

D = Decimal
ZERO = D(0)
PERCENT = D("0.01")
EIGHTH = D("1e-8")
EIGHTEENTH = D("1e-18")
DAY_MS = 86_400_000
MARGIN = D("1.05")
RANGE = 2**64
INTERVALS_S = {"1s": 1, "1m": 60, "5m": 300, "15m": 900, "1h": 3600, "4h": 14400, "1d": 86400}


@dataclass(frozen=True)
class Candle:
    """One closed candle."""

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


@dataclass(frozen=True)
class Market:
    """Steps, minimums and fees."""

    tick: Decimal
    step: Decimal
    min_quantity: Decimal
    min_notional: Decimal
    maker_fee: Decimal
    taker_fee: Decimal
    can_short: bool


@dataclass
class Order:
    """One order, from its decision to its end."""

    signal_ms: int
    leg: str
    attempt: int
    side: int
    type: str
    price: Decimal | None
    quantity: Decimal
    reason: str
    sent_ms: int
    arrives_ms: int
    state: str = "sent"
    filled: Decimal = ZERO
    value: Decimal = ZERO
    fills: int = 0
    triggered: bool = False
    rested: bool = False
    taken: dict[int, Decimal] = field(default_factory=dict)
    """Bar → what this order took of its volume."""

    @property
    def left(self) -> Decimal:
        return self.quantity - self.filled

    @property
    def open(self) -> bool:
        return self.state in ("sent", "acked", "partial")


@dataclass(frozen=True)
class Fill:
    """One execution."""

    signal_ms: int
    leg: str
    attempt: int
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_in_base: bool
    at_ms: int


@dataclass
class Position:
    """A position and the trade that it will be."""

    side: int
    signal_ms: int
    opened_ms: int
    filled_ms: int = 0
    """Time of its newest fill."""
    held: Decimal = ZERO
    """What is owned, or owed when short: base fees are off."""
    bars: int = 0
    entered: Decimal = ZERO
    entered_value: Decimal = ZERO
    left: Decimal = ZERO
    left_value: Decimal = ZERO
    commission: Decimal = ZERO
    cash: Decimal = ZERO
    """What its fills did to the cash."""
    best: Decimal = ZERO
    """Best price held, for the trailing stop."""
    left_by: str | None = None
    """Reason of the order that sold last."""
    entered_in_range_of: int | None = None

    @property
    def price(self) -> Decimal:
        return (self.entered_value / self.entered).quantize(EIGHTEENTH, ROUND_HALF_EVEN)


@dataclass(frozen=True)
class Trade:
    """A position that was closed."""

    direction: str
    entry_ms: int
    exit_ms: int
    size: Decimal
    entry_price: Decimal
    exit_price: Decimal
    commission: Decimal
    gross_pnl: Decimal
    net_pnl: Decimal
    pnl_percentage: Decimal
    exit_reason: str


@dataclass
class Result:
    """What a run gives."""

    orders: list[Order] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    trades: list[Trade] = field(default_factory=list)
    equity: list[tuple[int, Decimal, bool]] = field(default_factory=list)
    denials: list[tuple[int, str]] = field(default_factory=list)


def number(value: Any, default: Any = None) -> Any:
    """A config's number as it is spelled."""
    return default if value is None else D(str(value))


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    return (value / step).to_integral_value(ROUND_FLOOR) * step


def ceil_to(value: Decimal, step: Decimal) -> Decimal:
    return (value / step).to_integral_value(ROUND_CEILING) * step


class Simulator:
    """One bot on paper over a list of candles."""

    def __init__(self, config: Mapping[str, Any], market: Market) -> None:
        broker, trading, risk = config.get("broker", {}), config.get("trading", {}), config.get("risk_management", {})
        paper = broker.get("paper_trading_config", {})
        self.config, self.market = config, market
        self.interval_ms = INTERVALS_S[config["data"]["interval"]] * 1000
        # --- fees
        rate = number(paper.get("commission_rate"))
        self.maker = number(paper.get("maker_commission_rate"), market.maker_fee if rate is None else rate)
        self.taker = number(paper.get("taker_commission_rate"), market.taker_fee if rate is None else rate)
        self.fee_in_base = paper.get("fee_currency", "quote") == "base"
        # --- slippage, volume, chance
        self.slippage_model = paper.get("slippage_model", "percentage")
        self.base_slippage = number(paper.get("base_slippage"), ZERO)
        ticks = paper.get("slippage_ticks")
        self.fixed_slippage = number(paper.get("fixed_slippage"), ZERO) if ticks is None else ticks * market.tick
        self.impact = number(paper.get("price_impact"), D("0.1"))
        self.share = number(paper.get("max_volume_share"))
        self.next_open = paper.get("fill_price", "close") == "next_open"
        high = paper.get("max_latency_ms")
        low = paper.get("min_latency_ms") or 0
        self.latency = (int(low), int(low if high is None else high))
        self.partial = number(paper.get("partial_fill_probability"), ZERO)
        self.reject = number(paper.get("reject_probability"), ZERO)
        self.seed = paper.get("seed", 0)
        # --- trading
        self.size = number(trading.get("position_size"), D("0.1"))
        self.limit_entries = trading.get("order_type", "market") == "limit"
        self.limit_exits = trading.get("exit_order_type", "market") == "limit"
        self.offset = number(trading.get("limit_offset_pct"), ZERO) * PERCENT
        self.ttl_ms = trading.get("limit_ttl_bars", 3) * self.interval_ms
        self.short_allowed = trading.get("allow_short", False)
        # --- risk
        self.stop_pct = number(risk.get("stop_loss_pct"))
        self.target_pct = number(risk.get("take_profit_pct"))
        self.trail_pct = number(risk.get("trailing_stop_pct")) if risk.get("trailing_stop") is not False else None
        self.max_position = number(risk.get("max_position_size"))
        self.max_exposure = number(risk.get("max_exposure"))
        self.max_risk = number(risk.get("max_portfolio_risk"))
        self.max_daily_loss = number(risk.get("max_daily_loss"))
        self.max_daily_trades = risk.get("max_daily_trades")
        self.max_drawdown = number(risk.get("max_drawdown_pct"))
        self.cooldown = risk.get("cooldown_bars", 0)
        self.guard = risk.get("stop_loss_guard") or {}
        # --- account
        self.cash = number(broker.get("cash"), D(10_000))
        self.position: Position | None = None
        self.entry: Order | None = None
        self.exit: Order | None = None
        self.stop: Order | None = None
        self.target: Order | None = None
        self.peak = self.cash
        self.exited_ms: int | None = None
        self.day_pnl: dict[int, Decimal] = {}
        self.day_entries: dict[int, int] = {}
        self.stops_ms: list[int] = []
        self.result = Result()

    def run(self, candles: Sequence[Candle]) -> Result:
        """Trade all candles."""
        with localcontext(Context(prec=50)):
            entry_signal, exit_signal = signals_of(self.config, candles, self.interval_ms)
            self.entry_signal, self.exit_signal = entry_signal, exit_signal
            self.previous: Candle | None = None
            for index, candle in enumerate(candles):
                self.index, self.bar = index, candle
                self.close_ms = candle.open_ms + self.interval_ms
                self._open()
                self._range()
                self._close()
                self.previous = candle
        return self.result

    # --- the three parts of a bar ---------------------------------------------------------------------------------

    def _open(self) -> None:
        now = self.bar.open_ms
        if self._liquidation_price() is not None and self.bar.open >= self._liquidation_price():
            self._liquidate(now)
        self._resend(now)
        if self.exit is not None and self.exit.open:
            if self.exit.type == "market":
                self._market_at_open(self.exit)
            else:
                self._limit_at_open(self.exit)
        if self.stop is not None and self.stop.open and self.stop.triggered:
            self._market_at_open(self.stop)
        if self.target is not None and self.target.open and not self.target.rested:
            self._target_at_open(self.target)
        if self.entry is not None and self.entry.open:
            if self.entry.type == "market":
                self._market_at_open(self.entry)
            else:
                self._limit_at_open(self.entry)
        self._write_off()

    def _range(self) -> None:
        bar = self.bar
        entry = self.entry
        if (
            entry is not None
            and entry.open
            and entry.rested
            and entry.side * self._worst(entry.side) <= entry.side * entry.price
        ):
            filled = entry.filled
            self._execute(entry, entry.price, max(self.close_ms - 1, entry.arrives_ms), taker=False)
            if self.position is not None and entry.filled > filled:
                self.position.entered_in_range_of = bar.open_ms
            self._write_off()
        liquidation = self._liquidation_price()
        if self.position is None:
            return
        side = self.position.side
        fresh = self.position.entered_in_range_of == bar.open_ms
        stop = self.stop
        if stop is not None and stop.open and not stop.triggered and side * self._worst(side) <= side * stop.price:
            price = min(stop.price, bar.open) if side > 0 else max(stop.price, bar.open)
            stop.triggered = True
            for other in (self.entry, self.exit, self.target):
                self._cancel(other)
            # a rejected one is sent again no more
            self.entry = self.exit = self.target = None
            self._execute(stop, price, self.close_ms, taker=True, slips=True)
        if self.position is not None and liquidation is not None and bar.high >= liquidation:
            self._liquidate(self.close_ms)
        waiting = [o for o in (self.target, self.exit) if o is not None and o.open and o.type == "limit"]
        for order in sorted(waiting, key=lambda o: side * o.price):
            if self.position is None or not order.open or (order is self.target and fresh):
                continue
            if not order.rested:
                continue
            if side * (bar.high if side > 0 else bar.low) >= side * order.price:
                price = max(order.price, bar.open) if side > 0 else min(order.price, bar.open)
                self._execute(order, price, self.close_ms, taker=False)

    def _worst(self, side: int) -> Decimal:
        """The candle's end that a purchase or a long position's stop waits for; of the other side the other."""
        return self.bar.low if side > 0 else self.bar.high

    def _close(self) -> None:
        now, bar = self.close_ms, self.bar
        if self.entry is not None and self.entry.open and self.entry.type == "limit" and self._is_over(self.entry):
            self._end(self.entry, "expired")
        late = self.exit
        if late is not None and late.open and late.type == "limit" and self._is_over(late):
            self._end(late, "expired")
            self._send_exit(late.reason, signal_ms=late.signal_ms, attempt=late.attempt + 1, market=True)
        if self.position is not None:
            self.position.bars += 1
        self._trail()
        self._decide()
        for order in (self.exit, self.entry):
            if order is not None and order.open:
                self._at_close(order)
        self._protect(now)
        self._write_off()
        self.result.equity.append((now, self._equity(bar.close), self.position is not None))
        self.peak = max(self.peak, self._equity(bar.close))

    def _write_off(self) -> None:
        """A position whose entry is over and of which nothing can be sold: its base fee took it below the step."""
        bought = self.entry is None or not self.entry.open
        if self.position is not None and bought and self._sellable(self.position) <= 0:
            self._finish(self.position.left_by or "dust", self.close_ms)

    # --- executing ------------------------------------------------------------------------------------------------

    def _at_close(self, order: Order) -> None:
        """With `fill_price: close`: this close is the last one known when the order arrives."""
        if self.next_open or order.taken or order.rested or order.arrives_ms >= self.close_ms + self.interval_ms:
            return
        close = self.bar.close
        self._accept(order)
        order.rested = order.type == "limit"
        if order.price is None or order.side * close <= order.side * order.price:
            self._execute(order, close, max(order.arrives_ms, self.close_ms), taker=True, slips=True)

    def _arrives_now(self, order: Order) -> bool:
        """Whether an order that hasn't executed meets this open: after a gap with `fill_price: close` too."""
        return order.arrives_ms < self.close_ms

    def _market_at_open(self, order: Order) -> None:
        """At the open: what has arrived, or what is left."""
        if order.taken or order.triggered or self._arrives_now(order):
            self._execute(order, self.bar.open, max(order.arrives_ms, self.bar.open_ms), taker=True, slips=True)

    def _limit_at_open(self, order: Order) -> None:
        """A limit that rests and opens reached, or arrives in this bar with its price reached by then."""
        if order.rested:
            if order.leg == "entry" and order.side * self.bar.open <= order.side * order.price:
                self._execute(order, self.bar.open, max(order.arrives_ms, self.bar.open_ms), taker=False)
            return
        if self._arrives_now(order):
            order.rested = True
            self._accept(order)
            if order.side * self.bar.open <= order.side * order.price:
                self._execute(order, self.bar.open, max(order.arrives_ms, self.bar.open_ms), taker=True, slips=True)

    def _target_at_open(self, order: Order) -> None:
        """A target whose price was reached already when it was placed or amended."""
        if order.side * self.bar.open <= order.side * order.price:
            self._execute(order, self.bar.open, self.bar.open_ms, taker=True, slips=True)
        order.rested = True

    def _fit_rest(self, order: Order, price: Decimal) -> None:
        """Fees are rounded part by part: what the cash doesn't pay for any more is taken off the rest."""
        at = price if order.price is None else order.price
        rest = self._affordable(order.left, at)
        if rest < order.left:
            order.quantity = order.filled + rest
            if rest <= 0:
                order.state = "filled"

    def _execute(self, order: Order, quote: Decimal, at_ms: int, *, taker: bool, slips: bool = False) -> None:
        """Fill what can be filled at this bar: once at most."""
        self._accept(order)
        if order.taken.get(self.bar.open_ms):
            return
        position = self.position
        entering = order.leg == "entry"
        wanted = order.left
        if not entering:
            assert position is not None
            wanted = min(wanted, self._sellable(position))
        if self.share is not None:
            wanted = min(wanted, floor_to(self.share * self.bar.volume, self.market.step))
        steps = int(floor_to(wanted, self.market.step) / self.market.step)
        if steps <= 0:
            order.taken.setdefault(self.bar.open_ms, ZERO)
            return
        drawn = self._draw(order, "partial", self.bar.open_ms)
        if drawn < int(self.partial * RANGE):
            steps = 1 + self._draw(order, "part", self.bar.open_ms) * steps // RANGE
        quantity = steps * self.market.step
        price = self._slipped(quote, order.side, quantity) if slips else quote
        if order.type == "limit" and order.price is not None:
            price = min(price, order.price) if order.side > 0 else max(price, order.price)
        rate = self.taker if taker else self.maker
        if not entering and order.side > 0:
            # beyond the account the loss is the exchange's
            owed = position.held if position is not None else quantity
            price = min(price, floor_to((self.cash - EIGHTH) / (owed * (1 + self.taker)), self.market.tick))
        fee_in_base = self.fee_in_base and order.side > 0 and (entering or (position is not None and position.side > 0))
        value = price * quantity
        if fee_in_base:
            fee = (quantity * rate).quantize(EIGHTH, ROUND_HALF_EVEN)
            fee_value = fee * price
        else:
            fee = fee_value = (value * rate).quantize(EIGHTH, ROUND_HALF_EVEN)
        cost = value + (ZERO if fee_in_base else fee)
        if entering and order.side > 0 and cost > self.cash:
            self._end(order, "expired")
            return
        if self.position is not None:
            at_ms = max(at_ms, self.position.filled_ms)
        before = self.target.price if self.target is not None else None
        self._book(order, price, quantity, value, fee, fee_value, fee_in_base, at_ms)
        if entering and order.side > 0 and order.open and order.left > 0:
            self._fit_rest(order, price)
        if entering and self.target is not None and self.target.open and self.target.price != before:
            self.target.rested = self.target.side * quote > self.target.side * self.target.price

    def _book(
        self,
        order: Order,
        price: Decimal,
        quantity: Decimal,
        value: Decimal,
        fee: Decimal,
        fee_value: Decimal,
        fee_in_base: bool,
        at_ms: int,
    ) -> None:
        order.taken[self.bar.open_ms] = order.taken.get(self.bar.open_ms, ZERO) + quantity
        order.filled += quantity
        order.value += value
        order.fills += 1
        order.state = "filled" if order.left <= 0 else "partial"
        change = -order.side * value - (ZERO if fee_in_base else fee)
        self.cash += change
        self.result.fills.append(
            Fill(order.signal_ms, order.leg, order.attempt, price, quantity, fee, fee_in_base, at_ms)
        )
        if order.leg == "entry":
            if self.position is None:
                self.position = Position(order.side, order.signal_ms, at_ms, best=price)
                day = at_ms // DAY_MS
                self.day_entries[day] = self.day_entries.get(day, 0) + 1
                self._tell_exit = True
            position = self.position
            position.held += quantity - (fee if fee_in_base else ZERO)
            position.entered += quantity
            position.entered_value += value
        else:
            position = self.position
            assert position is not None
            position.left_by = order.reason
            position.held -= quantity
            position.left += quantity
            position.left_value += value
            self._cancel(self.entry)
        position.filled_ms = at_ms
        position.commission += fee_value
        position.cash += change
        if order.leg == "entry":
            if position.entered == quantity:
                position.best = position.price
                self.exit_signal.begins(self._held())
            self._protect(at_ms)
        elif self._sellable(position) <= 0:
            order.state = "filled"
            self._finish(order.reason, at_ms)

    def _finish(self, reason: str, at_ms: int) -> None:
        """The trade is over: dust is written off, what rests is cancelled."""
        position = self.position
        assert position is not None
        net = position.cash
        self.result.trades.append(
            Trade(
                direction="long" if position.side > 0 else "short",
                entry_ms=position.opened_ms,
                exit_ms=at_ms,
                size=position.entered,
                entry_price=position.price,
                exit_price=(position.left_value / position.left).quantize(EIGHTEENTH, ROUND_HALF_EVEN)
                if position.left
                else ZERO,
                commission=position.commission,
                gross_pnl=net + position.commission,
                net_pnl=net,
                pnl_percentage=(net / position.entered_value * 100).quantize(EIGHTH, ROUND_HALF_EVEN),
                exit_reason=reason,
            )
        )
        day = at_ms // DAY_MS
        self.day_pnl[day] = self.day_pnl.get(day, ZERO) + net
        if net < 0 and "stop" in reason:
            self.stops_ms.append(at_ms)
        self.exited_ms = at_ms
        self.position = None
        for order in (self.entry, self.exit, self.stop, self.target):
            self._cancel(order)
        self.entry = self.exit = self.stop = self.target = None

    # --- orders ---------------------------------------------------------------------------------------------------

    def _send(self, order: Order) -> Order:
        self.result.orders.append(order)
        if self._draw(order, "reject", None) < int(self.reject * RANGE):
            order.state = "rejected"
        elif order.arrives_ms <= order.sent_ms:
            self._accept(order)
        return order

    def _new(self, **values: Any) -> Order:
        order = Order(arrives_ms=0, **values)
        low, high = self.latency
        order.arrives_ms = order.sent_ms + low + self._draw(order, "latency", None) * (high - low + 1) // RANGE
        return order

    def _send_exit(self, reason: str, *, signal_ms: int, attempt: int = 0, market: bool = False) -> None:
        position = self.position
        assert position is not None
        self._cancel(self.entry)
        quantity = self._sellable(position)
        small = quantity < self.market.min_quantity or quantity * self.bar.close < self.market.min_notional
        if quantity <= 0 or (small and position.side > 0):
            self._finish(position.left_by or reason, self.close_ms)
            return
        limit = self.limit_exits and not market
        side = -position.side
        self.exit = self._send(
            self._new(
                signal_ms=signal_ms,
                leg="exit",
                attempt=attempt,
                side=side,
                type="limit" if limit else "market",
                price=self._limit_price(side) if limit else None,
                quantity=quantity,
                reason=reason,
                sent_ms=self.close_ms,
            )
        )

    def _resend(self, now: int) -> None:
        """Rejected exits and protective orders, again."""
        if self.position is None:
            return
        late = self.exit
        if late is not None and late.state == "rejected":
            self.exit = self._send(
                self._new(
                    signal_ms=late.signal_ms,
                    leg="exit",
                    attempt=late.attempt + 1,
                    side=late.side,
                    type="market",
                    price=None,
                    quantity=self._sellable(self.position),
                    reason=late.reason,
                    sent_ms=now,
                )
            )
        self._protect(now, resend=True)

    def _protect(self, now: int, *, resend: bool = False) -> None:
        """Place or amend the protective orders."""
        position = self.position
        if position is None or (self.stop is not None and self.stop.triggered):
            return
        quantity = self._sellable(position)
        side = position.side
        stop_price, stop_reason = self._stop_price(position)
        target_price = None
        if self.target_pct is not None:
            raw = position.price * (1 + side * self.target_pct * PERCENT)
            target_price = (ceil_to if side > 0 else floor_to)(raw, self.market.tick)
        self.stop = self._place(self.stop, "stop_loss", "stop", stop_price, stop_reason, quantity, now, resend)
        self.target = self._place(
            self.target, "take_profit", "limit", target_price, "take_profit", quantity, now, resend
        )

    def _place(
        self,
        order: Order | None,
        leg: str,
        kind: str,
        price: Decimal | None,
        reason: str,
        quantity: Decimal,
        now: int,
        resend: bool,
    ) -> Order | None:
        position = self.position
        assert position is not None
        if price is None or quantity <= 0:
            return order
        if order is None or (order.state == "rejected" and resend):
            return self._send(
                Order(
                    signal_ms=position.signal_ms,
                    leg=leg,
                    attempt=0 if order is None else order.attempt + 1,
                    side=-position.side,
                    type=kind,
                    price=price,
                    quantity=quantity,
                    reason=reason,
                    sent_ms=now,
                    arrives_ms=now,
                    state="acked",
                )
            )
        if order.open and not resend:
            if not order.triggered:
                order.price, order.reason = price, reason
            order.quantity = order.filled + quantity
        return order

    def _stop_price(self, position: Position) -> tuple[Decimal | None, str]:
        side = position.side
        found: list[tuple[Decimal, str]] = []
        if self.stop_pct is not None:
            found.append((position.price * (1 - side * self.stop_pct * PERCENT), "stop_loss"))
        if self.trail_pct is not None:
            found.append((position.best * (1 - side * self.trail_pct * PERCENT), "stop_loss"))
        if not found:
            return None, ""
        raw, reason = max(found, key=lambda one: side * one[0])
        return (floor_to if side > 0 else ceil_to)(raw, self.market.tick), reason

    def _trail(self) -> None:
        position = self.position
        if position is None:
            return
        better = max if position.side > 0 else min
        seen = self.bar.high if position.side > 0 else self.bar.low
        if position.entered_in_range_of == self.bar.open_ms:
            seen = self.bar.close
        position.best = better(position.best, seen)

    def _accept(self, order: Order) -> None:
        if order.state == "sent":
            order.state = "acked"

    def _cancel(self, order: Order | None) -> None:
        if order is not None and order.open:
            order.state = "canceled"

    def _end(self, order: Order, state: str) -> None:
        order.state = state

    def _is_over(self, order: Order) -> bool:
        """Whether this bar is the last in which it may fill."""
        return self.bar.open_ms >= order.signal_ms + self.ttl_ms

    # --- deciding -------------------------------------------------------------------------------------------------

    def _held(self) -> Held:
        position = self.position
        assert position is not None
        return Held(position.side, position.price, position.opened_ms, position.bars)

    def _decide(self) -> None:
        if self.position is None:
            if self.entry is not None and self.entry.open:
                return
            signal = self.entry_signal.entry(self.index, self.close_ms, self.exited_ms)
            if signal is not None:
                self._enter(*signal)
            return
        reason = self.exit_signal.exit(self.index, self.close_ms, self.bar.close, self._held())
        if reason is None or (self.exit is not None and self.exit.open) or (self.stop and self.stop.triggered):
            return
        if self.exit is not None and self.exit.state == "rejected":
            return
        self._send_exit(reason, signal_ms=self.bar.open_ms)

    def _enter(self, reason: str, side: int) -> None:
        equity = self._equity(self.bar.close)
        denial = self._denied(equity, side)
        quantity = ZERO
        limit_price = self._limit_price(side) if self.limit_entries else None
        if denial is None:
            quantity, price = self._entry_quantity(equity, side, limit_price)
            denial = self._too_small(quantity, price, side)
        if denial is not None:
            self.result.denials.append((self.bar.open_ms, denial))
            return
        self.entry = self._send(
            self._new(
                signal_ms=self.bar.open_ms,
                leg="entry",
                attempt=0,
                side=side,
                type="limit" if self.limit_entries else "market",
                price=limit_price,
                quantity=quantity,
                reason=reason,
                sent_ms=self.close_ms,
            )
        )

    def _denied(self, equity: Decimal, side: int) -> str | None:
        now, day = self.close_ms, self.close_ms // DAY_MS
        if side < 0 and not (self.short_allowed and self.market.can_short):
            return "short_not_allowed"
        if self.max_daily_trades is not None and self.day_entries.get(day, 0) >= self.max_daily_trades:
            return "max_daily_trades"
        if self.max_daily_loss is not None and self.day_pnl.get(day, ZERO) <= -self.max_daily_loss:
            return "max_daily_loss"
        if self.max_drawdown is not None and equity <= max(self.peak, equity) * (1 - self.max_drawdown * PERCENT):
            return "max_drawdown"
        if self.guard:
            within = self.guard["within_bars"] * self.interval_ms
            pause = self.guard["pause_bars"] * self.interval_ms
            stops = self.stops_ms[-self.guard["max_stops"] :]
            if len(stops) == self.guard["max_stops"] and stops[-1] - stops[0] <= within and now - stops[-1] <= pause:
                return "stop_loss_guard"
        if self.cooldown and self.exited_ms is not None and now - self.exited_ms <= self.cooldown * self.interval_ms:
            return "cooldown"
        return None

    def _entry_quantity(self, equity: Decimal, side: int, limit_price: Decimal | None) -> tuple[Decimal, Decimal]:
        """What the size and the limits allow, and the expected price."""
        quote = self.bar.close if limit_price is None else limit_price
        most = self._sized(equity, side, quote, ZERO)
        price = quote if limit_price is not None else max(quote, self._slipped(quote, side, most))
        return self._sized(equity, side, price, most), price

    def _sized(self, equity: Decimal, side: int, price: Decimal, closed: Decimal) -> Decimal:
        """The quantity at a price; `closed` is the fill for which the stop's slippage is counted."""
        rate = max(self.maker, self.taker)
        value = min(equity * self.size, self.cash / (1 + rate))
        if self.max_exposure is not None:
            value = min(value, equity * self.max_exposure)
        if self.max_position is not None:
            value = min(value, self.max_position)
        if self.max_risk is not None and self.stop_pct is not None:
            stop = self._tick_away(price * (1 - side * self.stop_pct * PERCENT), side)
            left_for = self._slipped(stop, -side, closed)
            loss = side * (price - left_for) + rate * (price + left_for)
            if loss > 0:
                value = min(value, equity * self.max_risk * PERCENT / loss * price)
        quantity = floor_to(value / price, self.market.step)
        return self._affordable(quantity, price) if side > 0 else quantity

    def _affordable(self, quantity: Decimal, price: Decimal) -> Decimal:
        """As much of a purchase as the cash pays for, its rounded fee included."""
        rate = max(self.maker, self.taker)
        value = quantity * price
        fee = ZERO if self.fee_in_base else (value * rate).quantize(EIGHTH, ROUND_HALF_EVEN)
        if value + fee <= self.cash:
            return quantity
        paid = 1 if self.fee_in_base else 1 + rate
        return max(ZERO, floor_to((self.cash - EIGHTH) / paid / price, self.market.step))

    def _too_small(self, quantity: Decimal, price: Decimal, side: int) -> str | None:
        """Whether the exchange would refuse the entry, or a long position's exit at its stop and less the base fee."""
        market, at = self.market, price
        rest = quantity
        if side > 0:
            if self.fee_in_base:
                fee = (quantity * max(self.maker, self.taker)).quantize(EIGHTH, ROUND_HALF_EVEN)
                rest = floor_to(quantity - fee, market.step)
            stops = [percent for percent in (self.stop_pct, self.trail_pct) if percent is not None]
            at = self._tick_away(price * (1 - min(stops) * PERCENT), side) if stops else price
        if quantity <= 0 or rest < market.min_quantity:
            return "below_min_quantity"
        return "below_min_notional" if rest * at < market.min_notional else None

    # --- prices and chance ----------------------------------------------------------------------------------------

    def _limit_price(self, side: int) -> Decimal:
        raw = self.bar.close * (1 - side * self.offset)
        return max((floor_to if side > 0 else ceil_to)(raw, self.market.tick), self.market.tick)

    def _tick_away(self, raw: Decimal, side: int) -> Decimal:
        """A stop's price on the tick: below a long position's, above a short one's."""
        return (floor_to if side > 0 else ceil_to)(raw, self.market.tick)

    def _slipped(self, quote: Decimal, side: int, quantity: Decimal) -> Decimal:
        model = self.slippage_model
        if model == "none":
            return self._ticked(quote, side)
        if model == "fixed":
            raw = quote + side * self.fixed_slippage
        elif model == "percentage":
            raw = quote * (1 + side * self.base_slippage)
        else:
            most = self.share if self.share is not None else D(1)
            share = min(quantity / self.bar.volume, most) if self.bar.volume else most
            raw = quote * (1 + side * self.impact * share * share)
        return self._ticked(raw, side)

    def _ticked(self, raw: Decimal, side: int) -> Decimal:
        return max((ceil_to if side > 0 else floor_to)(raw, self.market.tick), self.market.tick)

    def _sellable(self, position: Position) -> Decimal:
        return floor_to(position.held, self.market.step)

    def _equity(self, close: Decimal) -> Decimal:
        return self.cash if self.position is None else self.cash + self.position.side * self.position.held * close

    def _liquidation_price(self) -> Decimal | None:
        position = self.position
        if position is None or position.side > 0 or position.held <= 0:
            return None
        return ceil_to(self.cash / (position.held * MARGIN), self.market.tick)

    def _liquidate(self, at_ms: int) -> None:
        position = self.position
        price = self._liquidation_price()
        assert position is not None
        assert price is not None
        order = Order(
            signal_ms=self.bar.open_ms,
            leg="liquidation",
            attempt=0,
            side=1,
            type="market",
            price=None,
            quantity=self._sellable(position),
            reason="liquidation",
            sent_ms=at_ms,
            arrives_ms=at_ms,
        )
        self.result.orders.append(order)
        self._cancel(self.entry)
        self._execute(order, max(price, self.bar.open), at_ms, taker=True, slips=True)

    def _draw(self, order: Order, what: str, bar_ms: int | None) -> int:
        key = f"{self.seed}:{order.signal_ms}:{order.leg}:{order.attempt}:{what}:{'' if bar_ms is None else bar_ms}"
        return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big")
