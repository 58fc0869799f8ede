"""A process that dies at each point of an order's way: what the next one makes of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from botrunner.strategies.base import OpenPosition
from botrunner.trading.order_ids import Leg
from fleet.states import OrderState
from tests.scripted_exchange.clock import BEGINS
from tests.scripted_exchange.invariants import violations
from tests.scripted_exchange.kill_points import KillPoint
from tests.scripted_exchange.world import EXIT, LONG, Plan, World
from tests.unit.botrunner.paper_world import MARKET, config

ENTRY, LEAVE, STOP = Leg.ENTRY, Leg.EXIT, Leg.STOP_LOSS
ENTERS_AT, LEAVES_AT = BEGINS + timedelta(minutes=1), BEGINS + timedelta(minutes=4)
MINUTES = 8

NEVER_LEFT = {KillPoint.AFTER_INTENT_COMMIT, KillPoint.AFTER_CHECK}
"""Points at which the intent stands in the database and the order isn't at the exchange."""


def says(bar_at: datetime, _position: OpenPosition | None) -> str | None:
    return {ENTERS_AT: LONG, LEAVES_AT: EXIT}.get(bar_at)


def lived(point: KillPoint | None, leg: Leg | None, *, seed: int = 0, leaves: bool = True) -> World:
    """A bot that buys, rests its stop and sells, and dies once: where an order of the leg passes the point."""
    died: list[KillPoint] = []

    def dies(passed: KillPoint, about: Leg | None) -> bool:
        if died or passed is not point or about is not leg:
            return False
        died.append(passed)
        return True

    made = config({"commission_rate": 0.001}, data={"interval": "1m"}, risk_management={"stop_loss_pct": 1})
    world = World(
        Plan(
            config=made,
            market=MARKET,
            prices=[Decimal(100)] * (12 * MINUTES),
            says=says if leaves else lambda bar_at, held: says(bar_at, held) if bar_at == ENTERS_AT else None,
            rests_ms=60_000 * MINUTES,
            ends_ms=60_000 * MINUTES,
            dies=dies,
            seed=seed,
        )
    ).run()
    assert len(died) == (point is not None)
    return world


def rows(world: World) -> list[tuple[Leg, int, OrderState]]:
    """The bot's orders as leg, attempt, state."""
    return [(Leg(row["leg"]), row["attempt"], OrderState(row["state"])) for row in world.tables.orders.values()]


def ids(world: World) -> list[str]:
    return [listed.client_order_id for listed in world.exchange.ledger.orders]


WAY = [point for point in KillPoint if point is not KillPoint.DURING_LOOK_UP]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("leg", [ENTRY, LEAVE, STOP])
@pytest.mark.parametrize("point", WAY)
def test_ledger_and_tables_agree_wherever_the_process_dies(point: KillPoint, leg: Leg, seed: int) -> None:
    world = lived(point, leg, seed=seed)
    assert violations(world) == []
    assert world.exchange.ledger.position == 0


@pytest.mark.parametrize("point", WAY)
def test_an_entry_of_which_nobody_knows_whether_it_left_is_found_or_expires(point: KillPoint) -> None:
    world = lived(point, ENTRY)
    if point in NEVER_LEFT:
        assert rows(world) == [(ENTRY, 0, OrderState.EXPIRED)]
        assert ids(world) == []
    else:
        assert [row for row in rows(world) if row[0] is ENTRY] == [(ENTRY, 0, OrderState.FILLED)]
        assert ids(world)[0] == ids(lived(None, None))[0]


@pytest.mark.parametrize("point", WAY)
def test_an_exit_that_never_left_gets_its_next_attempt_and_one_that_did_gets_none(point: KillPoint) -> None:
    world = lived(point, LEAVE)
    exits = [(attempt, state) for leg, attempt, state in rows(world) if leg is LEAVE]
    if point in NEVER_LEFT:
        assert exits == [(0, OrderState.EXPIRED), (1, OrderState.FILLED)]
    else:
        assert exits == [(0, OrderState.FILLED)]
        assert ids(world) == ids(lived(None, None))


@pytest.mark.parametrize("point", WAY)
def test_a_position_has_its_stop_again_wherever_the_process_dies(point: KillPoint) -> None:
    world = lived(point, STOP, leaves=False)
    assert violations(world) == []
    stops = [(attempt, state) for leg, attempt, state in rows(world) if leg is STOP]
    if point in NEVER_LEFT:
        assert stops == [(0, OrderState.EXPIRED), (1, OrderState.ACKED)]
    else:
        assert stops == [(0, OrderState.ACKED)]
    assert [listed.is_open for listed in world.exchange.ledger.orders if listed.leg is STOP] == [True]


def test_a_look_up_that_kills_is_repeated() -> None:
    world = lived(KillPoint.DURING_LOOK_UP, None)
    assert violations(world) == []
    assert rows(world) == rows(lived(None, None))


def test_undisturbed_the_bot_buys_protects_and_sells() -> None:
    world = lived(None, None)
    assert violations(world) == []
    assert world.epoch == 1
    assert rows(world)[:2] == [(ENTRY, 0, OrderState.FILLED), (STOP, 0, OrderState.CANCELED)]
    assert (LEAVE, 0, OrderState.FILLED) in rows(world)
