"""A judge of JSON Schema, as far as the schema of configurations uses it; an unknown keyword is an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

ANNOTATIONS = {"$defs", "$schema", "title", "description", "default", "examples"}
TYPES: Mapping[str, Any] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: TYPES["number"](value) and value == int(value),
}
BOUNDS: Mapping[str, Any] = {
    "minimum": lambda value, bound: value >= bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusiveMinimum": lambda value, bound: value > bound,
    "exclusiveMaximum": lambda value, bound: value < bound,
}
LENGTHS: Mapping[str, tuple[type, Any]] = {
    "minLength": (str, lambda size, bound: size >= bound),
    "maxLength": (str, lambda size, bound: size <= bound),
    "minItems": (list, lambda size, bound: size >= bound),
    "maxItems": (list, lambda size, bound: size <= bound),
}


def faults(value: Any, schema: Any, root: Any = None, at: str = "$") -> list[str]:
    """Every place where `value` isn't what `schema` says."""
    root = schema if root is None else root
    return [fault for key, rule in schema.items() for fault in _judge(key, rule, value, schema, root, at)]


def _judge(key: str, rule: Any, value: Any, schema: Any, root: Any, at: str) -> list[str]:
    if key in ANNOTATIONS:
        return []
    if key == "$ref":
        return faults(value, root["$defs"][rule.rpartition("/")[2]], root, at)
    if key == "anyOf":
        found = [faults(value, choice, root, at) for choice in rule]
        return [] if [] in found else [f"{at}: none of anyOf: {found}"]
    if key == "oneOf":
        fitting = sum(not faults(value, choice, root, at) for choice in rule)
        return [] if fitting == 1 else [f"{at}: {fitting} of oneOf"]
    if key == "properties":
        inside = value if isinstance(value, dict) else {}
        return [
            f
            for name, below in rule.items()
            if name in inside
            for f in faults(inside[name], below, root, f"{at}.{name}")
        ]
    if key == "items":
        return [f for number, item in enumerate(value) for f in faults(item, rule, root, f"{at}[{number}]")]
    if not _fits(key, rule, value, schema):
        return [f"{at}: {key} {rule}"]
    return []


def _fits(key: str, rule: Any, value: Any, schema: Any) -> bool:
    if key == "type":
        return any(TYPES[kind](value) for kind in ([rule] if isinstance(rule, str) else rule))
    if key == "const":
        return bool(value == rule)
    if key == "enum":
        return value in rule
    if key == "required":
        return not isinstance(value, dict) or all(name in value for name in rule)
    if key == "additionalProperties":
        assert rule in (True, False)
        return rule or not isinstance(value, dict) or set(value) <= set(schema.get("properties", {}))
    if key == "pattern":
        return not isinstance(value, str) or re.search(rule.replace("$", r"\Z"), value) is not None
    if key in BOUNDS:
        return not TYPES["number"](value) or BOUNDS[key](value, rule)
    kind, holds = LENGTHS[key]  # KeyError: a keyword that this judge has to learn
    return not isinstance(value, kind) or holds(len(value), rule)  # type: ignore[arg-type]
