"""Structured logs: a constant event name plus fields, one JSON object a line (or colours for a terminal)."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from datetime import datetime
from typing import Any

import structlog

_PASSWORD_IN_URL = re.compile(r"(?P<head>\w+://[^:/@\s]+:)[^@\s]+@")
_TALKATIVE = ("ccxt", "urllib3", "asyncio")
"""Libraries that write whole requests at DEBUG, headers with keys and signed addresses included."""

_SECRET_IN_QUERY = re.compile(
    r"(?P<head>\b(?:signature|api[-_]?key|token|secret|password|passphrase)=)[^&\s\"']+", re.IGNORECASE
)
_SECRET_KEYS = ("password", "secret", "api_key", "apikey", "token")


def redact(text: str) -> str:
    """The text with passwords inside URLs, and keys and signatures inside their queries, masked."""
    return _SECRET_IN_QUERY.sub(r"\g<head>***", _PASSWORD_IN_URL.sub(r"\g<head>***@", text))


def _mask_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if any(word in key.lower() for word in _SECRET_KEYS) and value:
            event[key] = "***"
        elif isinstance(value, str):
            event[key] = redact(value)
    return event


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def configure_logging(
    *, level: str = "INFO", form: str = "json", watch: Callable[[str, Mapping[str, Any]], None] | None = None
) -> None:
    """Send all logs to stderr, secrets masked; lines of libraries too, with the same bound fields.

    Args:
        level: a name of the logging module, in any case.
        form: `json` for machines, `console` for people.
        watch: given the level and the fields of every line, secrets masked.

    Raises:
        ValueError: an unknown level or form.
    """
    if form not in ("json", "console"):
        raise ValueError(f"BOTFLEET_LOG_FORMAT is {form!r}; it must be 'json' or 'console'")
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"BOTFLEET_LOG_LEVEL is {level!r}; use DEBUG, INFO, WARNING or ERROR")
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(default=_plain) if form == "json" else structlog.dev.ConsoleRenderer()
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.dict_tracebacks if form == "json" else structlog.dev.set_exc_info,
        _mask_secrets,
        *([_watcher(watch)] if watch else []),
    ]
    _join_libraries(number, [_name_part, *shared], renderer)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _watcher(watch: Callable[[str, Mapping[str, Any]], None]) -> structlog.typing.Processor:
    def see(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        watch(str(event.get("level", "")), event)
        return event

    return see


def _name_part(logger: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A library's logger is its part of the program."""
    event["part"] = logger.name if logger is not None else event["_record"].name
    return event


def _join_libraries(
    level: int, processors: list[structlog.typing.Processor], renderer: structlog.typing.Processor
) -> None:
    """Lines of the logging module look like ours."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=processors,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=level, handlers=[handler])
    # it tells of every connection that breaks, with a traceback; who uses it says what that means
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger that says which part of the program speaks."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(part=name)
    return logger
