"""Waits are stoppable and alive, and those that the backoff says; only outages are repeated."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from botrunner.process.backoff import DATABASE, EXCHANGE, Backoff
from botrunner.process.retry import SLICE_S, Retrier
from fleet.errors import ConfigUnusable, DatabaseAway, TransientError
from tests.support import FakeClock


class Waits:
    """Records what happened; gives up at the given wait."""

    def __init__(self, *, give_up_after_s: float = 1e9) -> None:
        self.clock = FakeClock()
        self.alive = 0
        self.draws = 0
        self.failures: list[tuple[str, int, float]] = []
        self._until = self.clock.time + give_up_after_s

    def retrier(self, backoff: Backoff = EXCHANGE) -> Retrier:
        return Retrier(
            on=TransientError,
            backoff=backoff,
            pause=self._pause,
            alive=self._note_life,
            failed=self._note_failure,
            draw=self._draw,
        )

    def _draw(self) -> float:
        self.draws += 1
        return 0.0 if self.draws == 1 else 0.5

    def _pause(self, seconds: float) -> bool:
        self.clock.sleep(seconds)
        return self.clock.time >= self._until

    def _note_life(self) -> None:
        self.alive += 1

    def _note_failure(self, error: TransientError, failures: int, wait_s: float) -> None:
        self.failures.append((str(error), failures, wait_s))


def failing(times: int, *, retry_after_s: float = 0.0) -> Callable[[], str]:
    left = [times]

    def question() -> str:
        if left[0]:
            left[0] -= 1
            raise DatabaseAway(f"{left[0]} left", retry_after_s=retry_after_s)
        return "answer"

    return question


def test_the_answer_comes_after_as_many_waits_as_failures() -> None:
    waits = Waits()
    assert waits.retrier(DATABASE).call(failing(5)) == "answer"
    assert [failures for _, failures, _ in waits.failures] == [1, 2, 3, 4, 5]
    assert [wait for _, _, wait in waits.failures] == pytest.approx([0.05, 0.125, 0.225, 0.425, 0.825])
    assert sum(waits.clock.slept) == pytest.approx(sum(wait for _, _, wait in waits.failures))


def test_bots_that_lost_the_same_server_do_not_come_back_in_step() -> None:
    waits = Waits()
    for _ in range(20):
        Retrier(
            on=TransientError, backoff=EXCHANGE, pause=lambda _: False, alive=lambda: None, failed=waits._note_failure
        ).call(failing(3))
    assert len({wait for _, failures, wait in waits.failures if failures == 3}) > 10


def test_what_the_other_side_asks_for_is_waited() -> None:
    waits = Waits()
    waits.retrier().call(failing(1, retry_after_s=37))
    assert sum(waits.clock.slept) == pytest.approx(37)
    # never so long in one piece that the main loop is taken for hung, and alive between the pieces
    assert max(waits.clock.slept) == SLICE_S
    assert waits.alive >= len(waits.clock.slept)


def test_a_stop_ends_the_wait_with_the_last_error_and_no_further_attempt() -> None:
    waits = Waits(give_up_after_s=12)
    question = failing(1000, retry_after_s=10)
    with pytest.raises(DatabaseAway, match="998 left"):
        waits.retrier().call(question)
    assert sum(waits.clock.slept) == pytest.approx(15)


def test_what_would_fail_again_is_not_repeated() -> None:
    def question() -> None:
        raise ConfigUnusable("symbol: no")

    waits = Waits()
    with pytest.raises(ConfigUnusable):
        waits.retrier().call(question)
    assert waits.clock.slept == []
