"""The output in the guide to backtests is what the command prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


def test_the_example_is_what_the_command_prints(candle_folder: Path) -> None:
    page = (REPOSITORY / "docs" / "user" / "backtesting.md").read_text()
    shown = re.search(r"```\n( +ETH_BTC-5m\n.*?)```", page, re.DOTALL)
    assert shown
    command = [sys.executable, "-m", "cli", "backtest", "--config", "manifests/samples/eth-dip-fixed.json"]
    command += ["--candles", str(candle_folder / "ETH_BTC-5m.csv"), "--market", "none", "--limit", "3"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert [line.rstrip() for line in done.stdout.splitlines()] == shown[1].splitlines()
