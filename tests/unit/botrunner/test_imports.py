"""What a bot's process imports is paid for by every bot."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "numpy",
    "pandas",
    "talib",
    "scipy",
    "matplotlib",
    "pyarrow",
    "onnxruntime",
    "sqlalchemy",
    "prometheus_client",
    "aiosmtplib",
    "botrunner.feeds.files",
)


def test_a_bot_imports_nothing_heavy_even_where_it_is_installed() -> None:
    code = (
        "import sys, botrunner.main, botrunner.assembly, botrunner.exchange.binance as b\n"
        "b.BinanceBroker(base_url=None)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"
