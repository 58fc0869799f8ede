"""The exchange as a bot's venue: nothing leaves before its intent is committed, nothing without the right to trade.

While a step is decided, `submit`, `amend` and `cancel` only collect. After its commit `carry_out` is given the open
orders as they were committed, and does what is due: it looks up orders whose fate isn't known, reads what the exchange
said unasked, and sends. What came back is returned, to be committed as the next step before anything else leaves.

Guarantees:
- an order leaves only from the committed book, once, and directly after the right to trade was checked;
- of an order whose outcome isn't known, or that an earlier process may have sent, nothing leaves until a look-up has
  told (`lookups`); it is never sent again;
- whatever isn't known to be harmless when it fails counts as an unknown outcome.

What is decided is in `sending`, `lookups` and `snapshots`, all pure. Not for several threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from botrunner.exchange.errors import CircuitOpen, ExchangeAway, said
from botrunner.execution.live.errors import NotSent, OrderRefused, StopPassed, UnknownOutcome
from botrunner.execution.live.exchange_clock import ExchangeClock
from botrunner.execution.live.lookups import LookUp, Timing, Wait, conclude, may_be_absent
from botrunner.execution.live.sending import Act, Step, Wishes, steps
from botrunner.execution.live.snapshots import executions_of, fault_in, fault_of, misses_executions, reports_of
from botrunner.execution.live.transport import OrderSnapshot, Stamp, Transport
from botrunner.execution.port import Moment, Phase, ReportSink
from botrunner.market.candle import Candle
from botrunner.trading.account import AccountView
from botrunner.trading.costs import Costs
from botrunner.trading.orders import UNACKNOWLEDGED, Order, OrderType
from botrunner.trading.reports import Amended, Expired, OutcomeUnknown, Rejected, Report, Sent
from fleet.errors import TransientError
from fleet.log import get_logger

log = get_logger("venue")

T = TypeVar("T")


@dataclass(slots=True)
class _Known:
    """What this process knows of one order beyond the book.

    Attributes:
        waits_since_s: monotonic time of its submission, as long as it certainly never left; None once it may have.
        arrives_by: the last moment at which the exchange accepts what was sent; None: an earlier process sent it, if
            anybody.
        look_at_s, change_at_s: not before then it is looked up, or amended or cancelled; monotonic.
        passed: it is a stop, and the price was beyond it: it leaves as the market order that it would become.
        cancel: whether it is to be taken back. amend: which price and quantity it is to have.
    """

    waits_since_s: float | None = None
    arrives_by: datetime | None = None
    look_at_s: float = 0.0
    change_at_s: float = 0.0
    passed: bool = False
    cancel: bool = False
    amend: tuple[Decimal | None, Decimal] | None = None


class ExchangeVenue:
    """One bot's orders at an exchange.

    Args:
        transport: requests to the exchange.
        may_send: whether the right to trade holds at this moment (`process.fence.Fence.may_send`).
        monotonic: seconds.
        costs: what executions cost there.
        timing: how long things may take there.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        may_send: Callable[[], bool],
        monotonic: Callable[[], float],
        costs: Costs,
        timing: Timing,
    ) -> None:
        self._transport = transport
        self._may_send = may_send
        self._monotonic = monotonic
        self._costs = costs
        self._timing = timing
        self._known: dict[str, _Known] = {}
        self._clock: ExchangeClock | None = None
        self._began_at: datetime | None = None
        self._read_clock_at_s = 0.0
        self._send_at_s = 0.0
        self._had_right = True
        self._bar: tuple[Decimal, datetime] | None = None

    # --- what the bot wants (execution.port.Venue) -----------------------------------------------------------------

    @property
    def costs(self) -> Costs:
        """What executions cost here."""
        return self._costs

    @property
    def entered_within(self) -> bool:
        """Never: nothing executes within a step."""
        return False

    def begin(
        self,
        account: AccountView,  # noqa: ARG002 - it is looked at once it is committed
        report: ReportSink,  # noqa: ARG002 - reports come between bars
        *,
        candle: Candle,
        opens_at: datetime,  # noqa: ARG002 - nothing happens before the close
        closes_at: datetime,
    ) -> None:
        """A step begins: what was collected before, and isn't done yet, stays wanted."""
        self._bar = (candle.close, closes_at)

    def walk(self) -> Iterator[Moment]:
        """A closed bar holds nothing that the reports haven't said."""
        assert self._bar is not None
        price, at = self._bar
        yield Moment(Phase.OPEN, price, at)
        yield Moment(Phase.CLOSE, price, at)

    def at_close(self) -> None:
        """Nothing executes before it was committed and sent."""

    def submit(self, order: Order) -> None:
        """Send an order once its intent is committed."""
        self._of(order).waits_since_s = self._monotonic()

    def amend(self, order: Order, *, price: Decimal | None, quantity: Decimal) -> None:
        """Give an order another price and quantity; the newest wish counts."""
        self._of(order).amend = (price, quantity)

    def cancel(self, order: Order) -> None:
        """Take back what is left of an order; may be said again and again."""
        self._of(order).cancel = True

    # --- after a commit --------------------------------------------------------------------------------------------

    def unresolved(self, orders: Sequence[Order]) -> bool:
        """Whether the fate of an order isn't known: no bar may be decided at a start before it is."""
        return any(order.state in UNACKNOWLEDGED and not self._never_left(order) for order in orders)

    def carry_out(self, orders: Sequence[Order]) -> tuple[Report, ...]:
        """Do what is due, and say what came of it; nothing for now: call again in a moment.

        Args:
            orders: the open ones as they stand committed.
        """
        about = {order.client_order_id for order in orders}
        self._known = {name: known for name, known in self._known.items() if name in about}
        if not self._has_clock():
            return ()
        return (*self._heard(orders), *self._looked_up(orders)) or self._sent(orders)

    # --- time ------------------------------------------------------------------------------------------------------

    def _has_clock(self) -> bool:
        """Whether the exchange's time is known; it is read again now and then."""
        asked_s = self._monotonic()
        if asked_s >= self._read_clock_at_s:
            try:
                read = self._transport.server_time()
            except ExchangeAway as error:
                self._read_clock_at_s = self._monotonic() + self._pause_s(self._timing.send_again, error)
            else:
                now_s = self._monotonic()
                reading = ExchangeClock(read, asked_s, now_s)
                self._clock = reading if self._clock is None else self._clock.better(reading, now_s=now_s)
                self._began_at = self._began_at or reading.latest(now_s)
                self._read_clock_at_s = now_s + self._timing.read_clock.total_seconds()
        return self._clock is not None

    def _earliest(self) -> datetime:
        assert self._clock is not None
        return self._clock.earliest(self._monotonic())

    # --- hearing and asking ----------------------------------------------------------------------------------------

    def _heard(self, orders: Sequence[Order]) -> tuple[Report, ...]:
        """What the exchange said unasked of the orders in the book."""
        reports: list[Report] = []
        updates = self._transport.updates()
        book = {order.client_order_id: order for order in orders} if updates else {}
        for update in updates:
            order = book.get(update.client_order_id)
            if order is None:
                continue
            if fault := fault_of(update):
                log.warning("answer_unreadable", client_order_id=order.client_order_id, error=fault)
                self._of(order).waits_since_s, self._of(order).look_at_s = None, 0.0
            else:
                self._note(order, update)
                reports.extend(reports_of(order, update, current=False))
        return tuple(reports)

    def _looked_up(self, orders: Sequence[Order]) -> tuple[Report, ...]:
        reports: list[Report] = []
        for order in orders:
            known = self._of(order)
            if known.waits_since_s is None and self._monotonic() >= known.look_at_s:
                reports.extend(self._look_up(order, known))
        return tuple(reports)

    def _look_up(self, order: Order, known: _Known) -> tuple[Report, ...]:
        pause = self._timing.look_again if order.state in UNACKNOWLEDGED else self._timing.look_open
        arrives_by = self._arrives_by(known)
        answer: LookUp | None = None
        try:
            answer = self._ask(order, arrives_by)
        except ExchangeAway as error:
            known.look_at_s = self._monotonic() + self._pause_s(pause, error)
        except UnknownOutcome as error:  # an answer that nobody can read: as none
            log.warning("answer_unreadable", client_order_id=order.client_order_id, error=said(error))
            known.look_at_s = self._monotonic() + pause.total_seconds()
        else:
            if answer.snapshot is not None and misses_executions(order, answer.snapshot):
                pause = self._timing.look_again  # trades show later than orders
            known.look_at_s = self._monotonic() + pause.total_seconds()
        found = conclude(order, answer, arrives_by=arrives_by, timing=self._timing)
        if isinstance(found, Wait):
            if found.until is not None:  # not later than when it can be proved
                left_s = (found.until - self._earliest()).total_seconds()
                known.look_at_s = min(known.look_at_s, self._monotonic() + max(left_s, 0.0))
            if answer is not None and order.state not in UNACKNOWLEDGED:
                log.warning("order_not_found", client_order_id=order.client_order_id, state=order.state)
            return ()
        return found

    def _ask(self, order: Order, arrives_by: datetime) -> LookUp:
        """What the exchange knows of an order: by its id, and where that isn't enough among open orders, closed orders
        and trades, which cost an exchange more. Before absence can be proved they are spared."""
        about, since, asked_at = order.client_order_id, order.signal_at, self._earliest()
        snapshot = self._transport.find(about)
        if snapshot is None and not may_be_absent(order, asked_at, arrives_by=arrives_by, timing=self._timing):
            return LookUp(asked_at=asked_at)
        if snapshot is None:
            listed = (*self._transport.open_orders(), *self._transport.closed_orders(since=since))
            snapshot = next((listed for listed in listed if listed.client_order_id == about), None)
        if snapshot is None:
            trades = self._transport.trades(since=since)
            found = executions_of(order, trades, exchange_order_id=None)
            return LookUp(asked_at=asked_at, executions=_readable(found, fault_in(found)))
        snapshot = _readable(snapshot, fault_of(snapshot))
        if misses_executions(order, snapshot):
            named = snapshot.exchange_order_id
            trades = self._transport.trades(since=since, exchange_order_id=named)
            found = executions_of(order, (*snapshot.executions, *trades), exchange_order_id=named)
            snapshot = replace(snapshot, executions=_readable(found, fault_in(found)))
        return LookUp(asked_at=asked_at, snapshot=snapshot)

    def _arrives_by(self, known: _Known) -> datetime:
        assert self._began_at is not None
        return known.arrives_by or self._began_at + self._timing.valid_for

    # --- sending ---------------------------------------------------------------------------------------------------

    def _sent(self, orders: Sequence[Order]) -> tuple[Report, ...]:
        if not orders:
            return ()
        reports: list[Report] = []
        timing = self._timing
        for step in steps(
            orders,
            self._wishes(),
            now=self._earliest(),
            entry_waits=timing.entry_waits,
            clocks_within=timing.clocks_within,
        ):
            if step.act in {Act.GIVE_UP, Act.REVISE}:
                reports.append(self._settled_here(step))
            elif self._monotonic() >= max(self._send_at_s, self._change_at_s(step)):
                # made before the check: see Stamp
                stamp = Stamp(self._earliest(), timing.valid_for)
                if not self._has_right(step):
                    break
                try:
                    reports.extend(self._request(step, stamp))
                except (NotSent, CircuitOpen) as error:
                    self._not_taken(step, error)
                    break
        return tuple(reports)

    def _has_right(self, step: Step) -> bool:
        """Whether a request may leave now; the log says once when none may any more."""
        had, self._had_right = self._had_right, self._may_send()
        if had and not self._had_right:
            log.warning("no_right_to_trade", client_order_id=step.order.client_order_id, act=step.act)
        return self._had_right

    def _wishes(self) -> Wishes:
        now_s = self._monotonic()
        return Wishes(
            unsent={
                about: timedelta(seconds=now_s - known.waits_since_s)
                for about, known in self._known.items()
                if known.waits_since_s is not None
            },
            cancels=frozenset(about for about, known in self._known.items() if known.cancel),
            amends={about: known.amend for about, known in self._known.items() if known.amend is not None},
        )

    def _change_at_s(self, step: Step) -> float:
        return 0.0 if step.act is Act.PLACE else self._of(step.order).change_at_s

    def _settled_here(self, step: Step) -> Report:
        """What happens to an order that never left."""
        order, at = step.order, self._earliest()
        if step.act is Act.GIVE_UP:
            return Expired(client_order_id=order.client_order_id, at=at, executed_quantity=Decimal(0))
        assert step.quantity is not None
        return Amended(client_order_id=order.client_order_id, at=at, price=step.price, quantity=step.quantity)

    def _not_taken(self, step: Step, error: TransientError) -> None:
        log.warning("not_sent", client_order_id=step.order.client_order_id, act=step.act, error=said(error))
        self._send_at_s = self._monotonic() + self._pause_s(self._timing.send_again, error)
        self._read_clock_at_s = 0.0  # the exchange may have turned it away for its time

    def _request(self, step: Step, stamp: Stamp) -> tuple[Report, ...]:
        if step.act is Act.PLACE:
            return self._place(step.order, stamp)
        return self._change(step, stamp)

    def _place(self, order: Order, stamp: Stamp) -> tuple[Report, ...]:
        known, about = self._of(order), order.client_order_id
        waits_since_s, known.waits_since_s = known.waits_since_s, None
        known.arrives_by = stamp.ends_at
        sent = Sent(client_order_id=about, at=stamp.at)
        try:
            snapshot = _own(order, self._transport.place(_as_market(order) if known.passed else order, stamp))
        except StopPassed:
            known.waits_since_s, known.passed = waits_since_s, True
            return ()
        except OrderRefused as refusal:
            return (sent, Rejected(client_order_id=about, at=self._earliest(), reason=said(refusal)))
        except (NotSent, CircuitOpen):
            known.waits_since_s = waits_since_s
            raise
        except Exception as error:  # whatever it was, the request may be there
            log.warning("outcome_unknown", client_order_id=about, leg=order.leg, error=said(error))
            return (sent, OutcomeUnknown(client_order_id=about, at=self._earliest(), reason=said(error)))
        self._note(order, snapshot)
        return reports_of(order, snapshot, current=True)

    def _change(self, step: Step, stamp: Stamp) -> tuple[Report, ...]:
        """Amend or cancel. Whatever came of it shows when the order is looked up; repeating it does no harm."""
        order, known = step.order, self._of(step.order)
        try:
            snapshot = _own(order, self._changed(step, stamp))
        except (NotSent, CircuitOpen):
            raise
        except Exception as error:
            passed = isinstance(error, StopPassed)  # its next attempt leaves as a market order
            known.cancel = known.cancel or passed
            # refused: it has ended meanwhile, or the exchange doesn't want it so; then it stays as it is for a while
            refused = isinstance(error, OrderRefused)
            pause = self._timing.look_open if refused and step.act is Act.AMEND else self._timing.look_again
            log.warning("order_unchanged", client_order_id=order.client_order_id, act=step.act, error=said(error))
            known.look_at_s = 0.0
            known.change_at_s = 0.0 if passed else self._monotonic() + pause.total_seconds()
            return ()
        known.change_at_s = self._monotonic() + self._timing.look_again.total_seconds()
        self._note(order, snapshot)
        return reports_of(order, snapshot, current=True)

    def _changed(self, step: Step, stamp: Stamp) -> OrderSnapshot:
        if step.act is Act.CANCEL:
            return self._transport.cancel(step.order, stamp)
        assert step.quantity is not None
        return self._transport.amend(step.order, stamp, price=step.price, quantity=step.quantity)

    # --- what is known ---------------------------------------------------------------------------------------------

    def _of(self, order: Order) -> _Known:
        return self._known.setdefault(order.client_order_id, _Known())

    def _never_left(self, order: Order) -> bool:
        known = self._known.get(order.client_order_id)
        return known is not None and known.waits_since_s is not None

    def _note(self, order: Order, snapshot: OrderSnapshot) -> None:
        """The exchange has the order; it is looked up at once where executions are missing."""
        known, misses = self._of(order), misses_executions(order, snapshot)
        known.waits_since_s = None
        known.look_at_s = 0.0 if misses else self._monotonic() + self._timing.look_open.total_seconds()

    def _pause_s(self, usual: timedelta, error: TransientError) -> float:
        return max(usual.total_seconds(), error.retry_after_s)


def _as_market(order: Order) -> Order:
    return replace(order, type=OrderType.MARKET, price=None)


def _own(order: Order, snapshot: OrderSnapshot) -> OrderSnapshot:
    if snapshot.client_order_id != order.client_order_id:
        raise UnknownOutcome(f"the answer is about another order: {said(snapshot.client_order_id)}")
    return _readable(snapshot, fault_of(snapshot))


def _readable(answer: T, fault: str | None) -> T:
    """An answer in which there is nothing that can't be.

    Raises:
        UnknownOutcome: there is.
    """
    if fault is not None:
        raise UnknownOutcome(f"the answer can't be read: {fault}")
    return answer
