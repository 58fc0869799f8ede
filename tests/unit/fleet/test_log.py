import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import structlog

from fleet.log import configure_logging, get_logger
from fleet.redaction import guard


def test_secrets_never_reach_the_output(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info", form="json")
    try:
        bar_at = datetime(2018, 1, 10, tzinfo=UTC)
        note = "see postgresql://u:hidden@h/d"
        get_logger("test").info("event", api_key="AKIA", note=note, bot_id=7, bar_at=bar_at, price=Decimal("0.1"))
    finally:
        structlog.reset_defaults()
    line = capfd.readouterr().err.strip().splitlines()[-1]
    event = json.loads(line)
    assert (event["bot_id"], event["bar_at"], event["price"]) == (7, "2018-01-10T00:00:00+00:00", "0.1")
    assert "AKIA" not in line
    assert "hidden" not in line


@pytest.mark.parametrize(("level", "form"), [("LOUD", "json"), ("INFO", "xml")])
def test_wrong_settings_name_the_variable(level: str, form: str) -> None:
    with pytest.raises(ValueError, match="BOTFLEET_LOG_"):
        configure_logging(level=level, form=form)


@pytest.fixture
def _own_logging() -> Iterator[None]:
    """Logging as it was before the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.mark.usefixtures("_own_logging")
def test_lines_of_libraries_look_like_ours(capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[str, str]] = []
    logging.getLogger().handlers.clear()  # pytest's own, added after the fixture
    configure_logging(level="DEBUG", watch=lambda level, event: seen.append((level, event["event"])))
    structlog.contextvars.bind_contextvars(bot_id=7, run_id="7-1-ab")
    logging.getLogger("urllib3").warning("retry %s", "postgresql://u:hidden@h/d")
    logging.getLogger("ccxt.base.exchange").debug("GET x, headers: X-MBX-APIKEY")
    get_logger("test").error("ours")
    theirs, ours = [json.loads(line) for line in capfd.readouterr().err.strip().splitlines()]
    assert (theirs["event"], theirs["part"], theirs["level"]) == ("retry postgresql://u:***@h/d", "urllib3", "warning")
    assert (theirs["bot_id"], theirs["run_id"]) == (ours["bot_id"], ours["run_id"]) == (7, "7-1-ab")
    assert seen == [("warning", "retry postgresql://u:***@h/d"), ("error", "ours")]


# --- nothing of a program's inside ---------------------------------------------------------------------------------

URL = "postgresql://bot:in-the-url-1@db/fleet"
NOWHERE = "named-nowhere-2"


Reader = Callable[[], str]


@pytest.fixture
def logged(
    capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest, _own_logging: None
) -> Callable[[], Reader]:
    """Sets logging up in the form of the test's parameter; that gives what was printed."""

    def start() -> Reader:
        logging.getLogger().handlers.clear()
        configure_logging(form=request.param)
        return lambda: capfd.readouterr().err

    return start


both_forms = pytest.mark.parametrize("logged", ["json", "console"], indirect=True)


def job_that_fails(url: str, key: str) -> None:
    parts = {"url": url, "inner": [key]}
    raise RuntimeError(f"no answer from {url}") from ValueError(f"token={len(parts)}zz")


@both_forms
def test_a_traceback_has_no_local_variable(logged: Callable[[], Reader]) -> None:
    printed = logged()
    try:
        job_that_fails(URL, NOWHERE)
    except RuntimeError:
        get_logger("test").exception("failed")
        logging.getLogger("library").exception("failed too")
    said = printed()
    assert said.count("RuntimeError") >= 2
    assert "job_that_fails" in said
    for secret in ("in-the-url-1", "named-nowhere-2", "2zz"):
        assert secret not in said


@dataclass
class Account:
    api_key: str
    url: str
    hidden: str = field(default="unseen-3", repr=False)


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no words")


@both_forms
def test_secrets_are_masked_however_deep_they_are(logged: Callable[[], Reader]) -> None:
    printed = logged()
    guard("registered-4")
    nested: object = {"password": "deep-5"}
    for _ in range(3):
        nested = [{"x": (nested,)}]
    loop: list[object] = [URL]
    loop.append(loop)
    get_logger("test").info(
        f"event with {URL}",
        nested=nested,
        loop=loop,
        account=Account("key-6", URL),
        raw=b"token=bytes-7",
        frozen=frozenset({URL}),
        error=ValueError(URL),
        words={"registered-4": 1},
        smtp_password=["listed-8"],
        _private="token=under-9",
    )
    logging.getLogger("library").warning("%s and %s", {"apiKey": "key-6"}, URL)
    said = printed()
    assert "***" in said
    for secret in ("deep-5", "in-the-url-1", "key-6", "unseen-3", "registered-4", "bytes-7", "listed-8", "under-9"):
        assert secret not in said


@both_forms
def test_whatever_a_field_holds_logging_ends_and_raises_nothing(logged: Callable[[], Reader]) -> None:
    printed = logged()
    deep: object = 1
    for _ in range(5_000):
        deep = {"k": [deep]}
    hostile = {
        "deep": deep,
        "wide": list(range(100_000)),
        "long": "x" * 3_000_000,
        "digits": 10**5_000,
        "unprintable": Unprintable(),
        "surrogate": "\ud800",
        "kept": Decimal("0.10"),
    }
    get_logger("test").info("event", **hostile)
    said = printed()
    assert len(said) < 60_000
    assert "0.10" in said


@pytest.mark.parametrize("logged", ["console"], indirect=True)
def test_a_field_forges_no_line_on_a_terminal(logged: Callable[[], Reader]) -> None:
    printed = logged()
    forged = "x\n2026-01-01T00:00:00Z [info] all is well\r\n\x1b[2J\u202e\x9b1m"
    try:
        raise ValueError(forged)
    except ValueError:
        get_logger("test").exception(forged, name=forged, nested={"k": forged})
    lines = printed().splitlines()
    assert [line for line in lines if not line.startswith("    ")] == lines[:1]
    assert not any(sign in line for line in lines for sign in ("\x1b[2J", "\u202e", "\x9b"))


@pytest.mark.parametrize("logged", ["json"], indirect=True)
def test_a_line_that_cannot_be_made_does_not_print_its_arguments(logged: Callable[[], Reader]) -> None:
    printed = logged()
    logging.getLogger("library").warning("%d bars", "registered-by-nobody")
    [line] = [json.loads(line) for line in printed().splitlines()]
    assert (line["event"], line["type"]) == ("line_not_logged", "TypeError")
    assert "registered-by-nobody" not in str(line)


PROGRAM = """
import asyncio, gc, sys, threading, warnings
from fleet.log import configure_logging
from fleet.redaction import guard_environment
import os
guard_environment(os.environ)
configure_logging(form=sys.argv[1])
url = os.environ["BOTFLEET_DATABASE_URL"]
word = "in-the-url-1"

class Finaliser:
    def __del__(self):
        raise ValueError(f"finaliser {url} {word}")

def work():
    raise ValueError(f"thread {url} {word}")

async def task():
    async def inner():
        raise ValueError(f"task {url} {word}")
    it = asyncio.ensure_future(inner())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del it
    gc.collect()

thread = threading.Thread(target=work); thread.start(); thread.join()
Finaliser(); gc.collect()
asyncio.run(task())
warnings.warn(f"warning {url} {word}", UserWarning)
raise ValueError(f"program {url} {word}")
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_nobody_catches_is_a_masked_line(form: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, form],
        capture_output=True,
        text=True,
        env={**os.environ, "BOTFLEET_DATABASE_URL": URL},
        check=False,
    )
    assert done.returncode == 1
    assert "in-the-url-1" not in done.stdout + done.stderr
    for origin in ("program", "thread", "finaliser", "task", "warning"):
        assert f"{origin} postgresql://bot:***@db/fleet ***" in done.stderr
    if form == "json":
        assert all(json.loads(line)["level"] for line in done.stderr.splitlines())
