"""Since when the database has been watched without a gap, and what is kept of a config."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from controller.manager import Contact, StrategyManager, examine
from controller.metrics import Metrics
from controller.shards import LeaseLost
from fleet.plugins import PluginNames
from tests.unit.controller.make import NOW, POLICY


def seconds_later(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def test_contact_begins_anew_after_a_gap() -> None:
    contact = Contact(gap_s=10)
    assert contact.seen(NOW) == NOW
    assert contact.seen(NOW + seconds_later(10)) == NOW
    assert contact.seen(NOW + seconds_later(15)) == NOW
    after_outage = NOW + seconds_later(26)
    assert contact.seen(after_outage) == after_outage
    assert contact.seen(after_outage + seconds_later(5)) == after_outage


def test_answers_out_of_order_are_no_gap_but_a_clock_set_back_is() -> None:
    contact = Contact(gap_s=10)
    contact.seen(NOW)
    assert contact.seen(NOW + seconds_later(6)) == NOW
    assert contact.seen(NOW + seconds_later(1)) == NOW  # an older answer that came later
    assert contact.seen(NOW + seconds_later(11)) == NOW
    set_back = NOW - seconds_later(3600)
    assert contact.seen(set_back) == set_back


def test_a_config_is_examined() -> None:
    mixin = {"name": "RSIBBVolumeEntryMixin", "params": {}}
    parameters = {"entry_logic": mixin, "exit_logic": {"name": "ATRExitMixin", "params": {}}}
    good = {
        "symbol": "BTCUSDT",
        "strategy": {"type": "CustomStrategy", "parameters": parameters},
        "data": {"interval": "1h"},
    }
    known = examine(good)
    assert (known.invalid, known.mode, known.waits_until_flat) == (None, "paper", False)
    assert examine({**good, "trading": {"on_stop": "wait_flat"}}).waits_until_flat
    assert "data.interval" in (examine({**good, "data": {"interval": "7h"}}).invalid or "")
    assert examine(None).invalid


def test_names_of_the_bots_packages_are_known_and_their_parameters_left_to_the_bot() -> None:
    names = PluginNames(strategies=("Breakout",), entry_mixins=("Gap",), exit_mixins=("Lock",), brokers=("acme",))
    parameters = {"entry_logic": {"name": "Gap", "params": {"gap": 1}}, "exit_logic": {"name": "Lock"}}
    mixins = {
        "symbol": "BTCUSDT",
        "broker": {"type": "acme"},
        "strategy": {"parameters": parameters},
        "data": {"interval": "1h"},
    }
    assert examine(mixins, names.extra_names).invalid is None
    own = {**mixins, "strategy": {"type": "Breakout", "parameters": {"any": "thing"}}}
    assert examine(own, names.extra_names).invalid is None
    typo = {**mixins, "strategy": {"parameters": {**parameters, "entry_logic": {"name": "Gapp"}}}}
    assert "did you mean Gap?" in (examine(typo, names.extra_names).invalid or "")
    unknown = examine(mixins).invalid or ""
    assert "broker.type: " in unknown
    assert "exit_logic.name: " in unknown


class Untouchable:
    """A collaborator that must not be used."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"{name} was used")


def test_without_its_lease_a_controller_touches_nothing() -> None:
    manager = StrategyManager(
        store=Untouchable(),
        runtime=Untouchable(),
        policy=POLICY,
        metrics=Metrics(),
        starts=Untouchable(),
        may_act=lambda: False,
    )
    with pytest.raises(LeaseLost):
        asyncio.run(manager.sync(7))
