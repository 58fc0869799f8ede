"""Code of others in our process: what it changes of the process is put back before code of ours goes on.

`foreign` surrounds every call of a strategy, its constructor, its indicators and the import of a package; `ours`
surrounds what they call back into us. Between the two the decimal context, the warnings' filters, the recursion limit
and the standard streams change hands, so that money is always reckoned with the same rules and a log line always
finds its stream. An alarm that is still set is taken back: it would interrupt code of ours. What a strategy prints goes
to stderr, of each turn the first characters: stdout belongs to results. All of this is the main thread's business.

What nothing of ours depends on (locale, the seed of `random`) isn't put back, and what can't be (monkey patches,
a thread that goes on, memory) can't: of that the process dies at worst, and another run goes on from the checkpoint.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar
from decimal import ROUND_HALF_EVEN, Context, DivisionByZero, InvalidOperation, Overflow, getcontext, setcontext
from signal import ITIMER_REAL, getitimer, setitimer
from typing import Any, Final, TextIO, cast

DECIMALS: Final = Context(
    prec=28,
    rounding=ROUND_HALF_EVEN,
    Emin=-999_999,
    Emax=999_999,
    capitals=1,
    clamp=0,
    flags=[],
    traps=[InvalidOperation, DivisionByZero, Overflow],
)
"""How a bot reckons: Python's own defaults, said here, as a package can change those."""

SAID_MAX: Final = 10_000
"""Characters that foreign code may print in one turn; the rest is dropped."""


class Voice:
    """Where foreign code prints: the first characters of each turn reach stderr. It can't be closed."""

    encoding = "utf-8"
    errors = "replace"
    closed = False

    def __init__(self, real: TextIO) -> None:
        self._real = real
        self._room = SAID_MAX

    def next_turn(self) -> None:
        """Let it speak again."""
        self._room = SAID_MAX

    def writable(self) -> bool:
        """It can be printed to."""
        return True

    def isatty(self) -> bool:
        """It is no terminal."""
        return False

    def write(self, text: str) -> int:
        """Pass on what there is room for; a stream that is gone is nobody's fault."""
        said, self._room = text[: self._room], max(0, self._room - len(text))
        with suppress(OSError, ValueError):
            self._real.write(said)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """One after the other."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the stream behind."""
        with suppress(OSError, ValueError):
            self._real.flush()

    def fileno(self) -> int:
        """Of the stream behind, for whoever hands it to a process."""
        return self._real.fileno()

    def close(self) -> None:
        """Stay open: the stream behind is the logs' too."""


class foreign:  # noqa: N801 - used as a statement
    """Around code of others; afterwards, and inside `ours`, the process is as it was before."""

    __slots__ = (
        "_alarmed",
        "_decimals",
        "_filters",
        "_filters_were",
        "_recursion_limit",
        "_stderr",
        "_stdout",
        "_token",
        "_voice",
    )

    def __enter__(self) -> None:
        self._alarmed = getitimer(ITIMER_REAL)[0] > 0
        self._stdout, self._stderr = sys.stdout, sys.stderr
        self._recursion_limit = sys.getrecursionlimit()
        self._filters = cast(list[Any], warnings.filters)
        self._filters_were = [*self._filters]
        self._decimals = getcontext()
        self._voice = Voice(sys.stderr)
        self._token = _OUTER.set(self)
        self.hand_over()

    def __exit__(self, *_: object) -> None:
        self.put_back()
        # an object that they never had
        setcontext(self._decimals)
        _OUTER.reset(self._token)

    def put_back(self) -> None:
        """Undo what can have been changed."""
        if not self._alarmed:
            setitimer(ITIMER_REAL, 0)
        sys.stdout, sys.stderr = self._stdout, self._stderr
        if sys.getrecursionlimit() != self._recursion_limit:
            sys.setrecursionlimit(self._recursion_limit)
        if getattr(warnings, "filters", None) is not self._filters or self._filters != self._filters_were:
            warnings.filters = self._filters
            warnings.resetwarnings()  # it also forgets what was decided by the other filters
            self._filters[:] = self._filters_were

    def hand_over(self) -> None:
        """Their turn: streams that they may do anything to, a decimal context that is a copy."""
        self._voice.next_turn()
        sys.stdout = sys.stderr = cast(TextIO, self._voice)
        setcontext(DECIMALS.copy())


class ours:  # noqa: N801 - used as a statement
    """Around code of ours that code of others calls."""

    __slots__ = ("_outer", "_token")

    def __enter__(self) -> None:
        self._outer = _OUTER.get()
        if self._outer is not None:
            self._token = _OUTER.set(None)
            self._outer.put_back()
            setcontext(DECIMALS.copy())

    def __exit__(self, *_: object) -> None:
        if self._outer is not None:
            _OUTER.reset(self._token)
            self._outer.hand_over()


_OUTER: ContextVar[foreign | None] = ContextVar("outer", default=None)
