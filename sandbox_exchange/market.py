"""All symbols of the exchange, placed on one time axis.

Every series keeps its bars' time of day. The first symbol by name keeps its dates too; the others are shifted by
whole days so that each has its `history` bars, and less than a day more, behind it when the clock starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import cached_property

from sandbox_exchange.candles import DAY_MS, HOUR_MS
from sandbox_exchange.csv_source import CsvSource
from sandbox_exchange.series import CandleCache, Series
from sandbox_exchange.symbols import Pair, SymbolRules, rules_for
from sandbox_exchange.synthetic import SPECS, SyntheticSource

# Where a market without any recorded candles begins: 2026-01-01T00:00:00Z.
SYNTHETIC_EPOCH_MS = 1_767_225_600_000


class AtEnd(StrEnum):
    """What happens when recorded candles are used up."""

    LOOP = "loop"  # each series starts again behind itself
    STOP = "stop"  # the clock stands still at the end of the longest one


class Origin(StrEnum):
    """Where candles come from."""

    CSV = "csv"
    SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Listing:
    """A symbol with its candles and rules."""

    pair: Pair
    origin: Origin
    series: Series
    tick: Decimal

    @property
    def symbol(self) -> str:
        """As Binance writes it."""
        return self.pair.symbol

    @cached_property
    def rules(self) -> SymbolRules:
        """Its filters."""
        return rules_for(self.pair, tick=self.tick, price=self.series.first_candle().open)


@dataclass(frozen=True, slots=True)
class Market:
    """What is listed, when it opens and when it ends.

    `end_ms` is set if the clock must stop there; `notes` say what a user should know about the series.
    """

    listings: dict[str, Listing]
    start_ms: int
    end_ms: int | None
    notes: tuple[str, ...]


def open_market(*, recorded: Sequence[CsvSource], seed: int | None, history: int, at_end: AtEnd) -> Market:
    """Place the series on one time axis.

    Args:
        recorded: one source a symbol.
        seed: of the synthetic symbols; None for none. A recorded symbol replaces a synthetic one of its name.
        history: bars before the clock's start, of a recorded file's own interval and of 1h for synthetic ones.
        at_end: see AtEnd.

    Raises:
        ValueError: no symbol at all.
    """
    notes: list[str] = []
    ordered = sorted(recorded, key=lambda source: source.symbol)
    heads = {source.symbol: _head_ms(source, history=history, notes=notes) for source in ordered}
    synthetic_head = -(-history * HOUR_MS // DAY_MS) * DAY_MS
    start_ms = SYNTHETIC_EPOCH_MS + synthetic_head
    if ordered:
        start_ms = ordered[0].first_open + heads[ordered[0].symbol]
    cache = CandleCache()
    listings: dict[str, Listing] = {}
    for source in ordered:
        shift_ms = (start_ms - source.first_open - heads[source.symbol]) // DAY_MS * DAY_MS
        series = Series(source=source, shift_ms=shift_ms, repeat=at_end is AtEnd.LOOP, cache=cache)
        listings[source.symbol] = Listing(pair=source.pair, origin=Origin.CSV, series=series, tick=source.tick)
    first_open = (start_ms - synthetic_head) // DAY_MS * DAY_MS
    for spec in SPECS if seed is not None else ():
        if spec.pair.symbol in listings:
            notes.append(f"{spec.pair.symbol}: recorded candles replace the synthetic ones")
            continue
        made = SyntheticSource(spec=spec, seed=seed or 0, first_open=first_open)
        series = Series(source=made, shift_ms=0, repeat=False, cache=cache)
        listings[made.symbol] = Listing(pair=made.pair, origin=Origin.SYNTHETIC, series=series, tick=made.tick)
    if not listings:
        raise ValueError("no candles: give --candles DIR or --candles synthetic:SEED")
    ends = [listing.series.end for listing in listings.values() if listing.series.end is not None]
    notes += _seam_and_end_notes(listings, start_ms=start_ms)
    return Market(listings=listings, start_ms=start_ms, end_ms=max(ends, default=None), notes=tuple(notes))


def _head_ms(source: CsvSource, *, history: int, notes: list[str]) -> int:
    """Time between a file's first candle and the clock's start."""
    span_ms = source.end - source.first_open
    head_ms = history * source.interval_ms
    if head_ms < span_ms:
        return head_ms
    halved = span_ms // 2 // source.interval_ms
    notes.append(
        f"{source.symbol}: the file spans {span_ms // source.interval_ms} bars, so {halved} instead of {history} "
        "of them are history"
    )
    return halved * source.interval_ms


def _seam_and_end_notes(listings: dict[str, Listing], *, start_ms: int) -> list[str]:
    notes = []
    for listing in listings.values():
        period_ms, end = listing.series.repeats_every_ms, listing.series.end
        if period_ms is not None:
            notes.append(
                f"{listing.symbol}: starts again every {period_ms // DAY_MS} days with unchanged prices; "
                "price and time may jump at that seam"
            )
        if end is not None and end <= start_ms:
            notes.append(f"{listing.symbol}: its candles end before the clock starts; it will be quiet")
    return notes
