"""A bar with orders is committed only with the right to trade; what people should be told goes with the next bar."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from botrunner.engine.commit import RIGHT_CHECK_S, FencedCommit
from botrunner.market.side import Side
from botrunner.process.fence import Deadlines, Fence
from botrunner.process.progress import Progress
from botrunner.process.stop import StopRequest, StopSwitch
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order, OrderType
from botrunner.trading.state import BarOutcome
from fleet.errors import FencedError
from fleet.events import Event, EventKind
from fleet.states import ExitReason
from tests.support import FakeClock
from tests.unit.botrunner.bars import BAR, outcome


@dataclass
class Process:
    """A run whose right ended long ago (FakeClock begins at 1000), and what happens to it while it waits."""

    after_s: float = 5.0
    event: str = "renewed"
    clock: FakeClock = field(default_factory=FakeClock)
    stop: StopSwitch = field(default_factory=StopSwitch)
    fence: Fence = field(default_factory=lambda: Fence(Deadlines(), claimed_at=0.0))
    committed: list[BarOutcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.progress = Progress(self.clock)
        sleep = self.clock.sleep

        def slept(seconds: float) -> None:
            sleep(seconds)
            assert self.committed == [], "an order left without the right to trade"
            if self.clock.time - 1000 >= self.after_s:
                self.happens()

        self.clock.sleep = slept  # type: ignore[method-assign]
        self.commit = FencedCommit(
            self.committed.append,
            bot_id=7,
            fence=self.fence,
            stop=self.stop,
            progress=self.progress,
            clock=self.clock,
        )

    def happens(self) -> None:
        if self.event == "renewed":
            self.fence.acknowledged(sent_at=self.clock.time)
        elif self.event == "lost":
            self.fence.lose()
        else:
            self.stop.request(StopRequest(ExitReason.RELEASED, urgent=True))


ORDER = Order(
    client_order_id="c" * 32,
    signal_at=BAR,
    leg=Leg.ENTRY,
    attempt=0,
    side=Side.BUY,
    type=OrderType.MARKET,
    quantity=Decimal(1),
    price=None,
    reason="test",
)


def bar(*, orders: bool) -> BarOutcome:
    return outcome(orders=(ORDER,) if orders else ())


def told(number: int) -> Event:
    return Event(kind=EventKind.BOT_ERROR, title=f"{number}", body="", facts={}, dedupe_key=f"{number}")


def test_a_bar_without_orders_needs_no_right() -> None:
    process = Process()
    process.commit(bar(orders=False))
    assert (len(process.committed), process.clock.slept) == (1, [])


def test_a_bar_with_orders_waits_for_the_right_and_shows_that_it_is_alive() -> None:
    process = Process()
    process.commit(bar(orders=True))
    assert len(process.committed) == 1
    assert process.clock.time - 1000 == pytest.approx(5.0, abs=RIGHT_CHECK_S)
    assert process.progress.age_s() == pytest.approx(RIGHT_CHECK_S)


@pytest.mark.parametrize("event", ["lost", "asked to stop"])
def test_a_run_that_ends_while_it_waits_commits_nothing(event: str) -> None:
    process = Process(event=event)
    with pytest.raises(FencedError, match="no right to trade"):
        process.commit(bar(orders=True))
    assert process.committed == []


def test_what_people_should_be_told_is_committed_once_with_the_next_bar() -> None:
    process = Process()
    process.commit.tell(told(1))
    process.commit.tell(told(2))
    for _ in range(2):
        process.commit(bar(orders=False))
    first, second = process.committed
    assert [event.title for event in first.events][-2:] == ["1", "2"]
    assert len(second.events) == len(first.events) - 2
