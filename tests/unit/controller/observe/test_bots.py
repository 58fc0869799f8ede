"""A bot's row, runs and configs as facts: what is read, how often, and what says nothing of what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.observe.bots import BotReader, BotView
from controller.observe.configs import Configs
from fleet.states import ExitReason
from tests.unit.controller.fakes import GOOD, ROW, RUN, WAIT_FLAT, FakeStore
from tests.unit.controller.make import ago

ENDED: dict[str, Any] = {"ended_at": ago(5), "exit_reason": ExitReason.FAILED}


async def read(store: FakeStore, configs: Configs | None = None) -> BotView:
    view = await BotReader(store, configs or Configs(store), lambda _: None).read(7)
    assert view is not None
    return view


async def test_a_config_is_read_once_for_each_version() -> None:
    store = FakeStore()
    known = Configs(store)
    for version in (3, 3, 4, 4):
        store.row = replace(ROW, config_version=version, runs=(replace(RUN, config_version=version),))
        await read(store, known)
    assert [arguments for arguments, _ in store.asked("load_config")] == [(3,), (4,)]
    assert store.asked("load_run_config") == []


@pytest.mark.parametrize(
    ("snapshot", "outdated"),
    [
        (GOOD, False),
        ({**GOOD, "symbol": "ETHUSDT"}, True),
        ({**GOOD, "risk_management": {"max_daily_trades": 3}}, False),  # a running bot takes it over
    ],
)
async def test_what_a_running_bot_takes_over_and_what_needs_a_new_run(snapshot: dict[str, Any], outdated: bool) -> None:
    store = FakeStore()
    store.row, store.snapshot = replace(ROW, config_version=4), snapshot
    view = await read(store)
    assert view.run.outdated is outdated


async def test_nobody_asks_whether_a_run_that_is_over_is_outdated() -> None:
    store = FakeStore()
    store.row = replace(ROW, config_version=4, runs=(replace(RUN, **ENDED),))
    view = await read(store)
    assert view.run.ended is True
    assert view.run.outdated is False
    assert store.asked("load_run_config") == []


async def test_the_invalid_config_of_the_row_says_nothing_of_the_run() -> None:
    store = FakeStore()
    store.row, store.config, store.snapshot = replace(ROW, config_version=4), {}, WAIT_FLAT
    view = await read(store)
    assert view.bot.invalid
    assert (view.run.outdated, view.run.waits_until_flat) == (False, True)
    assert [arguments for arguments, _ in store.asked("load_run_config")] == [(5,)]


@pytest.mark.parametrize(("waits_for", "note"), [(None, None), ("", None), ("a\nb", "a b")])
async def test_what_a_bot_says_that_it_waits_for(waits_for: str | None, note: str | None) -> None:
    store = FakeStore()
    store.row = replace(ROW, runs=(replace(RUN, waits_for=waits_for),))
    view = await read(store)
    assert view.run.waits_for == note


async def test_a_version_that_is_invalid_now_says_nothing_of_the_run_that_had_it() -> None:
    """A newer controller may refuse what an older one started."""
    store = FakeStore()
    store.config, store.snapshot = {}, WAIT_FLAT
    view = await read(store)
    assert view.bot.invalid
    assert view.run.waits_until_flat is True


@pytest.mark.parametrize("holding", [True, False])
@pytest.mark.parametrize(("on_failure", "closes"), [("flatten", True), ("hold", False)])
async def test_what_a_given_up_bot_must_close(holding: bool, on_failure: str, closes: bool) -> None:
    store = FakeStore(row=replace(ROW, holding=holding), config={**GOOD, "trading": {"on_failure": on_failure}})
    view = await read(store)
    assert view.bot.must_close is (holding and closes)


async def test_a_bot_without_a_row_is_told_from_one_that_changes_meanwhile() -> None:
    absent = await read(FakeStore(row=None))
    assert (absent.record, absent.bot, absent.run, absent.ends, absent.starting) == (None, None, None, (), False)
    store = FakeStore(config=None)
    assert await BotReader(store, Configs(store), lambda _: None).read(7) is None
