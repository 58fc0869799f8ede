"""The exchange venue's transport to a scripted exchange: requests and answers get lost, late, doubled and mixed up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from random import Random

from botrunner.exchange.errors import ExchangeAway
from botrunner.execution.live.errors import NotSent, OrderRefused, SendingPaused, StopPassed, UnknownOutcome
from botrunner.execution.live.transport import Execution, OrderSnapshot, Stamp
from botrunner.trading.orders import Order
from tests.scripted_exchange.exchange import Answer, Listed, ScriptedExchange, snapshot_of
from tests.scripted_exchange.kill_points import KillPoint, KillSwitch

TIMEOUT_MS = 3000
"""After which a client gives up on an answer."""


@dataclass(frozen=True, slots=True)
class Faults:
    """Probabilities of what happens to a request or to what the exchange says unasked.

    Attributes:
        not_sent: the connection is refused. paused: the address is to be silent for a while.
        lost: it never arrives. late: it arrives late, up to `late_ms`, after the client gave up.
        answer_lost: it arrives, and the answer doesn't, or is garbage.
        away: a question gets no answer.
        dropped, doubled, delayed: of what is said unasked; the delayed arrives up to `late_ms` later, after younger.
    """

    not_sent: float = 0.0
    paused: float = 0.0
    lost: float = 0.0
    late: float = 0.0
    answer_lost: float = 0.0
    away: float = 0.0
    dropped: float = 0.0
    doubled: float = 0.0
    delayed: float = 0.0
    late_ms: int = 8000


NO_FAULTS = Faults()


@dataclass(frozen=True, slots=True)
class Left:
    """A request to change something that left a process. `right`: whether it had the right to trade at that moment."""

    epoch: int
    client_order_id: str
    what: str
    right: bool


class ScriptedTransport:
    """One process's requests.

    Args:
        exchange: where they go.
        epoch: of the run that makes them.
        may_send: whether the right to trade holds, for the record.
        faults: what happens to them. random: decides.
        kills: what ends the process.
        left: takes up what left.
    """

    def __init__(
        self,
        exchange: ScriptedExchange,
        *,
        epoch: int,
        may_send: Callable[[], bool],
        faults: Faults = NO_FAULTS,
        random: Random,
        kills: KillSwitch,
        left: list[Left],
    ) -> None:
        self.faults = faults
        self._exchange = exchange
        self._clock = exchange.clock
        self._epoch = epoch
        self._may_send = may_send
        self._random = random
        self._kills = kills
        self._left = left
        self._heard: list[OrderSnapshot] = []
        exchange.subscribe(self._hear)

    # --- requests that change something ----------------------------------------------------------------------------

    def place(self, order: Order, stamp: Stamp) -> OrderSnapshot:
        accept = lambda: self._exchange.accept(order, stamp, epoch=self._epoch)  # noqa: E731 - bound to this request
        return self._request("place", order, accept)

    def amend(self, order: Order, stamp: Stamp, *, price: Decimal | None, quantity: Decimal) -> OrderSnapshot:
        about = order.client_order_id
        return self._request("amend", order, lambda: self._exchange.amend(about, stamp, price=price, quantity=quantity))

    def cancel(self, order: Order, stamp: Stamp) -> OrderSnapshot:
        return self._request("cancel", order, lambda: self._exchange.cancel(order.client_order_id, stamp))

    def _request(self, what: str, order: Order, arrives: Callable[[], OrderSnapshot | Answer]) -> OrderSnapshot:
        if what == "place":
            self._kill_after_check(order, arrives)
        if self._happens(self.faults.not_sent):
            raise NotSent("connection refused")
        if self._happens(self.faults.paused):
            raise SendingPaused("too many requests", retry_after_s=self._random.randint(2, 20))
        self._left.append(Left(self._epoch, order.client_order_id, what, self._may_send()))
        answers: list[OrderSnapshot | Answer] = []
        lost, late = self._happens(self.faults.lost), self._happens(self.faults.late)
        there_ms = self._random.randint(TIMEOUT_MS, TIMEOUT_MS + self.faults.late_ms) if late else self._hop_ms()
        if not lost:
            self._clock.at(self._clock.ms + there_ms, lambda: answers.append(arrives()))
        if what == "place":
            self._kills.passes(KillPoint.DURING_SEND, order.leg)
        if lost or late or self._happens(self.faults.answer_lost):
            self._clock.advance(self._random.choice((there_ms, TIMEOUT_MS)) if not late else TIMEOUT_MS)
            raise UnknownOutcome("no answer in time")
        self._clock.advance(there_ms)
        answer = answers[0]
        self._clock.advance(self._hop_ms())
        return _read(answer)

    def _kill_after_check(self, order: Order, arrives: Callable[[], OrderSnapshot | Answer]) -> None:
        """The process dies with the right checked; or it is stopped there, taken for dead, and goes on much later."""
        goes_on_ms = self._clock.ms + self._random.randint(10_000, 60_000)
        stopped = self._random.random() < 0.5
        ignored: list[OrderSnapshot | Answer] = []
        try:
            self._kills.passes(KillPoint.AFTER_CHECK, order.leg)
        except BaseException:
            if stopped:
                self._clock.at(goes_on_ms, lambda: ignored.append(arrives()))
            raise

    # --- questions -------------------------------------------------------------------------------------------------

    def server_time(self) -> datetime:
        self._ask()
        read = self._clock.exchange_time()
        self._clock.advance(self._hop_ms())
        return read

    def find(self, client_order_id: str) -> OrderSnapshot | None:
        self._ask()
        self._kills.passes(KillPoint.DURING_LOOK_UP)
        found = [listed for listed in self._exchange.visible() if listed.client_order_id == client_order_id]
        # of an id that was used again, the newest is given
        return snapshot_of(found[-1]) if found else None

    def open_orders(self) -> Sequence[OrderSnapshot]:
        return self._list(lambda listed: listed.is_open)

    def closed_orders(self, *, since: datetime) -> Sequence[OrderSnapshot]:
        return self._list(lambda listed: not listed.is_open)

    def trades(self, *, since: datetime, exchange_order_id: str | None = None) -> Sequence[Execution]:
        self._ask()
        return [
            execution
            for execution in self._exchange.trades(since)
            if exchange_order_id in {None, execution.exchange_order_id}
        ]

    def _list(self, wanted: Callable[[Listed], bool]) -> list[OrderSnapshot]:
        self._ask()
        return [snapshot_of(listed) for listed in self._exchange.visible() if wanted(listed)]

    def _ask(self) -> None:
        self._clock.advance(self._hop_ms())
        if self._happens(self.faults.away):
            raise ExchangeAway("no answer")

    # --- what the exchange says unasked ----------------------------------------------------------------------------

    def updates(self) -> Sequence[OrderSnapshot]:
        heard, self._heard = self._heard, []
        return heard

    def _hear(self, update: OrderSnapshot) -> None:
        if self._happens(self.faults.dropped):
            return
        for _ in range(2 if self._happens(self.faults.doubled) else 1):
            late_ms = self._random.randint(0, self.faults.late_ms) if self._happens(self.faults.delayed) else 20
            self._clock.at(self._clock.ms + late_ms, lambda: self._heard.append(update))

    # --- chance ----------------------------------------------------------------------------------------------------

    def _happens(self, probability: float) -> bool:
        return probability > 0 and self._random.random() < probability

    def _hop_ms(self) -> int:
        return self._random.randint(5, 80)


def _read(answer: OrderSnapshot | Answer) -> OrderSnapshot:
    match answer:
        case Answer.TOO_OLD:
            raise NotSent("timestamp outside of the recvWindow")
        case Answer.DUPLICATE:
            raise UnknownOutcome("duplicate order sent")
        case Answer.REFUSED:
            raise OrderRefused("filter failure")
        case Answer.NO_SUCH_ORDER:
            raise OrderRefused("unknown order sent")
        case Answer.STOP_PASSED:
            raise StopPassed("stop price would trigger immediately")
        case OrderSnapshot():
            return answer
