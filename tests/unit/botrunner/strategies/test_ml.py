"""OnnxStrategy: real models, made here, over real candles."""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from botrunner.strategies import ml
from botrunner.strategies.ml import ModelUnusable, OnnxStrategy
from fleet.config.strategy_params import FEATURES, OnnxStrategyParams
from fleet.errors import ConfigUnusable

WEIGHTS = [40.0, -3.0, -1.0, 0.1]
FEATURE_LIST = ["log_return:1", "rsi:14", "band_position:20", "volume_ratio:20"]


def linear(
    folder: Path,
    weights: Sequence[float] = WEIGHTS,
    *,
    bias: float = 2.0,
    shape: Sequence[int | str] | None = None,
    kind: int = TensorProto.FLOAT,
    labels: bool = False,
) -> Path:
    """A logistic regression: sigmoid(features × weights + bias), a score a row. `labels`: an int64 output comes first."""
    count = len(weights)
    shape = shape or ["N", count]
    nodes = [
        helper.make_node("Reshape", ["features", "flat"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["score"]),
    ]
    outputs = [helper.make_tensor_value_info("score", kind, ["N", 1])]
    if labels:
        nodes.append(helper.make_node("Cast", ["score"], ["label"], to=TensorProto.INT64))
        outputs.insert(0, helper.make_tensor_value_info("label", TensorProto.INT64, ["N", 1]))
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("features", kind, shape)],
        outputs,
        initializer=[
            helper.make_tensor("flat", TensorProto.INT64, [2], [-1, count]),
            helper.make_tensor("weights", kind, [count, 1], list(weights)),
            helper.make_tensor("bias", kind, [1], [bias]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def params(path: Path | str, **changes: Any) -> OnnxStrategyParams:
    written = {"model_path": str(path), "features": FEATURE_LIST, "entry_above": 0.55, "exit_below": 0.4}
    return OnnxStrategyParams.model_validate(written | changes)


def refused(engine: Any, parameters: OnnxStrategyParams) -> str:
    """What the bot is told when it is started with these parameters."""
    bars = engine.closes([100.0] * 30)
    with pytest.raises(ConfigUnusable) as caught:
        engine.run(bars, parameters, strategy=OnnxStrategy)
    return str(caught.value)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def expected_features(bars: Sequence[Any], at: int) -> list[float]:
    """FEATURE_LIST from its formulas, written anew."""
    closes = [bar.close for bar in bars[: at + 1]]
    changes = [new - old for old, new in pairwise(closes)]
    gain = sum(max(change, 0.0) for change in changes[:14]) / 14
    loss = sum(max(-change, 0.0) for change in changes[:14]) / 14
    for change in changes[14:]:
        gain, loss = (gain * 13 + max(change, 0.0)) / 14, (loss * 13 + max(-change, 0.0)) / 14
    window = closes[-20:]
    mean = sum(window) / 20
    width = 4 * math.sqrt(sum((value - mean) ** 2 for value in window) / 20)
    volume = sum(bar.volume for bar in bars[at - 19 : at + 1]) / 20
    return [
        math.log(closes[-1] / closes[-2]),
        gain / (gain + loss) if gain + loss else 0.5,
        (closes[-1] - (mean - width / 2)) / width if width else 0.5,
        bars[at].volume / volume if volume else 1.0,
    ]


def test_a_model_trades_real_candles(engine: Any, real_bars: dict[str, list[Any]], tmp_path: Path) -> None:
    parameters = params(linear(tmp_path))
    for name, bars in real_bars.items():
        expected, inside = [], False
        for at in range(19, len(bars)):
            features = expected_features(bars, at)
            score = sigmoid(sum(w * f for w, f in zip(WEIGHTS, features, strict=True)) + 2.0)
            if (not inside and score >= 0.55) or (inside and score <= 0.4):
                inside = not inside
                expected.append((at, "enter" if inside else "exit", "model_score"))
        assert len(expected) > 20, name
        account = engine.run(bars, parameters, strategy=OnnxStrategy)
        assert account.ready_at == parameters.bars_needed - 1 == 19
        assert account.signals == expected, name


def test_a_rebuild_changes_nothing(engine: Any, real_bars: dict[str, list[Any]], tmp_path: Path) -> None:
    path = linear(tmp_path, [weight / 3 for weight in WEIGHTS] * 3, shape=["N", 3, 4])
    short = {"short_entry_below": 0.2, "short_exit_above": 0.45, "window": 3}
    parameters = params(path, **short)
    bars = real_bars["ETH_BTC-5m"]
    whole = engine.run(bars, parameters, strategy=OnnxStrategy)
    assert len(whole.signals) > 20
    account = type(whole)()
    for end in (200, 201, 450, len(bars)):
        engine.run(bars[:end], parameters, account, strategy=OnnxStrategy)
        account.first = end
    assert account.signals == whole.signals


def test_short_positions(engine: Any, tmp_path: Path) -> None:
    # score = sigmoid(1000 × return): far down below 0.2, far up above 0.8
    path = linear(tmp_path, [1000.0], bias=0.0)
    parameters = params(
        path, features=["log_return"], entry_above=0.9, exit_below=0.5, short_entry_below=0.2, short_exit_above=0.8
    )
    bars = engine.closes([100, 100, 90, 90, 100, 100, 110, 90])
    account = engine.run(bars, parameters, strategy=OnnxStrategy)
    # bar 3's score is 0.5: neither of the short side's thresholds
    assert account.signals == [(2, "enter", "model_score"), (4, "exit", "model_score"),
                               (6, "enter", "model_score"), (7, "exit", "model_score")]  # fmt: skip


def test_every_feature_is_finite_on_odd_candles(engine: Any) -> None:
    flat = engine.closes([0.05] * 60, volume=0.0)
    wild = engine.random_bars(3, 200)
    for name in FEATURES:
        made = OnnxStrategyParams.model_validate({"model_path": "x", "features": [name]}).parsed_features[0]
        for bars in (flat, wild):
            values = engine.lines(bars, lambda data, f=made: ml._FeatureLine(data, feature=f), ["value"])["value"]
            assert min(values) == made.bars_needed - 1, name
            assert all(math.isfinite(value) for value in values.values()), name


def test_windows_are_ordered_oldest_first(engine: Any, tmp_path: Path) -> None:
    # the oldest of three bars alone decides
    path = linear(tmp_path, [1000.0, 0.0, 0.0], bias=0.0)
    parameters = params(path, features=["log_return"], window=3, entry_above=0.9)
    account = engine.run(engine.closes([100, 100, 100, 110, 110, 110]), parameters, strategy=OnnxStrategy)
    assert account.signals == [(5, "enter", "model_score")]


def test_an_output_of_numbers_is_found_and_chosen(engine: Any, tmp_path: Path) -> None:
    path = linear(tmp_path, labels=True)
    bars = engine.random_bars(1, 60)
    one = engine.run(bars, params(path), strategy=OnnxStrategy)
    other = engine.run(bars, params(path, output="score", output_index=0), strategy=OnnxStrategy)
    assert one.signals == other.signals
    assert refused(engine, params(path, output="label")) == (
        "strategy.parameters.output: 'label' is no output of floating point numbers of the model; "
        "it has label (tensor(int64)), score (tensor(float))"
    )
    assert refused(engine, params(path, output_index=1)).startswith(
        "strategy.parameters.output_index: is 1, but output score has 1 numbers a bar"
    )


def test_double_precision_models_run(engine: Any, tmp_path: Path) -> None:
    path = linear(tmp_path, kind=TensorProto.DOUBLE)
    assert engine.run(engine.random_bars(1, 60), params(path), strategy=OnnxStrategy).ready_at is not None


def test_a_score_that_is_no_number_decides_nothing(engine: Any, tmp_path: Path) -> None:
    path = linear(tmp_path, [math.inf, 0.0, 0.0, 0.0])
    bars = engine.closes([100.0 + number for number in range(40)])
    # inf × 0 of the probe at start is NaN as well, and no reason to refuse the model
    assert engine.run(bars, params(path, entry_above=2.0), strategy=OnnxStrategy).signals == []


def test_the_file_of_a_running_bot_may_be_replaced(engine: Any, tmp_path: Path) -> None:
    """A process decides with one model; the next one's start says that it has another."""
    path, bars = linear(tmp_path), engine.random_bars(2, 200)
    account = engine.run(bars[:100], params(path), strategy=OnnxStrategy)
    linear(tmp_path, [0.0] * 4, bias=-9.0)
    account.first = 100
    engine.run(bars, params(path), account, strategy=OnnxStrategy)
    assert account.signals == engine.run(bars, params(path), strategy=OnnxStrategy).signals


def test_another_model_after_a_restart_is_logged(
    engine: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, bars = linear(tmp_path), engine.random_bars(2, 200)
    account = engine.run(bars[:100], params(path), strategy=OnnxStrategy)
    linear(tmp_path, [0.0] * 4)
    ml.load_model.cache_clear()  # what a new process begins with
    account.first = 100
    capsys.readouterr()
    engine.run(bars, params(path), account, strategy=OnnxStrategy)
    assert "model_changed" in capsys.readouterr().out


def test_the_fingerprint_pins_the_file(engine: Any, tmp_path: Path) -> None:
    path = linear(tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert engine.run(engine.random_bars(2, 50), params(path, sha256=digest), strategy=OnnxStrategy).ready_at
    path.write_bytes(linear(tmp_path, [1.0] * 4).read_bytes())
    ml.load_model.cache_clear()
    text = refused(engine, params(path, sha256=digest))
    assert text.startswith(f"strategy.parameters.sha256: the model {path} has ")
    assert text.endswith(f"not {digest}: it is another file")


def test_no_file(engine: Any, tmp_path: Path) -> None:
    text = refused(engine, params(tmp_path / "gone.onnx"))
    assert text == f"strategy.parameters.model_path: {tmp_path}/gone.onnx doesn't exist where the bot runs"
    assert refused(engine, params(tmp_path)) == f"strategy.parameters.model_path: {tmp_path} isn't a file"


def test_a_file_too_large_is_not_read(engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = linear(tmp_path)
    monkeypatch.setattr(ml, "MAX_MODEL_BYTES", 10)
    assert "is larger than" in refused(engine, params(path))


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x80\x04\x95pickle", b"\x00" * 1000])
def test_no_model(engine: Any, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    text = refused(engine, params(path))
    assert text.startswith(f"strategy.parameters.model_path: {path} is no ONNX model that can be run: ")
    assert "\n" not in text


def test_the_wrong_number_of_features(engine: Any, tmp_path: Path) -> None:
    path = linear(tmp_path)
    expected = (
        "strategy.parameters.features: the model's input features has the shape (any, 4), "
        "but 4 features × window 2 make (1, 8)"
    )
    assert refused(engine, params(path, window=2)) == expected
    assert "3 features × window 1 make (1, 3)" in refused(engine, params(path, features=FEATURE_LIST[:3]))
    cube = linear(tmp_path, WEIGHTS, shape=["N", 1, 4])
    ml.load_model.cache_clear()
    assert "make (1, 2, 4)" in refused(engine, params(cube, window=2))


def test_an_input_that_features_cannot_be(engine: Any, tmp_path: Path) -> None:
    words = helper.make_tensor_value_info("words", TensorProto.INT64, ["N", 4])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N", 4])
    graph = helper.make_graph([helper.make_node("Cast", ["words"], ["score"], to=1)], "g", [words], [score])
    path = tmp_path / "model.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    assert "the model's input words is tensor(int64)" in refused(engine, params(path))


@pytest.mark.parametrize("missing", ["onnxruntime", "numpy"])
def test_no_library(engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    path, real = linear(tmp_path), importlib.import_module

    def blocked(name: str) -> Any:
        if name == missing:
            raise ModuleNotFoundError(f"No module named '{name}'")
        return real(name)

    monkeypatch.setattr(ml.importlib, "import_module", blocked)
    ml.load_model.cache_clear()
    text = refused(engine, params(path))
    assert text.startswith(f"strategy.type: OnnxStrategy needs the package {missing}, which this bot's image lacks")
    assert "install botfleet[ml]" in text


def test_the_error_is_the_configs() -> None:
    assert issubclass(ModelUnusable, ConfigUnusable)
