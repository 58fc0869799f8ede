from __future__ import annotations

import json
from typing import Any

from fleet.config import json_schema
from fleet.config.mixins import ENTRY_PARAMS, EXIT_PARAMS
from fleet.config.schema import parameter_table


def test_every_reference_is_defined() -> None:
    schema = json_schema()
    text = json.dumps(schema)
    references = {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}
    assert references
    assert references <= set(schema["$defs"])


def test_bounds_have_the_names_of_json_schema() -> None:
    risk = json_schema()["$defs"]["RiskSection"]["properties"]
    number = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 100}
    assert risk["stop_loss_pct"]["anyOf"] == [number, {"type": "null"}]
    lookback = json_schema()["$defs"]["DataSection"]["properties"]["lookback_bars"]
    assert (lookback["type"], lookback["minimum"], lookback["maximum"]) == ("integer", 50, 1000)


def test_every_object_is_closed() -> None:
    def objects(node: Any) -> list[dict[str, Any]]:
        if isinstance(node, list):
            return [found for item in node for found in objects(item)]
        if not isinstance(node, dict):
            return []
        below = [found for item in node.values() for found in objects(item)]
        return [node, *below] if node.get("type") == "object" and "properties" in node else below

    found = objects(json_schema())
    assert len(found) > 8
    assert all(node["additionalProperties"] is False for node in found)


def test_each_mixin_is_one_choice_with_both_spellings() -> None:
    custom = json_schema()["$defs"]["CustomSection"]["properties"]
    for key, models, prefix in (("entry_logic", ENTRY_PARAMS, "e_"), ("exit_logic", EXIT_PARAMS, "x_")):
        choices = {choice["properties"]["name"]["const"]: choice for choice in custom[key]["oneOf"]}
        assert set(choices) == set(models)
        for name, model in models.items():
            accepted = choices[name]["properties"]["params"]["anyOf"][0]["properties"]
            plain = set(model.model_fields)
            assert set(accepted) == plain | {f"{prefix}{field}" for field in plain}


def test_every_parameter_has_a_default_within_its_bounds_and_a_meaning() -> None:
    for model in (*ENTRY_PARAMS.values(), *EXIT_PARAMS.values()):
        for name, entry in parameter_table(model).items():
            assert entry["description"], name
            assert entry["type"] in {"integer", "number", "boolean", "string"}, name
            if entry["type"] in {"integer", "number"}:
                low = entry.get("minimum", entry.get("exclusiveMinimum"))
                high = entry.get("maximum", entry.get("exclusiveMaximum"))
                assert low <= entry["default"] <= high, name
