"""The threads behind the fence: what an acknowledged heartbeat is worth, and what ends a process that can't renew.

A stand-in answers in the database's place and moves a clock by hand, so every deadline is exact and nothing waits.
"""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable
from typing import Any

import pytest

from botrunner.process import heartbeat as module
from botrunner.process.fence import Deadlines, Fence
from botrunner.process.heartbeat import LAST_BEAT_S, LEAVE_S, Lease
from botrunner.process.progress import Progress
from botrunner.process.stop import FLATTEN_S, LEAVE_ON_SIGNAL_S, StopRequest, StopSwitch
from fleet.errors import DatabaseAway, FencedError
from fleet.exit_codes import EXIT_FENCED
from fleet.states import ExitReason
from fleet.trading_service.lease import HeartbeatReply, RunId

RUN = RunId(7, 5, "me")
NOTHING = HeartbeatReply(stop_requested=False, stop_reason=None, limits=None)


class Clock:
    """Set by hand; a wait on `Moments` moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Connection:
    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Database:
    """Answers heartbeats as it is told: an answer, an error, or a function that gives one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: list[Any] = []
        self.beats: list[dict[str, Any]] = []
        self.connections: list[Connection] = []
        self.asked_for: list[tuple[str, dict[str, Any]]] = []
        monkeypatch.setattr(module, "connect", self.connect)
        monkeypatch.setattr(module, "heartbeat", self.heartbeat)

    def connect(self, url: str, **how: Any) -> Connection:
        self.asked_for.append((url, how))
        self.connections.append(Connection())
        return self.connections[-1]

    def heartbeat(self, connection: Connection, run: RunId, **values: Any) -> HeartbeatReply:
        assert run == RUN
        assert not connection.closed
        self.beats.append(values)
        answer = self.answers.pop(0) if self.answers else NOTHING
        answer = answer() if callable(answer) else answer
        if isinstance(answer, Exception):
            raise answer
        return answer


class Moments:
    """A `threading.Event` that is never set from outside: waiting moves the clock, the last wait ends the loop."""

    def __init__(self, clock: Clock, *, until: float = 1e9) -> None:
        self._clock, self._until = clock, until
        self.waits: list[float] = []

    def is_set(self) -> bool:
        return self._clock.now >= self._until

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self._clock.now += seconds
        return self.is_set()

    def clear(self) -> None:
        """Nothing was set."""


class World:
    """A lease with everything around it in reach."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
        self.clock = Clock()
        self.database = Database(monkeypatch)
        self.stops: list[StopRequest] = []
        self.limits: list[Any] = []
        self.ended: list[tuple[int, float]] = []
        self.progress = Progress(self.clock)  # type: ignore[arg-type]
        self.fence = Fence(Deadlines(), claimed_at=100.0)
        self.lease = Lease(
            url="postgresql://db",
            run=RUN,
            deadlines=Deadlines(),
            fence=self.fence,
            progress=self.progress,
            clock=self.clock,  # type: ignore[arg-type]
            on_stop=self.stops.append,
            on_limits=self.limits.append,
            end_process=lambda code: self.ended.append((code, self.clock.now)),
            **changes,
        )

    def renew(self, *, until: float) -> list[float]:
        """The heartbeat's thread until that moment; the waits between heartbeats."""
        moments = Moments(self.clock, until=until)
        self.lease._done = self.lease._beat_now = moments  # type: ignore[assignment]
        self.lease._renew()
        return moments.waits

    def watch(self, *, until: float = 1e9) -> None:
        """The watchdog's thread until it ends, or that moment."""
        self.lease._done = Moments(self.clock, until=until)  # type: ignore[assignment]
        self.lease._watch()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_the_times_that_the_protocol_rests_on() -> None:
    """T_stop and T_exit as documented; leaving fits into the kubelet's grace period of 30 s, and is quick on a signal."""
    assert Deadlines() == Deadlines(heartbeat_s=5.0, stop_s=15.0, exit_s=600.0)
    assert (LEAVE_S, LEAVE_ON_SIGNAL_S, FLATTEN_S, LAST_BEAT_S) == (5.0, 0.5, 20.0, 0.5)


def slow(world: World, seconds: float) -> Callable[[], HeartbeatReply]:
    """An acknowledgement that takes its time."""

    def answer() -> HeartbeatReply:
        world.clock.now += seconds
        return NOTHING

    return answer


