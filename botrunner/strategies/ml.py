"""OnnxStrategy: a trained model decides. Its file is loaded with onnxruntime (extra `ml`), imported only then.

Guarantees: a model can't run code (ONNX is a graph of known operators, unlike a pickle); the bytes that are checked
against `sha256` are the bytes that are run; a process loads its model once, so a file that is replaced changes no
decision of a running bot, and a start with another model than before is logged; one thread and fixed order of
operations, so the same bars give the same scores; no state, so a restart changes nothing.

What is wrong with model, file or library ends the run as an unusable configuration, with the path into it.
"""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import backtrader as bt
from pydantic import JsonValue

from botrunner.strategies.base import BaseStrategy, Direction, OpenPosition, Signal, SignalKind, State
from botrunner.strategies.indicators import BollingerBands, MeanVolume, WilderATR, WilderRSI
from fleet.config.strategy_params import Feature, OnnxStrategyParams
from fleet.errors import ConfigUnusable
from fleet.log import get_logger
from fleet.redaction import safe_text

PATH = "strategy.parameters"
MAX_MODEL_BYTES = 100_000_000
"""A larger file would not fit into a bot's memory limit twice: as bytes and as a graph."""

log = get_logger("ml")


class ModelUnusable(ConfigUnusable):
    """The model can't decide for this bot; the message names the path into the config."""


class _FeatureLine(bt.Indicator):
    """One feature as a line; see `fleet.config.strategy_params.FEATURES` for the formulas."""

    lines: Any = ("value",)
    params: Any = (("feature", None),)

    def __init__(self, *_data: Any, **_params: Any) -> None:
        feature: Feature = self.p.feature
        self.addminperiod(feature.bars_needed)
        self._formula = getattr(self, f"_{feature.name}")
        match feature.name:
            case "rsi":
                self._inner: Any = WilderRSI(self.data, period=feature.period)
            case "band_position":
                self._inner = BollingerBands(self.data, period=feature.period, devfactor=2.0)
            case "volume_ratio":
                self._inner = MeanVolume(self.data, period=feature.period)
            case "atr_ratio":
                self._inner = WilderATR(self.data, period=feature.period)

    def next(self) -> None:
        """The formula at this bar."""
        self.lines.value[0] = self._formula()

    def _log_return(self) -> float:
        return math.log(self.data.close[0] / self.data.close[-self.p.feature.period])

    def _rsi(self) -> float:
        return float(self._inner.rsi[0] / 100.0)

    def _band_position(self) -> float:
        bottom, top = self._inner.bot[0], self._inner.top[0]
        return float((self.data.close[0] - bottom) / (top - bottom)) if top > bottom else 0.5

    def _volume_ratio(self) -> float:
        mean = self._inner[0]
        return float(self.data.volume[0] / mean) if mean > 0.0 else 1.0

    def _atr_ratio(self) -> float:
        return float(self._inner.atr[0] / self.data.close[0])

    def _mean_distance(self) -> float:
        period = self.p.feature.period
        return float(self.data.close[0] / (math.fsum(self.data.close.get(size=period)) / period) - 1.0)

    def _body(self) -> float:
        height = self.data.high[0] - self.data.low[0]
        return float((self.data.close[0] - self.data.open[0]) / height) if height > 0.0 else 0.0


