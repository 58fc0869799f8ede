"""JSON that somebody may write into a row and that nobody can use: as texts, since Python could not make most of them."""

from __future__ import annotations

from hypothesis import strategies as st

HOSTILE_JSON = {
    "null": "null",
    "a list": "[1, 2]",
    "a number of 5,000 digits": "9" * 5000,
    "such a number in an object": '{"data": {"interval": ' + "9" * 5000 + "}}",
    "1e400, which no float can be": '{"trading": {"position_size": 1e400}}',
    "1,500 brackets": "[" * 1500 + "]" * 1500,
    "1,500 brackets in an object": '{"notifications": ' + "[" * 1500 + "]" * 1500 + "}",
    "two million characters": '{"description": "' + "x" * 2_000_000 + '"}',
}
"""All of them are jsonb to PostgreSQL."""

OBJECTS = tuple(text for text in HOSTILE_JSON.values() if text.startswith("{"))

_leaves = (
    st.sampled_from(
        ["null", "true", '""', '"x"', "0", "-1", "1e400", "1e-400", "9" * 5000, "0." + "1" * 500, '"\\ud83d"']
    )
    | st.integers().map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
)
_keys = st.sampled_from(
    ("symbol", "strategy", "data", "notifications", "interval", "parameters", "channels", "name", "broker", "a")
)
json_texts = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda parts: f"[{', '.join(parts)}]")
        | st.dictionaries(_keys, inner, max_size=4).map(
            lambda parts: "{" + ", ".join(f'"{key}": {value}' for key, value in parts.items()) + "}"
        )
    ),
    max_leaves=12,
) | st.sampled_from(tuple(HOSTILE_JSON.values()))
"""Any JSON, readable or not, with the keys that readers look for."""
