from __future__ import annotations

import copy
from typing import Any

import pytest

from fleet.config import hot_fields, only_hot_fields_differ, parse_config, with_hot_fields


def test_nothing_differs(sample: dict[str, Any]) -> None:
    assert only_hot_fields_differ(sample, copy.deepcopy(sample))


@pytest.mark.parametrize("section", ["notifications", "risk_management"])
def test_hot_sections(sample: dict[str, Any], section: str) -> None:
    changed = copy.deepcopy(sample)
    changed[section] = {}
    assert only_hot_fields_differ(sample, changed)
    del changed[section]
    assert only_hot_fields_differ(sample, changed)


@pytest.mark.parametrize("section", ["name", "symbol", "broker", "strategy", "data", "trading"])
def test_every_other_difference_needs_a_restart(sample: dict[str, Any], section: str) -> None:
    changed = copy.deepcopy(sample)
    changed["risk_management"] = {}
    del changed[section]
    assert not only_hot_fields_differ(sample, changed)


def too_deep() -> list[Any]:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    return deep


def test_what_cannot_be_compared_needs_a_restart(sample: dict[str, Any]) -> None:
    assert not only_hot_fields_differ(sample, None)
    assert not only_hot_fields_differ({"a": too_deep()}, {"a": too_deep()})


def test_handing_over(sample: dict[str, Any]) -> None:
    newer = copy.deepcopy(sample)
    newer["risk_management"] = {"max_daily_trades": 7}
    del newer["notifications"]
    handed_over = with_hot_fields(sample, hot_fields(newer))
    assert handed_over == newer
    assert parse_config(handed_over).risk.max_daily_trades == 7
    assert sample["risk_management"]["max_daily_trades"] == 5
