"""Configurations that nobody should write: valid documents damaged in every way, and values of every kind.

Used by the tests and by benchmarks/config_validation.py, so that the same documents are judged and timed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from datetime import date
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Any, get_args

from hypothesis import strategies as st

from fleet.config.mixins import ENTRY_PARAMS, EXIT_PARAMS
from fleet.config.values import Interval

SAMPLES = Path(__file__).resolve().parents[1] / "manifests" / "samples"

MINIMAL: dict[str, Any] = {
    "symbol": "ETHBTC",
    "strategy": {
        "parameters": {"entry_logic": {"name": "RSIOrBBEntryMixin"}, "exit_logic": {"name": "TimeBasedExitMixin"}}
    },
    "data": {"interval": "5m"},
}
FULL: dict[str, Any] = {
    "id": "full",
    "name": "every section",
    "enabled": True,
    "symbol": "ETHBTC",
    "description": "d",
    "version": 1.2,
    "broker": {
        "type": "binance",
        "trading_mode": "paper",
        "cash": 10,
        "paper_trading_config": {"commission_rate": 0.00075, "base_slippage": 0.0005, "fill_price": "next_open"},
    },
    "strategy": {
        "type": "CustomStrategy",
        "parameters": {
            "position_size": 0.25,
            "entry_logic": {"name": "RSIBBEntryMixin", "params": {"e_rsi_period": 7, "bb_period": 10, "bb_dev": 1.5}},
            "exit_logic": {"name": "MACrossoverExitMixin", "logic_params": {"x_fast_period": 5, "slow_period": 12}},
        },
    },
    "data": {"data_source": "binance", "interval": "1m", "lookback_bars": 60, "poll_interval": 1.5},
    "trading": {"position_size": 0.25, "max_positions": 1, "allow_short": True, "on_stop": "flatten"},
    "risk_management": {
        "max_position_size": 5.0,
        "stop_loss_pct": 1.0,
        "take_profit_pct": 2,
        "trailing_stop": True,
        "trailing_stop_pct": 0.5,
        "max_daily_loss": 1,
        "max_daily_trades": 20,
        "max_drawdown_pct": 50,
        "cooldown_bars": 2,
    },
    "notifications": {"telegram_enabled": True, "notify_telegram_chat_id": -100123},
}
MODEL: dict[str, Any] = {
    "symbol": "ETHBTC",
    "strategy": {
        "type": "OnnxStrategy",
        "parameters": {"model_path": "/nowhere/model.onnx", "features": ["rsi:14", "body"], "window": 3},
    },
    "data": {"interval": "1h", "lookback_bars": 100},
}
VALID = (MINIMAL, FULL, MODEL, *(json.loads(path.read_text())["config"] for path in sorted(SAMPLES.glob("*.json"))))


class Odd(IntEnum):
    """A number that isn't only a number."""

    ONE = 1


def nested(depth: int, *, lists: bool) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value] if lists else {"a": value}
    return value


NUMBERS: tuple[object, ...] = (
    *(0, -0.0, 1, 2, -1, 0.1, 0.5, 1.0, 1.5, 3, 14.0, 20, 50, 99.999, 100, 500, 1_000, 1_001, 10**12, 10**18),
    *(
        10**18 + 1,
        -(10**30),
        10**400,
        1e308,
        -1e308,
        5e-324,
        1e-18,
        0.1 + 0.2,
        float("nan"),
        float("inf"),
        float("-inf"),
    ),
)
TEXTS: tuple[object, ...] = (
    *("", " ", "0.5", "1h", "1m", "binance", "file", "none", "BTCUSDT", "btc/usdt", "CustomStrategy", "OnnxStrategy"),
    *(
        "ATRExitMixin",
        "RSIBBEntryMixin",
        "close",
        "next_open",
        "hold",
        "flatten",
        "x" * 501,
        "x" * 10_001,
        "x" * 300_000,
    ),
    *(
        "a\0b",
        "\ud800",
        "\u202eabc",
        "\x1b[31m",
        "a\nb",
        "é" * 120,
        "𝟙𝟚",
        "null",
        "true",
        "BTCUSDT\n",
        "../../etc/passwd",
    ),
)


