from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, field_serializer, field_validator

from fleet.config import (
    ConfigError,
    ConfigInvalid,
    CustomParameters,
    ExtraNames,
    FillPrice,
    LogicSpec,
    OnStop,
    OrderKind,
    RiskLimits,
    SlippageModel,
    StopLossGuard,
    parse_config,
    validate_config,
    validate_strategy,
)
from fleet.config.entry_params import RSIBBVolumeEntryParams, RSIOrBBEntryParams
from fleet.config.exit_params import ATRExitParams, TimeBasedExitParams
from fleet.config.params import MixinParams
from fleet.config.strategy_params import Feature, OnnxStrategyParams
from fleet.foreign import load_json
from tests.hostile_json import HOSTILE_JSON, json_texts

PARAMETERS = "strategy.parameters"
ENTRY = f"{PARAMETERS}.entry_logic"
EXIT = f"{PARAMETERS}.exit_logic"


def put(raw: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """`raw` with the value at a dotted path replaced, made where it is missing."""
    *parents, last = path.split(".")
    node = raw
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    return raw


def errors_of(raw: object) -> dict[str, ConfigError]:
    return {error.path: error for error in validate_config(raw)}


def test_the_sample_of_the_original_design(sample: dict[str, Any]) -> None:
    config = parse_config(sample)
    assert (config.symbol, config.interval, config.interval_s) == ("BTCUSDT", "1h", 3600)
    assert (config.strategy_type, config.broker_type, config.trading_mode) == (
        "CustomStrategy",
        "binance",
        "paper",
    )
    assert config.initial_cash == 100
    assert config.position_fraction == Decimal("0.1")
    assert config.lookback_bars == 500
    assert config.entry == LogicSpec("RSIBBVolumeEntryMixin", RSIBBVolumeEntryParams())
    assert config.exit == LogicSpec("ATRExitMixin", ATRExitParams(sl_multiplier=1.5))
    assert config.strategy_parameters == CustomParameters(entry=config.entry, exit=config.exit)
    assert config.risk == RiskLimits(
        max_position_size=Decimal(1000),
        stop_loss_pct=Decimal(3),
        take_profit_pct=Decimal(6),
        max_daily_loss=Decimal(200),
        max_daily_trades=5,
    )
    assert config.notifications.telegram_enabled
    assert config.notices == ()


def test_the_shortest_configuration_has_defaults_for_the_rest(minimal: dict[str, Any]) -> None:
    config = parse_config(minimal)
    assert (config.initial_cash, config.maker_rate, config.taker_rate) == (Decimal(10_000), None, None)
    assert (config.slippage, config.fill_price) == (Decimal(0), FillPrice.CLOSE)
    assert (config.position_fraction, config.on_stop, config.allow_short) == (
        Decimal("0.1"),
        OnStop.HOLD,
        False,
    )
    assert (config.lookback_bars, config.data_source, config.strategy_type) == (
        500,
        "binance",
        "CustomStrategy",
    )
    assert config.risk == RiskLimits()
    assert config.entry.params == RSIOrBBEntryParams()
    assert config.exit.params == TimeBasedExitParams()


def test_numbers_are_exact(minimal: dict[str, Any]) -> None:
    put(minimal, "trading.position_size", 0.1)
    put(minimal, "broker.paper_trading_config", {"commission_rate": 0.00075, "base_slippage": 0.0005})
    put(minimal, "broker.cash", 1e3)
    config = parse_config(minimal)
    assert str(config.position_fraction) == "0.1"
    assert str(config.commission_rate) == "0.00075"
    assert str(config.slippage) == "0.0005"
    assert config.initial_cash == 1000


@pytest.mark.parametrize(
    ("paper", "path", "message"),
    [
        ({"min_latency_ms": 100, "max_latency_ms": 10}, "min_latency_ms", "is 100, above max_latency_ms 10"),
        ({"slippage_model": "fixed"}, "fixed_slippage", 'is required with slippage_model "fixed"'),
        (
            {"slippage_model": "fixed", "fixed_slippage": 0.1, "slippage_ticks": 2},
            "slippage_ticks",
            "is another unit for fixed_slippage",
        ),
    ],
)
def test_paper_settings_that_contradict_each_other(
    minimal: dict[str, Any], paper: dict[str, Any], path: str, message: str
) -> None:
    put(minimal, "broker.paper_trading_config", paper)
    [error] = validate_config(minimal)
    assert (error.path, error.message) == (f"broker.paper_trading_config.{path}", message)


def test_paper_settings_have_defaults_and_are_in_effect(minimal: dict[str, Any]) -> None:
    put(
        minimal,
        "broker.paper_trading_config",
        {
            "min_latency_ms": 10,
            "max_latency_ms": 100,
            "partial_fill_probability": 0.1,
            "reject_probability": 0.01,
        },
    )
    config = parse_config(minimal)
    assert config.notices == ()
    paper = config.document.broker.paper_trading_config
    assert (paper.seed, paper.fee_currency, paper.max_volume_share) == (0, "quote", None)
    assert (config.slippage_model, config.slippage) == (SlippageModel.PERCENTAGE, 0)
    assert (config.entry_order, config.exit_order, config.limit_ttl_bars) == (OrderKind.MARKET, OrderKind.MARKET, 3)


@pytest.mark.parametrize(
    ("paper", "rates"),
    [
        ({}, (None, None)),
        ({"commission_rate": 0.002}, ("0.002", "0.002")),
        ({"commission_rate": 0.002, "maker_commission_rate": 0.0001}, ("0.0001", "0.002")),
        ({"taker_commission_rate": 0}, (None, "0")),
    ],
)
def test_fees_that_are_not_written_are_the_exchanges(
    minimal: dict[str, Any], paper: dict[str, Any], rates: tuple[str | None, str | None]
) -> None:
    put(minimal, "broker.paper_trading_config", paper)
    config = parse_config(minimal)
    assert (config.maker_rate, config.taker_rate) == tuple(None if rate is None else Decimal(rate) for rate in rates)


def test_whole_numbers_may_be_written_with_a_point(minimal: dict[str, Any]) -> None:
    config = parse_config(put(minimal, "data.lookback_bars", 200.0))
    assert config.lookback_bars == 200
    assert isinstance(config.lookback_bars, int)


def test_a_config_is_immutable(minimal: dict[str, Any]) -> None:
    config = parse_config(minimal)
    with pytest.raises(AttributeError):
        config.symbol = "BTCUSDT"  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        config.document.data.lookback_bars = 50  # type: ignore[misc]


ACCEPTED = [
    pytest.param("bot_id", 17, id="a numeric id"),
    pytest.param("version", 1.2, id="a version as a number"),
    pytest.param("notifications.notify_telegram_chat_id", -100123, id="a chat id as a number"),
    pytest.param("risk_management.stop_loss_pct", None, id="null is not set"),
    pytest.param("risk_management.max_daily_trades", 0, id="no entries at all"),
    pytest.param(f"{ENTRY}.params", {"e_rsi_period": 7, "bb_period": 30}, id="prefix or none"),
    pytest.param(f"{ENTRY}.logic_params", {"rsi_period": 7}, id="logic_params"),
    pytest.param(f"{ENTRY}.params", {"rsi_oversold": 30}, id="a whole number for a float"),
    pytest.param("strategy.type", "NeuralNet", id="an unknown strategy runs CustomStrategy"),
    pytest.param("data.symbol", "ETHBTC", id="the same symbol twice"),
    pytest.param("strategy.parameters.position_size", 0.25, id="position size in the parameters"),
]


@pytest.mark.parametrize(("path", "value"), ACCEPTED)
def test_accepted(minimal: dict[str, Any], path: str, value: object) -> None:
    assert validate_config(put(minimal, path, value)) == ()


REFUSED = [
    # path put, value, path of the error, part of the message, part of the hint
    ("tradin", {}, "tradin", "unknown key", "did you mean trading?"),
    ("broker.paper_trading_config.slipage_model", "x", None, "unknown key", "slippage_model"),
    ("broker.type", "binanc", None, 'unknown broker "binanc"', "did you mean binance?"),
    ("broker.trading_mode", "demo", None, "must be 'paper' or 'live', not \"demo\"", ""),
    ("broker.cash", "100", None, 'must be a number, not "100"', ""),
    ("broker.cash", True, None, "must be a number, not true", ""),
    ("broker.cash", float("nan"), None, "must be a finite number", ""),
    ("broker.cash", float("inf"), None, "must be a finite number", ""),
    ("broker.cash", 10**400, None, "is too large a number", ""),
    ("broker.cash", 0, None, "must be greater than 0, not 0", ""),
    ("broker.commission", 0.5, None, "must be at most 0.1, not 0.5", ""),
    ("broker.api_key", "k", None, "never part of a configuration", "broker_accounts"),
    ("broker.apiSecret", "s", None, "never part of a configuration", "broker_accounts"),
    ("symbol", "btc/usdt", None, "must match", ""),
    ("symbol", None, None, "is required", "BTCUSDT"),
    ("data.symbol", "BTCUSDT", "symbol", 'is "ETHBTC" but data.symbol is "BTCUSDT"', "remove one"),
    ("data.interval", "7h", None, "must be '1s', '1m'", ""),
    ("data.interval", None, None, "must be '1s', '1m'", ""),
    ("data.lookback_bars", 49, None, "must be at least 50, not 49", ""),
    ("data.lookback_bars", 1001, None, "must be at most 1000", ""),
    ("data.lookback_bars", 60.5, None, "must be a whole number", ""),
    ("data.data_source", "bianance", None, "unknown data source", "did you mean binance?"),
    ("data.data_source", "file", "data.file_path", "is required", ""),
    ("trading", [], None, "must be an object, not a list", ""),
    ("trading.order_type", "stop", None, "must be 'market' or 'limit'", ""),
    ("trading.position_size", 1.5, None, "must be at most 1, not 1.5", ""),
    ("trading.exit_order_type", "stop", None, "must be 'market' or 'limit'", ""),
    ("trading.limit_ttl_bars", 0, None, "must be at least 1, not 0", ""),
    ("trading.limit_offset_pct", -1, None, "must be at least 0, not -1", ""),
    ("broker.paper_trading_config.slippage_model", "linear", None, "must be 'none', 'fixed', 'percentage' or", ""),
    ("broker.paper_trading_config.max_volume_share", 0, None, "must be greater than 0, not 0", ""),
    ("broker.paper_trading_config.fee_currency", "BNB", None, "must be 'quote' or 'base'", ""),
    ("broker.paper_trading_config.seed", -1, None, "must be at least 0, not -1", ""),
    ("broker.paper_trading_config.seed", 0.5, None, "must be a whole number", ""),
    ("trading.on_stop", "sell", None, "must be 'hold', 'flatten' or 'wait_flat'", ""),
    ("trading.on_failure", "wait_flat", None, "must be 'hold' or 'flatten'", ""),
    ("risk_management.stop_loss_pct", 100, None, "must be less than 100", ""),
    ("risk_management.trailing_stop", True, "risk_management.trailing_stop_pct", "is required", ""),
    ("name", "a\0b", None, "contains a NUL character", ""),
    ("name", "\ud800", None, "half of a surrogate pair", ""),
    ("name", "x" * 20_000, None, "longer than 10000 characters", ""),
    ("name", {1, 2}, None, "must be a JSON value, not a set", ""),
    ("strategy", "CustomStrategy", None, "must be an object", ""),
    ("strategy.parameters", None, None, "must be an object, not null", ""),
    ("strategy.parameters.exit_logic", {}, f"{EXIT}.name", "is required", ""),
    (f"{ENTRY}.name", "RSIOrBBEntrMixin", None, "unknown entry mixin", "did you mean RSIOrBBEntryMixin?"),
    (f"{EXIT}.name", "Nothing", None, "unknown exit mixin", "known: ATRExitMixin, "),
    (f"{ENTRY}.params", [1], None, "must be an object, not a list", ""),
    (f"{ENTRY}.params.rsi_period", 1, None, "must be at least 2, not 1", ""),
    (f"{ENTRY}.params.e_rsi_period", 1, None, "must be at least 2, not 1", ""),
    (f"{ENTRY}.params.e_rsi_oversold", True, None, "must be a number, not true", ""),
    (f"{ENTRY}.params.e_rsi_perod", 3, None, "unknown key", "did you mean rsi_period?"),
    (f"{ENTRY}.params.x_rsi_period", 3, None, "unknown key", "did you mean rsi_period?"),
    (f"{ENTRY}.params", {"rsi_period": 3, "e_rsi_period": 3}, f"{ENTRY}.params.e_rsi_period", "is the same", ""),
    (EXIT, {"name": "MACrossoverExitMixin", "params": {"x_fast_period": 20}}, f"{EXIT}.params",
     "fast_period 20 must be less than slow_period 20", ""),
    (f"{EXIT}.logic_params", {}, None, "another spelling of params", "remove one"),
]  # fmt: skip


@pytest.mark.parametrize(("put_at", "value", "path", "message", "hint"), REFUSED)
def test_refused(
    minimal: dict[str, Any], put_at: str, value: object, path: str | None, message: str, hint: str
) -> None:
    put(minimal, f"{EXIT}.params", {})
    errors = errors_of(put(minimal, put_at, value))
    assert set(errors) == {path or put_at}
    error = errors[path or put_at]
    assert message in error.message
    assert hint in error.hint


def test_live_names_each_thing_that_it_lacks(minimal: dict[str, Any]) -> None:
    errors = errors_of(put(minimal, "broker.trading_mode", "live"))
    assert set(errors) == {
        "broker.trading_mode",
        "broker.live_trading_confirmed",
        "risk_management.max_position_size",
        "risk_management.max_daily_loss",
    }
    assert errors["broker.trading_mode"].message == "live trading is not part of this version"
    put(minimal, "broker.live_trading_confirmed", True)
    put(minimal, "risk_management", {"max_position_size": 100, "max_daily_loss": 10})
    assert set(errors_of(minimal)) == {"broker.trading_mode"}


def test_two_different_position_sizes_name_both_places(sample: dict[str, Any]) -> None:
    put(sample, "strategy.parameters.position_size", 0.2)
    (error,) = validate_config(sample)
    assert error.path == "trading.position_size"
    assert error.message == "is 0.1 but strategy.parameters.position_size is 0.2"


def test_an_indicator_longer_than_the_warm_up_is_refused(minimal: dict[str, Any]) -> None:
    put(minimal, f"{ENTRY}.params", {"rsi_period": 60})
    (error,) = validate_config(put(minimal, "data.lookback_bars", 50))
    assert error.path == "data.lookback_bars"
    assert "look back 61 bars" in error.message


def test_every_error_at_once_one_line_each(minimal: dict[str, Any]) -> None:
    for path, value in (
        ("tradin", {}),
        ("broker.cash", float("nan")),
        (f"{ENTRY}.params", {"e_rsi_period": 1, "e_rsi": 2}),
        (f"{EXIT}.name", "TimeExitMixin"),
        ("data.data_source", "csv"),
    ):
        put(minimal, path, value)
    with pytest.raises(ConfigInvalid) as caught:
        parse_config(minimal)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.errors) == 6
    assert f"{ENTRY}.params.e_rsi_period: must be at least 2, not 1" in lines
    assert "tradin: unknown key (did you mean trading?)" in lines


