import json
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
