"""When a watch on pods is replaced, and what is said of it: on a clock that a pause moves, without kopf."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import aiohttp
import kopf
import pytest
from yarl import URL

from controller.observe import pod_watch as module
from controller.observe.pod_watch import RECOVERY_S, STALE_S, STUCK_LIMIT, PodWatch, WatchHealth, WatchKeeper
from controller.observe.pods import PodStore
from fleet.labels import BOT_ID, EPOCH
from tests.unit.controller.make import pod


class Ended(BaseException):
    """Ends a loop that has no end of its own."""


class Watch:
    """Says what the test says."""

    def __init__(self, world: World) -> None:
        self.world, self.alive, self.ended = world, False, None
        world.say(f"watch {len(world.made)} made")
        world.made.append(self)

    async def start(self) -> None:
        self.world.say("started")

    async def stop(self) -> None:
        self.world.say("stopped")

    def trouble(self) -> str | None:
        return self.world.wrong


class World:
    """A keeper whose pauses move the clock; what happens is noted with its time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.until, self.wrong = 100.0, 200.0, ""
        self.at: dict[float, Callable[[], None]] = {}
        self.made: list[Watch] = []
        self.events: list[tuple[float, str | None]] = []
        self.keeper = WatchKeeper(
            lambda: Watch(self),  # type: ignore[arg-type,return-value]
            clock=lambda: self.now,
            told=lambda trouble: self.events.append((self.now, f"told {trouble}")),
        )
        self.wrong: str | None = None
        monkeypatch.setattr(module.asyncio, "sleep", self.sleep)

    def say(self, what: str) -> None:
        self.events.append((self.now, what))

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        for moment in sorted(moment for moment in self.at if moment <= self.now):
            self.at.pop(moment)()
        if self.now > self.until:
            raise Ended

    def becomes(self, wrong: str | None, *, ended: bool = False) -> Callable[[], None]:
        def change() -> None:
            self.wrong = wrong
            self.made[-1].ended = "kopf ended" if ended else None

        return change

    async def keep(self, until: float) -> list[tuple[float, str | None]]:
        self.until = until
        await self.keeper._begin()
        self.keeper._begun_at = self.now
        with pytest.raises(Ended):
            await self.keeper._keep()
        return self.events


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_the_times_follow_one_another() -> None:
    """What a stream says at its end must come before the silence counts, and kopf's tries before our patience."""
    assert (module.WATCH_TIMEOUT_S, module.INACTIVITY_S, STALE_S, RECOVERY_S) == (5, 8.0, 9.0, 20.0)
    assert (module.RESTART_FIRST_S, module.RESTART_MAX_S, module.READY_TIMEOUT_S, module.STOP_TIMEOUT_S) == (
        1,
        15,
        30,
        5,
    )
    assert module.BACKOFFS == (0.5, 1.0, 2.0)
    assert (STUCK_LIMIT, module.TROUBLE_LIMIT) == (3, 500)
    assert WatchKeeper(lambda: None).recovery_s == RECOVERY_S  # type: ignore[arg-type,return-value]


async def test_a_healthy_watch_is_told_of_once_and_left_alone(world: World) -> None:
    assert await world.keep(until=150.0) == [(100.0, "watch 0 made"), (100.0, "started"), (100.25, "told None")]
    assert world.keeper.fault() is None
    assert world.keeper.trouble() is None


async def test_trouble_and_its_end_are_told_when_they_begin(world: World) -> None:
    world.at = {105.0: world.becomes("deaf"), 115.0: world.becomes("deafer"), 120.0: world.becomes(None)}
    events = await world.keep(until=150.0)
    assert events[2:] == [(100.25, "told None"), (105.0, "told deaf"), (120.0, "told None")]
    assert len(world.made) == 1


async def test_a_watch_that_has_just_begun_is_given_its_time(world: World) -> None:
    world.wrong = "nothing was heard yet"
    world.at = {105.0: world.becomes(None), 110.0: world.becomes("deaf")}
    assert [what for _, what in await world.keep(until=115.0)][2:] == ["told None", "told deaf"]


