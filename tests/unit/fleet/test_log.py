import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import structlog

from fleet.log import configure_logging, get_logger, redact


def test_passwords_in_urls_are_masked() -> None:
    assert (
        redact("connect to postgresql://bot:s3cr%40t@db:5432/x failed")
        == "connect to postgresql://bot:***@db:5432/x failed"
    )


def test_signed_addresses_are_masked() -> None:
    text = "binance GET https://x/api/v3/order?symbol=A&timestamp=1&signature=ab12&recvWindow=5 apiKey=k9 refused"
    masked = "binance GET https://x/api/v3/order?symbol=A&timestamp=1&signature=***&recvWindow=5 apiKey=*** refused"
    assert redact(text) == masked


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
