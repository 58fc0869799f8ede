"""Untrusted code in our process: what it changes of the process is restored before code of the bot goes on.

Untrusted is what a package or a strategy brings: `untrusted_code` surrounds every call of a strategy, its constructor,
its indicators and the import of a package; `trusted_code` surrounds what they call back into the bot. Between the two
the decimal context, the warnings' filters, the recursion limit and the standard streams change, so that money is always
calculated with the same rules and a log line always finds its stream. An alarm that is still set is taken back: it
would interrupt the bot. What a strategy prints goes to stderr, of each call the first characters: stdout belongs to
results. All of this is the main thread's business.

What nothing of the bot depends on (locale, the seed of `random`) isn't restored, and what can't be (monkey patches,
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
"""How a bot calculates: Python's own defaults, said here, as a package can change those."""

PRINTED_MAX: Final = 10_000
"""Characters that untrusted code may print in one call; the rest is dropped."""


class BoundedStderr:
    """Where untrusted code prints: the first characters of each call reach stderr. It can't be closed."""

    encoding = "utf-8"
    errors = "replace"
    closed = False

    def __init__(self, real: TextIO) -> None:
        self._real = real
        self._room = PRINTED_MAX

    def refill(self) -> None:
        """A new call begins: it may print as much again."""
        self._room = PRINTED_MAX

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


class untrusted_code:  # noqa: N801 - used as a statement
    """Around untrusted code; afterwards, and inside `trusted_code`, the process is as it was before."""

    __slots__ = (
        "_alarmed",
        "_decimals",
        "_filters",
        "_filters_were",
        "_recursion_limit",
        "_stderr",
        "_stderr_bounded",
        "_stdout",
        "_token",
    )

    def __enter__(self) -> None:
        self._alarmed = getitimer(ITIMER_REAL)[0] > 0
        self._stdout, self._stderr = sys.stdout, sys.stderr
        self._recursion_limit = sys.getrecursionlimit()
        self._filters = cast(list[Any], warnings.filters)
        self._filters_were = [*self._filters]
        self._decimals = getcontext()
        self._stderr_bounded = BoundedStderr(sys.stderr)
        self._token = _ACTIVE.set(self)
        self.isolate()

    def __exit__(self, *_: object) -> None:
        self.restore()
        # an object that untrusted code never had
        setcontext(self._decimals)
        _ACTIVE.reset(self._token)

    def restore(self) -> None:
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

    def isolate(self) -> None:
        """Untrusted code follows: streams that it may do anything to, a decimal context that is a copy."""
        self._stderr_bounded.refill()
        sys.stdout = sys.stderr = cast(TextIO, self._stderr_bounded)
        setcontext(DECIMALS.copy())


class trusted_code:  # noqa: N801 - used as a statement
    """Around code of the bot that untrusted code calls."""

    __slots__ = ("_around", "_token")

    def __enter__(self) -> None:
        self._around = _ACTIVE.get()
        if self._around is not None:
            self._token = _ACTIVE.set(None)
            self._around.restore()
            setcontext(DECIMALS.copy())

    def __exit__(self, *_: object) -> None:
        if self._around is not None:
            _ACTIVE.reset(self._token)
            self._around.isolate()


_ACTIVE: ContextVar[untrusted_code | None] = ContextVar("active", default=None)
