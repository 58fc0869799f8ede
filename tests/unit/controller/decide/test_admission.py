"""Who may start: the limit from how long starts take, the order, and what the answer must hold for any facts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.decide.admission import (
    Candidate,
    Queue,
    Span,
    Start,
    decide,
    limit_of,
    order_of,
    place_of,
    priority,
    throughput,
)
from tests.unit.controller.make import ago

TARGET_S = 15.0


def bot(bot_id: int, **changes: object) -> Candidate:
    return replace(Candidate(bot_id=bot_id, user_id=1, since=ago(60)), **changes)


def answer(
    waiting: list[Candidate],
    starts: list[Start] | None = None,
    *,
    limit: int = 4,
    typical_s: float | None = None,
    expected: int = 0,
) -> Queue:
    return decide(waiting, starts or [], limit=limit, target_s=TARGET_S, typical_s=typical_s, expected=expected)


def starting(*ids: int, **changes: object) -> list[Start]:
    return [replace(Start(bot_id=number, user_id=1), **changes) for number in ids]


# -- the limit -----------------------------------------------------------------------------------------------


def starts_of(cores: float, at_a_time: int, count: int, *, work_s: float = 2.0, idle_s: float = 0.0) -> list[Span]:
    """So many starts one after the other, always so many under way, on a machine that shares its cores fairly.

    Each needs `work_s` of one core and then waits `idle_s` for somebody else.
    """
    step, now, spans = 0.01 * work_s, 0.0, []
    running: list[list[float]] = []  # begin, work left, idle left
    begun = 0
    while len(spans) < count:
        while begun < count and len(running) < at_a_time:
            # not all at the same moment: a start is 1/n behind the one before
            running.append([now, work_s * (0.5 + begun % 7 / 7), idle_s])
            begun += 1
        busy = [each for each in running if each[1] > 0]
        share = min(1.0, cores / len(busy)) if busy else 0.0
        for each in running:
            if each[1] > 0:
                each[1] -= step * share
            else:
                each[2] -= step
        now += step
        spans += [Span(each[0], now) for each in running if each[1] <= 0 and each[2] <= 0]
        running = [each for each in running if each[1] > 0 or each[2] > 0]
    return spans


def later(spans: list[Span], seconds: float) -> list[Span]:
    return [Span(span.begin_s + seconds, span.live_s + seconds) for span in spans]


def find(cores: float, *, first: int = 4, work_s: float = 2.0, idle_s: float = 0.0) -> list[int]:
    """The limits that follow from one another on such a machine, with some twenty rounds each."""
    history: list[Span] = []
    limits = [limit_of(history, [], first=first, target_s=TARGET_S)]
    for number in range(8):
        history += later(
            starts_of(cores, limits[-1], 5 * limits[-1] + 20, work_s=work_s, idle_s=idle_s), 10_000 * number
        )
        limits.append(limit_of(history, [], first=first, target_s=TARGET_S))
    return limits


def test_nothing_known_begins_with_the_first() -> None:
    assert limit_of([], [], first=4, target_s=TARGET_S) == 4
    assert limit_of(starts_of(2, 4, 3), [], first=4, target_s=TARGET_S) == 4  # three starts say nothing


@pytest.mark.parametrize(
    ("cores", "least", "most"),
    [(1, 4, 4), (2, 4, 4), (4, 4, 8), (8, 8, 16), (32, 32, 64), (64, 64, 128)],
)
def test_the_limit_finds_the_machine(cores: float, least: int, most: int) -> None:
    """It ends near the number of cores, wherever it begins, and stays there."""
    limits = find(cores)
    assert all(least <= limit <= most for limit in limits[-2:]), limits
    assert max(limits) <= 2 * most  # what was tried on the way


def test_starts_that_wait_for_others_go_on_together() -> None:
    """Half a second of CPU and three of waiting for an exchange: two cores start many at a time."""
    assert find(2, work_s=0.5, idle_s=3.0)[-1] >= 8


def test_a_machine_that_is_far_too_slow_starts_fewer() -> None:
    slow = starts_of(0.2, 4, 30)  # forty seconds and more each
    assert limit_of(slow, [], first=4, target_s=TARGET_S) == 2


def test_a_start_longer_than_the_target_is_no_reason_for_more() -> None:
    alone = starts_of(64, 4, 30, work_s=20)
    assert limit_of(alone, [], first=4, target_s=TARGET_S) == 4


def test_starts_under_way_count_as_company() -> None:
    """The first of sixteen to be live had company, though the others aren't done yet."""
    first_done = [Span(0, 10 + number / 10) for number in range(8)]
    alone = throughput(first_done, [], first=8)
    beside = throughput(first_done, [0.0] * 8, first=8)
    assert list(alone) == [0]
    assert list(beside) == []  # eight starts beside sixteen: too few to tell, but not eight beside eight


spans = st.lists(st.tuples(st.floats(-500, -1), st.floats(0.1, 400)), max_size=80).map(
    lambda pairs: [Span(begin, begin + took) for begin, took in pairs]
)


