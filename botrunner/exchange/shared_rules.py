"""Market rules that one bot fetched and all may use: their codec, and who asks the exchange when. Pure.

Rules from the database were written by another bot. They are believed when they are whole, say nothing outlandish,
and are about the very market; else the bot asks for its own. What is plausible and false can't be told from here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Any

from botrunner.exchange.poll_turns import place
from botrunner.market.codec import dump_market
from botrunner.market.rules import Market
from fleet.foreign import Unreadable, load_json

FRESH_S = 3600.0
FRESH_JITTER = 0.2
"""Rules change some times a year. Each bot calls them stale at an age of its own, so that few ask at a time."""

STALE_MOST_S = 7 * 24 * 3600.0
"""Older rules are used by nobody, even when the exchange is away: better not to start than to trade by them."""

CLAIM_S = 10.0
"""Who asks has so long; twice the time-out of one request."""

WAIT_MOST_S = 30.0
"""How long a bot waits for others' answers before it uses stale rules or backs off."""

LOOK_AGAIN_S = 0.5

_NAME = re.compile(r"[A-Z0-9]{1,20}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?", re.ASCII)
_NUMBERS = ("tick", "step", "min_quantity", "min_notional", "maker_fee", "taker_fee")
_MOST_STEP = Decimal(10) ** 9
_MOST_MINIMUM = Decimal(10) ** 12
_MOST_FEE = Decimal("0.05")


def outlandish(market: Market, symbol: str) -> str | None:
    """What no exchange would say of this market; None for nothing. Division by a step of zero is the least of it."""
    if market.symbol != symbol:
        return f"they are about {market.symbol[:50]!r}"
    if not market.base or not market.quote:
        return "they name no currencies"
    for name in _NUMBERS:
        if not getattr(market, name).is_finite():
            return f"{name} is no number"
    for name, most in (("tick", _MOST_STEP), ("step", _MOST_STEP)):
        if not 0 < getattr(market, name) <= most:
            return f"{name} is not above 0 and at most {most}"
    for name, most in (
        ("min_quantity", _MOST_MINIMUM),
        ("min_notional", _MOST_MINIMUM),
        ("maker_fee", _MOST_FEE),
        ("taker_fee", _MOST_FEE),
    ):
        if not 0 <= getattr(market, name) <= most:
            return f"{name} is not from 0 to {most}"
    return None


def dump_rules(market: Market) -> dict[str, str] | None:
    """The rules as JSON for other bots; None when they aren't such that a reader could check them."""
    if not _shareable(market):
        return None
    return {name: str(value) for name, value in dump_market(market).items() if name != "can_short"}


def read_rules_document(document: str, symbol: str) -> Market | Unreadable:
    """The rules of `dump_rules`, or why they can't be used. Total."""
    loaded = load_json(document)
    if isinstance(loaded, Unreadable):
        return loaded
    if not isinstance(loaded, Mapping):
        return Unreadable("are no object")
    names = {"symbol", "base", "quote"}
    if loaded.keys() != names | set(_NUMBERS) or not all(isinstance(value, str) for value in loaded.values()):
        return Unreadable("don't have exactly the fields of rules, as texts")
    for name in _NUMBERS:
        if not _NUMBER.fullmatch(loaded[name]):
            return Unreadable(f"hold no plain number as {name}")
    fields: dict[str, Any] = {name: Decimal(value) if name in _NUMBERS else value for name, value in loaded.items()}
    market = Market(**fields)
    fault = outlandish(market, symbol)
    if fault is not None:
        return Unreadable(f"make no sense: {fault}")
    return market if _shareable(market) else Unreadable("name other currencies than the symbol")


def _shareable(market: Market) -> bool:
    """Whether a reader can hold the currencies against the symbol, and nothing but numbers is to be believed."""
    names = _NAME.fullmatch(market.base) and _NAME.fullmatch(market.quote)
    return bool(names) and market.base + market.quote == market.symbol and not market.can_short


class Step(Enum):
    """What a bot that wants rules does now."""

    USE = "use"
    """Take what is there: it is fresh."""
    ASK = "ask"
    """Set out to ask the exchange, unless another bot is quicker."""
    WAIT = "wait"
    """Another bot asks: look again in LOOK_AGAIN_S."""
    GIVE_UP = "give_up"
    """Waited long enough: take stale rules, or fail and come back."""


def is_fresh(bot_id: int, age_s: float | None) -> bool:
    """Whether rules of this age need no refresh; an age below zero is a lie."""
    return age_s is not None and 0 <= age_s < FRESH_S * (1 - FRESH_JITTER * place(bot_id))


def is_usable(age_s: float | None) -> bool:
    """Whether rules of this age are better than none."""
    return age_s is not None and 0 <= age_s < STALE_MOST_S


def next_step(bot_id: int, *, readable: bool, age_s: float | None, claim_age_s: float | None, waited_s: float) -> Step:
    """The next step.

    Args:
        readable: the row holds rules that can be used. age_s: of those.
        claim_age_s: since another bot set out to ask; None when none does.
        waited_s: by this bot, so far.
    """
    if readable and is_fresh(bot_id, age_s):
        return Step.USE
    if claim_age_s is None or not 0 <= claim_age_s <= CLAIM_S:
        return Step.ASK
    return Step.WAIT if waited_s < WAIT_MOST_S else Step.GIVE_UP