def test_a_heartbeat_counts_from_its_sending_however_late_its_answer_comes(world: World) -> None:
    """The controller counts from when the row was written, which may be right after the sending: so must the bot."""
    world.clock.now = 110.0
    world.database.answers = [slow(world, 12.0)]
    world.lease.beat()
    assert world.clock.now == 122.0
    assert world.fence.may_send(124.9)
    assert not world.fence.may_send(125.0)  # T_stop after 110, not after 122


def test_a_heartbeat_tells_how_the_process_is(world: World) -> None:
    world.progress.waits("waits for the exchange")
    world.clock.now += 4.0
    world.lease.beat()
    [beat] = world.database.beats
    peak = beat.pop("peak_memory_bytes")
    assert beat == {"progress_age_s": 4.0, "phase": "waits for the exchange", "waiting": True}
    assert peak % 1024 == 0  # the kernel counts kilobytes
    assert peak >= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 2
    assert world.database.asked_for == [
        ("postgresql://db", {"application": "bot-7-e5 heartbeat", "synchronous_commit": False})
    ]


def test_one_connection_serves_all_heartbeats_until_one_fails(world: World) -> None:
    world.database.answers = [NOTHING, NOTHING, DatabaseAway("server closed"), NOTHING]
    waits = world.renew(until=125.0)
    assert waits == [5.0] * 5
    assert len(world.database.beats) == 4
    assert len(world.database.connections) == 2
    assert all(connection.closed for connection in world.database.connections)


@pytest.mark.parametrize("fault", [DatabaseAway("no answer"), ValueError("anything at all")])
def test_no_failure_ends_the_renewing(world: World, fault: Exception) -> None:
    world.database.answers = [fault, fault, fault]
    world.renew(until=140.0)
    assert len(world.database.beats) == 7
    assert len(world.database.connections) == 4  # a new one after each failure
    assert not world.fence.lost
    assert world.fence.may_send(149.9)  # the heartbeat sent at 135 counts


def test_unanswered_heartbeats_renew_nothing(world: World) -> None:
    world.database.answers = [DatabaseAway("no answer")] * 3
    world.renew(until=120.0)
    assert not world.fence.may_send(115.0)


def test_a_fenced_run_is_lost_and_not_renewed_any_more(world: World) -> None:
    world.database.answers = [NOTHING, FencedError("no longer current")]
    world.renew(until=200.0)
    assert len(world.database.beats) == 2
    assert world.fence.lost
    assert world.database.connections[0].closed


def test_what_is_done_beside_a_heartbeat_is_done_after_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def beside(connection: object) -> None:
        seen.append((connection, world.fence.may_send(119.9)))
        raise DatabaseAway("beside")

    world = World(monkeypatch, after_beat=beside)
    world.renew(until=115.0)
    assert seen == [(world.database.connections[0], True), (world.database.connections[1], True)]


def test_a_request_to_stop_is_heard_once(world: World) -> None:
    asked = HeartbeatReply(stop_requested=True, stop_reason="superseded", limits=None)
    world.database.answers = [NOTHING, asked, asked]
    world.renew(until=120.0)
    assert world.stops == [StopRequest(ExitReason.SUPERSEDED, urgent=False)]


def test_changed_limits_are_handed_over_once(world: World) -> None:
    one, two = ({"risk_management": {"max_daily_trades": number}} for number in (1, 2))
    limits = (one, one, None, two, two, one)
    world.database.answers = [HeartbeatReply(stop_requested=False, stop_reason=None, limits=each) for each in limits]
    world.renew(until=135.0)
    assert world.limits == [one, two, one]


def test_the_process_ends_when_the_database_is_away_for_t_exit(world: World) -> None:
    world.clock.now = 690.0
    world.watch()
    assert world.ended == [(EXIT_FENCED, 700.0)]  # 600 s after the claim at 100


def test_the_process_goes_on_as_long_as_heartbeats_are_acknowledged(world: World) -> None:
    world.fence.acknowledged(sent_at=500.0)
    world.watch(until=1_000.0)
    assert world.ended == []


def test_a_process_that_lost_its_run_and_hangs_is_ended(world: World) -> None:
    world.fence.lose()
    world.watch()
    assert world.ended == [(EXIT_FENCED, 100.0 + 0.5 + LEAVE_S)]


def test_a_process_that_lost_its_run_and_leaves_is_not_ended(world: World) -> None:
    world.fence.lose()
    world.watch(until=103.0)
    assert world.ended == []


