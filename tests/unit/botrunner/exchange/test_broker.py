"""Brokers by name: whatever a package does wrong is an error of the config that names it."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from botrunner.exchange import broker as manager
from botrunner.exchange.broker import BrokerManager, UnknownBroker


@pytest.mark.parametrize("broken", [ImportError("no module"), ValueError("bad table"), RuntimeError("at import")])
def test_a_broken_package_is_named(monkeypatch: pytest.MonkeyPatch, broken: Exception) -> None:
    class Broken(EntryPoint):
        def load(self) -> Any:
            raise broken

    point = Broken(name="theirs", value="pkg:Broker", group="botfleet.brokers")
    monkeypatch.setattr(manager, "entry_points", lambda group: [point])
    with pytest.raises(UnknownBroker, match=rf"broker.type: .*theirs.*pkg:Broker: {type(broken).__name__}"):
        BrokerManager({}).get("theirs")


def test_an_unknown_broker_names_the_nearest() -> None:
    with pytest.raises(UnknownBroker, match="did you mean 'binance'"):
        BrokerManager({}).get("binanse")
