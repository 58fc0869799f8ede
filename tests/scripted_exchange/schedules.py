"""Random worlds: any candles, any signals, any faults, kills at every point, and then rest."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any

from botrunner.market.rules import Market
from botrunner.strategies.base import OpenPosition
from botrunner.trading.order_ids import Leg
from fleet.config import BotConfig
from fleet.times import to_ms
from tests.scripted_exchange.exchange import Answer, Habits
from tests.scripted_exchange.invariants import Kind, Violation, violations
from tests.scripted_exchange.kill_points import KillPoint
from tests.scripted_exchange.transport import Faults
from tests.scripted_exchange.world import EXIT, LONG, SHORT, TICK_MS, Broken, Plan, World
from tests.unit.botrunner.paper_world import MARKET, config

BAR_MS = 60_000
BARS = 20
"""Of a schedule with disturbances, at a minute each."""

REST_BARS = 6
"""After them, without kills, faults and entries."""

STILL_FROM = (BARS + REST_BARS - 2) * BAR_MS // TICK_MS
"""From this tick on the price stands still, so that a world ends with nothing under way."""

TICKS = (BARS + REST_BARS + 1) * BAR_MS // TICK_MS


def plan_of(seed: int, broken: Broken | None = None) -> Plan:
    """The world of this number."""
    random = Random(seed)
    drawn = Random(f"{seed}:market")
    leftovers = drawn.random() < 0.2
    made = _config(random, leftovers=leftovers)
    kill = random.choice([0.0, 0.02, 0.05, 0.1])
    deaths = Random(seed + 1)

    def dies(point: KillPoint, leg: Leg | None) -> bool:
        # there are many more of these than of the others
        return deaths.random() < (kill / 10 if point is KillPoint.DURING_LOOK_UP else kill)

    rests_ms = BARS * BAR_MS
    return Plan(
        config=made,
        market=_market(drawn, leftovers=leftovers),
        prices=_prices(random, leftovers=leftovers),
        says=_says(seed, rests_ms, shorts=made.allow_short, leftovers=leftovers),
        habits=Habits(
            fee_rate=Decimal("0.001"),
            fee_in_base=made.document.broker.paper_trading_config.fee_currency == "base",
            part=max(random.choice([0.0, 0.3, 0.7, 0.9]), 0.9 if leftovers else 0.0),
            refuses=random.choice([0.0, 0.05]),
            refuses_passed_stops=random.random() < 0.5,
            fills_by_amendment=seed % 2 == 0,
            hides_ms=random.choice([0, 2000, 9000]),
            stamps_late_ms=900 if seed % 3 == 0 else 0,
            skew_ms=random.choice([0, 400]),
        ),
        faults=_faults(random),
        outages=_outages(random, rests_ms),
        rests_ms=rests_ms,
        flattens=random.random() < 0.2,
        stops_ms=drawn.choice([None, drawn.randint(BAR_MS, rests_ms)]),
        ends_ms=rests_ms + REST_BARS * BAR_MS,
        dies=dies,
        restarts_ms=random.choice([(500, 3000), (500, 40_000)]),
        seed=seed,
        broken=broken or Broken(),
    )


def _market(random: Random, *, leftovers: bool) -> Market:
    """Entries are worth 500; of one that was filled in part, what is held can often not be sold.

    Args:
        random: decides. leftovers: it is to happen as often as it can: positions too small to be sold, close to their
            stops, of a strategy that wants to leave.
    """
    step = random.choice([Decimal("0.01"), Decimal("0.1")])
    least = random.choice([0, 50, 200])
    return replace(MARKET, min_notional=Decimal(450 if leftovers else least), step=step, min_quantity=step)


def _config(random: Random, *, leftovers: bool) -> BotConfig:
    shorts = random.random() < 0.3
    kinds = ["market", "market", "limit"]
    risk: dict[str, Any] = {"stop_loss_pct": random.choice([0.5, 1, 3])}
    if random.random() < 0.3:
        risk["trailing_stop_pct"] = random.choice([0.5, 2])
    if random.random() < 0.2:
        risk["take_profit_pct"] = 2
    if leftovers:
        risk["stop_loss_pct"] = 0.5
    return config(
        {
            "commission_rate": 0.001,
            "fee_currency": random.choice(["quote", "quote", "base"]) if not shorts else "quote",
        },
        data={"interval": "1m"},
        risk_management=risk,
        trading={
            "position_size": 0.5,
            "allow_short": shorts,
            "order_type": "limit" if leftovers else random.choice(kinds),
            "exit_order_type": random.choice(kinds),
            "limit_offset_pct": random.choice([0, 0.1]),
            "limit_ttl_bars": 1 if leftovers else random.randint(1, 3),
        },
    )


def _prices(random: Random, *, leftovers: bool) -> list[Decimal]:
    price, found = Decimal(100), []
    swing = random.choice([0.0005, 0.002, 0.005])
    if leftovers:
        swing = 0.002
    for tick in range(TICKS):
        if tick >= STILL_FROM:
            found.append(price)
            continue
        price = max((price * Decimal(1 + random.gauss(0, swing))).quantize(MARKET.tick), Decimal(1))
        found.append(price)
    return found


def _says(seed: int, rests_ms: int, *, shorts: bool, leftovers: bool) -> Any:
    enters, leaves = (0.9, 0.7) if leftovers else Random(seed).choice([(0.3, 0.2), (0.6, 0.5)])

    def says(bar_at: datetime, position: OpenPosition | None) -> str | None:
        drawn = Random(f"{seed}:{to_ms(bar_at)}")
        if position is not None:
            return EXIT if drawn.random() < leaves else None
        if drawn.random() >= enters or (bar_at.minute + bar_at.hour * 60) * BAR_MS >= rests_ms:
            return None
        return SHORT if shorts and drawn.random() < 0.5 else LONG

    return says


def _faults(random: Random) -> Faults:
    def some(most: float) -> float:
        return random.choice([0.0, 0.0, most / 3, most])

    return Faults(
        not_sent=some(0.1),
        paused=some(0.05),
        lost=some(0.15),
        late=some(0.15),
        answer_lost=some(0.2),
        away=some(0.1),
        dropped=some(1.0),
        doubled=some(0.3),
        delayed=some(0.5),
    )


def _outages(random: Random, rests_ms: int) -> list[tuple[int, int]]:
    """Of the database: some take the right to trade for a while, some end the run."""
    found = []
    for _ in range(random.choice([0, 0, 1, 2])):
        start = random.randint(0, rests_ms - 70_000)
        found.append((start, start + random.choice([8_000, 25_000, 45_000])))
    return found


@dataclass
class Summary:
    """What many schedules came to."""

    schedules: int = 0
    lives: int = 0
    fenced: int = 0
    orders: int = 0
    executions: int = 0
    commits: int = 0
    kills: Counter[KillPoint] = field(default_factory=Counter)
    turned_away: Counter[Answer] = field(default_factory=Counter)
    violations: list[tuple[int, Violation]] = field(default_factory=list)

    def add(self, seed: int, broken: Broken | None = None) -> list[Violation]:
        """Run one more, and say what it violated."""
        world = World(plan_of(seed, broken)).run()
        found = violations(world)
        self.schedules += 1
        self.lives += world.epoch
        self.fenced += world.fenced
        self.commits += world.commits
        self.orders += len(world.exchange.ledger.orders)
        self.executions += len(world.exchange.ledger.executions)
        self.turned_away.update(world.exchange.ledger.turned_away)
        self.kills.update(point for point, _ in world.kills.killed)
        self.violations.extend((seed, violation) for violation in found)
        return found

    def join(self, other: Summary) -> None:
        """Add what others came to."""
        for name in ("schedules", "lives", "fenced", "orders", "executions", "commits"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.kills.update(other.kills)
        self.turned_away.update(other.turned_away)
        self.violations.extend(other.violations)

    def __str__(self) -> str:
        kinds = Counter(violation.kind for _, violation in self.violations)
        away = ", ".join(f"{self.turned_away[answer]} {answer.name.lower()}" for answer in Answer)
        kills = ", ".join(f"{self.kills[point]} {point.name.lower()}" for point in KillPoint)
        return (
            f"{self.schedules} schedules, {self.kills.total()} kills, {self.lives} lives ({self.fenced} fenced), "
            f"{self.commits} commits, {self.orders} orders, {self.executions} executions\n"
            f"kills: {kills}\nturned away by the exchange: {away}\n"
            + ", ".join(f"{kind} {kinds[kind]}" for kind in Kind)
        )
