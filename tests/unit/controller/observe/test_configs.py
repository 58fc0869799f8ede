"""What is kept of a config."""

from __future__ import annotations

import pytest

from controller.observe import configs as module
from controller.observe.configs import Configs, KnownConfig, examine
from fleet.foreign import Unreadable
from fleet.plugins import PluginNames
from tests.unit.controller.fakes import GOOD, FakeStore


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
    assert examine(good).flattens_on_failure
    assert not examine({**good, "trading": {"on_failure": "hold"}}).flattens_on_failure
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


def test_configs_are_kept_for_the_latest_bots_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    configs = Configs(FakeStore())
    assert module.CACHE == 25_000
    monkeypatch.setattr(module, "CACHE", 2)
    known = KnownConfig(None)
    for bot_id in (1, 2):
        configs._remember(bot_id, "v1", known)
    assert configs._remembered(1, "v1") is known
    configs._remember(3, "v1", known)
    assert configs._remembered(2, "v1") is None
    assert configs._remembered(1, "v1") is known


@pytest.mark.parametrize("raw", [None, Unreadable("too deep")])
async def test_what_a_running_bot_takes_over_is_read_of_exactly_this_version(raw: object) -> None:
    store = FakeStore(config={**GOOD, "risk_management": {"max_daily_trades": 3}})
    hot = await Configs(store).hot_sections(7, 4)
    assert hot is not None
    assert hot["risk_management"] == {"max_daily_trades": 3}
    assert store.calls == [("load_config", (4,), {})]
    assert await Configs(FakeStore(config=raw)).hot_sections(7, 4) is None