def test_secrets_are_never_repeated(minimal: dict[str, Any]) -> None:
    put(minimal, "broker", {"api_key": "AKIAVERYSECRET", "api_secret": "AKIAVERYSECRET"})
    with pytest.raises(ConfigInvalid) as caught:
        parse_config(minimal)
    assert len(caught.value.errors) == 2
    assert "AKIAVERYSECRET" not in str(caught.value)


def test_errors_are_counted_beyond_fifty(minimal: dict[str, Any]) -> None:
    for number in range(200):
        minimal[f"key{number}"] = 1
    errors = validate_config(minimal)
    assert len(errors) == 51
    assert errors[-1].message == "has 150 more errors"


def test_keys_without_effect_are_named(minimal: dict[str, Any]) -> None:
    config = parse_config(put(minimal, "broker.paper_trading_config.mode", "realistic"))
    assert config.notices == ("broker.paper_trading_config.mode has no meaning here",)
    put(minimal, "data.poll_interval", 5)
    put(minimal, "data.retry_interval", 5)
    assert [notice.split(" has ")[0] for notice in parse_config(minimal).notices] == [
        "broker.paper_trading_config.mode",
        "data.poll_interval",
        "data.retry_interval",
    ]


def test_portfolio_risk_needs_a_stop(minimal: dict[str, Any]) -> None:
    put(minimal, "risk_management.max_portfolio_risk", 5)
    [error] = validate_config(minimal)
    assert (error.path, error.message) == ("risk_management.stop_loss_pct", "is required with max_portfolio_risk")
    put(minimal, "risk_management.stop_loss_pct", 3)
    assert parse_config(minimal).risk.max_portfolio_risk_pct == 5


