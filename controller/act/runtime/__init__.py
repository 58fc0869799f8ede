"""Where bots run: the only writers of pods and processes.

A Runtime creates and deletes, and reports what exists as `PodFacts`; it decides nothing. `kubernetes` is the
product, `process` runs the same bots as local processes under the same protocol.
"""

from __future__ import annotations

from typing import Protocol

from controller.decide.facts import PodFacts
from controller.decide.pod_events import PodEvent
from controller.decide.podspec import PodRequest
from fleet.errors import PermanentError, TransientError


class RuntimeAway(TransientError):
    """No answer, or one that says: later. Whether the request was carried out is unknown. The message is clean."""


class CreateRefused(PermanentError):
    """This pod can't be created like this (quota, admission, invalid); the message, clean, says why."""


class Runtime(Protocol):
    """What the manager needs of a place where bots run."""

    def pods(self, bot_id: int) -> tuple[PodFacts, ...]:
        """Everything known to exist, or to have ended, for the bot."""

    async def create(self, request: PodRequest) -> PodFacts:
        """Create the pod of a run, or find the one that an earlier attempt created.

        Raises:
            CreateRefused: it can't be created.
            RuntimeAway: unknown; try again.
        """

    async def delete(self, pod: PodFacts) -> None:
        """Ask this very object to end, with the normal grace period. Does nothing when it is gone.

        Raises:
            RuntimeAway: unknown; try again.
        """

    def record_event(self, pod: PodFacts, event: PodEvent) -> None:
        """Put it where people look for what happens to the pod. Never fails, and nothing depends on it."""


class RunningRuntime(Runtime, Protocol):
    """A Runtime with a life of its own, as the runner needs it."""

    async def start(self) -> None:
        """Begin to observe; returns when everything that exists is known."""

    async def relist(self) -> None:
        """Compare what is known with what exists, in full."""

    def existing(self) -> list[PodFacts]:
        """All pods that aren't known to be gone."""

    def fault(self) -> str | None:
        """Why it can't go on, or None."""

    def watch_trouble(self) -> str | None:
        """Why changes aren't heard of at once, so that only `relist` tells of them; None while they are."""

    async def close(self) -> None:
        """Stop observing; bots go on."""