async def test_a_watch_that_never_hears_is_told_of_after_that_time(world: World) -> None:
    world.wrong = "nothing was heard yet"
    events = await world.keep(until=115.0)
    assert events[2:] == [(100.0 + STALE_S, "told nothing was heard yet")]


async def test_trouble_that_lasts_replaces_the_watch(world: World) -> None:
    world.at = {110.0: world.becomes("deaf")}
    events = await world.keep(until=132.0)
    assert events[3:] == [
        (110.0, "told deaf"),
        (131.0, "stopped"),  # RECOVERY_S and the first pause
        (131.0, "watch 1 made"),
        (131.0, "started"),
    ]


async def test_a_trouble_that_comes_again_has_its_own_patience(world: World) -> None:
    world.at = {110.0: world.becomes("deaf"), 125.0: world.becomes(None), 126.0: world.becomes("deaf")}
    await world.keep(until=145.0)
    assert len(world.made) == 1


async def test_a_replaced_watch_has_its_own_patience(world: World) -> None:
    world.at = {110.0: world.becomes("deaf")}
    events = await world.keep(until=160.0)
    assert [at for at, what in events if what == "stopped"] == [131.0, 153.25]  # a pause of 2 s


async def test_watches_that_end_at_once_are_replaced_less_and_less_often(world: World) -> None:
    """An API server that refuses everybody isn't asked more and more."""
    original = world.keeper.new

    def new() -> Any:
        made = original()
        made.ended = "kopf ended"  # type: ignore[assignment]
        return made

    world.keeper.new = new
    world.wrong = "down"
    events = await world.keep(until=160.0)
    stops = [at for at, what in events if what == "stopped"]
    assert stops == [101.25, 103.5, 107.75, 116.0, 131.25, 146.5]  # pauses 1, 2, 4, 8, 15, 15


async def test_after_a_recovery_the_pauses_begin_anew(world: World) -> None:
    world.at = {
        110.0: world.becomes("down", ended=True),
        111.5: world.becomes(None),
        120.0: world.becomes("down", ended=True),
    }
    events = await world.keep(until=122.0)
    assert [at for at, what in events if what == "stopped"] == [111.0, 121.0]


async def test_watches_whose_threads_stay_are_counted_until_they_end(world: World) -> None:
    original = world.keeper.new

    def new() -> Any:
        made: Any = original()
        made.ended, made.alive = "kopf ended", True
        return made

    def all_end() -> None:
        for watch in world.made:
            watch.alive = False

    faults: list[str | None] = []
    world.keeper.new, world.wrong = new, "down"
    world.at = {moment: lambda: faults.append(world.keeper.fault()) for moment in (103.75, 108.0)} | {109.0: all_end}
    await world.keep(until=117.0)
    before, after = faults
    assert before is None
    assert (after or "").startswith("3 watches on pods did not end when told to")
    assert world.keeper.fault() is None


async def test_a_keeper_that_fails_is_a_fault_of_the_process(world: World) -> None:
    class Broken(Watch):
        def trouble(self) -> str | None:
            raise ValueError("a bug")

    world.keeper.new = lambda: Broken(world)  # type: ignore[assignment,return-value]
    await world.keeper.start()
    assert world.keeper._begun_at == 100.0
    task = world.keeper._task
    assert task is not None
    assert task.get_name() == "watch keeper"
    with pytest.raises(ValueError, match="a bug"):
        await task
    assert world.keeper.fault() == "the watch on pods isn't kept any more: ValueError('a bug')"
    await world.keeper.stop()
    assert [what for _, what in world.events][-1] == "stopped"


async def test_a_keeper_that_is_stopped_is_no_fault() -> None:
    keeper = WatchKeeper(lambda: None)  # type: ignore[arg-type,return-value]
    await keeper.stop()
    assert (keeper.trouble(), keeper.fault()) == (None, None)
    keeper._task = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
    assert keeper.fault() is None
    await keeper.stop()
    assert keeper._task.cancelled()
    assert keeper.fault() is None


