"""A paper bot on the sandbox exchange: its config, and the exchange."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.integration.sandbox_server import Server

CONFIG = {
    "symbol": "BTCUSDT",
    "broker": {"type": "binance", "trading_mode": "paper", "cash": 10_000},
    "strategy": {
        "type": "CustomStrategy",
        "parameters": {
            "entry_logic": {"name": "RSIOrBBEntryMixin", "params": {"rsi_oversold": 70}},
            "exit_logic": {"name": "TimeBasedExitMixin", "params": {"max_bars": 2}},
        },
    },
    "data": {"interval": "1m", "lookback_bars": 50},
}


@pytest.fixture
def exchange() -> Iterator[Server]:
    command = [sys.executable, "-m", "sandbox_exchange", "--port", "0", "--speed", "120", "--candles", "synthetic:7"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield Server(process)
    finally:
        process.terminate()
        process.communicate(timeout=15)
