"""When the main loop last got anywhere, and what its start is at.

The main loop writes, the heartbeat's thread reads: each value is one assignment, so no lock is needed.
"""

from __future__ import annotations

from fleet.clock import Clock

WAIT_BELIEVED_S = 60.0
"""A main loop that waits for an exchange shows itself every few seconds, a request that hangs included; one that
says nothing for longer doesn't wait, it is stuck."""


class Progress:
    """A main loop's signs of life; an age that grows is how a hung one is found."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at = clock.monotonic()
        self._state: tuple[str | None, bool] = (None, False)

    def made(self) -> None:
        """The main loop is alive."""
        self._at = self._clock.monotonic()

    def enter(self, phase: str) -> None:
        """The start has come so far, in a few words for the bot's row."""
        self._state = (phase, False)
        self.made()

    def waits(self, why: str) -> None:
        """The start can't go on for a reason that isn't its own: the exchange doesn't answer."""
        self._state = (why, True)
        self.made()

    def live(self) -> None:
        """The start is over."""
        self._state = (None, False)
        self.made()

    @property
    def phase(self) -> str | None:
        """What the start is at; None before it begins and once the bot is live."""
        return self._state[0]

    @property
    def waiting(self) -> bool:
        """Whether it waits for somebody else, and shows that it still does."""
        return self._state[1] and self.age_s() < WAIT_BELIEVED_S

    def age_s(self) -> float:
        """Seconds since the main loop last got anywhere."""
        return self._clock.monotonic() - self._at
