"""Errors of the worker's settings name the variable and hold no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.settings import SettingsInvalid
from worker.channels.outcome import Channel
from worker.settings import load_settings


@pytest.fixture(autouse=True)
def database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOTFLEET_DATABASE_URL", "postgresql://worker:hunter2@db/x")


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"BOTFLEET_LEASE_S": "10"}, "BOTFLEET_LEASE_S is 10; it must be at least BOTFLEET_SEND_TIMEOUT_S + 2 = 17"),
        ({"BOTFLEET_SMTP_HOST": "mail"}, "BOTFLEET_SMTP_FROM is missing"),
        ({"BOTFLEET_SMTP_HOST": "mail", "BOTFLEET_SMTP_FROM": "a@b.c\nBcc: d@e.f"}, "must be one line"),
        ({"BOTFLEET_OPERATOR_EMAIL": "nobody"}, "BOTFLEET_OPERATOR_EMAIL"),
        ({"BOTFLEET_TELEGRAM_TOKEN_FILE": "/nowhere/token"}, "BOTFLEET_TELEGRAM_TOKEN_FILE can't be read"),
        ({"BOTFLEET_WEBHOOK_HTTP_HOSTS": "a,b"}, "lists and maps are written as JSON"),
    ],
)
def test_what_is_wrong(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], told: str) -> None:
    for name, value in {**environment, "BOTFLEET_SMTP_PASSWORD": "s3cr3t"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid) as error:
        load_settings()
    assert told in str(error.value)
    assert "s3cr3t" not in str(error.value)
    assert "hunter2" not in str(error.value)


def test_secrets_come_from_files_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("123:abc\n")
    monkeypatch.setenv("BOTFLEET_TELEGRAM_TOKEN_FILE", str(tmp_path / "token"))
    settings = load_settings()
    assert settings.telegram == "123:abc"
    assert set(settings.installed.missing) == {Channel.EMAIL, Channel.WEBHOOK}
    assert "123:abc" not in repr(settings)
