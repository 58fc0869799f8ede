from __future__ import annotations

import pytest

from sandbox_exchange.faults import NO_EFFECTS, FaultBook, FaultError, FaultKind
from sandbox_exchange.wire import JsonObject

ROUTES = frozenset({"klines", "time", "ping"})


def _book() -> FaultBook:
    return FaultBook(routes=ROUTES)


def test_without_faults_nothing_happens() -> None:
    assert _book().take(route="klines", symbol="ETHBTC") is NO_EFFECTS


def test_a_fault_hits_its_route_and_symbol_as_often_as_told() -> None:
    book = _book()
    book.add({"kind": "error", "route": "klines", "symbol": "ETHBTC", "count": 2})

    assert book.take(route="time", symbol="ETHBTC").answer is None
    assert book.take(route="klines", symbol="LTCBTC").answer is None
    hit = [book.take(route="klines", symbol="ETHBTC").answer is not None for _ in range(4)]

    assert hit == [True, True, False, False]
    (fault,) = book.list()
    assert (fault.hits, fault.remaining) == (2, 0)


def test_faults_combine_and_the_first_broken_answer_wins() -> None:
    book = _book()
    book.add({"kind": "delay", "ms": 100})
    book.add({"kind": "delay", "ms": 50})
    book.add({"kind": "late_candle", "ms": 7})
    book.add({"kind": "duplicate_candle"})
    book.add({"kind": "html"})
    book.add({"kind": "drop"})

    effects = book.take(route="klines", symbol=None)

    assert (effects.delay_ms, effects.late_ms, effects.duplicate) == (150, 7, True)
    assert effects.answer is not None
    assert effects.answer.kind is FaultKind.HTML
    assert book.take(route="time", symbol=None).late_ms == 0


def test_probabilities_are_drawn_from_the_seed() -> None:
    def hits(seed: int) -> list[bool]:
        book = FaultBook(routes=ROUTES, seed=seed)
        book.add({"kind": "empty", "probability": 0.3})
        return [book.take(route="ping", symbol=None).answer is not None for _ in range(1000)]

    assert hits(1) == hits(1) != hits(2)
    assert 200 < sum(hits(1)) < 400  # 300 expected, standard deviation 14.5


def test_clearing_removes_all() -> None:
    book = _book()
    book.add({"kind": "drop"})

    assert book.clear() == 1
    assert book.list() == []
    assert book.take(route="ping", symbol=None) == NO_EFFECTS


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "kind None is not one of delay, error"),
        ({"kind": "explode"}, "kind 'explode'"),
        ({"kind": "drop", "rout": "time"}, "unknown field 'rout'"),
        ({"kind": "drop", "route": "orders"}, r"route 'orders' is neither '\*' nor one of klines"),
        ({"kind": "drop", "route": 5}, "route 5"),
        ({"kind": "drop", "symbol": ""}, "symbol ''"),
        ({"kind": "drop", "probability": 0}, "probability 0"),
        ({"kind": "drop", "probability": True}, "probability True"),
        ({"kind": "drop", "count": 0}, "count 0"),
        ({"kind": "delay"}, "delay needs ms"),
        ({"kind": "delay", "ms": -5}, "ms -5"),
        ({"kind": "delay", "ms": "5"}, "ms '5'"),
        ({"kind": "late_candle", "ms": 5, "route": "time"}, "late_candle applies to 'klines' or 'stream/closed' only"),
        ({"kind": "error", "status": 404}, "status 404"),
        ({"kind": "rate_limit", "status": 503}, "neither 429 nor 418"),
    ],
)
def test_a_senseless_fault_is_refused_by_field(fields: JsonObject, problem: str) -> None:
    book = _book()

    with pytest.raises(FaultError, match=problem):
        book.add(fields)

    assert book.list() == []


def test_a_skew_may_be_negative() -> None:
    book = _book()
    book.add({"kind": "clock_skew", "ms": -1500})

    assert book.take(route="time", symbol=None).skew_ms == -1500
