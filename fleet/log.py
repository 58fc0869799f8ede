"""Structured logs: a constant event name plus fields, one JSON object a line (or colours for a terminal).

Guarantees: no secret in any line (`fleet.redaction`), however deep in a field; no local variable of anybody's code;
one line per event in JSON, and on a terminal no line that a field's text could pass off as another event; logging
never raises. What nobody catches (threads, finalisers, tasks, warnings) is logged the same way, not printed raw.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, TextIO

import structlog

from fleet.foreign import clean_text
from fleet.redaction import MASK, is_secret_name, redact

_TALKATIVE = ("ccxt", "urllib3", "asyncio")
"""Libraries that write whole requests at DEBUG, headers with keys and signed addresses included."""

DEPTH: Final = 6
"""Levels of a field's containers that are shown."""
NODES: Final = 500
"""Values of one line; a traceback of fifty frames has three hundred."""
TEXT: Final = 16_000
"""Characters of one value: of a longer one both ends are kept, as the cause of an error is at either."""
FRAMES: Final = 50
_DIGITS_BITS: Final = 400
"""Of an integer; Python refuses to print very long ones."""

_INNER = ("_record", "_from_structlog")
"""What structlog keeps beside a library's line, and takes out before it is printed."""

_PLAIN = (bool, float, Decimal, datetime, date, time, timedelta, type(None))


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
    json = form == "json"
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=FRAMES, use_rich=False)
        )
        if json
        else structlog.processors.format_exc_info,
        _mask_secrets,
        *([_watcher(watch)] if watch else []),
    ]
    # a terminal shows texts as they are: whatever they hold must be one line without sequences
    last: list[structlog.typing.Processor] = (
        [structlog.processors.JSONRenderer(default=_plain)]
        if json
        else [
            _one_line_each,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    )
    _join_libraries(number, [_name_part, *shared], last)
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    _catch_the_uncaught()


def say_failure(program: str, error: object) -> None:
    """One line on stderr, for what goes wrong before logs are set up."""
    print(f"{program}: {clean_text(redact(str(error)), TEXT)}", file=sys.stderr)  # noqa: T201


# --- masking -------------------------------------------------------------------------------------------------------


def _mask_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    budget = [NODES]
    return {key: value if key in _INNER else _masked(key, value, DEPTH, budget) for key, value in event.items()}


def _masked(name: object, value: Any, depth: int, budget: list[int]) -> Any:
    """The value as it may be shown, made of plain values; whatever it is, this ends soon and raises nothing."""
    try:
        secret = isinstance(name, str) and is_secret_name(name) and value not in (None, "", True, False)
    except Exception:
        secret = True
    return MASK if secret else _shown(value, depth, budget)


def _shown(value: Any, depth: int, budget: list[int]) -> Any:
    budget[0] -= 1
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, int):
        return value if value.bit_length() < _DIGITS_BITS else f"<{value.bit_length()} bits>"
    if isinstance(value, str):
        return _cut(redact(str(value)))
    if isinstance(value, bytes | bytearray | memoryview):
        return _cut(redact(bytes(value[: 4 * TEXT]).decode("utf-8", "replace")))
    try:
        return _shown_container(value, depth, budget)
    except Exception as error:
        return f"<{type(value).__name__} that can't be shown: {type(error).__name__}>"


def _shown_container(value: Any, depth: int, budget: list[int]) -> Any:
    if isinstance(value, BaseException):
        return _cut(redact(f"{type(value).__name__}: {value}"))
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value) if field.repr}
    if not isinstance(value, Mapping | list | tuple | set | frozenset):
        return _cut(redact(str(value)))
    if depth <= 0 or budget[0] <= 0:
        return f"<{len(value)} more>"
    if isinstance(value, Mapping):
        shown: dict[str, Any] = {}
        for key, inner in value.items():
            if budget[0] <= 0:
                shown["..."] = f"<{len(value) - len(shown)} more>"
                break
            shown[_cut(redact(str(key)))] = _masked(key, inner, depth - 1, budget)
        return shown
    listed: list[Any] = []
    for inner in value:
        if budget[0] <= 0:
            return [*listed, f"<{len(value) - len(listed)} more>"]
        listed.append(_shown(inner, depth - 1, budget))
    return listed


def _cut(text: str) -> str:
    if len(text) <= TEXT:
        return text
    return f"{text[: TEXT // 2]} <{len(text) - TEXT} characters> {text[-TEXT // 2 :]}"


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _one_line_each(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Every text on one line, without escape sequences; a traceback's lines are indented, as no event's are."""
    for key, value in event.items():
        if key in ("exception", "stack"):
            event[key] = "\n".join(f"    {line}" for line in clean_text(value, TEXT).split("\n"))
        elif isinstance(value, str):
            event[key] = clean_text(value.replace("\r\n", "\n").replace("\n", "\\n"), TEXT, lines=False)
    return event


def _watcher(watch: Callable[[str, Mapping[str, Any]], None]) -> structlog.typing.Processor:
    def see(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        watch(str(event.get("level", "")), event)
        return event

    return see


def _name_part(logger: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A library's logger is its part of the program."""
    event["part"] = logger.name if logger is not None else event["_record"].name
    return event


class _Handler(logging.StreamHandler[TextIO]):
    """The logging module's own answer to a line that can't be made is to print its arguments, whatever they are."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class's name
        """Say where the line is, not what was in it."""
        error = sys.exception()
        get_logger("log").error(
            "line_not_logged", at_file=record.pathname, at_line=record.lineno, type=type(error).__name__
        )


def _join_libraries(
    level: int, processors: list[structlog.typing.Processor], last: list[structlog.typing.Processor]
) -> None:
    """Lines of the logging module look like ours."""
    handler = _Handler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=processors,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=level, handlers=[handler])
    logging.captureWarnings(True)
    # it tells of every connection that breaks, with a traceback; who uses it says what that means
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


# --- what nobody caught --------------------------------------------------------------------------------------------


def _catch_the_uncaught() -> None:
    """An exception that ends the program, a thread or a finaliser is a log line. (Asyncio logs its own.)"""
    log = get_logger("uncaught")

    def of_program(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            log.warning("interrupted")
        else:
            log.critical("crashed", exc_info=(kind, error, trace))

    def of_thread(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread else ""
        if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
            log.critical("thread_crashed", thread=name, exc_info=(args.exc_type, args.exc_value, args.exc_traceback))

    def of_finaliser(args: Any) -> None:
        where = f"{args.err_msg or 'in'} {getattr(args.object, '__qualname__', type(args.object).__name__)}"
        error = args.exc_value or args.exc_type()
        log.error("ignored_error", where=where, exc_info=(args.exc_type, error, args.exc_traceback))

    sys.excepthook, threading.excepthook, sys.unraisablehook = of_program, of_thread, of_finaliser


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger that says which part of the program speaks."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(part=name)
    return logger
