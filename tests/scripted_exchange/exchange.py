"""A deterministic exchange: its ledger is the truth that bots' tables are compared with.

It follows a price path. It knows orders by client order id as Binance does: an id is refused as a duplicate only while
an order of that id is open, so that whoever sends blindly again really trades twice. It doesn't lock balances: an order
that sells more than there is executes, and shows in the ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from enum import Enum, auto
from random import Random

from botrunner.execution.live.transport import Execution, OrderSnapshot, OrderStatus, Stamp
from botrunner.market.rules import FEE_STEP, Market
from botrunner.market.side import Side
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order, OrderType
from tests.scripted_exchange.clock import VirtualClock, time_of


class Answer(Enum):
    """What the exchange says to a request that it doesn't follow."""

    TOO_OLD = auto()
    """Its stamp is over: turned away unread."""
    DUPLICATE = auto()
    """An order of this id is open."""
    REFUSED = auto()
    NO_SUCH_ORDER = auto()
    STOP_PASSED = auto()
    """The price is beyond the stop already."""


@dataclass(slots=True)
class Listed:
    """An order in the exchange's ledger. `leg`, `signal_at`, `epoch`: labels for the checks; no matching looks at them."""

    client_order_id: str
    exchange_order_id: str
    side: Side
    type: OrderType
    quantity: Decimal
    price: Decimal | None
    leg: Leg
    signal_at: datetime
    epoch: int
    accepted_ms: int
    shows_from_ms: int
    status: OrderStatus = OrderStatus.OPEN
    working: bool = True
    executed: Decimal = Decimal(0)
    changed_ms: int = 0
    ended_ms: int | None = None

    @property
    def leaves(self) -> Decimal:
        return self.quantity - self.executed

    @property
    def is_open(self) -> bool:
        return self.status is OrderStatus.OPEN


@dataclass(frozen=True, slots=True)
class Habits:
    """How the exchange behaves, beyond what the script does to single requests.

    Attributes:
        fee_rate: of an execution's value. fee_in_base: buys pay in what they bought.
        part: probability that only a part of what could be executed is, at each tick.
        refuses: probability that an order is refused.
        refuses_passed_stops: a stop that would be triggered at once is refused; otherwise it is.
        fills_by_amendment: an amendment to no more than was executed ends the order as filled, as OKX does it; otherwise
            it is refused.
        hides_ms: up to so long an accepted order may stay invisible to look-ups.
        stamps_late_ms: by so much the clock that stamps the ends of orders is behind the one that is read.
        skew_ms: by up to so much the clocks that judge stamps differ from the one that is read.
    """

    fee_rate: Decimal = Decimal("0.001")
    fee_in_base: bool = False
    part: float = 0.0
    refuses: float = 0.0
    refuses_passed_stops: bool = False
    fills_by_amendment: bool = False
    hides_ms: int = 0
    stamps_late_ms: int = 0
    skew_ms: int = 0


PLAIN = Habits()
"""No partial fills, no refusals, nothing hidden, one clock."""


@dataclass(slots=True)
class Ledger:
    """What really happened.

    Attributes:
        orders: every accepted one, in order; an id twice if it was accepted twice.
        executions: in order. position: base currency, negative for short. quote: what they brought, less fees.
        written_off: of the position, what the bot has given up as too little to sell; no order may close it any more.
        oversold: moments at which orders that close a position could together execute more than there was of it.
        turned_away: requests that weren't followed, by why.
    """

    orders: list[Listed] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    position: Decimal = Decimal(0)
    written_off: Decimal = Decimal(0)
    quote: Decimal = Decimal(0)
    oversold: list[str] = field(default_factory=list)
    turned_away: Counter[Answer] = field(default_factory=Counter)


