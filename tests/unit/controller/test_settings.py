"""Settings: every error names its variable."""

from __future__ import annotations

import pytest

from botrunner.settings import load_settings as load_bot_settings
from controller.settings import load_settings
from fleet.settings import SettingsInvalid

GOOD = {
    "BOTFLEET_DATABASE_URL": "postgresql://u@h/d",
    "BOTFLEET_BOT_IMAGE": "i",
    "BOTFLEET_BOT_DATABASE_SECRET": "s",
}


def load_with(monkeypatch: pytest.MonkeyPatch, **changes: str | None) -> str:
    """The error's text."""
    for name, value in (GOOD | changes).items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid) as caught:
        load_settings()
    return str(caught.value)


def test_defaults_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (GOOD | {"BOTFLEET_EXCHANGE_URLS": '{"binance": "http://sandbox:8080"}'}).items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.policy.t_dead_s == 35
    assert settings.bot_environment["BOTFLEET_EXCHANGE_URLS"] == '{"binance": "http://sandbox:8080"}'
    assert settings.pod_template.env["BOTFLEET_T_EXIT_S"] == "600"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"BOTFLEET_DATABASE_URL": None}, ["BOTFLEET_DATABASE_URL: is not set; docs/reference/settings.md"]),
        ({"BOTFLEET_CONTACT_GAP_S": "20"}, ["BOTFLEET_CONTACT_GAP_S is 20"]),  # 20 + 5 + 10 = 35
        ({"BOTFLEET_WATCH_INTERVAL_S": "5"}, ["BOTFLEET_CONTACT_GAP_S is 10"]),
        # 15 + 5 + 2 = 22
        ({"BOTFLEET_T_DEAD_S": "22"}, ["BOTFLEET_T_DEAD_S is 22", "= 22"]),
        ({"BOTFLEET_T_STOP_S": "30"}, ["BOTFLEET_T_DEAD_S is 35", "= 37"]),
        ({"BOTFLEET_HEARTBEAT_INTERVAL_S": "8"}, ["BOTFLEET_HEARTBEAT_INTERVAL_S is 8"]),
        ({"BOTFLEET_BOT_IMAGE": None}, ["BOTFLEET_BOT_IMAGE is missing"]),
        ({"BOTFLEET_BOT_DATABASE_SECRET": ""}, ["BOTFLEET_BOT_DATABASE_SECRET is missing"]),
        ({"BOTFLEET_WORKERS": "many"}, ["BOTFLEET_WORKERS: "]),
        ({"BOTFLEET_EXCHANGE_URLS": "binance=x"}, ["BOTFLEET_EXCHANGE_URLS: lists and maps are written as JSON"]),
        ({"BOTFLEET_PLUGINS": '{"mixins": ["Gap"]}'}, ["BOTFLEET_PLUGINS: Extra inputs"]),
        ({"BOTFLEET_BACKOFF_FIRST_S": "400"}, ["BOTFLEET_BACKOFF_FIRST_S"]),
        (
            {"BOTFLEET_RUNTIME": "docker", "BOTFLEET_HTTP_PORT": "99999"},
            ["BOTFLEET_RUNTIME: ", "BOTFLEET_HTTP_PORT: "],
        ),
    ],
)
def test_errors(monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None], words: list[str]) -> None:
    text = load_with(monkeypatch, **changes)
    for word in words:
        assert word in text
    assert "postgresql://" not in text


def test_the_process_runtime_needs_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BOTFLEET_BOT_IMAGE", "BOTFLEET_BOT_DATABASE_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BOTFLEET_DATABASE_URL", "postgresql://u@h/d")
    monkeypatch.setenv("BOTFLEET_RUNTIME", "process")
    assert load_settings().runtime == "process"


def test_bots_understand_what_the_controller_hands_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and values of the two programs' settings agree, defaults included."""
    url = {"BOTFLEET_DATABASE_URL": "postgresql://u:p@h/d"}
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    assert load_bot_settings({**load_settings().bot_environment, **url}) == load_bot_settings(url)
    monkeypatch.setenv("BOTFLEET_STRATEGY_ERRORS_IN_A_ROW", "4")
    monkeypatch.setenv("BOTFLEET_EXCHANGE_AWAY_S", "90")
    changed = load_bot_settings({**load_settings().bot_environment, **url})
    assert (changed.budget.in_a_row, changed.exchange_away_s) == (4, 90.0)


def test_an_error_window_that_bots_would_refuse_is_refused_here(monkeypatch: pytest.MonkeyPatch) -> None:
    text = load_with(monkeypatch, BOTFLEET_STRATEGY_ERRORS_IN_WINDOW="100")
    assert "BOTFLEET_STRATEGY_ERROR_WINDOW_BARS" in text