class _Held(bt.Indicator):
    """Nothing of its own: makes Backtrader keep the last `period` values of its data."""

    lines: Any = ("value",)
    params: Any = (("period", 1),)

    def __init__(self, *_data: Any, **_params: Any) -> None:
        self.addminperiod(self.p.period)

    def next(self) -> None:
        """The same value."""
        self.lines.value[0] = self.data[0]


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model file.

    Attributes:
        session: onnxruntime's InferenceSession.
        numpy: the module, which onnxruntime brings.
        sha256: of the bytes that were loaded.
    """

    session: Any
    numpy: Any
    sha256: str


class Scorer:
    """A model together with how it is asked: rows of features in, one number out.

    Raises:
        ModelUnusable: the model's input or output doesn't fit the parameters.
    """

    def __init__(self, model: Model, params: OnnxStrategyParams) -> None:
        self.model = model
        self._index = params.output_index
        inputs = model.session.get_inputs()
        if len(inputs) != 1:
            raise ModelUnusable(
                f"{PATH}.model_path: the model has {len(inputs)} inputs ({', '.join(i.name for i in inputs)}); "
                "it must have one, for the features"
            )
        self._input = inputs[0]
        self._shape = self._input_shape(params)
        self._dtype = {"tensor(float)": model.numpy.float32, "tensor(double)": model.numpy.float64}.get(
            self._input.type
        )
        if self._dtype is None:
            raise ModelUnusable(
                f"{PATH}.model_path: the model's input {self._input.name} is {self._input.type}; "
                "features are floating point numbers"
            )
        self._output = self._output_name(params)
        # now, and not at the first bar that asks: whether the model runs, and whether it has the number
        self.score([[0.0] * len(params.features)] * params.window)

    def score(self, rows: Sequence[Sequence[float]]) -> float:
        """The model's answer to the bars of a window, oldest first; each row has the features of one bar.

        Raises:
            ModelUnusable: the model fails, or its output has no such number.
        """
        numpy = self.model.numpy
        try:
            values = numpy.asarray(rows, dtype=self._dtype).reshape(self._shape)
            (answer,) = self.model.session.run([self._output], {self._input.name: values})
        except Exception as error:  # onnxruntime's errors have no base of their own
            raise ModelUnusable(f"{PATH}.model_path: the model failed: {_line(error)}") from error
        numbers = numpy.asarray(answer).ravel()
        if not -numbers.size <= self._index < numbers.size:
            raise ModelUnusable(
                f"{PATH}.output_index: is {self._index}, but output {self._output} has {numbers.size} numbers a bar"
            )
        return float(numbers[self._index])

    def _input_shape(self, params: OnnxStrategyParams) -> tuple[int, ...]:
        features, window = len(params.features), params.window
        declared = self._input.shape
        shape = (1, window, features) if len(declared) == 3 else (1, window * features)
        fits = len(declared) == len(shape) and all(
            not isinstance(size, int) or size == wanted for size, wanted in zip(declared, shape, strict=True)
        )
        if not fits:
            raise ModelUnusable(
                f"{PATH}.features: the model's input {self._input.name} has the shape {_shape(declared)}, but "
                f"{features} features × window {window} make {_shape(shape)}"
            )
        return shape

    def _output_name(self, params: OnnxStrategyParams) -> str:
        outputs = {output.name: output.type for output in self.model.session.get_outputs()}
        floats = [name for name, kind in outputs.items() if kind in ("tensor(float)", "tensor(double)")]
        if params.output is None:
            if not floats:
                raise ModelUnusable(
                    f"{PATH}.model_path: the model has no output of floating point numbers, only {_kinds(outputs)}"
                )
            return str(floats[0])
        if params.output not in floats:
            raise ModelUnusable(
                f"{PATH}.output: {params.output!r} is no output of floating point numbers of the model; "
                f"it has {_kinds(outputs)}"
            )
        return params.output


@lru_cache(maxsize=4)
def load_model(path: str, sha256: str | None) -> Model:
    """The model in a file, loaded once per process.

    Raises:
        ModelUnusable: no onnxruntime, no such file, another file than `sha256` says, or no ONNX model.
    """
    runtime, numpy = _library("onnxruntime"), _library("numpy")
    content = _content(Path(path))
    digest = hashlib.sha256(content).hexdigest()
    if sha256 is not None and digest != sha256:
        raise ModelUnusable(f"{PATH}.sha256: the model {path} has {digest}, not {sha256}: it is another file")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what it has to say is in its exceptions
    try:
        session = runtime.InferenceSession(content, sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no base of their own
        raise ModelUnusable(f"{PATH}.model_path: {path} is no ONNX model that can be run: {_line(error)}") from error
    log.info("model_loaded", path=path, sha256=digest, bytes=len(content))
    return Model(session, numpy, digest)


class OnnxStrategy(BaseStrategy):
    """A trained model in ONNX format scores every closed bar; thresholds on the score open and close positions.

    While flat: a long position when score ≥ `entry_above`, a short one when score ≤ `short_entry_below`. In a
    position: out of a long one when score ≤ `exit_below`, of a short one when score ≥ `short_exit_above`. A score
    that isn't a number decides nothing.

    The model has one input of floating point numbers: the features of `window` bars, oldest bar first, as
    (1, window × features) or (1, window, features). The score is one number of one output.
    """

    params_model = OnnxStrategyParams

    def __init__(self) -> None:
        parameters: OnnxStrategyParams = self.p.parameters
        self._params = parameters
        self._scorer = Scorer(load_model(parameters.model_path, parameters.sha256), parameters)
        self._lines = [_FeatureLine(self.data, feature=item) for item in parameters.parsed_features]
        self._held = [_Held(line, period=parameters.window) for line in self._lines]

    def decide(self, position: OpenPosition | None) -> Signal | None:
        """The thresholds on this bar's score."""
        score = self._scorer.score(self.rows())
        if not math.isfinite(score):
            log.warning("score_not_finite", score=str(score), bar_at=bt.num2date(self.data.datetime[0]))
            return None
        params = self._params
        if position is None:
            if score >= params.entry_above:
                return Signal(SignalKind.ENTER, "model_score")
            if params.short_entry_below is not None and score <= params.short_entry_below:
                return Signal(SignalKind.ENTER, "model_score", Direction.SHORT)
            return None
        if position.direction is Direction.LONG:
            leaves = score <= params.exit_below
        else:
            # a short position that an earlier config opened leaves where a long one would be entered
            leaves = score >= (params.entry_above if params.short_exit_above is None else params.short_exit_above)
        return Signal(SignalKind.EXIT, "model_score", position.direction) if leaves else None

    def rows(self) -> list[list[float]]:
        """The features of the window's bars, oldest first."""
        window = self._params.window
        return [[float(line.value[-ago]) for line in self._lines] for ago in range(window - 1, -1, -1)]

    def export_state(self) -> State:
        """Which model decided; no decision depends on it."""
        return {"model_sha256": self._scorer.model.sha256}

    def import_state(self, state: Mapping[str, JsonValue]) -> None:
        """Say so when another model decides from here on."""
        before, now = state.get("model_sha256"), self._scorer.model.sha256
        if before is not None and before != now:
            log.warning("model_changed", path=self._params.model_path, before=before, now=now)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ModelUnusable(
            f"strategy.type: OnnxStrategy needs the package {name}, which this bot's image lacks ({_line(error)}): "
            "install botfleet[ml] there, or use another strategy"
        ) from error


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            what = "isn't a file" if path.exists() else "doesn't exist where the bot runs"
            raise ModelUnusable(f"{PATH}.model_path: {path} {what}")
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise ModelUnusable(f"{PATH}.model_path: {path} is larger than {MAX_MODEL_BYTES // 10**6} MB")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise ModelUnusable(f"{PATH}.model_path: {path} can't be read: {_line(error)}") from error


def _line(error: BaseException) -> str:
    return safe_text(error, 300, lines=False)


def _shape(sizes: Sequence[Any]) -> str:
    return f"({', '.join(str(size) if isinstance(size, int) else 'any' for size in sizes)})"


def _kinds(outputs: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in outputs.items())