def test_stop_loss_guard(minimal: dict[str, Any]) -> None:
    put(minimal, "risk_management.stop_loss_guard", {"max_stops": 2})
    assert parse_config(minimal).risk.stop_loss_guard == StopLossGuard(max_stops=2, within_bars=48, pause_bars=24)
    put(minimal, "risk_management.stop_loss_guard", {"max_stop": 2})
    [error] = validate_config(minimal)
    assert (error.path, error.hint) == ("risk_management.stop_loss_guard.max_stop", "did you mean max_stops?")


class Knobs(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    knob: int = 3


def test_names_from_plugins(minimal: dict[str, Any]) -> None:
    extra = ExtraNames(entries={"acme:Entry": Knobs}, brokers=frozenset({"kraken"}))
    put(minimal, f"{ENTRY}.name", "acme:Entry")
    put(minimal, f"{ENTRY}.params", {"e_knob": 4})
    put(minimal, "broker.type", "kraken")
    assert parse_config(minimal, extra_names=extra).entry == LogicSpec("acme:Entry", Knobs(knob=4))
    assert set(errors_of(minimal)) == {f"{ENTRY}.name", "broker.type"}


def test_a_strategy_from_a_plugin_brings_its_own_parameters(minimal: dict[str, Any]) -> None:
    extra = ExtraNames(strategies={"Knobby": Knobs, "Free": None})
    minimal["strategy"] = {"type": "Knobby", "parameters": {"knob": 4, "position_size": 0.5}}
    config = parse_config(minimal, extra_names=extra)
    assert config.strategy_parameters == Knobs(knob=4)
    assert config.entry == config.exit == LogicSpec("Knobby", Knobs(knob=4))
    assert config.position_fraction == Decimal("0.5")

    minimal["strategy"]["parameters"]["knob"] = "x"
    (error,) = validate_config(minimal, extra_names=extra)
    assert error.path == "strategy.parameters.knob"

    minimal["strategy"]["type"] = "Free"
    assert parse_config(minimal, extra_names=extra).strategy_parameters == {"knob": "x"}


class Nasty(MixinParams):
    """A package's model whose own code fails in the way that `fails` names."""

    fails: str = ""

    @field_validator("fails")
    @classmethod
    def _validated(cls, value: str) -> str:
        if value == "validator":
            raise ZeroDivisionError("division\nby zero")
        if value == "exit":
            raise SystemExit(3)
        return value

    @field_serializer("fails")
    def _written(self, value: str) -> object:
        return object() if value == "json" else value

    @property
    def bars_needed(self) -> int:
        if self.fails == "bars":
            raise KeyError("bars")
        return 70 if self.fails == "many" else 1


@pytest.mark.parametrize(
    ("fails", "path", "words"),
    [
        ("validator", f"{ENTRY}.params", "Nasty failed: ZeroDivisionError: division?by zero"),
        ("exit", f"{ENTRY}.params", "Nasty failed: SystemExit: 3"),
        ("json", f"{ENTRY}.params", "Nasty failed: PydanticSerializationError"),
        ("bars", ENTRY, "Nasty failed: KeyError: 'bars'"),
        ("many", "data.lookback_bars", "look back 70 bars"),
    ],
)
def test_a_packages_model_may_fail_in_any_way(minimal: dict[str, Any], fails: str, path: str, words: str) -> None:
    put(minimal, ENTRY, {"name": "Nasty", "params": {"fails": fails}})
    put(minimal, "data.lookback_bars", 60)
    (error,) = validate_config(minimal, extra_names=ExtraNames(entries={"Nasty": Nasty}))
    assert error.path == path
    assert words in error.message


def test_built_in_names_are_never_taken(minimal: dict[str, Any]) -> None:
    extra = ExtraNames(entries={"RSIOrBBEntryMixin": Knobs}, strategies={"OnnxStrategy": Knobs})
    assert parse_config(minimal, extra_names=extra).entry.params == RSIOrBBEntryParams()
    minimal["strategy"] = {"type": "OnnxStrategy", "parameters": {"knob": 1}}
    assert f"{PARAMETERS}.knob" in {error.path for error in validate_config(minimal, extra_names=extra)}


ONNX = {"model_path": "m.onnx", "features": ["log_return", "rsi:14"]}


def test_a_model_as_strategy(minimal: dict[str, Any]) -> None:
    minimal["strategy"] = {"type": "OnnxStrategy", "parameters": {**ONNX, "window": 8, "position_size": 0.2}}
    config = parse_config(minimal)
    assert isinstance(config.strategy_parameters, OnnxStrategyParams)
    assert config.strategy_parameters.parsed_features == (Feature("log_return", 1), Feature("rsi", 14))
    assert config.strategy_parameters.bars_needed == 14 + 1 + 8 - 1
    assert config.position_fraction == Decimal("0.2")


@pytest.mark.parametrize(
    ("key", "value", "path", "message"),
    [
        ("model_path", None, "model_path", "must be a text"),
        ("features", [], "features", "at least 1 item"),
        ("features", ["rsi", "rsii:3"], "features[1]", 'unknown feature "rsii:3"; did you mean rsi?'),
        ("features", ["rsi:0"], "features[0]", "the period after rsi: must be a whole number from 2 to 500"),
        ("features", ["rsi:٣"], "features[0]", "must be a whole number from 2 to 500"),
        ("features", ["rsi:" + "9" * 90], "features[0]", "must be a whole number from 2 to 500"),
        ("features", [5], "features[0]", "must be a text"),
        ("window", 0, "window", "must be at least 1"),
        ("sha256", "ABC", "sha256", "must match"),
        ("exit_below", 0.6, "", "exit_below 0.6 must be less than entry_above 0.6"),
        ("short_entry_below", 0.2, "", "short_entry_below and short_exit_above belong together"),
        ("model", "m.onnx", "model", "unknown key"),
    ],
)
def test_a_model_as_strategy_refused(minimal: dict[str, Any], key: str, value: object, path: str, message: str) -> None:
    minimal["strategy"] = {"type": "OnnxStrategy", "parameters": {**ONNX, key: value}}
    (error,) = validate_config(minimal)
    assert error.path == (f"{PARAMETERS}.{path}" if path else PARAMETERS)
    assert message in error.message


def test_short_thresholds_must_be_apart(minimal: dict[str, Any]) -> None:
    short = {"short_entry_below": 0.3, "short_exit_above": 0.3}
    minimal["strategy"] = {"type": "OnnxStrategy", "parameters": {**ONNX, **short}}
    assert "must be more than short_entry_below" in errors_of(minimal)[PARAMETERS].message


def test_a_mistyped_strategy_is_no_custom_strategy(minimal: dict[str, Any]) -> None:
    minimal["strategy"] = {"type": "OnxStrategy", "parameters": ONNX}
    (error,) = validate_config(minimal)
    assert (error.path, error.hint) == ("strategy.type", "did you mean OnnxStrategy?")


def test_a_strategy_section_alone(sample: dict[str, Any]) -> None:
    assert validate_strategy(sample["strategy"]) == ()
    put(sample, f"{ENTRY}.params.e_rsi_period", -1)
    (error,) = validate_strategy(sample["strategy"])
    assert error.path == f"{ENTRY}.params.e_rsi_period"
    assert [error.path for error in validate_strategy(None)] == ["strategy"]


def nested(depth: int) -> dict[str, Any]:
    root: dict[str, Any] = {}
    node = root
    for _ in range(depth):
        node["a"] = {}
        node = node["a"]
    return root


def cyclic() -> dict[str, Any]:
    root: dict[str, Any] = {}
    root["a"] = [root, root, root]
    return root


@pytest.mark.parametrize(
    "raw",
    [
        None,
        "{}",
        [],
        {},
        nested(100_000),
        cyclic(),
        {1: 2},
        {"x" * 100_000: 1},
        {f"strateg{i}": i for i in range(1_900)},
        {"strategy": {"parameters": {f"entry_logi{i}": i for i in range(1_900)}}},
        {"a": list(range(100_000))},
    ],
    ids=["null", "text", "list", "empty", "deep", "cyclic", "key", "long key", "keys", "keys below", "long"],
)
def test_hostile_documents_are_refused_with_a_bounded_answer(raw: object) -> None:
    errors = validate_config(raw)
    assert errors
    assert len("\n".join(map(str, errors))) < 20_000


JSON_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from([10**400, -(10**400), 1e308, 5e-324, "\0", "\ud800", object(), b"", Decimal(1)]),
)
JSON_VALUES = st.recursive(
    JSON_LEAVES,
    lambda child: st.lists(child, max_size=4) | st.dictionaries(st.text(max_size=8), child, max_size=4),
    max_leaves=12,
)
PATHS = st.sampled_from(
    [
        *("id", "name", "enabled", "symbol", "version", "broker", "strategy", "data", "trading"),
        *("risk_management", "notifications", "broker.cash", "broker.type", "broker.trading_mode"),
        *("broker.paper_trading_config", "broker.paper_trading_config.fill_price", "data.interval"),
        *("data.lookback_bars", "data.symbol", "trading.position_size", "trading.max_drawdown_pct"),
        *("risk_management.trailing_stop", "risk_management.max_daily_trades", "strategy.type"),
        *("strategy.parameters", "strategy.parameters.position_size", ENTRY, f"{ENTRY}.name"),
        *(f"{ENTRY}.params", f"{ENTRY}.params.e_rsi_period", f"{EXIT}.logic_params", f"{EXIT}.indicators"),
    ]
)