class ScriptedExchange:
    """One account in one market.

    Args:
        clock: the world's; the exchange's time is its.
        market: steps and currencies.
        prices: one for each tick. tick_ms: between two of them.
        habits: how it behaves. random: decides what habits leave open.
    """

    def __init__(
        self,
        clock: VirtualClock,
        *,
        market: Market,
        prices: Sequence[Decimal],
        tick_ms: int,
        habits: Habits = PLAIN,
        random: Random,
    ) -> None:
        self.ledger = Ledger()
        self.clock = clock
        self.habits = habits
        self._market = market
        self._prices = prices
        self._random = random
        self._tell: list[Callable[[OrderSnapshot], None]] = []
        for number in range(1, len(prices)):
            clock.at(number * tick_ms, self._tick)
        self._tick_ms = tick_ms

    @property
    def price(self) -> Decimal:
        """The last one."""
        return self._prices[min(self.clock.ms // self._tick_ms, len(self._prices) - 1)]

    # --- requests --------------------------------------------------------------------------------------------------

    def accept(self, order: Order, stamp: Stamp, *, epoch: int) -> OrderSnapshot | Answer:
        """An order arrives."""
        return self._counted(self._accept(order, stamp, epoch=epoch))

    def _accept(self, order: Order, stamp: Stamp, *, epoch: int) -> OrderSnapshot | Answer:
        if self._too_old(stamp):
            return Answer.TOO_OLD
        if self._open(order.client_order_id) is not None:
            return Answer.DUPLICATE
        if self._random.random() < self.habits.refuses:
            return Answer.REFUSED
        if self._passed(order.side, order.type, order.price):
            return Answer.STOP_PASSED
        now = self.clock.ms
        listed = Listed(
            client_order_id=order.client_order_id,
            exchange_order_id=f"x{len(self.ledger.orders) + 1}",
            side=order.side,
            type=order.type,
            quantity=order.quantity,
            price=order.price,
            leg=order.leg,
            signal_at=order.signal_at,
            epoch=epoch,
            accepted_ms=now,
            shows_from_ms=now + self._random.randint(0, self.habits.hides_ms),
            working=order.type is not OrderType.STOP,
            changed_ms=now,
        )
        self.ledger.orders.append(listed)
        self._announce(listed)
        return snapshot_of(listed, executions=self._match(listed))

    def cancel(self, client_order_id: str, stamp: Stamp) -> OrderSnapshot | Answer:
        """A cancellation arrives; what was executed before stays."""
        return self._counted(self._cancel(client_order_id, stamp))

    def _cancel(self, client_order_id: str, stamp: Stamp) -> OrderSnapshot | Answer:
        listed = self._open(client_order_id)
        if self._too_old(stamp):
            return Answer.TOO_OLD
        if listed is None:
            return Answer.NO_SUCH_ORDER
        self._end(listed, OrderStatus.CANCELED)
        self._announce(listed)
        return snapshot_of(listed)

    def amend(
        self, client_order_id: str, stamp: Stamp, *, price: Decimal | None, quantity: Decimal
    ) -> OrderSnapshot | Answer:
        """An amendment arrives."""
        return self._counted(self._amend(client_order_id, stamp, price=price, quantity=quantity))

    def _amend(
        self, client_order_id: str, stamp: Stamp, *, price: Decimal | None, quantity: Decimal
    ) -> OrderSnapshot | Answer:
        listed = self._open(client_order_id)
        if self._too_old(stamp):
            return Answer.TOO_OLD
        if listed is None:
            return Answer.NO_SUCH_ORDER
        if quantity <= listed.executed:
            if not self.habits.fills_by_amendment:
                return Answer.REFUSED
            listed.quantity = quantity
            self._end(listed, OrderStatus.FILLED)
            self._announce(listed)
            return snapshot_of(listed)
        if self._passed(listed.side, listed.type, price):
            return Answer.STOP_PASSED
        listed.price, listed.quantity, listed.changed_ms = price, quantity, self.clock.ms
        self._announce(listed)
        return snapshot_of(listed, executions=self._match(listed))

    def _counted(self, answer: OrderSnapshot | Answer) -> OrderSnapshot | Answer:
        if isinstance(answer, Answer):
            self.ledger.turned_away[answer] += 1
        return answer

    def _too_old(self, stamp: Stamp) -> bool:
        skew = self.habits.skew_ms
        judges_at = self.clock.exchange_time() + timedelta(milliseconds=self._random.randint(-skew, skew))
        return judges_at > stamp.ends_at

    def _passed(self, side: Side, kind: OrderType, price: Decimal | None) -> bool:
        if not self.habits.refuses_passed_stops or kind is not OrderType.STOP:
            return False
        assert price is not None
        return _beyond(side, self.price, price)

    def _open(self, client_order_id: str) -> Listed | None:
        return next(
            (listed for listed in self.ledger.orders if listed.is_open and listed.client_order_id == client_order_id),
            None,
        )

    # --- look-ups --------------------------------------------------------------------------------------------------

    def visible(self) -> list[Listed]:
        """Orders that look-ups show by now, oldest first."""
        return [listed for listed in self.ledger.orders if listed.shows_from_ms <= self.clock.ms]

    def trades(self, since: datetime) -> list[Execution]:
        """Executions that look-ups show by now; like Binance's they name no client order id."""
        shown = {listed.exchange_order_id for listed in self.visible()}
        return [
            execution
            for execution in self.ledger.executions
            if execution.exchange_order_id in shown and execution.at >= since
        ]

    def subscribe(self, hears: Callable[[OrderSnapshot], None]) -> None:
        """Tell of every change of an order from now on."""
        self._tell = [hears]

    def write_off(self, dust: Decimal) -> None:
        """The bot has given up so much in all as too little to be sold: from now on no order may sell it."""
        if dust != self.ledger.written_off:
            self.ledger.written_off = dust
            self._audit()

    # --- matching --------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        for listed in [listed for listed in self.ledger.orders if listed.is_open]:
            self._match(listed)

    def _match(self, listed: Listed) -> tuple[Execution, ...]:
        """Execute what the price of now allows of an order."""
        price = self.price
        if not listed.working:
            assert listed.price is not None
            if not _beyond(listed.side, price, listed.price):
                return ()
            listed.working, listed.changed_ms = True, self.clock.ms
            self._announce(listed)
        if listed.type is OrderType.LIMIT:
            assert listed.price is not None
            if _beyond(listed.side, price, listed.price) and price != listed.price:
                return ()
        return (self._execute(listed, self._share(listed), price),)

    def _share(self, listed: Listed) -> Decimal:
        lots = int(listed.leaves / self._market.step)
        if lots > 1 and self._random.random() < self.habits.part:
            return self._random.randint(1, lots - 1) * self._market.step
        return listed.leaves

    def _execute(self, listed: Listed, quantity: Decimal, price: Decimal) -> Execution:
        in_base = self.habits.fee_in_base and listed.side is Side.BUY
        paid = (quantity if in_base else quantity * price) * self.habits.fee_rate
        fee = paid.quantize(FEE_STEP, ROUND_HALF_EVEN)
        execution = Execution(
            exchange_trade_id=f"t{len(self.ledger.executions) + 1}",
            exchange_order_id=listed.exchange_order_id,
            client_order_id=None,
            price=price,
            quantity=quantity,
            fee=fee,
            fee_currency=self._market.base if in_base else self._market.quote,
            at=self.clock.exchange_time(),
        )
        self.ledger.executions.append(execution)
        self.ledger.position += listed.side.sign * quantity - (fee if in_base else 0)
        self.ledger.quote -= listed.side.sign * quantity * price + (0 if in_base else fee)
        listed.executed += quantity
        listed.changed_ms = self.clock.ms
        if listed.executed == listed.quantity:
            self._end(listed, OrderStatus.FILLED)
        self._announce(listed, (execution,))
        return execution

    def _end(self, listed: Listed, status: OrderStatus) -> None:
        now = self.clock.ms
        listed.status, listed.ended_ms, listed.changed_ms = status, now, now - self.habits.stamps_late_ms

    def _announce(self, listed: Listed, executions: tuple[Execution, ...] = ()) -> None:
        self._audit()
        for tell in self._tell:
            tell(snapshot_of(listed, executions=executions))

    def _audit(self) -> None:
        """Note when open orders that close the position could together execute more than there is of it."""
        closing = [listed for listed in self.ledger.orders if listed.is_open and listed.leg is not Leg.ENTRY]
        could = sum((listed.side.sign * listed.leaves for listed in closing), Decimal(0))
        held = self.ledger.position - self.ledger.written_off
        if closing and abs(could) > (abs(held) if could * held < 0 else 0):
            orders = ", ".join(f"{listed.leg} {listed.leaves}" for listed in closing)
            self.ledger.oversold.append(f"{time_of(self.clock.ms)}: {orders} of a position of {held}")


def _beyond(side: Side, price: Decimal, limit: Decimal) -> bool:
    """Whether a price is at least so bad for an order: a buy's at or above, a sell's at or below."""
    return price >= limit if side is Side.BUY else price <= limit


def snapshot_of(listed: Listed, *, executions: tuple[Execution, ...] = ()) -> OrderSnapshot:
    """What the exchange says of an order now."""
    return OrderSnapshot(
        client_order_id=listed.client_order_id,
        exchange_order_id=listed.exchange_order_id,
        status=listed.status,
        price=listed.price,
        quantity=listed.quantity,
        executed_quantity=listed.executed,
        at=time_of(listed.changed_ms),
        working=listed.working,
        executions=executions,
    )
