"""Writes seeded synthetic candle files for the sample bots' symbols: for those who have no recorded ones.

    synthetic_candles.py FOLDER [SEED]

Prices wander around a slowly moving mean, with bursts of volume when they move far, so that strategies which buy dips
find some. They say nothing about any market.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator
from pathlib import Path

START_MS = 1_577_836_800_000  # 2020-01-01T00:00:00Z
BARS = 6_000
SERIES = (  # file, minutes of a bar, price, digits behind the point
    ("ETH_BTC-5m.csv", 5, 0.0300, 8),
    ("LTC_BTC-5m.csv", 5, 0.0100, 8),
    ("XRP_ETH-1m.csv", 1, 0.0010, 8),
)
VOLATILITY = 0.0015  # standard deviation of one bar's relative change
PULL = 0.02  # share of the distance to the mean that one bar goes back


def bars(generator: random.Random, *, minutes: int, price: float, digits: int) -> Iterator[str]:
    """CSV lines, oldest first."""
    deviation = 0.0
    close = price
    for number in range(BARS):
        open_ = close
        deviation += -PULL * deviation + generator.gauss(0, VOLATILITY)
        mean = price * (1 + 0.05 * math.sin(number / 500))
        close = mean * (1 + deviation)
        high = max(open_, close) * (1 + abs(generator.gauss(0, VOLATILITY / 3)))
        low = min(open_, close) * (1 - abs(generator.gauss(0, VOLATILITY / 3)))
        volume = 1_000 * generator.lognormvariate(0, 0.4) * (1 + 300 * abs(close / open_ - 1))
        prices = ",".join(f"{value:.{digits}f}" for value in (open_, high, low, close))
        yield f"{START_MS + number * minutes * 60_000},{prices},{volume:.3f}"


def main() -> None:
    folder = Path(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    folder.mkdir(parents=True, exist_ok=True)
    for name, minutes, price, digits in SERIES:
        generator = random.Random(f"{seed} {name}")  # a text seeds the same on every machine
        lines = ("timestamp,open,high,low,close,volume", *bars(generator, minutes=minutes, price=price, digits=digits))
        (folder / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
