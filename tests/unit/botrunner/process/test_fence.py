"""The deadline: which moments allow an order, and which end the process."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.process.fence import Deadlines, Fence
from botrunner.process.heartbeat import Lease
from botrunner.process.progress import WAIT_BELIEVED_S, Progress
from botrunner.process.stop import stop_reason
from fleet.clock import SystemClock
from fleet.foreign import Unreadable
from fleet.states import ExitReason
from fleet.trading_service.lease import HeartbeatReply, RunId

DEADLINES = Deadlines(heartbeat_s=5, stop_s=15, exit_s=600)


@pytest.mark.parametrize(
    ("now", "may_send", "must_exit"),
    [(100.0, True, False), (114.9, True, False), (115.0, False, False), (699.9, False, False), (700.0, False, True)],
)
def test_deadlines_count_from_the_claim(now: float, may_send: bool, must_exit: bool) -> None:
    fence = Fence(DEADLINES, claimed_at=100.0)
    assert fence.may_send(now) is may_send
    assert fence.must_exit(now) is must_exit


def test_the_time_of_sending_counts_not_that_of_the_answer() -> None:
    fence = Fence(DEADLINES, claimed_at=100.0)
    fence.acknowledged(sent_at=105.0)  # answered at 112
    assert not fence.may_send(120.0)


def test_a_later_acknowledged_heartbeat_gives_the_right_back() -> None:
    fence = Fence(DEADLINES, claimed_at=100.0)
    assert not fence.may_send(130.0)
    fence.acknowledged(sent_at=131.0)
    assert fence.may_send(132.0)


def test_a_lost_run_never_gets_the_right_back() -> None:
    fence = Fence(DEADLINES, claimed_at=100.0)
    fence.lose()
    fence.acknowledged(sent_at=101.0)
    assert not fence.may_send(101.0)
    assert fence.lost


@given(st.lists(st.floats(0, 1000), max_size=20), st.floats(0, 2000))
def test_never_a_right_longer_than_t_stop_after_the_newest_send(sent: list[float], now: float) -> None:
    fence = Fence(DEADLINES, claimed_at=0.0)
    for moment in sent:
        fence.acknowledged(sent_at=moment)
    newest = max([0.0, *sent])
    assert fence.may_send(now) == (now - newest < DEADLINES.stop_s)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("superseded", ExitReason.SUPERSEDED),
        ("stopped", ExitReason.STOPPED),
        (None, ExitReason.RELEASED),
        ("hung", ExitReason.RELEASED),
    ],
)
def test_stop_reason(text: str | None, reason: ExitReason) -> None:
    assert stop_reason(text) is reason


def test_limits_that_cannot_be_read_change_nothing() -> None:
    taken: list[object] = []
    clock = SystemClock()
    lease = Lease(
        url="",
        run=RunId(1, 1, "me"),
        deadlines=DEADLINES,
        fence=Fence(DEADLINES, claimed_at=0),
        progress=Progress(clock),
        clock=clock,
        on_stop=taken.append,
        on_limits=taken.append,
    )
    good = {"risk_management": {"max_daily_trades": 1}}
    for limits in (good, Unreadable("is not JSON"), None, good):
        lease._obey(HeartbeatReply(stop_requested=False, stop_reason=None, limits=limits))
    assert taken == [good]


@pytest.mark.parametrize("error", [ValueError(), SystemExit(1), GeneratorExit()], ids=repr)
def test_nothing_that_is_raised_ends_the_heartbeats(error: BaseException) -> None:
    """Limits that come with one pass the models of packages."""
    beats, clock = threading.Semaphore(0), SystemClock()

    class Raises(Lease):
        def beat(self) -> None:
            beats.release()
            raise error

    lease = Raises(
        url="",
        run=RunId(1, 1, "me"),
        deadlines=Deadlines(heartbeat_s=0.01, stop_s=15, exit_s=600),
        fence=Fence(DEADLINES, claimed_at=clock.monotonic()),
        progress=Progress(clock),
        clock=clock,
        on_stop=lambda _: None,
        on_limits=lambda _: None,
    )
    lease.start()
    assert all(beats.acquire(timeout=30) for _ in range(3))
    lease.stop()


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_a_start_says_what_it_is_at() -> None:
    clock = Hands()
    progress = Progress(clock)
    assert (progress.phase, progress.waiting) == (None, False)
    progress.enter("loads its program, 1 of 3")
    clock.now += 40
    assert (progress.phase, progress.waiting, progress.age_s()) == ("loads its program, 1 of 3", False, 40)
    progress.waits("waits for the exchange binance: HTTP 418")
    assert (progress.phase, progress.waiting, progress.age_s()) == ("waits for the exchange binance: HTTP 418", True, 0)
    clock.now += 3
    progress.enter("warms up")
    assert (progress.phase, progress.waiting, progress.age_s()) == ("warms up", False, 0)
    clock.now += 3
    progress.live()
    assert (progress.phase, progress.waiting, progress.age_s()) == (None, False, 0)
    clock.now += 3
    assert progress.age_s() == 3


def test_a_loop_that_is_stuck_does_not_wait() -> None:
    clock = Hands()
    progress = Progress(clock)
    progress.waits("waits for the exchange binance")
    assert WAIT_BELIEVED_S == 60
    clock.now += WAIT_BELIEVED_S - 1
    assert progress.waiting
    clock.now += 1
    assert not progress.waiting
    progress.made()
    assert progress.waiting
