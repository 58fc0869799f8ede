"""What a run takes from outside is recorded once, exactly, and can be read back."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from botrunner.backtest.stored_rows import as_stored
from botrunner.ledger.inputs import InputRecorder, limits_of
from botrunner.market.candle import Candle
from botrunner.market.codec import load_candles, load_market
from botrunner.market.rules import file_market
from botrunner.trading.account import Account
from botrunner.trading.risk import Denial
from botrunner.trading.state import BarOutcome
from fleet.config import parse_config

D = Decimal
CANDLE = Candle(1_515_560_100_000, D("0.0984"), D("0.0994766"), D("0.09828605"), D("0.09947660"), D("1820.5"))


def config(**limits: Any) -> Any:
    logic = {"entry_logic": {"name": "RSIOrBBEntryMixin"}, "exit_logic": {"name": "TimeBasedExitMixin"}}
    strategy = {"type": "CustomStrategy", "parameters": logic}
    return parse_config(
        {"symbol": "ETHBTC", "strategy": strategy, "data": {"interval": "5m"}, "risk_management": limits}
    )


class NoCandles:
    def history(self, start_ms: int, end_ms: int) -> list[Candle]:
        return []


def recorder_of(market: Any) -> InputRecorder:
    made = InputRecorder()
    made.recording(cast(Any, NoCandles()), market)
    return made


def outcome(made: Any, **changes: Any) -> BarOutcome:
    return BarOutcome(
        follows=None,
        bar_at=CANDLE.open_at,
        bars=1,
        close=CANDLE.close,
        account=Account(cash=D(10)),
        strategy_state={},
        candle=CANDLE,
        config=made,
        **changes,
    )


def test_a_runs_first_bar_records_everything_and_later_ones_what_changed() -> None:
    market = file_market("ETHBTC")
    recorder, made = recorder_of(market), config(stop_loss_pct=2.5)
    recorder.warmed_up([CANDLE])
    recorder.warmed_up([])
    first = recorder.row(outcome(made), begins=True)
    assert first is not None
    assert first["limits"] == {"stop_loss_pct": 2.5}
    assert load_market(first["market"]) == market
    assert load_candles(first["warmup"]) == [CANDLE]
    # until it is durable it is still news: a commit may have to be repeated
    assert recorder.row(outcome(made), begins=True) == first
    recorder.committed(outcome(made))
    assert recorder.row(outcome(made), begins=False) is None
    assert recorder.row(outcome(config(stop_loss_pct=2.5)), begins=False) is None
    changed = recorder.row(outcome(config(stop_loss_pct=3)), begins=False)
    assert changed is not None
    assert (changed["limits"], changed["market"], changed["warmup"]) == ({"stop_loss_pct": 3}, None, None)


def test_only_denials_from_outside_are_noted() -> None:
    recorder, made = recorder_of(file_market("ETHBTC")), config()
    recorder.committed(outcome(made))
    assert recorder.row(outcome(made, denial=Denial.COOLDOWN), begins=False) is None
    for cause in ({"stopping": True}, {"denial": Denial.TENANT_MAX_EXPOSURE}, {"denial": Denial.LATE_CANDLE}):
        noted = recorder.row(outcome(made, **cause), begins=False)
        assert noted is not None
        assert noted["denied"] is cause.get("denial", Denial.STOPPING)


def test_a_later_run_of_the_bot_notes_no_warm_up() -> None:
    recorder = recorder_of(file_market("ETHBTC"))
    recorder.warmed_up([CANDLE])
    noted = recorder.row(outcome(config()), begins=False)
    assert noted is not None
    assert noted["warmup"] is None


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "stop_loss_pct": st.floats(0.001, 99, allow_subnormal=False),
            "max_daily_loss": st.one_of(st.integers(1, 10**9), st.floats(1e-6, 1e9)),
            "max_daily_trades": st.integers(0, 1000),
            "trailing_stop_pct": st.floats(0.001, 99, allow_subnormal=False),
        },
    )
)
def test_limits_are_read_back_as_they_were(limits: dict[str, Any]) -> None:
    made = config(**limits)
    assert config(**limits_of(made)).risk == made.risk


def test_rows_are_rounded_as_their_columns_are() -> None:
    row = {"price": D(1) / 3, "pnl_percentage": D("-0.000000005"), "quantity": D("1E+2"), "fee": D("0E-8"), "leg": "x"}
    stored = as_stored(row)
    assert stored == {
        "price": D("0.333333333333333333"),
        "pnl_percentage": D("-0.00000001"),
        "quantity": D(100),
        "fee": D(0),
        "leg": "x",
    }
    assert str(stored["quantity"]) == "100"
