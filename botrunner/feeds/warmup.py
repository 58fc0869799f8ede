"""The candles that warm an engine up: those of the bars before, as far as they are remembered, else the source's."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from botrunner.market.candle import Candle


class WarmupCandles:
    """Remembers the newest candles, so that an engine that is built anew needs no request.

    Args:
        fetch: closed candles with start ≤ open < end, milliseconds; waits until it gets them.
        most: how many are remembered: as many as a warm-up can need.
    """

    def __init__(self, fetch: Callable[[int, int], list[Candle]], *, most: int) -> None:
        self._fetch = fetch
        self._newest: deque[Candle] = deque(maxlen=most)

    def committed(self, candle: Candle) -> None:
        """Remember the candle of a bar."""
        self._newest.append(candle)

    def between(self, start_ms: int, end_ms: int) -> Sequence[Candle]:
        """The candles with start ≤ open < end."""
        if self._newest and self._newest[0].open_ms <= start_ms:
            return [candle for candle in self._newest if start_ms <= candle.open_ms < end_ms]
        fetched = self._fetch(start_ms, end_ms)
        self._newest.clear()
        self._newest.extend(fetched)
        return fetched