@settings(max_examples=200, deadline=None)
@given(spans, st.lists(st.floats(-500, 0), max_size=20), st.integers(1, 64), st.randoms(use_true_random=False))
def test_the_limit_is_bounded_by_what_was_tried(
    found: list[Span], under_way: list[float], first: int, dice: object
) -> None:
    limit = limit_of(found, under_way, first=first, target_s=TARGET_S)
    tried = throughput(found, under_way, first=first)
    assert max(1, first // 2) <= limit <= first << (max(tried, default=0) + 1 if max(tried, default=0) >= 0 else 0)
    shuffled = list(found)
    dice.shuffle(shuffled)
    assert limit_of(shuffled, under_way, first=first, target_s=TARGET_S) == limit


# -- the order -----------------------------------------------------------------------------------------------


def test_what_waiting_costs_comes_first() -> None:
    waiting = [
        bot(1),
        bot(2, live=True),
        bot(3, restart=True),
        bot(4, holding=True),
        bot(5, holding=True, live=True, since=ago(90)),
        bot(6, since=ago(70)),
    ]
    assert [each.bot_id for each in order_of(waiting, {})] == [5, 4, 3, 2, 6, 1]


def test_tenants_take_turns() -> None:
    crowd = [bot(number, user_id=1, since=ago(1000)) for number in range(1, 100)]
    single = bot(500, user_id=2, since=ago(1))
    assert [each.bot_id for each in order_of([*crowd, single], {})][:3] == [1, 500, 2]
    assert order_of([*crowd, single], {1: 1})[0] is single


def test_a_tenants_starts_under_way_count() -> None:
    waiting = [bot(1, user_id=1), bot(2, user_id=2)]
    assert answer(waiting, starting(8, 9), limit=3).admitted == (2,)


# -- the answer ----------------------------------------------------------------------------------------------


def test_slots() -> None:
    waiting = [bot(number) for number in range(1, 8)]
    assert answer(waiting).admitted == (1, 2, 3, 4)
    assert answer(waiting).order == (5, 6, 7)
    assert answer(waiting, starting(10, 11, 12)).admitted == (1,)
    assert answer(waiting, starting(10, 11, 12, 13, 14)).admitted == ()
    idle = starting(20, 21, 22, holds_slot=False)  # they wait for the exchange
    assert answer(waiting, [*starting(10, 11, 12), *idle]).admitted == (1,)


def test_slots_are_kept_for_positions_that_nobody_watches() -> None:
    waiting = [bot(number) for number in range(1, 8)]
    assert answer(waiting, expected=3).admitted == (1,)
    assert answer(waiting, expected=30).admitted == ()
    assert answer([*waiting, bot(9, holding=True)], expected=30).admitted == (9,)


def test_starts_that_drag_on_make_room_for_no_more() -> None:
    waiting = [bot(number) for number in range(1, 30)]
    fresh = starting(*range(100, 110), age_s=1)
    dragging = starting(*range(100, 110), age_s=31)  # more than twice the target
    assert len(answer(waiting, fresh, limit=16).admitted) == 6
    assert len(answer(waiting, dragging, limit=16).admitted) == 1  # 16 · 0.7 = 11


def test_a_full_cluster_gets_few_pods_that_wait() -> None:
    waiting = [bot(number) for number in range(1, 30)]
    few = starting(100, 101, holds_slot=False, unplaced=True)
    assert answer(waiting, few).admitted == (1, 2)
    full = starting(100, 101, 102, 103, holds_slot=False, unplaced=True)
    queue = answer(waiting, full)
    assert (queue.admitted, queue.unplaced) == ((), 4)
    text = place_of(1, queue, where="in this cluster", missing="0/1 nodes are available: 1 Insufficient cpu").words
    assert text == (
        "waits to start: place 1 of 29; 4 pods wait for a node already: 0/1 nodes are available: 1 Insufficient cpu; "
        "add a node, stop other bots, or lower what a bot requests"
    )
    # what may preempt doesn't stand behind what it preempts
    urgent = [*waiting, bot(40, live=True), bot(41, holding=True), bot(42, restart=True)]
    assert answer(urgent, full).admitted == (41, 40)
    assert answer(urgent, starting(100, 101, 102, 103, unplaced=True, holds_slot=False, priority=0)).admitted == ()


def test_words() -> None:
    waiting = [bot(number) for number in range(1, 94)]
    queue = answer(waiting, starting(200, 201, 202, 203), typical_s=3.0)
    place = place_of(17, queue, where="on this machine")
    assert place.words == (
        "waits to start: place 17 of 93, about 20 s; 4 starts at a time on this machine, bots with open positions first"
    )
    assert place.look_again_s == 10
    last = place_of(93, replace(queue, limit=1, typical_s=20.0), where="in this cluster").words
    assert last == (
        "waits to start: place 93 of 93, about 31 min; 1 start at a time in this cluster, bots with open positions first"
    )
    assert "about" not in place_of(17, replace(queue, typical_s=None), where="here").words


@pytest.mark.parametrize(("waiting", "seconds"), [(1, 10), (200, 10), (400, 20), (10_000, 60)])
def test_rows_are_brought_up_to_date_now_and_then(waiting: int, seconds: float) -> None:
    queue = Queue(limit=4, starting=4, admitted=(), order=tuple(range(waiting)), typical_s=None)
    assert place_of(0, queue, where="here").look_again_s == seconds


# -- for any facts -------------------------------------------------------------------------------------------

candidates = st.builds(
    Candidate,
    bot_id=st.integers(1, 60),
    user_id=st.integers(1, 4),
    since=st.integers(0, 500).map(ago),
    holding=st.booleans(),
    restart=st.booleans(),
    live=st.booleans(),
)
waits = st.lists(candidates, max_size=40, unique_by=lambda each: each.bot_id)
begun = st.lists(
    st.builds(
        Start,
        bot_id=st.integers(100, 160),
        user_id=st.integers(1, 4),
        age_s=st.floats(0, 100),
        holds_slot=st.booleans(),
        unplaced=st.booleans(),
        priority=st.integers(0, 2),
    ),
    max_size=12,
    unique_by=lambda each: each.bot_id,
)


@settings(max_examples=150, deadline=None)
@given(waits, begun, st.integers(1, 16), st.integers(0, 5), st.randoms(use_true_random=False))
def test_any_facts(waiting: list[Candidate], starts: list[Start], limit: int, expected: int, dice: object) -> None:
    queue = answer(waiting, starts, limit=limit, expected=expected)
    ids = {each.bot_id for each in waiting}
    # everybody is in exactly one place
    assert sorted([*queue.admitted, *queue.order]) == sorted(ids)
    # slots never exceed the limit
    under_way = sum(start.holds_slot for start in starts)
    assert queue.starting == under_way
    assert len(queue.admitted) <= max(0, queue.limit - under_way)
    # whoever is admitted is at least as urgent as whoever is left out for want of a slot
    by_id = {each.bot_id: each for each in waiting}
    if queue.admitted and not any(start.unplaced for start in starts) and not expected:
        least = max(by_id[number].urgency for number in queue.admitted)
        assert all(by_id[number].urgency >= least for number in queue.order)
    # the order of the facts doesn't matter, and the same facts give the same answer
    shuffled, mixed = list(waiting), list(starts)
    dice.shuffle(shuffled)
    dice.shuffle(mixed)
    assert answer(shuffled, mixed, limit=limit, expected=expected) == queue
    # somebody starts whenever a slot is free and no pod waits for room
    if waiting and under_way < queue.limit and not any(start.unplaced for start in starts) and not expected:
        assert queue.admitted


@settings(max_examples=200, deadline=None)
@given(waits, begun, st.integers(1, 16))
def test_fewer_starts_never_admit_fewer(waiting: list[Candidate], starts: list[Start], limit: int) -> None:
    """One start less under way, and at least as many may begin."""
    same_age = [replace(start, age_s=0.0, unplaced=False) for start in starts]
    before = answer(waiting, same_age, limit=limit)
    after = answer(waiting, same_age[1:], limit=limit)
    assert len(after.admitted) >= len(before.admitted)


@settings(max_examples=100, deadline=None)
@given(waits, st.integers(1, 8))
def test_nobody_starves(waiting: list[Candidate], first: int) -> None:
    """With starts that end, everybody gets a turn, and no tenant waits for another one's whole fleet."""
    left, rounds, turns = list(waiting), 0, Counter[int]()
    while left:
        queue = answer(left, limit=first)
        assert len(queue.admitted) == min(first, len(left))
        turns.update(each.user_id for each in left if each.bot_id in queue.admitted)
        left = [each for each in left if each.bot_id not in queue.admitted]
        rounds += 1
    assert rounds == -(-len(waiting) // first)
    assert turns == Counter(each.user_id for each in waiting)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 8), st.integers(1, 300))
def test_newcomers_dont_starve_who_waits(first: int, newcomers: int) -> None:
    """Bots of the same urgency that keep coming stand behind those that came before."""
    patient = bot(1000, user_id=2, since=ago(100))
    waiting, now = [patient, *(bot(number, user_id=1, since=ago(200)) for number in range(20))], 100
    for step in range(newcomers):
        queue = answer(waiting, limit=first)
        if patient.bot_id in queue.admitted:
            return
        waiting = [each for each in waiting if each.bot_id not in queue.admitted]
        waiting += [
            bot(2000 + step * 10 + k, user_id=3 + k, since=ago(now) + timedelta(seconds=200 + step))
            for k in range(first)
        ]
        if step > 21:
            raise AssertionError("it was overtaken by those that came later")


def test_standing() -> None:
    assert priority(holding=True, live=False) == 0
    assert priority(holding=False, live=True) == 1
    assert priority(holding=False, live=False) == 2