class TestPodWatch:
    def make(self) -> tuple[PodWatch, PodStore]:
        store = PodStore(lambda _: None)
        return PodWatch("bots", store), store

    async def test_before_its_start_it_is_in_trouble_and_ends_without_a_word(self) -> None:
        watch, _ = self.make()
        assert watch.trouble() == "the watch on pods hasn't started"
        assert (watch.alive, watch.ended) == (False, None)
        await watch.stop()

    async def test_the_first_end_is_the_one_that_is_told_and_clean(self) -> None:
        watch, _ = self.make()
        watch._end(ValueError("a\nb postgresql://me:hunter2@db/x " + "x" * 900))
        watch._end(None)
        assert watch.ended is not None
        assert watch.ended.startswith("kopf ended: ValueError('a")
        assert "hunter2" not in watch.ended
        assert len(watch.ended) == 500
        other, _ = self.make()
        other._end(None)
        assert other.ended == "kopf ended"
        other._thread = threading.Thread()
        assert other.trouble() == "the watch on pods is down: kopf ended"
        other._ended = None
        assert other.trouble() == "the watch on pods is down: it begins, and nothing was heard yet"
        other.health.answered()
        assert other.trouble() is None

    def test_events_reach_the_store(self) -> None:
        watch, store = self.make()
        for kind in (None, "ADDED", "MODIFIED"):
            watch._take(kind, pod(uid=str(kind)))
        assert len(store.existing()) == 3
        watch._take("DELETED", pod(uid="ADDED"))
        assert {each.uid for each in store.existing()} == {"None", "MODIFIED"}

    @pytest.mark.parametrize("fault", [None, ValueError("why"), SystemExit(1)])
    async def test_how_kopf_ends_is_told_from_where_it_happens(
        self, monkeypatch: pytest.MonkeyPatch, fault: BaseException | None
    ) -> None:
        watch, _ = self.make()

        async def ends(self: PodWatch, main: object, stop: asyncio.Event) -> None:
            assert self._loop is asyncio.get_running_loop()
            assert stop is self._stop
            if fault is not None:
                raise fault

        monkeypatch.setattr(PodWatch, "_watch", ends)
        await watch.start()
        assert watch.ended == ("kopf ended" if fault is None else f"kopf ended: {fault!r}")
        await watch.stop()
        assert not watch.alive

    async def test_it_is_ready_when_kopf_is_and_ends_when_told_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
        watch, _ = self.make()

        async def waits(self: PodWatch, main: object, stop: asyncio.Event) -> None:
            self._ready.set()
            await stop.wait()

        monkeypatch.setattr(PodWatch, "_watch", waits)
        await watch.start()
        assert (watch.ended, watch.alive) == (None, True)
        assert watch._thread is not None
        assert (watch._thread.name, watch._thread.daemon) == ("kopf", True)
        await watch.stop()
        assert (watch.ended, watch.alive) == ("kopf ended", False)
        await watch.stop()  # once more does nothing

    async def test_a_kopf_that_is_never_ready_is_waited_for_so_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        watch, _ = self.make()
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)

        monkeypatch.setattr(module.asyncio, "sleep", sleep)
        monkeypatch.setattr(threading.Thread, "start", lambda _: None)
        await watch.start()
        assert sum(slept) == pytest.approx(30)


