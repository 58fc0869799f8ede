"""One thread ends the process, whoever asks first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from botrunner.process.exit_owner import ExitOwner


def test_the_first_thread_to_ask_is_the_one_and_stays_it() -> None:
    owner = ExitOwner()
    assert not owner.wait(0)
    assert owner.mine()
    assert owner.wait(0)
    with ThreadPoolExecutor(1) as other:
        assert not other.submit(owner.mine).result()
    assert owner.mine()


def test_of_many_that_ask_at_once_one_is_it() -> None:
    for _ in range(50):
        owner, together = ExitOwner(), Barrier(8)

        def ask(owner: ExitOwner = owner, together: Barrier = together) -> bool:
            together.wait()
            return owner.mine()

        with ThreadPoolExecutor(8) as threads:
            found = [each.result() for each in [threads.submit(ask) for _ in range(8)]]
        assert sum(found) == 1
