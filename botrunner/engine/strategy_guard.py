"""The one boundary between a bot and its strategy: whatever a strategy does costs at most the decision of that bar.

`GuardedStrategy` asks, and takes nothing as it is: a signal is made anew from checked parts, an exported state is
copied into plain values that JSON and PostgreSQL hold, texts pass `fleet.foreign.clean_text`. Whatever is raised,
`SystemExit` and the like included, and every answer of another kind is a failure: no decision at that bar, while fills,
stops and limits go on, as they are no part of the strategy. What the strategy changed of the process is put back
(`strategies.isolation`). Outages (`TransientError`) are nobody's mistake: no decision, and nothing is counted.

A state that can't be kept costs the state of that bar: the bar is committed with the last good one, and the engine is
built anew from it, as after a restart. So a bot that went on and a bot that was killed there go on alike.

The count of failures is part of the checkpoint, beside the strategy's own state: it follows from the bars alone, so a
bot killed anywhere counts what one never killed counts. Spent, the budget ends the run as failed, and the controller
starts it again, in case a fresh process helps; the next failure after that ends the bot for good, and
`trading.on_failure` says what becomes of its position. A new config version, which switching the bot off and on makes
too, begins with a fresh budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from enum import StrEnum
from math import isfinite
from typing import Any, TypeVar

from pydantic import JsonValue

from botrunner.engine.budget import STATE_KEY, BudgetLimits, ErrorBudget, without_budget
from botrunner.engine.failures import FailureCounts
from botrunner.engine.trading_bot import DecidesOnBars
from botrunner.process.forked_copies import end_if_copy
from botrunner.strategies.isolation import untrusted_code
from botrunner.trading.signal import Direction, OpenPosition, Signal, SignalKind
from fleet.errors import TransientError
from fleet.events import Event, EventKind
from fleet.exit_kinds import ExitKind
from fleet.foreign import BYTES_LIMIT, DEPTH_LIMIT, DIGITS_LIMIT, LARGEST, clean_text
from fleet.log import get_logger
from fleet.redaction import safe_text
from fleet.times import from_ms

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

log = get_logger("strategy")

MESSAGE_MAX = 300
REASON_MAX = 100
"""Characters of a signal's reason."""
TYPE_MAX = 100

STATE_MAX = BYTES_LIMIT // 2
"""Characters of a state as PostgreSQL prints it: what is read back is at most twice as long, with all that is beside
it, and honest states are a hundred times smaller."""
STATE_DEPTH = DEPTH_LIMIT - 8
"""Levels of a state: some more are around it in the checkpoint."""
FLOAT_CHARS = 350
"""Of a float with an exponent, which PostgreSQL writes out."""

HOUR_MS = 3_600_000

MISSED_FILL = "_untold"
"""In a strategy's state: the newest fill that it doesn't know of; nobody could be told, or what it knew was lost."""
ENTERED, EXITED = "entered", "exited"


class BadAnswer(ValueError):
    """A strategy answered with something that its bot can't take; the message says what it must be."""


class StateRefused(Exception):
    """A strategy can't go on from the state it exported; the cause is chained."""


# --- answers -------------------------------------------------------------------------------------------------------


def signal_of(answer: object) -> Signal | None:
    """A strategy's answer as a new signal made of checked parts.

    Raises:
        BadAnswer: it is neither None nor a sound Signal.
    """
    if answer is None:
        return None
    if not isinstance(answer, Signal):
        raise BadAnswer(f"the answer must be a Signal or None, not {_of_type(answer)}")
    if not isinstance(answer.reason, str):
        raise BadAnswer(f"Signal.reason must be a text, not {_of_type(answer.reason)}")
    return Signal(
        kind=_member(SignalKind, "kind", answer.kind),
        reason=clean_text(str.__str__(answer.reason), REASON_MAX, lines=False) or "unnamed",
        direction=_member(Direction, "direction", answer.direction),
        exit_kind=_member(ExitKind, "exit_kind", answer.exit_kind),
    )


def _member(kind: type[E], name: str, value: object) -> E:
    """The enum's member, also by its plain text."""
    for member in kind:
        if isinstance(value, str) and str.__str__(value) == member.value:
            return member
    raise BadAnswer(f"Signal.{name} must be one of {', '.join(kind)}, not {_of_type(value)}")


def state_of(answer: object) -> dict[str, JsonValue]:
    """An exported state as new plain values: dict, list, str, int, float, bool and None.

    Raises:
        BadAnswer: JSON or PostgreSQL can't hold it, or it is too large; the message has the path.
    """
    if not isinstance(answer, dict):
        raise BadAnswer(f"the state must be a dict, not {_of_type(answer)}")
    copied = _Copier().copy(answer, STATE_DEPTH)
    assert isinstance(copied, dict)
    return copied


