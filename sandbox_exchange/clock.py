"""Simulated time: Unix milliseconds that follow a monotonic source at a chosen speed and never run backwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MAX_SPEED = 100_000.0
LATEST_MS = 4_102_444_800_000  # 2100-01-01: a later time is a slip of units


class ClockError(ValueError):
    """The clock was asked for something impossible; the text says what and why. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class ClockState:
    """What the clock shows: `speed` in simulated seconds per real second, kept while paused."""

    now_ms: int
    speed: float
    paused: bool
    end_ms: int | None

    @property
    def at_end(self) -> bool:
        """Whether the candles are used up and time stands still."""
        return self.end_ms is not None and self.now_ms >= self.end_ms


class SimulatedClock:
    """The exchange's time.

    Going back is refused: a closed candle that becomes a running one again exists at no exchange.

    Args:
        start_ms: what it shows first.
        speed: simulated seconds per real second; 0 starts paused, moved by `step` and `set` only.
        monotonic: real seconds from any origin.
        end_ms: where time stops; None for never.
    """

    def __init__(
        self, *, start_ms: int, speed: float, monotonic: Callable[[], float], end_ms: int | None = None
    ) -> None:
        self._monotonic = monotonic
        self._end_ms = end_ms
        self._speed = _checked_speed(speed)
        self._paused = self._speed == 0
        self._anchor_ms = self._clip(start_ms)
        self._anchor_s = monotonic()
        self._watchers: list[Callable[[], None]] = []

    def watch(self, moved: Callable[[], None]) -> None:
        """Call this whenever the clock was paused, resumed, sped up or stepped."""
        self._watchers.append(moved)

    def now_ms(self) -> int:
        """Simulated Unix time."""
        if self._paused:
            return self._anchor_ms
        elapsed_s = self._monotonic() - self._anchor_s
        return self._clip(self._anchor_ms + int(elapsed_s * self._speed * 1000))

    def state(self) -> ClockState:
        """Everything it shows, at one instant."""
        return ClockState(now_ms=self.now_ms(), speed=self._speed, paused=self._paused, end_ms=self._end_ms)

    def pause(self) -> None:
        """Stand still."""
        self._anchor()
        self._paused = True
        self._tell()

    def resume(self) -> None:
        """Run on at the last speed.

        Raises:
            ClockError: there was none.
        """
        if self._speed == 0:
            raise ClockError("speed is 0; set a speed above zero instead of resuming")
        self._anchor()
        self._paused = False
        self._tell()

    def set_speed(self, speed: float) -> None:
        """Run at this speed from now on; 0 pauses.

        Raises:
            ClockError: below zero, not a number, or above MAX_SPEED.
        """
        checked = _checked_speed(speed)
        self._anchor()
        self._speed = checked
        self._paused = checked == 0
        self._tell()

    def step(self, milliseconds: int) -> None:
        """Jump ahead, running or paused.

        Raises:
            ClockError: backwards, or beyond LATEST_MS.
        """
        if milliseconds < 0:
            raise ClockError(f"cannot step back by {-milliseconds} ms; start another server for an earlier time")
        if self.now_ms() + milliseconds > LATEST_MS:
            raise ClockError(f"{milliseconds} ms from now is after the year 2100; times are in milliseconds")
        self._anchor()
        self._anchor_ms = self._clip(self._anchor_ms + milliseconds)
        self._tell()

    def set(self, now_ms: int) -> None:
        """Jump to a later time.

        Raises:
            ClockError: it is earlier than now, or beyond LATEST_MS.
        """
        self.step(now_ms - self.now_ms())

    def _tell(self) -> None:
        for moved in self._watchers:
            moved()

    def _anchor(self) -> None:
        self._anchor_ms = self.now_ms()
        self._anchor_s = self._monotonic()

    def _clip(self, now_ms: int) -> int:
        return now_ms if self._end_ms is None else min(now_ms, self._end_ms)


class PacedSeconds:
    """Seconds for what the exchange counts by time, such as requests a minute: they pass at the simulated clock's
    speed, and never slower than real ones.

    A client polls once a candle, and at 60 times the speed there are 60 times as many: counted by real minutes a fleet
    that is well within its limit would be banned for the simulation's hurry. While the clock is paused or stepped,
    real time passes here, so that a count always comes to its end.

    Args:
        origin_s: what it shows first; Unix time lets its minutes turn when the Date header's do, at speed 1.
    """

    def __init__(self, clock: SimulatedClock, *, monotonic: Callable[[], float], origin_s: float) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._anchor_s = origin_s
        self._anchored_at = monotonic()
        self._pace = self._clocks_pace()
        clock.watch(self._moved)

    @property
    def pace(self) -> float:
        """Seconds here in a real one, at least 1."""
        return self._pace

    def now_s(self) -> float:
        """Seconds since its origin."""
        return self._anchor_s + (self._monotonic() - self._anchored_at) * self._pace

    def _moved(self) -> None:
        self._anchor_s, self._anchored_at = self.now_s(), self._monotonic()
        self._pace = self._clocks_pace()

    def _clocks_pace(self) -> float:
        state = self._clock.state()
        return 1.0 if state.paused else max(state.speed, 1.0)


def _checked_speed(speed: float) -> float:
    if not 0 <= speed <= MAX_SPEED:
        raise ClockError(f"speed {speed} is not between 0 (paused) and {MAX_SPEED:.0f} seconds per second")
    return speed