def put_if_possible(raw: dict[str, Any], path: str, value: object) -> None:
    try:
        put(raw, path, value)
    except (TypeError, AttributeError):
        return  # an earlier value took the place of the object above


@settings(max_examples=150, deadline=None)
@given(raw=JSON_VALUES)
def test_anything_is_judged_without_another_exception(raw: object) -> None:
    assert all(isinstance(error, ConfigError) for error in validate_config(raw))


@settings(max_examples=250, deadline=None)
@given(changes=st.lists(st.tuples(PATHS, JSON_VALUES), min_size=1, max_size=4))
def test_a_damaged_config_is_refused_with_paths_or_usable(changes: list[tuple[str, object]]) -> None:
    raw: dict[str, Any] = {
        "symbol": "ETHBTC",
        "strategy": {
            "parameters": {
                "entry_logic": {"name": "RSIOrBBEntryMixin"},
                "exit_logic": {"name": "TimeBasedExitMixin"},
            }
        },
        "data": {"interval": "5m"},
    }
    for path, value in changes:
        put_if_possible(raw, path, value)
    errors = validate_config(raw)
    str(ConfigInvalid(errors)).encode()
    assert all(error.message for error in errors)
    if not errors:
        config = parse_config(raw)
        assert 0 < config.position_fraction <= 1
        assert config.initial_cash > 0
        assert 50 <= config.lookback_bars <= 1000
        assert config.interval_s > 0
        assert 0 <= config.slippage < 1


@given(json_texts)
def test_any_json_that_a_row_may_hold_is_judged(text: str) -> None:
    for error in validate_config(load_json(text)):
        assert len(str(error)) < 1_000


@pytest.mark.parametrize(
    "text",
    [
        "{" + ",".join(f'"\\u0000{n}":1' for n in range(20_000)) + "}",
        "{" + ",".join(f'"unknown{n}":1' for n in range(1_999)) + "}",
        '{"strategy": {"parameters": {"entry_logic": {"name": "RSIBBEntryMixin", "params": {'
        + ",".join(f'"rsi_perod{n}":1' for n in range(1_900))
        + "}}}}}",
        *HOSTILE_JSON.values(),
    ],
)
def test_the_largest_documents_are_judged_in_no_time(text: str) -> None:
    started = time.process_time()
    assert validate_config(load_json(text))
    assert time.process_time() - started < 2  # measured: 0.05 s


def test_an_unreadable_document_says_why() -> None:
    [error] = validate_config(load_json("9" * 5000))
    assert str(error) == "config: holds a number of 5000 characters; 400 are the most that is read"