class _Copier:
    """Copies one state, bounded in size and depth; knows where it is."""

    def __init__(self) -> None:
        self._room = STATE_MAX
        self._path: list[object] = []

    def copy(self, value: object, depth: int) -> JsonValue:
        self._take(4)
        if value is None or value is True or value is False:
            return value
        # the base class's own methods: a subclass may answer anything
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, int):
            return self._integer(int.__pos__(value))
        if isinstance(value, float):
            return self._number(float.__pos__(value))
        if depth <= 0:
            raise self._bad(f"nested too deep; {STATE_DEPTH} levels are the most")
        if isinstance(value, dict):
            return {self._key(key): self._inner(key, item, depth) for key, item in dict.items(value)}
        if isinstance(value, list):
            return [self._inner(number, item, depth) for number, item in enumerate(list.__iter__(value))]
        if isinstance(value, tuple):
            return [self._inner(number, item, depth) for number, item in enumerate(tuple.__iter__(value))]
        raise self._bad(f"must be a dict, list, text, number, bool or None, not {_of_type(value)}")

    def _inner(self, place: object, value: object, depth: int) -> JsonValue:
        self._path.append(place)
        copied = self.copy(value, depth - 1)
        self._path.pop()
        return copied

    def _key(self, key: object) -> str:
        if not isinstance(key, str):
            raise self._bad(f"keys must be texts, not {_of_type(key)}")
        return self._text(key)

    def _text(self, value: str) -> str:
        text = str.__str__(value)
        if "\0" in text:
            raise self._bad("holds a NUL, which no database keeps")
        try:
            size = len(text) if text.isascii() else len(text.encode())
        except UnicodeEncodeError:
            raise self._bad("holds half of a surrogate pair, which no database keeps") from None
        # what JSON escapes takes up to six characters
        self._take(size if text.isalnum() else size + 5 * (text.count("\\") + text.count('"')))
        return text

    def _integer(self, value: int) -> int:
        if value.bit_length() > 1023 or abs(value) > LARGEST:
            raise self._bad(f"a whole number of more than {DIGITS_LIMIT} digits or beyond any float")
        self._take(len(str(value)))
        return value

    def _number(self, value: float) -> float:
        if not isfinite(value):
            raise self._bad(f"must be a finite number, not {value}")
        text = repr(value)
        self._take(FLOAT_CHARS if "e" in text else len(text))
        return value

    def _take(self, characters: int) -> None:
        self._room -= characters
        if self._room < 0:
            raise BadAnswer(f"the state is too large: more than {STATE_MAX} characters of JSON")

    def _bad(self, why: str) -> BadAnswer:
        path = "state" + "".join(f".{_shown(key)}" if isinstance(key, str) else f"[{key}]" for key in self._path)
        return BadAnswer(f"{clean_text(path, 120, keep='tail', lines=False)}: {why}")


def _of_type(value: object) -> str:
    """What it is, for people: its type's name, and plain values themselves."""
    name = clean_text(type.__getattribute__(type(value), "__name__"), TYPE_MAX, lines=False)
    plain = value is True or value is False or type(value) in (float, str)
    return f"{name} ({_shown(value)})" if plain else name


def _shown(value: object) -> str:
    return clean_text(str.__str__(value), 40, lines=False) if isinstance(value, str) else clean_text(repr(value), 40)


# --- the boundary --------------------------------------------------------------------------------------------------


def own_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """What the strategy itself exported."""
    return {key: value for key, value in without_budget(state).items() if key != MISSED_FILL}


class AbsentStrategy:
    """Stands in while there is no strategy to ask: it could not be built, or the bot has given up.

    Args:
        kept: the state to hand on; empty to begin anew, knowing of nothing.
    """

    def __init__(self, kept: Mapping[str, Any]) -> None:
        self._kept = dict(kept)

    def decide(self, position: OpenPosition | None) -> Signal | None:  # noqa: ARG002 - there is no strategy to ask
        """Nothing is decided."""
        return None

    def on_entered(self, position: OpenPosition) -> None:
        """There is no strategy to tell."""

    def on_exited(self) -> None:
        """There is no strategy to tell."""

    def export_state(self) -> dict[str, JsonValue]:
        """What was kept."""
        return self._kept

    def import_state(self, state: Mapping[str, JsonValue]) -> None:
        """There is no strategy to go on from it."""


