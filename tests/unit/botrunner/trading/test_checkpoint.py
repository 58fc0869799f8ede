"""What a checkpoint keeps of an account, and what is read of earlier versions."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from botrunner.trading.account import Account
from botrunner.trading.checkpoint import CheckpointNewer, dump, dump_counters, load, load_counters
from botrunner.trading.lost_entries import LostEntries
from botrunner.trading.risk import Counters, Denial, entry_denial
from fleet.config import RiskLimits

D = Decimal
NOW = datetime(2018, 1, 10, 12, tzinfo=UTC)
FIVE_MINUTES = timedelta(minutes=5)


def test_a_new_bot_has_counted_nothing() -> None:
    assert dump_counters(Counters()) == {
        "day": None, "trades_today": 0, "pnl_today": "0", "peak_equity": "0", "last_exit_at": None, "stops": [],
        "breached": [],
    }  # fmt: skip


def test_counters_survive_the_checkpoint() -> None:
    counters = Counters(
        day=NOW.date(), trades_today=3, pnl_today=D("-7.1"), peak_equity=D("50.00000001"), last_exit_at=NOW,
        stops=(NOW - 2 * FIVE_MINUTES, NOW - FIVE_MINUTES), breached=(Denial.MAX_DRAWDOWN,),
    )  # fmt: skip
    assert load_counters(json.loads(json.dumps(dump_counters(counters)))) == counters
    assert load_counters(json.loads(json.dumps(dump_counters(Counters())))) == Counters()


def test_counters_of_an_earlier_version_can_be_read() -> None:
    old = dump_counters(Counters(trades_today=2))
    del old["stops"], old["breached"], old["last_exit_at"]
    assert load_counters({**old, "bars_since_exit": None}) == Counters(trades_today=2)
    # before the first bar there is no time to count from
    assert load_counters({**old, "bars_since_exit": 4}) == Counters(trades_today=2)
    assert load_counters({**old, "bars_since_exit": None}, last_close_at=NOW) == Counters(trades_today=2)
    # an interval that nobody named: the exit was at the last close
    assert load_counters({**old, "bars_since_exit": 4}, last_close_at=NOW).last_exit_at == NOW


@pytest.mark.parametrize("interval", [FIVE_MINUTES, timedelta(weeks=1)])
@pytest.mark.parametrize("cooldown", [1, 2, 5])
def test_an_earlier_versions_count_of_bars_goes_on_as_it_would_have(interval: timedelta, cooldown: int) -> None:
    """It counted a bar at each close, then denied while the count was at most the cooldown."""
    limits = RiskLimits(cooldown_bars=cooldown)
    for bars in range(7):
        old = {**dump_counters(Counters()), "bars_since_exit": bars}
        del old["last_exit_at"]
        counters = load_counters(old, last_close_at=NOW, interval=interval)
        for later in range(1, 8):
            denied = entry_denial(limits, counters, reached=(), now=NOW + later * interval, interval=interval)
            assert (denied is Denial.COOLDOWN) == (bars + later <= cooldown)


def test_the_count_is_part_of_the_checkpoint_and_missing_in_older_ones() -> None:
    account = Account(cash=D(1), lost=LostEntries("rejected", 3, NOW))
    stored = json.loads(json.dumps(dump(account)))
    assert load(stored) == account
    del stored["lost"]
    assert load(stored) == Account(cash=D(1))


def test_a_checkpoint_of_a_newer_version_says_so() -> None:
    state = {**dump(Account(cash=D(1))), "version": 4}
    with pytest.raises(CheckpointNewer, match="has version 4, this program reads up to 3: run the newer program"):
        load(state)


def test_a_flat_accounts_checkpoint_is_small() -> None:
    assert set(dump(Account(cash=D(1)))) == {"version", "cash", "counters", "total_pnl"}
