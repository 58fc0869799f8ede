"""The real, unmodified ccxt.pro `binance` class watches candles at a server of the sandbox exchange."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.conftest import REPOSITORY
from tests.integration.sandbox_server import running


def test_ccxt_pro_watches_candles() -> None:
    with running("--candles", "synthetic:7") as server:
        done = subprocess.run(
            [sys.executable, "-m", "tests.integration.ccxt_pro_client", server.url],
            cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True, timeout=120,
        )  # fmt: skip
    answer = json.loads(done.stdout)
    seen, rows = answer["seen"], answer["rows"]
    first_ms = seen[0][-1][0]
    closed = [update[0] for update in seen if update[0][0] == first_ms]
    assert closed[-1] == rows[0]
    assert seen[-1][-1] == rows[1]
