"""What a bot's process is told by its environment. Plain code: pydantic-settings would cost every bot 6 MB."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from botrunner.engine.budget import BudgetLimits
from botrunner.process.fence import Deadlines
from fleet.errors import PermanentError
from fleet.foreign import load_json
from fleet.redaction import safe_text
from fleet.shutdown import bound_of
from fleet.trading_service.db import url_problem

EXCHANGE_AWAY_S = 60.0
"""Most outages are over within seconds, and nobody can do anything about those."""

GRACE_S = 30.0
"""From SIGTERM to SIGKILL when nobody says otherwise."""
EGRESS_FLEET, EGRESS_NODE = "fleet", "node"
"""Whose address an exchange sees: one for the whole fleet (a NAT gateway, one machine), or each node's own."""


class SettingsInvalid(PermanentError):
    """An environment variable is missing or wrong; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of one bot's process.

    Attributes:
        database_url: libpq URL; never printed.
        exchange_urls: exchange id → base URL in place of the public one.
        deadlines: of heartbeat and fence, seconds.
        node: where the process runs, for the run's row.
        budget: how many failures of a strategy are too many.
        exchange_away_s: how long an exchange must be away before people are told.
        stop_bound_s: from SIGTERM to the end, whatever hangs.
        egress: EGRESS_FLEET or EGRESS_NODE: which bots an exchange counts as one.
    """

    database_url: str = field(repr=False)
    exchange_urls: Mapping[str, str]
    deadlines: Deadlines
    log_level: str
    log_format: str
    node: str | None
    budget: BudgetLimits = field(default_factory=BudgetLimits)
    exchange_away_s: float = EXCHANGE_AWAY_S
    stop_bound_s: float = bound_of(GRACE_S)
    egress: str = EGRESS_FLEET


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read BOTFLEET_* variables.

    Raises:
        SettingsInvalid: one is missing or wrong.
    """
    url = environ.get("BOTFLEET_DATABASE_URL")
    if not url:
        raise SettingsInvalid("BOTFLEET_DATABASE_URL is not set: give postgresql://user:password@host:port/database")
    if problem := url_problem(url):
        raise SettingsInvalid(f"BOTFLEET_DATABASE_URL {problem}")
    deadlines = Deadlines(
        heartbeat_s=_seconds(environ, "BOTFLEET_HEARTBEAT_INTERVAL_S", 5.0),
        stop_s=_seconds(environ, "BOTFLEET_T_STOP_S", 15.0),
        exit_s=_seconds(environ, "BOTFLEET_T_EXIT_S", 600.0),
    )
    if not deadlines.heartbeat_s < deadlines.stop_s < deadlines.exit_s:
        raise SettingsInvalid(
            "BOTFLEET_HEARTBEAT_INTERVAL_S < BOTFLEET_T_STOP_S < BOTFLEET_T_EXIT_S must hold, not "
            f"{deadlines.heartbeat_s:g}, {deadlines.stop_s:g}, {deadlines.exit_s:g}"
        )
    return Settings(
        database_url=url,
        exchange_urls=exchange_urls(environ.get("BOTFLEET_EXCHANGE_URLS", "")),
        deadlines=deadlines,
        log_level=environ.get("BOTFLEET_LOG_LEVEL", "INFO"),
        log_format=environ.get("BOTFLEET_LOG_FORMAT", "json"),
        node=environ.get("BOTFLEET_NODE_NAME") or None,
        budget=_budget(environ),
        exchange_away_s=_seconds(environ, "BOTFLEET_EXCHANGE_AWAY_S", EXCHANGE_AWAY_S),
        stop_bound_s=bound_of(_seconds(environ, "BOTFLEET_GRACE_S", GRACE_S)),
        egress=_egress(environ),
    )


def _egress(environ: Mapping[str, str]) -> str:
    text = environ.get("BOTFLEET_EGRESS") or EGRESS_FLEET
    if text not in (EGRESS_FLEET, EGRESS_NODE):
        raise SettingsInvalid(
            f"BOTFLEET_EGRESS is {text!r}: give {EGRESS_FLEET!r} when all bots leave by one address, {EGRESS_NODE!r} "
            "when each node has its own"
        )
    return text


def _budget(environ: Mapping[str, str]) -> BudgetLimits:
    usual = BudgetLimits()
    budget = BudgetLimits(
        in_a_row=_count(environ, "BOTFLEET_STRATEGY_ERRORS_IN_A_ROW", usual.in_a_row),
        in_window=_count(environ, "BOTFLEET_STRATEGY_ERRORS_IN_WINDOW", usual.in_window),
        window_bars=_count(environ, "BOTFLEET_STRATEGY_ERROR_WINDOW_BARS", usual.window_bars),
    )
    if budget.in_window >= budget.window_bars:
        raise SettingsInvalid(
            f"BOTFLEET_STRATEGY_ERRORS_IN_WINDOW is {budget.in_window}; it must be less than "
            f"BOTFLEET_STRATEGY_ERROR_WINDOW_BARS ({budget.window_bars})"
        )
    return budget


def _count(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name)
    if not text:
        return default
    if not text.isdecimal() or not 0 < int(text) <= 10_000:
        raise SettingsInvalid(f"{name} is {text!r}: give a whole number from 1 to 10000")
    return int(text)


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise SettingsInvalid(f"{name} is {text!r}: give seconds") from None
    if not 0 < value < 1e6:
        raise SettingsInvalid(f"{name} is {text!r}: give seconds above 0")
    return value


def exchange_urls(text: str) -> Mapping[str, str]:
    """Exchange id → base URL, of BOTFLEET_EXCHANGE_URLS.

    Raises:
        SettingsInvalid: it isn't a JSON object of texts.
    """
    if not text.strip():
        return {}
    urls = load_json(text)
    if not isinstance(urls, dict) or not all(isinstance(url, str) for url in urls.values()):
        raise SettingsInvalid(
            f'BOTFLEET_EXCHANGE_URLS is {safe_text(text, 100)!r}: give JSON like {{"binance": "http://sandbox:8080"}}'
        )
    return urls
