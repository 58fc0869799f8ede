"""JSON Schema (draft 2020-12) of the configuration, for forms, editors and the TradingBot resource.

It says what can be said without code: every document that `parse_config` accepts is valid under it, not the
reverse (two places for one value, names from plugins). Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from fleet.config.document import ConfigDocument, CustomSection, PositionSize
from fleet.config.mixins import ENTRY_PARAMS, EXIT_PARAMS
from fleet.config.rules import BROKERS, DATA_SOURCES
from fleet.config.strategy_params import STRATEGY_PARAMS

_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


class _Numbers(GenerateJsonSchema):
    """Decimals are plain JSON numbers here, never texts."""

    def decimal_schema(self, _schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        """A number; its bounds are added by `_schema`."""
        return {"type": "number"}


def json_schema() -> dict[str, Any]:
    """The schema of a bot's configuration, with the parameters of every built-in mixin."""
    schema = _schema(ConfigDocument)
    custom = _schema(CustomSection)
    definitions = schema["$defs"] | custom.pop("$defs")
    logic = definitions.pop("LogicSection")
    for side, models in (("entry", ENTRY_PARAMS), ("exit", EXIT_PARAMS)):
        custom["properties"][f"{side}_logic"] = _one_of(logic, models)
    made = {"CustomSection": custom} | {name: _strategy(model) for name, model in STRATEGY_PARAMS.items()}
    definitions["StrategySection"]["properties"]["parameters"] = {
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in made]
    }
    definitions["BrokerSection"]["properties"]["type"]["examples"] = list(BROKERS)
    definitions["DataSection"]["properties"]["data_source"]["enum"] = list(DATA_SOURCES)
    schema["$defs"] = definitions | made
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def parameter_table(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """Each parameter of a mixin: `type`, `default`, `minimum`, `maximum`, `description`, as far as it has them.

    Bounds that are themselves excluded are under `exclusiveMinimum` and `exclusiveMaximum`. One that must be given
    has no `default`; one that may be null has the default null or the type and bounds of its other values.
    """
    schema = _schema(model)
    definitions = schema.get("$defs", {})
    return {name: _flat(entry, definitions) for name, entry in schema.get("properties", {}).items()}


def _flat(entry: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A property without references and without the choice of null."""
    reference = entry.get("$ref", "").rpartition("/")[2]
    if reference in definitions:
        return _flat({**definitions[reference], **{key: value for key, value in entry.items() if key != "$ref"}}, {})
    choices = [choice for choice in entry.get("anyOf", ()) if choice.get("type") != "null"]
    if len(choices) == 1:
        rest = {key: value for key, value in entry.items() if key != "anyOf"}
        return _flat({**choices[0], **rest}, definitions)
    return {key: value for key, value in entry.items() if key != "title"}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(schema_generator=_Numbers)
    _name_bounds(schema)
    return schema


def _properties(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    properties: dict[str, dict[str, Any]] = _schema(model).get("properties", {})
    return {name: {key: value for key, value in entry.items() if key != "title"} for name, entry in properties.items()}


def _strategy(model: type[BaseModel]) -> dict[str, Any]:
    """A strategy's parameters with what any strategy may have."""
    schema = _schema(model)
    return {**schema, "properties": {**schema["properties"], **_properties(PositionSize)}}


def _name_bounds(node: object) -> None:
    """Rename bounds in place: pydantic keeps its own names for those set on a validated type."""
    if isinstance(node, list):
        for item in node:
            _name_bounds(item)
    elif isinstance(node, dict):
        for item in node.values():
            _name_bounds(item)
        if "type" in node:
            for short, name in _BOUNDS.items():
                if short in node:
                    node[name] = _plain(node.pop(short))


def _plain(bound: float | Decimal | str) -> int | float:
    number = float(bound)
    return int(number) if number.is_integer() else number


def _one_of(logic: dict[str, Any], models: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """A mixin's section: the parameters follow from the name."""
    return {"oneOf": [_named(logic, name, _properties(model)) for name, model in models.items()]}


def _named(logic: dict[str, Any], name: str, parameters: dict[str, dict[str, Any]]) -> dict[str, Any]:
    prefix = "e_" if "Entry" in name else "x_"
    spelled = parameters | {f"{prefix}{key}": value for key, value in parameters.items()}
    values = {"anyOf": [{"type": "object", "properties": spelled, "additionalProperties": False}, {"type": "null"}]}
    properties = {**logic["properties"], "name": {"const": name}, "params": values, "logic_params": values}
    return {**logic, "title": name, "properties": properties}
