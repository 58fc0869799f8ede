"""Settings of the long-running programs from the environment (`BOTFLEET_*`). Bots read theirs without this package."""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

from pydantic import AfterValidator, ValidationError
from pydantic_settings import BaseSettings, SettingsError

from fleet.errors import PermanentError
from fleet.trading_service.db import url_problem

PREFIX = "BOTFLEET_"

S = TypeVar("S", bound=BaseSettings)

_NOT_SET = "is not set; docs/reference/settings.md lists every setting"
_FIELD = re.compile(r'field "(\w+)"')


def _read_by_libpq(url: str) -> str:
    if problem := url_problem(url):
        raise ValueError(problem)
    return url


DatabaseUrl = Annotated[str, AfterValidator(_read_by_libpq)]
"""A URL that libpq can read; an error doesn't repeat it, for its password."""


class SettingsInvalid(PermanentError):
    """Environment variables are missing or don't fit together; each line names one."""


def read_settings(kind: type[S]) -> S:
    """The settings of this process.

    Args:
        kind: with PREFIX as its `env_prefix`.

    Raises:
        SettingsInvalid: one line for each variable that is wrong.
    """
    try:
        return kind()
    except ValidationError as error:
        lines = [_line(str(part["loc"][0]) if part["loc"] else "", part["msg"]) for part in error.errors()]
        raise SettingsInvalid("\n".join(lines)) from None
    except SettingsError as error:
        field = _FIELD.search(str(error))
        raise SettingsInvalid(_line(field[1] if field else "", "lists and maps are written as JSON")) from error


def _line(field: str, message: str) -> str:
    text = _NOT_SET if message == "Field required" else message.removeprefix("Value error, ")
    return f"{PREFIX}{field.upper()}: {text}" if field else text
