"""Every generated configuration is refused with a path, or runs: a thousand of them."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from botrunner.market.candle import Candle
from botrunner.strategies.registry.strategy_handler import StrategyHandler
from fleet.config import BotConfig, ConfigError, ConfigInvalid, json_schema, parse_config, validate_config
from fleet.errors import ConfigUnusable
from tests.hostile import VALID, hostile
from tests.json_schema import faults
from tests.unit.botrunner.engine.runs import MemoryLedger, Store
from tests.unit.botrunner.engine.runs import run as run_bot

CANDLES = 70
EXAMPLES = 1_000
SCHEMA = json_schema()


@pytest.fixture(autouse=True)
def _keep_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collecting a test session's whole heap at each of some hundred engines would be most of the time."""
    monkeypatch.setattr("botrunner.engine.strategy_instance.return_free_memory", lambda: None)


def candles(interval_s: int) -> list[Candle]:
    """A lively walk with a gap and a flat run, on the interval's grid."""
    rng, price, made = random.Random(5), Decimal("0.1"), []
    for number in range(CANDLES):
        opened = price
        if not 30 <= number < 35:
            price = max(Decimal("0.01"), price * (1 + Decimal(rng.randint(-200, 200)) / 10_000)).quantize(
                Decimal("1e-6")
            )
        if number == 20:
            continue
        at = (1_500_000_000 // interval_s + number) * interval_s * 1000
        made.append(Candle(at, opened, max(opened, price), min(opened, price), price, Decimal(rng.randint(0, 9))))
    return made


def run(config: BotConfig) -> Store:
    """The whole bot over the candles, with everything durable in memory."""
    store = Store()
    cls = StrategyHandler().get_strategy_class(config.strategy_type).cls
    if config.strategy_type == "OnnxStrategy":
        # there is no model at any path that is made up
        with pytest.raises(ConfigUnusable, match=r"^strategy\.parameters\."):
            run_bot(MemoryLedger(store), candles(config.interval_s), config, cls)
        return store
    run_bot(MemoryLedger(store), candles(config.interval_s), config, cls)
    assert len(store.states) == CANDLES - 1
    return store


def test_refused_with_a_path_or_run() -> None:
    seen: Counter[str] = Counter()

    # the phases that make documents; shrinking one that fails is for a person at work
    @settings(max_examples=EXAMPLES, phases=[Phase.generate], suppress_health_check=list(HealthCheck), database=None)
    @given(raw=hostile)
    def judge(raw: object) -> None:
        errors = validate_config(raw, extra_names=StrategyHandler().extra_names())
        if errors:
            seen["refused"] += 1
            assert all(isinstance(error, ConfigError) and error.message for error in errors)
            text = str(ConfigInvalid(errors))
            text.encode()  # PostgreSQL and logs take it
            assert "\0" not in text
            assert len(text) < 60_000
            # without a path: the document itself is what is wrong
            whole = [error for error in errors if not error.path]
            assert not whole or not isinstance(raw, dict) or all(_of_the_whole(error) for error in whole)
            return
        seen["accepted"] += 1
        assert faults(raw, SCHEMA) == []
        store = run(parse_config(raw))
        seen["orders"] += len(store.orders)

    judge()
    assert seen["refused"] > EXAMPLES / 4
    assert seen["accepted"] > EXAMPLES / 20, seen
    assert seen["orders"] > 100, seen


def _of_the_whole(error: ConfigError) -> bool:
    return error.message.startswith("has ")  # too many values or errors, or a key that isn't a text


@pytest.mark.parametrize("raw", VALID, ids=lambda raw: str(raw.get("name")))
def test_what_is_damaged_was_valid(raw: dict[str, Any]) -> None:
    assert validate_config(raw) == ()
    assert faults(raw, SCHEMA) == []
    run(parse_config(raw))