def test_real_threads_renew_at_once_when_asked_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    beaten = threading.Event()
    world.database.answers = [lambda: beaten.set() or NOTHING]
    names = [thread.name for thread in world.lease._threads]
    assert (names, [thread.daemon for thread in world.lease._threads]) == (["heartbeat", "watchdog"], [True, True])
    world.lease._deadlines = Deadlines(heartbeat_s=3600)
    world.lease.start()
    world.lease.send_now()
    assert beaten.wait(5)
    world.lease.stop()
    for thread in world.lease._threads:
        thread.join(5)
        assert not thread.is_alive()
    assert len(world.database.beats) == 1
    assert world.database.connections[0].closed


def test_a_release_waits_for_a_heartbeat_under_way_but_not_long(monkeypatch: pytest.MonkeyPatch) -> None:
    joined: list[float | None] = []
    world = World(monkeypatch)
    monkeypatch.setattr(world.lease._threads[0], "join", lambda timeout=None: joined.append(timeout))
    world.lease.stop()
    assert joined == [LAST_BEAT_S]
    assert world.lease._done.is_set()
    assert world.lease._beat_now.is_set()


def test_a_heartbeat_that_meets_the_release_of_its_own_run_is_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)

    def released() -> HeartbeatReply:
        world.lease._done.set()
        raise FencedError("ended")

    logged: list[str] = []
    monkeypatch.setattr(module.log, "error", lambda event, **_: logged.append(event), raising=False)
    world.database.answers = [released]
    world.lease.send_now()
    world.lease._renew()
    assert logged == []


class TestStopSwitch:
    def test_nobody_asked(self) -> None:
        switch = StopSwitch()
        assert (switch.asked, switch.requested, switch.reason) == (False, False, ExitReason.RELEASED)
        assert switch.wait(0) is False
        switch.settle()
        assert not switch.requested
        assert switch.leave_within_s == LEAVE_ON_SIGNAL_S

    def test_the_first_reason_stays(self) -> None:
        switch = StopSwitch()
        switch.request(StopRequest(ExitReason.STOPPED))
        switch.request(StopRequest(ExitReason.SUPERSEDED))
        assert (switch.asked, switch.requested, switch.reason) == (True, True, ExitReason.STOPPED)
        assert switch.wait(0) is True

    def test_a_patient_bot_stops_when_it_is_flat(self) -> None:
        switch, holding = StopSwitch(), True
        switch.wait_while(lambda: holding)
        switch.request(StopRequest(ExitReason.STOPPED))
        switch.settle()
        assert (switch.asked, switch.requested) == (True, False)
        holding = False
        assert not switch.requested  # the main loop says when
        switch.settle()
        assert switch.requested

    def test_a_flat_bot_that_nobody_asked_goes_on(self) -> None:
        switch = StopSwitch()
        switch.wait_while(lambda: False)
        switch.settle()
        assert not switch.requested

    def test_without_patience_a_request_holds_at_once_and_settling_changes_nothing(self) -> None:
        switch = StopSwitch()
        switch.request(StopRequest(ExitReason.STOPPED))
        switch.settle()
        assert switch.requested

    def test_a_signal_waits_for_nothing(self) -> None:
        switch = StopSwitch()
        switch.wait_while(lambda: True)
        switch.request(StopRequest(ExitReason.RELEASED, urgent=True))
        assert switch.requested

    @pytest.mark.parametrize("how", ["wake", "request"])
    def test_a_rest_ends_when_there_is_something_to_do_and_the_next_one_lasts(self, how: str) -> None:
        switch = StopSwitch()
        switch.wait_while(lambda: True)
        waits: list[float] = []
        wait = switch._alarm.wait
        switch._alarm.wait = lambda seconds: waits.append(seconds) or wait(0)  # type: ignore[method-assign,func-returns-value]
        switch.wake() if how == "wake" else switch.request(StopRequest(ExitReason.STOPPED))
        assert switch._alarm.is_set()
        switch.rest(30)
        assert not switch._alarm.is_set()
        switch.rest(60)
        assert waits == [30, 60]

    def test_nobody_rests_once_it_is_time_to_stop(self) -> None:
        switch = StopSwitch()
        switch.request(StopRequest(ExitReason.STOPPED))
        switch._alarm.wait = lambda _: pytest.fail("it rested")  # type: ignore[method-assign]
        switch.rest(30)
