"""A plausible order book around the last price: seeded, so that equal times show equal books."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal
from random import Random

_HALF_SPREAD = Decimal("0.00005")  # half a basis point of the price on each side, and at least one tick
_LEVEL_NOTIONALS = Decimal(200)  # a usual level is worth this many minimum notionals
_REFRESH_MS = 1000


@dataclass(frozen=True, slots=True)
class Level:
    """Price in quote and what is offered or wanted there, in base."""

    price: Decimal
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Book:
    """Best first on both sides; bids lie below asks. `update_id` rises with time."""

    update_id: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


def make_book(
    *, symbol: str, price: Decimal, tick: Decimal, lot_step: Decimal, min_notional: Decimal, now: int, depth: int
) -> Book:
    """The book of one second.

    Args:
        symbol: makes different books at the same time.
        price: last traded one; the best bid is below, the best ask above it.
        tick: price step.
        lot_step: amount step.
        min_notional: sizes the levels, in quote.
        now: simulated Unix ms.
        depth: levels a side; there are fewer bids where the price would reach zero.
    """
    random = Random(f"{symbol}/{now // _REFRESH_MS}")
    spread = max(tick, price * _HALF_SPREAD)
    best_bid = ((price - spread) / tick).to_integral_value(ROUND_FLOOR) * tick
    best_ask = ((price + spread) / tick).to_integral_value(ROUND_CEILING) * tick
    usual = min_notional * _LEVEL_NOTIONALS / price
    bids: list[Level] = []
    asks: list[Level] = []
    distance = Decimal(0)
    gap = max(1, int(spread / tick))
    for _ in range(depth):
        bid_quantity, ask_quantity = (_amount(random, usual=usual, lot_step=lot_step) for _ in range(2))
        if best_bid - distance > 0:
            bids.append(Level(best_bid - distance, bid_quantity))
        asks.append(Level(best_ask + distance, ask_quantity))
        distance += random.randint(1, gap) * tick
    return Book(update_id=now // _REFRESH_MS, bids=tuple(bids), asks=tuple(asks))


def _amount(random: Random, *, usual: Decimal, lot_step: Decimal) -> Decimal:
    wanted = usual * Decimal(random.lognormvariate(0, 1))
    steps = (wanted / lot_step).to_integral_value(ROUND_DOWN)
    return max(Decimal(1), steps) * lot_step
