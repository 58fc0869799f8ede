"""The only reader of configs: each version is validated once, and what is needed of it is remembered.

A row's config may be anything; what can't be read is invalid and says why (`fleet.config`). Only what is valid is ever
started.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controller.store import Store
from fleet.config import (
    NO_EXTRAS,
    ConfigInvalid,
    ExtraNames,
    OnFailure,
    OnStop,
    hot_fields,
    only_hot_fields_differ,
    parse_config,
)
from fleet.trading_service.bots import BotRecord

CACHE = 25_000
"""Configs kept, by version (`v7`) and of runs' snapshots (`e3`); two for each of 10,000 bots, and some."""


@dataclass(frozen=True, slots=True)
class KnownConfig:
    """What is kept of a validated config: not the document, which 10,000 times would fill the memory."""

    invalid: str | None
    mode: str = "paper"
    waits_until_flat: bool = False
    flattens_on_failure: bool = False


NOT_READ = KnownConfig(None)
"""Of a bot that isn't wanted: whether its config is valid decides nothing."""


def examine(raw: object, extra_names: ExtraNames = NO_EXTRAS) -> KnownConfig:
    """Validate a config and keep what the controller needs of it."""
    try:
        config = parse_config(raw, extra_names=extra_names)
    except ConfigInvalid as error:
        return KnownConfig(invalid=str(error))
    return KnownConfig(
        None,
        config.trading_mode,
        waits_until_flat=config.on_stop is OnStop.WAIT_FLAT,
        flattens_on_failure=config.on_failure is OnFailure.FLATTEN,
    )


class Configs:
    """Configs of rows and of runs, examined. All methods that read raise DatabaseAway.

    Args:
        store: the database.
        extra_names: strategies, mixins and brokers that packages add to the bots; the bot judges their parameters.
    """

    def __init__(self, store: Store, extra_names: ExtraNames = NO_EXTRAS) -> None:
        self._store = store
        self._extra_names = extra_names
        self._known: OrderedDict[tuple[int, str], KnownConfig] = OrderedDict()

    async def of_row(self, record: BotRecord) -> KnownConfig | None:
        """None when the row has changed since. A bot that isn't wanted is stopped whatever its config is."""
        if not record.wanted:
            return NOT_READ
        key = f"v{record.config_version}"
        known = self._remembered(record.id, key)
        if known is None:
            raw = await self._store.load_config(record.id, record.config_version)
            if raw is None:
                return None
            known = self._remember(record.id, key, examine(raw, self._extra_names))
        return known

    async def of_run(self, bot_id: int, version: int, epoch: int) -> KnownConfig:
        """Of its version if that is known to be valid, else of its own snapshot, which says nothing about the row's."""
        known = self._remembered(bot_id, f"v{version}")
        if known is None or known.invalid is not None:
            known = self._remembered(bot_id, f"e{epoch}")
        if known is None:
            raw = await self._store.load_run_config(bot_id, epoch)
            known = self._remember(bot_id, f"e{epoch}", examine(raw, self._extra_names))
        return known

    async def outdated(self, record: BotRecord, epoch: int) -> bool:
        """Whether the row's config differs from a run's in more than a running bot takes over."""
        wanted = await self._store.load_config(record.id, record.config_version)
        running = await self._store.load_run_config(record.id, epoch)
        return not only_hot_fields_differ(running, wanted)

    async def hot_sections(self, bot_id: int, version: int) -> Mapping[str, Any] | None:
        """What of this version a running bot takes over; None: the row has moved on."""
        raw = await self._store.load_config(bot_id, version)
        return hot_fields(raw) if isinstance(raw, Mapping) else None

    def is_live(self, record: BotRecord) -> bool:
        """Whether the row's config trades with real money, as far as it was read."""
        known = self._remembered(record.id, f"v{record.config_version}")
        return known is not None and known.mode == "live"

    def _remembered(self, bot_id: int, key: str) -> KnownConfig | None:
        known = self._known.get((bot_id, key))
        if known is not None:
            self._known.move_to_end((bot_id, key))
        return known

    def _remember(self, bot_id: int, key: str, known: KnownConfig) -> KnownConfig:
        self._known[bot_id, key] = known
        if len(self._known) > CACHE:
            self._known.popitem(last=False)
        return known
