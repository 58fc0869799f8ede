"""Since when the database has been watched without a gap, and what is kept of a config."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from controller.facts import PodFacts, PodPhase
from controller.manager import Contact, StrategyManager, examine
from controller.metrics import Metrics
from controller.podspec import PodRequest
from controller.runtime import RuntimeAway
from controller.shards import LeaseLost
from fleet.plugins import PluginNames
from fleet.states import BotStatus
from fleet.trading_service.bots import BotRecord, RunRecord
from tests.unit.controller.make import NOW, POLICY, pod


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
        may_act=lambda: False,
    )
    with pytest.raises(LeaseLost):
        asyncio.run(manager.sync(7))


class OneBot:
    """A store with one enabled bot and its fresh run; keeps the status that is shown."""

    def __init__(self) -> None:
        self.shown: tuple[BotStatus, str | None] = (BotStatus.STOPPED, None)
        self.run = RunRecord(
            epoch=1, config_version=1, pod_name="bot-7-x-e1", pod_uid=None, node=None, created_at=NOW,
            claimed_by=None, claimed_at=None, live_at=None, heartbeat_at=None, progress_at=None,
            stop_requested_at=None, stop_reason=None, fenced_at=None, ended_at=None, exit_code=None,
            exit_reason=None, error_message=None,
        )  # fmt: skip

    async def load(self, bot_id: int) -> BotRecord:
        status, message = self.shown
        return BotRecord(
            id=bot_id, user_id=1, name="x", enabled=True, archived=False, config_version=1, status=status,
            error_message=message, error_count=0, updated_at=NOW, now=NOW, runs=(self.run,),
        )  # fmt: skip

    async def load_config(self, bot_id: int, config_version: int) -> object:
        return CONFIG

    async def load_run_config(self, bot_id: int, epoch: int) -> object:
        return CONFIG

    async def set_status(self, bot_id: int, *, status: BotStatus, message: str | None, **_: object) -> bool:
        self.shown = (status, message)
        return True

    async def record_pod(self, bot_id: int, epoch: int, uid: str) -> bool:
        self.run = replace(self.run, pod_uid=uid)
        return True


class Api:
    """A runtime whose next creates fail with these words."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.made: tuple[PodFacts, ...] = ()

    def pods(self, bot_id: int) -> tuple[PodFacts, ...]:
        return self.made

    async def create(self, request: PodRequest) -> PodFacts:
        if self.answers:
            raise RuntimeAway(self.answers.pop(0))
        self.made = (pod(epoch=1, uid="u1", phase=PodPhase.PENDING),)
        return self.made[0]


CONFIG = {
    "symbol": "BTCUSDT",
    "strategy": {
        "type": "CustomStrategy",
        "parameters": {"entry_logic": {"name": "RSIBBVolumeEntryMixin"}, "exit_logic": {"name": "ATRExitMixin"}},
    },
    "data": {"interval": "1h"},
}


async def test_what_the_api_server_says_is_on_the_row_with_the_next_try_and_gone_with_a_success() -> None:
    store, api = OneBot(), Api("answers 401 Unauthorized", "answers 401 Unauthorized", "answers 500")
    manager = StrategyManager(
        store=store,  # type: ignore[arg-type]  # the part of it that a start needs
        runtime=api,  # type: ignore[arg-type]
        policy=POLICY,
        metrics=Metrics(),
        may_act=lambda: True,
    )
    shown = []
    for _ in range(3):
        with pytest.raises(RuntimeAway):
            await manager.sync(7)
        shown.append(store.shown)
    await manager.sync(7)
    assert [message for _, message in shown] == [None, "answers 401 Unauthorized", "answers 401 Unauthorized"]
    assert {status for status, _ in shown} == {BotStatus.STARTING}
    assert store.shown == (BotStatus.STARTING, None)
    assert store.run.pod_uid == "u1"