def others() -> tuple[object, ...]:
    """Made anew each time: a document that is changed must not change the next one's values."""
    return (
        *(None, True, False, [], {}, [None], [[]], {"": None}, {1: 2}, {None: 1}, {("a",): 1}, b"", b"0.5", object()),
        *({1}, (1, 2), Decimal("0.5"), Decimal("NaN"), date(2024, 1, 1), 1j, range(3), Ellipsis, int, Odd.ONE),
        *(list(range(2_500)), {f"key{number}": number for number in range(500)}, {"\ud800": 1, "x" * 10_001: 1}),
        *(["rsi:14"] * 65, nested(17, lists=False), nested(300, lists=True)),
    )


KEYS = (
    *(
        "",
        "\0",
        "\ud800",
        "x" * 20_000,
        "a.b",
        'a"b',
        "a\nb",
        "__class__",
        "rsi_perod",
        "Cash",
        "api_key",
        "API_SECRET",
    ),
    *("e_rsi_period", "x_rsi_period", "e_e_rsi_period", "logic_params", "params", "bot_id", "initial_balance"),
    *("commission", "position_size", "symbol", "max_drawdown_pct", "type", "name", "model_config", "bars_needed"),
)

anything = (
    st.sampled_from(NUMBERS)
    | st.sampled_from(TEXTS)
    | st.integers(0, len(others()) - 1).map(lambda number: others()[number])
    | st.integers(-5, 600)
    | st.floats()
    | st.text(max_size=12)
)
trees = st.recursive(
    anything,
    lambda child: (
        st.lists(child, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), child, max_size=4)
    ),
    max_leaves=8,
)


def places(node: Any, seen: frozenset[int] = frozenset()) -> Iterator[tuple[Any, Any]]:
    """Every container of a document with each key in it."""
    if not isinstance(node, dict | list) or id(node) in seen or len(seen) > 12:
        return
    for key in range(len(node)) if isinstance(node, list) else list(node):
        yield node, key
        yield from places(node[key], seen | {id(node)})


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A valid document after one to four changes, a few of them harmless."""
    document = deepcopy(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 4))):
        found = list(places(document))[:400]
        if not found:
            return document
        node, key = draw(st.sampled_from(found))
        change = draw(
            st.sampled_from(("replace", "replace", "replace", "remove", "copy", "rename", "add", "wrap", "loop"))
        )
        if change == "replace":
            node[key] = draw(trees)
        elif change == "remove":
            del node[key]
        elif change == "wrap":
            node[key] = draw(st.sampled_from(({"a": node[key]}, [node[key]], nested(3, lists=True))))
        elif change == "loop":
            node[key] = draw(st.sampled_from((node, document)))
        elif isinstance(node, dict):
            other = draw(st.sampled_from((*KEYS, f"e_{key}", f"x_{key}", str(key).upper(), f"{key}s", f" {key}")))
            node[other] = draw(trees) if change == "add" else node[key]
            if change == "rename" and other != key:
                del node[key]
    return document


@st.composite
def varied(draw: st.DrawFn) -> dict[str, Any]:
    """A valid document with other values that may well be valid: at the edges of ranges, or just beyond."""
    document = deepcopy(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 3))):
        node, key = draw(st.sampled_from([(node, key) for node, key in places(document) if _is_leaf(node[key])]))
        value = node[key]
        if isinstance(value, bool):
            node[key] = not value
        elif isinstance(value, int | float):
            node[key] = value * draw(st.sampled_from((0.5, 1.0, 2, 3, 10, 1e-9)))
        elif key == "interval":
            node[key] = draw(st.sampled_from(get_args(Interval)))
        elif key == "name" and value.endswith("Mixin"):
            node[key] = draw(st.sampled_from(sorted(ENTRY_PARAMS if "Entry" in value else EXIT_PARAMS)))
        else:
            node[key] = draw(st.sampled_from((value, None, "close", "hold", "wait_flat", "none", "BTCUSDT", "Other")))
    return document


def _is_leaf(value: object) -> bool:
    return isinstance(value, str | int | float)


hostile = damaged() | damaged() | varied() | varied() | trees
"""Four of five are near a valid document, where the interesting mistakes are."""