class TestItsThread:
    """What stop meets, at each moment of a thread's life."""

    @pytest.fixture
    def watch(self) -> Any:
        made = PodWatch("bots", PodStore(lambda _: None))
        self.end = threading.Event()
        made._thread = threading.Thread(target=self.end.wait)
        made._thread.start()
        yield made
        self.end.set()
        made._thread.join()

    async def test_before_it_has_a_loop(self, watch: PodWatch, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "STOP_TIMEOUT_S", 0.01)
        await watch.stop()
        assert watch.alive
        watch._loop = asyncio.new_event_loop()
        await watch.stop()  # and no flag yet
        watch._stop = asyncio.Event()
        watch._loop.close()
        await watch.stop()  # its loop has just been closed
        assert not watch._stop.is_set()
        watch._loop = None
        await watch.stop()

    async def test_an_end_outside_of_the_loop_is_told_too(
        self, watch: PodWatch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(coroutine: Any) -> None:
            coroutine.close()
            raise ValueError("no loop to be had")

        monkeypatch.setattr(module.asyncio, "run", broken)
        watch._run(asyncio.get_running_loop())
        assert watch.ended == "kopf ended: ValueError('no loop to be had')"

    async def test_an_end_inside_is_told_before_the_loop_is_closed(
        self, watch: PodWatch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def broken(self: PodWatch, main: object, stop: object) -> None:
            raise ValueError("why")

        monkeypatch.setattr(PodWatch, "_watch", broken)
        with pytest.raises(ValueError, match="why"):
            await watch._operate(asyncio.get_running_loop())
        assert watch.ended == "kopf ended: ValueError('why')"


class Kopf:
    """Takes the handlers in kopf's place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.handlers: dict[str, Any] = {}
        self.operated: list[dict[str, Any]] = []
        self.accounts: dict[str, Any] = {"service": None, "kubeconfig": None}
        monkeypatch.setattr(kopf.on, "login", lambda **_: self._taking("login"))
        monkeypatch.setattr(kopf.on, "event", lambda *what, **_: self._taking(" ".join(what)))
        monkeypatch.setattr(kopf, "operator", self.operator)
        monkeypatch.setattr(kopf, "login_with_service_account", lambda **_: self.accounts["service"])
        monkeypatch.setattr(kopf, "login_with_kubeconfig", lambda **_: self.accounts["kubeconfig"])

    def _taking(self, name: str) -> Callable[[Any], Any]:
        def take(handler: Any) -> Any:
            self.handlers[name] = handler
            return handler

        return take

    async def operator(self, **how: Any) -> None:
        self.operated.append(how)


async def test_what_kopf_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, watch, flag = Kopf(monkeypatch), PodWatch("bots", PodStore(lambda _: None)), asyncio.Event()
    await watch._watch(asyncio.get_running_loop(), flag)
    [how] = mine.operated
    assert (how["standalone"], how["namespaces"]) == (True, ["bots"])
    assert (how["stop_flag"], how["ready_flag"]) == (flag, watch._ready)
    assert set(mine.handlers) == {"login", "v1 pods"}


async def test_credentials_that_were_refused_are_not_offered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """kopf asks again for those; without an answer it ends, and the keeper tries anew later."""
    mine, watch = Kopf(monkeypatch), PodWatch("bots", PodStore(lambda _: None))
    monkeypatch.setattr(PodWatch, "_session", lambda _, info: f"session of {info}")
    await watch._watch(asyncio.get_running_loop(), asyncio.Event())
    login = mine.handlers["login"]
    assert await login() is None
    mine.accounts = {"service": None, "kubeconfig": "me"}
    assert await login() == "session of me"
    assert await login() is None
    mine.accounts["service"] = "account"
    assert await login() == "session of account"
    assert await login() is None
    mine.accounts["service"] = "rotated"
    assert await login() == "session of rotated"


async def test_an_event_of_a_pod_of_ours_reaches_the_store_on_the_main_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, store = Kopf(monkeypatch), PodStore(lambda _: None)
    watch = PodWatch("bots", store)
    await watch._watch(asyncio.get_running_loop(), asyncio.Event())
    labels = {BOT_ID: "7", EPOCH: "5"}
    body = {"metadata": {"name": "p", "uid": "u", "labels": labels}}
    await mine.handlers["v1 pods"](type="ADDED", body=body)
    await mine.handlers["v1 pods"](type="ADDED", body={"metadata": {"name": "foreign", "uid": "x"}})
    assert store.existing() == []
    await asyncio.sleep(0)
    assert [each.uid for each in store.existing()] == ["u"]
    await mine.handlers["v1 pods"](type="DELETED", body=body)
    await asyncio.sleep(0)
    assert store.existing() == []


def request_end(path: str, status: int = 200, reason: str | None = "OK", **query: str) -> Any:
    response = type("Response", (), {"status": status, "reason": reason})()
    return aiohttp.TraceRequestEndParams("GET", URL(f"http://k{path}").with_query(query), {}, response)  # type: ignore[arg-type]


PODS = "/api/v1/namespaces/bots/pods"
BEGINS = "it begins, and nothing was heard yet"


@pytest.mark.parametrize(
    ("params", "trouble"),
    [
        (request_end(PODS, watch="true"), None),
        (request_end(PODS), BEGINS),  # a list alone tells of no changes
        (request_end(PODS, watch="false"), BEGINS),
        (request_end("/api/v1", watch="true"), BEGINS),
        (request_end("/api/v1", 403), BEGINS),
        (request_end(PODS, 403, "Forbidden"), "the API server answers 403 Forbidden"),
        (request_end(PODS, 500, None, watch="true"), "the API server answers 500"),
    ],
)
async def test_what_counts_as_a_sign_of_life(params: Any, trouble: str | None) -> None:
    health = WatchHealth(lambda: 0.0)
    [ended] = health.traces().on_request_end
    await ended(None, None, params)  # type: ignore[arg-type]
    assert health.trouble() == trouble


@pytest.mark.parametrize(
    ("path", "fault", "trouble"),
    [
        (PODS, OSError("cut"), "no answer from the API server: OSError('cut')"),
        (PODS, asyncio.CancelledError(), BEGINS),  # by ourselves
        ("/api/v1", OSError("cut"), BEGINS),
    ],
)
async def test_what_a_request_without_an_answer_means(path: str, fault: BaseException, trouble: str) -> None:
    health = WatchHealth(lambda: 0.0)
    [failed] = health.traces().on_request_exception
    await failed(None, None, aiohttp.TraceRequestExceptionParams("GET", URL(f"http://k{path}"), {}, fault))  # type: ignore[arg-type]
    assert health.trouble() == trouble


def test_a_refusal_is_one_short_line() -> None:
    health = WatchHealth(lambda: 0.0)
    health.failed("a\nb" + "x" * 900)
    assert health.trouble() == "a b" + "x" * 496 + "…"


def test_kopf_is_told_to_watch_pods_of_ours_and_nothing_else() -> None:
    logging.getLogger("kopf").setLevel(logging.NOTSET)
    settings = module._settings()
    assert logging.getLogger("kopf").level == logging.WARNING  # it tells of each stream that ends
    assert settings.watching.label_selectors["v1", "pods"] == module.SELECTOR
    assert (settings.watching.server_timeout, settings.watching.inactivity_timeout) == (5, 8.0)
    assert (settings.watching.connect_timeout, settings.networking.connect_timeout) == (3.0, 3.0)
    assert tuple(settings.networking.error_backoffs) == (0.5, 1.0, 2.0)
    assert (settings.posting.enabled, settings.scanning.disabled) == (False, True)
    assert settings.process.ultimate_exiting_timeout is None


async def test_kopfs_session_carries_the_credentials_and_our_ear() -> None:
    watch = PodWatch("bots", PodStore(lambda _: None))
    made = watch._session(kopf.ConnectionInfo(server="http://k", token="t", default_namespace="n"))
    session = made.aiohttp_session
    assert (made.server, made.default_namespace) == ("http://k", "n")
    assert session.headers["Authorization"] == "Bearer t"
    assert session.connector is not None
    assert session.connector.limit == 0  # a watch holds its connection for good
    assert len(session.trace_configs) == 1
    await session.close()
