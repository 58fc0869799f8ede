"""What closes a position between bars depends on the last candle alone, however often the bot was started since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import structlog

from botrunner.backtest.engine import holding, replay
from botrunner.backtest.memory_ledger import MemoryLedger
from botrunner.market.rules import file_market
from fleet.config import BotConfig
from tests.unit.botrunner.engine.runs import ENTRY, Honest, candles, config

D = Decimal
MARKET = file_market("ETHBTC")
SHARE = {"slippage_model": "volume_share", "price_impact": 0.5}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("botrunner.engine.strategy_instance.return_free_memory", lambda: None)
    with structlog.testing.capture_logs():
        yield


def made(**trading: Any) -> BotConfig:
    return config(broker={"paper_trading_config": SHARE}, trading=trading)


def ended(made: BotConfig, *, restarts: int, keeps_volume: bool = True, gives_up: bool = False) -> Mapping[str, Any]:
    """The closing fill of a bot that entered some bars before its end, and was started anew behind the last bar."""
    bars = [replace(candle, volume=D(1000)) for candle in candles()[: ENTRY + 4]]
    ledger = MemoryLedger(bot_id=7, config=made, market=MARKET, exchange="paper-binance")
    for run in range(restarts + 1):
        checkpoint = ledger.checkpoint
        if checkpoint is not None and not keeps_volume:
            kept = {key: value for key, value in checkpoint.broker_state.items() if key != "last_volume"}
            ledger.checkpoint = replace(checkpoint, broker_state=kept)
        replay(
            config=made if run == restarts else holding(made),
            bot_id=7,
            strategy=Honest,
            market=MARKET,
            ledger=ledger,
            candles=bars,
            gives_up=gives_up and run == restarts,
        )
    tables = ledger.tables
    (fill,) = [row for row in tables.fills.values() if tables.orders[row["client_order_id"]]["leg"] == "flatten"]
    return fill


@pytest.mark.parametrize("ends", ["on_stop", "on_failure"])
def test_a_bot_that_was_started_anew_closes_at_the_price_of_one_that_was_not(ends: str) -> None:
    wanted = made(on_stop="flatten") if ends == "on_stop" else made(on_failure="flatten")
    gives_up = ends == "on_failure"
    whole = ended(wanted, restarts=0, gives_up=gives_up)
    for restarts in (1, 3):
        assert ended(wanted, restarts=restarts, gives_up=gives_up) == whole


def test_a_checkpoint_that_kept_no_volume_counts_as_a_candle_without_any() -> None:
    wanted = made(on_stop="flatten")
    fill = ended(wanted, restarts=1, keeps_volume=False)
    assert fill["price"] == candles()[ENTRY].close * D("0.5")
