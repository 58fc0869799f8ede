"""Parameters and keys of the configuration in words: type, range, default, and a section to start from. Pure: no I/O.

Shared by `botfleet strategies show` and the generated reference in docs/.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fleet.config.parse import CUSTOM_STRATEGY

Entry = Mapping[str, Any]
"""One parameter as `fleet.config.schema.parameter_table` describes it."""

PARTNERS = {"entry": ("exit", "FixedRatioExitMixin"), "exit": ("entry", "RSIOrBBEntryMixin")}
"""The other half that the example of a mixin is given."""


def kind_of(entry: Entry) -> str:
    """Its JSON type, or the values it may have."""
    if "const" in entry:
        return json.dumps(entry["const"])
    if "enum" in entry:
        return " or ".join(json.dumps(value) for value in entry["enum"])
    if entry.get("type") == "array":
        return f"list of {kind_of(entry.get('items', {}))}s"
    choices = [choice["type"] for choice in entry.get("anyOf", ()) if "type" in choice]
    return str(entry.get("type") or " or ".join(choices) or "any")


def range_of(entry: Entry) -> str:
    """Its bounds in words, or empty."""
    if entry.get("type") == "array":
        return _span(entry.get("minItems"), entry.get("maxItems"), unit=" items")
    if entry.get("type") == "string":
        return _span(None, entry.get("maxLength"), unit=" characters") if "pattern" not in entry else entry["pattern"]
    low, high = entry.get("minimum"), entry.get("maximum")
    above, below = entry.get("exclusiveMinimum"), entry.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f"{number(low)} … {number(high)}"
    words = [
        f"{word} {number(bound)}"
        for word, bound in (("at least", low), ("above", above), ("up to", high), ("below", below))
        if bound is not None
    ]
    return ", ".join(words)


def default_of(entry: Entry) -> str:
    """Its default as the document writes it; `required` where there is none."""
    if "default" not in entry:
        return "required"
    default = entry["default"]
    return number(default) if isinstance(default, int | float) else json.dumps(default, ensure_ascii=False)


def number(value: float) -> str:
    """As the document writes it: true, 14, 0.5, 1e12."""
    if isinstance(value, bool):
        return json.dumps(value)
    return f"{value:.15g}"


def example(name: str, kind: str, parameters: Mapping[str, Entry]) -> dict[str, Any]:
    """A `strategy` section that uses it, every parameter at its default or, where required, at an example."""
    values = {
        key: entry["default"] if "default" in entry else next(iter(entry.get("examples", ())), None)
        for key, entry in parameters.items()
        if entry.get("default", "") is not None
    }
    if name == CUSTOM_STRATEGY:
        halves = {f"{half}_logic": {"name": mixin} for half, mixin in PARTNERS.values()}
        return {"type": name, "parameters": dict(sorted(halves.items()))}
    if kind == "strategy":
        return {"type": name, "parameters": values}
    other, partner = PARTNERS[kind]
    logics = {f"{kind}_logic": {"name": name, "params": values}, f"{other}_logic": {"name": partner}}
    return {"type": CUSTOM_STRATEGY, "parameters": dict(sorted(logics.items()))}


def _span(low: object, high: object, *, unit: str) -> str:
    if low is not None and high is not None:
        return f"{low} … {high}{unit}"
    return f"up to {high}{unit}" if high is not None else f"at least {low}{unit}" if low is not None else ""