class GuardedStrategy:
    """A strategy as the bot uses it.

    Args:
        strategy: the real one, anew at each rebuild of the engine.
        state: what it goes on from, the count of failures included; the last good one from here on.
        budget: where counting goes on. limits: how many failures are too many.
        bar_ms: open time of the bar being worked on.
        report: given what people should be told; it is committed with the bar.
        failures: where they are counted for whoever ran it.

    Attributes:
        failed_now: something failed at the last bar.
        needs_rebuild: the strategy knows more than its state could keep: it must be built anew from that.
    """

    def __init__(
        self,
        strategy: Any,
        *,
        bot_id: int,
        state: Mapping[str, Any],
        budget: ErrorBudget,
        limits: BudgetLimits,
        interval_ms: int,
        bar_ms: Callable[[], int],
        report: Callable[[Event], None],
        failures: FailureCounts,
    ) -> None:
        self.budget = budget
        self.last_error: str | None = None
        self.failed_now = False
        self.needs_rebuild = False
        self._last_good: dict[str, JsonValue] = deepcopy(own_state(state))
        self._strategy: DecidesOnBars = strategy
        self._absent = isinstance(strategy, AbsentStrategy)
        self._missed = state.get(MISSED_FILL)
        self._must_tell = self._missed is not None and not self._absent
        self._bot_id = bot_id
        self._limits = limits
        self._interval_ms = interval_ms
        self._bar_ms = bar_ms
        self._report = report
        self._failures = failures
        self._decided = False
        self._failing = False

    def restore(self) -> None:
        """Give the strategy a copy of what it knew; called once, before its first bar.

        Raises:
            StateRefused: it can't go on from that. Whatever it raises when there was nothing to go on from.
        """
        strategy: Any = self._strategy
        try:
            _isolated(strategy.import_state, deepcopy(self._last_good))
        except BaseException as error:
            if not self._last_good:
                raise
            raise StateRefused("the strategy can't go on from its own state") from error

    def decide(self, position: OpenPosition | None) -> Signal | None:
        """The strategy's answer; None when it failed. Before its first one it hears what it wasn't told."""
        if self._must_tell:
            if position is None:
                self.on_exited()
            elif self._missed == ENTERED:
                self.on_entered(position)
        self._must_tell = False
        try:
            signal = signal_of(_isolated(self._strategy.decide, position))
        except BaseException as error:
            self.failed("decide", error)
            return None
        self._decided = True
        return signal

    def on_entered(self, position: OpenPosition) -> None:
        """Tell the strategy; that it fails doesn't undo a fill."""
        self._missed, self._must_tell = ENTERED, False
        try:
            _isolated(self._strategy.on_entered, position)
        except BaseException as error:
            self.failed("on_entered", error)

    def on_exited(self) -> None:
        """Tell the strategy; that it fails doesn't undo a fill."""
        self._missed, self._must_tell = EXITED, False
        try:
            _isolated(self._strategy.on_exited)
        except BaseException as error:
            self.failed("on_exited", error)

    def export_state(self) -> dict[str, JsonValue]:
        """The strategy's state, or the last good one, and the count; asked once, when all else of a bar is done."""
        try:
            self._last_good = own_state(state_of(_isolated(self._strategy.export_state)))
        except BaseException as error:
            self.failed("export_state", error)
            self.needs_rebuild = True
        else:
            if not (self._last_good if self._absent else self._must_tell):
                self._missed = None
        self._settle()
        # each bar's own: nobody may change what is being committed
        state = {**self._last_good}
        if self._missed is not None:
            state[MISSED_FILL] = self._missed
        if self.budget.at:
            state[STATE_KEY] = self.budget.dump()
        return state

    def failed(self, where: str, error: BaseException) -> None:
        """Take note of a failure at this bar, wherever it came from."""
        name, message = type_of(error), message_of(error)
        if isinstance(error, TransientError):
            log.warning("strategy_waits", type=name, where=where, error=message)
            return
        bar_ms = self._bar_ms()
        self._failing = True
        counted = self.budget.failed(bar_ms, interval_ms=self._interval_ms, limits=self._limits)
        self.last_error = f"{name}: {message}"
        self._failures.note(where, name, message, bar_ms=bar_ms)
        with suppress(Exception):  # the rendering of a traceback asks the exception for its text
            log.warning(
                "strategy_error",
                type=name,
                where=where,
                error=message,
                in_a_row=counted.in_a_row,
                in_window=len(counted.at),
                exc_info=(type(error), error, error.__traceback__) if counted.in_a_row == 1 else None,
            )
        hour_ms = bar_ms // HOUR_MS * HOUR_MS
        self._report(
            Event(
                kind=EventKind.BOT_ERROR,
                title=f"The strategy failed: {name}",
                body=f"No decision at the bar of {from_ms(bar_ms):%Y-%m-%d %H:%M:%S} UTC; stops and limits go on. "
                f"{message}",
                facts={"type": name, "where": where, "in_a_row": str(counted.in_a_row)},
                # once per kind of failure and hour
                dedupe_key=f"error:{self._bot_id}:{name}:{hour_ms}",
            )
        )

    def _settle(self) -> None:
        """A bar is over: it failed, or it was decided, or nothing was asked."""
        counted = self.budget.failed if self._failing else self.budget.decided
        if self._failing or self._decided:
            self.budget = counted(self._bar_ms(), interval_ms=self._interval_ms, limits=self._limits)
        self.failed_now, self._failing, self._decided = self._failing, False, False


def _isolated(ask: Callable[..., T], *arguments: Any) -> T:
    """Call the strategy, isolated; in a process that it forked the call doesn't return."""
    try:
        with untrusted_code():
            return ask(*arguments)
    finally:
        end_if_copy()


def type_of(error: BaseException) -> str:
    """Its name, whatever its class says."""
    return clean_text(type.__getattribute__(type(error), "__name__"), TYPE_MAX, lines=False)


def message_of(error: BaseException) -> str:
    """What it says, masked, clean and short; making that is its own code, too."""
    try:
        with untrusted_code():
            return safe_text(error, MESSAGE_MAX)
    except BaseException:
        return "<a message that can't be printed>"
