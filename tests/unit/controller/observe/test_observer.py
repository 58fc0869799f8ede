"""Since when heartbeats could be written without a gap, and what a plan learns of it."""

from __future__ import annotations

from datetime import timedelta

from controller.observe.observer import Contact, Observer
from tests.unit.controller.make import NOW, ago


def seconds_later(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def test_contact_begins_anew_after_a_gap() -> None:
    contact = Contact(gap_s=10)
    assert contact.since(NOW) == NOW  # nothing was proved yet
    contact.proved(NOW)
    at = NOW
    for seconds in (10, 15):
        at = NOW + seconds_later(seconds)
        contact.proved(at)
        assert contact.since(at) == NOW
    # proofs stay away: silence isn't believed any more, before anything else tells
    assert contact.since(at + seconds_later(10)) == NOW
    assert contact.since(at + seconds_later(11)) == at + seconds_later(11)
    after_outage = at + seconds_later(11)
    contact.proved(after_outage)
    contact.proved(after_outage + seconds_later(5))
    assert contact.since(after_outage + seconds_later(6)) == after_outage


def test_contact_begins_anew_after_a_failure_however_short() -> None:
    """Two outages in a row, each shorter than the gap, cost a bot as many heartbeats as a long one."""
    contact = Contact(gap_s=10)
    contact.proved(NOW)
    contact.proved(NOW + seconds_later(2))
    contact.lost()
    assert contact.since(NOW + seconds_later(3)) == NOW + seconds_later(3)
    contact.proved(NOW + seconds_later(4))
    assert contact.since(NOW + seconds_later(5)) == NOW + seconds_later(4)


def test_proofs_out_of_order_are_no_gap_but_a_clock_set_back_is() -> None:
    contact = Contact(gap_s=10)
    contact.proved(NOW)
    contact.proved(NOW + seconds_later(6))
    contact.proved(NOW + seconds_later(1))  # an older one that came later
    assert contact.since(NOW + seconds_later(11)) == NOW
    set_back = NOW - seconds_later(3600)
    assert contact.since(set_back) == set_back
    contact.proved(set_back)
    assert contact.since(set_back + seconds_later(1)) == set_back


def test_a_clock_that_goes_back_by_the_gap_is_no_gap() -> None:
    contact = Contact(gap_s=10)
    contact.proved(NOW)
    assert contact.since(NOW - timedelta(seconds=10)) == NOW
    assert contact.since(NOW - timedelta(seconds=11)) == NOW - timedelta(seconds=11)
    assert Contact(gap_s=10).since(NOW) == NOW


def test_a_lock_on_the_runs_row_keeps_its_silence_from_counting() -> None:
    observer = Observer(Contact(gap_s=10))
    observer.contact.proved(ago(8))
    for locked_at, since in ((ago(3), ago(3)), (ago(20), ago(8))):
        observer.locked_at = {7: locked_at, 8: NOW}
        assert observer.facts(7, NOW).connected_since == since
    assert observer.facts(9, NOW).connected_since == ago(8)


def test_a_lock_is_remembered_until_its_bot_is_late_no_more() -> None:
    observer = Observer(Contact(gap_s=10))
    observer.saw_locks({1, 5}, [1, 2], ago(4))  # 5 isn't late: its heartbeat came
    observer.saw_locks(set(), [1, 2], ago(2))
    assert observer.locked_at == {1: ago(4)}
    observer.saw_locks({1}, [1], NOW)
    assert observer.locked_at == {1: NOW}
    observer.saw_locks(set(), [2], NOW)
    assert observer.locked_at == {}


def test_a_plan_is_told_whether_the_observer_is_suspicious() -> None:
    observer = Observer(Contact(gap_s=10))
    assert observer.facts(7, NOW).suspicious is False
    observer.suspicious = True
    assert observer.facts(7, NOW).suspicious is True
