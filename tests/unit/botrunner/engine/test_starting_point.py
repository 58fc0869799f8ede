"""Where a run begins, case by case."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import structlog

from botrunner.engine.starting_point import Resumed, starting_point
from botrunner.exchange.errors import ExchangeAway
from botrunner.trading.account import Account
from botrunner.trading.state import BotState
from fleet.errors import FencedError
from fleet.times import from_ms

D = Decimal
NEWEST_MS = 1_500_000_000_000
NEWEST = from_ms(NEWEST_MS)
CASH = D(10)
TRADED = Account(cash=D("12.5"), total_pnl=D("2.5"))
ELSEWHERE: Resumed = (BotState(account=Account(cash=D(11)), last_bar_at=NEWEST - timedelta(hours=1), bars=3), {"n": 1})


@dataclass
class Ledger:
    """Keeps the first checkpoint, or has one that another process was quicker with."""

    already: Resumed | None = None
    begun: list[Resumed] = field(default_factory=list)

    def begin(self, state: BotState, strategy_state: dict[str, Any]) -> Resumed:
        self.begun.append((state, strategy_state))
        return self.already or (state, strategy_state)


@dataclass(frozen=True)
class Case:
    """What there is, where the run begins, and what is stored before its first bar; None: nothing."""

    resumed: Resumed | None
    newest_ms: int | None
    begins: Resumed
    stored: Resumed | None
    already: Resumed | None = None
    logged: str = "begins"


FIRST: Resumed = (BotState(account=Account(cash=CASH), last_bar_at=NEWEST), {})
OF_A_FILE: Resumed = (BotState(account=Account(cash=CASH)), {})
GOING_ON: Resumed = (
    BotState(account=TRADED, last_bar_at=NEWEST, last_close=D(3), last_volume=D(4), bars=9),
    {"seen": 9},
)
CASES = {
    "a new bot begins behind the newest closed candle, with its cash": Case(None, NEWEST_MS, FIRST, FIRST),
    "a new bot on a file begins with its first candle": Case(None, None, OF_A_FILE, OF_A_FILE),
    "one that traded goes on as it was, and nothing is stored": Case(GOING_ON, None, GOING_ON, None, logged="resumed"),
    "in another market it begins anew, with its money, its count of bars and its strategy's state": Case(
        (BotState(account=TRADED, bars=9), {"seen": 9}),
        NEWEST_MS,
        (BotState(account=TRADED, last_bar_at=NEWEST, bars=9), {"seen": 9}),
        (BotState(account=TRADED, last_bar_at=NEWEST, bars=9), {"seen": 9}),
    ),
    "what was known of the other market's prices is forgotten": Case(
        (BotState(account=TRADED, last_close=D(3), last_volume=D(4), bars=9), {}),
        NEWEST_MS,
        (BotState(account=TRADED, last_bar_at=NEWEST, bars=9), {}),
        (BotState(account=TRADED, last_bar_at=NEWEST, bars=9), {}),
    ),
    "another process that stored the first checkpoint is followed": Case(
        None, NEWEST_MS, ELSEWHERE, FIRST, already=ELSEWHERE
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_where_a_run_begins(case: Case) -> None:
    ledger = Ledger(case.already)

    def newest() -> int | None:
        assert case.logged == "begins", "who goes on asks no exchange"
        return case.newest_ms

    with structlog.testing.capture_logs() as logs:
        begins = starting_point(case.resumed, cash=CASH, newest_closed_ms=newest, ledger=ledger)
    assert begins == case.begins
    assert ledger.begun == ([] if case.stored is None else [case.stored])
    assert [log["event"] for log in logs] == [case.logged]


def test_an_exchange_that_does_not_answer_before_a_stop_leaves_nothing_behind() -> None:
    def away() -> int | None:
        raise ExchangeAway("scripted")

    ledger = Ledger()
    with pytest.raises(ExchangeAway):
        starting_point(None, cash=CASH, newest_closed_ms=away, ledger=ledger)
    assert ledger.begun == []


def test_a_run_that_was_lost_does_not_begin() -> None:
    class Fenced(Ledger):
        def begin(self, state: BotState, strategy_state: dict[str, Any]) -> Resumed:
            raise FencedError("not current")

    with pytest.raises(FencedError):
        starting_point(None, cash=CASH, newest_closed_ms=lambda: NEWEST_MS, ledger=Fenced())
