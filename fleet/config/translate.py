"""Pydantic's validation errors as Botfleet's: a path in the document's spelling, a short text, a hint.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from fleet.config.errors import MAX_REPORTED, ConfigError
from fleet.config.scan import join, shown

SECRET_KEYS = frozenset({"api_key", "apikey", "api_secret", "apisecret", "secret", "secret_key", "password"})
"""Keys, compared in lower case, that people put exchange credentials under."""

_BOUNDS = {
    "greater_than": ("gt", "must be greater than {}"),
    "greater_than_equal": ("ge", "must be at least {}"),
    "less_than": ("lt", "must be less than {}"),
    "less_than_equal": ("le", "must be at most {}"),
    "string_too_short": ("min_length", "must have at least {} characters"),
    "string_too_long": ("max_length", "must have at most {} characters"),
    "string_pattern_mismatch": ("pattern", "must match {}"),
    "literal_error": ("expected", "must be {}"),
}
_KINDS = {
    "number": "must be a number",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be a text",
    "model_type": "must be an object",
    "dict_type": "must be an object",
}


def translate(
    invalid: ValidationError, *, model: type[BaseModel], base: str, spelling: Mapping[str, str]
) -> list[ConfigError]:
    """The errors of validating the object at path `base` against `model`.

    `spelling` maps a field of `model` to the key the document wrote, where the two differ.
    """
    found = invalid.errors(include_url=False)
    return [
        # the search for the nearest name is slow; more errors than are reported need none
        _translated(error, model=model, base=base, spelling=spelling, suggest=position < MAX_REPORTED)
        for position, error in enumerate(found)
    ]


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint naming the known name nearest to `name`, or all of them when none is near and they are few."""
    folded = {candidate.lower(): candidate for candidate in known}
    close = get_close_matches(name[:100].lower(), folded, n=1, cutoff=0.6)
    if close:
        return f"did you mean {folded[close[0]]}?"
    return f"known: {', '.join(sorted(known))}" if 0 < len(known) <= 25 else ""


def _translated(
    error: Any, *, model: type[BaseModel], base: str, spelling: Mapping[str, str], suggest: bool
) -> ConfigError:
    loc: tuple[str | int, ...] = error["loc"]
    path = _path(base, loc, spelling)
    kind: str = error["type"]
    if kind == "missing":
        return ConfigError(path, "is required")
    if kind == "extra_forbidden":
        known = _keys_at(model, loc[:-1], spelling) if suggest else []
        return _unknown_key(path, str(loc[-1]), known)
    return ConfigError(path, _message(kind, error))


def _path(base: str, loc: Sequence[str | int], spelling: Mapping[str, str]) -> str:
    path = base
    for position, part in enumerate(loc):
        path = join(path, spelling.get(part, part) if position == 0 and isinstance(part, str) else part)
    return path


def _message(kind: str, error: Any) -> str:
    if kind in _BOUNDS:
        key, text = _BOUNDS[kind]
        return f"{text.format(error['ctx'][key])}, not {shown(error['input'])}"
    if kind in _KINDS:
        return f"{_KINDS[kind]}, not {shown(error['input'])}"
    text = str(error["msg"])
    return text[:1].lower() + text[1:200]


def _unknown_key(path: str, key: str, known: Sequence[str]) -> ConfigError:
    if key.lower() in SECRET_KEYS:
        return ConfigError(
            path,
            "keys and secrets are never part of a configuration, which is stored and shown in clear",
            "they belong into the encrypted broker_accounts; paper trading needs none; replace this key,"
            " as it was stored here",
        )
    return ConfigError(path, "unknown key", nearest(key, known))


def _keys_at(model: type[BaseModel], loc: Sequence[str | int], spelling: Mapping[str, str]) -> list[str]:
    """The keys that the object at `loc` within `model` may have, as the document would spell them."""
    current = model
    for part in loc:
        field = current.model_fields.get(str(part))
        # an optional section is a union with None
        inner = [] if field is None else [field.annotation, *get_args(field.annotation)]
        models = [kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if len(models) != 1:
            return []
        [current] = models
    names = list(current.model_fields)
    return [spelling.get(name, name) for name in names] if not loc else names
