"""Code of others in our process: what it changes of the process is put back before code of ours goes on.

`foreign` surrounds every call of a strategy, its constructor, its indicators and the import of a package; `ours`
surrounds what they call back into us. Between the two the decimal context, the warnings' filters, the recursion limit
and the standard streams change hands, so that money is always reckoned with the same rules and a log line always
finds its stream. What a strategy prints goes to stderr, of each turn the first characters: stdout belongs to results.
All of this is the main thread's business.

What nothing of ours depends on (locale, the seed of `random`) isn't put back, and what can't be (monkey patches,
a thread that goes on, memory) can't: of that the process dies at worst, and another run goes on from the checkpoint.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, DivisionByZero, InvalidOperation, Overflow, getcontext, setcontext
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
"""How a bot reckons: Python's own defaults, said here, as a package can change those. Copied before each use."""

SAID_MAX: Final = 10_000
"""Characters that foreign code may print in one turn; the rest is dropped."""


class Voice(io.TextIOBase):
    """Where foreign code prints: the first characters of each turn reach stderr. It can't be closed."""

    def __init__(self, real: TextIO) -> None:
        super().__init__()
        self._real = real
        self._room = SAID_MAX

    def next_turn(self) -> None:
        """Let it speak again."""
        self._room = SAID_MAX

    def writable(self) -> bool:
        """It can be printed to."""
        return True

    def write(self, text: str) -> int:
        """Pass on what there is room for; a stream that is gone is nobody's fault."""
        said, self._room = text[: self._room], max(0, self._room - len(text))
        with suppress(OSError, ValueError):
            self._real.write(said)
        return len(text)

    def flush(self) -> None:
        """Flush the stream behind."""
        with suppress(OSError, ValueError):
            self._real.flush()

    def fileno(self) -> int:
        """Of the stream behind, for whoever hands it to a process."""
        return self._real.fileno()

    def close(self) -> None:
        """Stay open: the stream behind is the logs' too."""


@dataclass(frozen=True, slots=True)
class _Ours:
    """What is put back."""

    stdout: Any
    stderr: Any
    recursion_limit: int
    filters: list[Any]
    filters_were: tuple[Any, ...]
    voice: Voice

    def put_back(self) -> None:
        sys.stdout, sys.stderr = self.stdout, self.stderr
        if sys.getrecursionlimit() != self.recursion_limit:
            sys.setrecursionlimit(self.recursion_limit)
        if warnings.filters is not self.filters or tuple(self.filters) != self.filters_were:
            warnings.filters = self.filters
            warnings.resetwarnings()  # it also forgets what was decided by the other filters
            self.filters[:] = self.filters_were

    def hand_over(self) -> None:
        self.voice.next_turn()
        sys.stdout = sys.stderr = self.voice
        setcontext(DECIMALS.copy())


_OURS: ContextVar[_Ours | None] = ContextVar("ours", default=None)


@contextmanager
def foreign() -> Iterator[None]:
    """Around code of others; afterwards, and inside `ours`, the process is as it was before."""
    decimals, filters = getcontext(), cast(list[Any], warnings.filters)
    ours = _Ours(sys.stdout, sys.stderr, sys.getrecursionlimit(), filters, tuple(filters), Voice(sys.stderr))
    token = _OURS.set(ours)
    ours.hand_over()
    try:
        yield
    finally:
        ours.put_back()
        # an object that they never had
        setcontext(decimals)
        _OURS.reset(token)


@contextmanager
def ours() -> Iterator[None]:
    """Around code of ours that code of others calls."""
    state = _OURS.get()
    if state is None:
        yield
        return
    token = _OURS.set(None)
    state.put_back()
    setcontext(DECIMALS.copy())
    try:
        yield
    finally:
        _OURS.reset(token)
        state.hand_over()
