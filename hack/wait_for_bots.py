"""Waits until every enabled bot runs with a fresh heartbeat and the first trades are in; prints what changes.

    wait_for_bots.py --timeout SECONDS [--trades N]

Exits with 1 and the bots' states if that does not come about in time. Bots whose status is error or disabled are
named at once: they will not start by waiting.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

FRESH_S = 15
"""The contract's limit for the age of last_heartbeat."""

PAUSE_S = 2.0


def bots() -> list[dict[str, Any]]:
    """What `botfleet bots list` says.

    Raises:
        RuntimeError: the command failed; the message is its own.
    """
    command = [sys.executable, "-m", "cli", "bots", "list", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or done.stdout.strip())
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def age_s(bot: dict[str, Any]) -> float:
    text = bot["last_heartbeat"]
    return (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds() if text else float("inf")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--timeout", type=float, required=True, help="seconds")
    parser.add_argument("--trades", type=int, default=1, help="closed trades to wait for")
    options = parser.parse_args()
    began = time.monotonic()
    told = ""
    found: list[dict[str, Any]] = []
    while time.monotonic() - began < options.timeout:
        try:
            found = [bot for bot in bots() if bot.get("enabled", True)]
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            found, line = [], f"no answer yet: {error}"
        else:
            states = Counter(bot["status"] for bot in found)
            trades = sum(bot["trades"] for bot in found)
            line = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) + f"; {trades} trades"
            fresh = all(bot["status"] == "running" and age_s(bot) < FRESH_S for bot in found)
            if found and fresh and trades >= options.trades:
                print(f"       bots: {line}", file=sys.stderr)
                return 0
        if line != told:
            print(f"       bots: {line}", file=sys.stderr, flush=True)
            told = line
        time.sleep(PAUSE_S)
    print(f"\nerror: not all bots were running and trading after {options.timeout:g} s", file=sys.stderr)
    for bot in found:
        if bot["status"] != "running" or age_s(bot) >= FRESH_S:
            print(f"  bot {bot['id']} {bot['name']}: {bot['status']} {bot.get('error_message') or ''}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
