"""Which of a bot's threads ends its process."""

from __future__ import annotations

import threading


class ExitOwner:
    """Who ends the process: the thread that asks first. Usually the main thread, unless it doesn't come in time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = threading.Event()
        self._owner: int | None = None

    def mine(self) -> bool:
        """Whether this thread is the one; True for the first to ask, and again for it later."""
        with self._lock:
            self._owner = self._owner or threading.get_ident()
            self._taken.set()
            return self._owner == threading.get_ident()

    def wait(self, seconds: float) -> bool:
        """Wait at most so long for some thread to ask."""
        return self._taken.wait(seconds)
