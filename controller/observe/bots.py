"""One bot as it is: its row, its newest runs and their configs, as facts for the planner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from controller.decide.facts import BotFacts, RunEnd, RunFacts
from controller.observe.configs import Configs
from controller.store import Store
from fleet.foreign import clean_text
from fleet.trading_service.bots import BotRecord, RunRecord
from fleet.trading_service.exchanges import WAITS_FOR_LIMIT

NO_MATTER_WHEN = datetime(1970, 1, 1, tzinfo=UTC)
"""The time at a bot without a row: it has no run whose age could count."""


@dataclass(frozen=True, slots=True)
class BotView:
    """What a plan is made from, and what its actions are carried out for.

    Attributes:
        record: None when there is no row; then there are no facts either.
        now: the database's clock when it was read.
    """

    bot_id: int
    record: BotRecord | None = None
    bot: BotFacts | None = None
    run: RunFacts | None = None
    ends: tuple[RunEnd, ...] = ()
    now: datetime = NO_MATTER_WHEN

    @property
    def row(self) -> BotRecord:
        """The row, where one must be."""
        assert self.record is not None, "a bot without a row has nothing but pods to delete"
        return self.record

    @property
    def starting(self) -> bool:
        """Whether its current run is on its way to live."""
        return self.run is not None and not self.run.ended and self.run.live_at is None

    @property
    def fields(self) -> dict[str, object]:
        """All inputs of a decision, for its log line."""
        run = self.run
        return {
            "bot_id": self.bot_id,
            "config_version": self.record.config_version if self.record else None,
            "wanted": self.record.wanted if self.record else None,
            "status": self.record.status if self.record else None,
            "epoch": run.epoch if run else None,
            "claimed": run.claimed if run else None,
            "ended": run.ended if run else None,
            "beat_age_s": round((self.now - run.beat_at).total_seconds(), 3) if run else None,
        }


@dataclass(frozen=True, slots=True)
class BotReader:
    """Reads bots.

    Attributes:
        trouble: what the last request about a bot's pod met with, when none has succeeded since.
    """

    store: Store
    configs: Configs
    trouble: Callable[[int], str | None]

    async def read(self, bot_id: int) -> BotView | None:
        """The bot; None when its row changed while it was read: read again.

        Raises:
            DatabaseAway: no answer.
        """
        record = await self.store.load(bot_id)
        if record is None:
            return BotView(bot_id)
        bot = await self._bot_facts(record)
        if bot is None:
            return None
        newest = record.runs[0] if record.runs else None
        run = await self._run_facts(record, newest, bot) if newest else None
        return BotView(bot_id, record, bot, run, run_ends(record), record.now)

    async def _bot_facts(self, record: BotRecord) -> BotFacts | None:
        known = await self.configs.of_row(record)
        if known is None:
            return None
        return BotFacts(
            bot_id=record.id,
            wanted=record.wanted,
            config_version=record.config_version,
            invalid=known.invalid,
            status=record.status,
            error_message=record.error_message,
            error_count=record.error_count,
            must_close=record.holding and known.flattens_on_failure,
        )

    async def _run_facts(self, record: BotRecord, run: RunRecord, bot: BotFacts) -> RunFacts:
        ended = run.ended_at is not None
        outdated = waits_until_flat = False
        if not ended:
            # of the run's own snapshot; one that can't be read lets nobody wait
            config = await self.configs.of_run(record.id, run.config_version, run.epoch)
            waits_until_flat = config.waits_until_flat
            if bot.wanted and run.config_version != record.config_version and bot.invalid is None:
                outdated = await self.configs.outdated(record, run.epoch)
        return RunFacts(
            epoch=run.epoch,
            config_version=run.config_version,
            created_at=run.created_at,
            ended=ended,
            pod_uid=run.pod_uid,
            claimed_by=run.claimed_by,
            claimed_at=run.claimed_at,
            live_at=run.live_at,
            heartbeat_at=run.heartbeat_at,
            progress_at=run.progress_at,
            phase=run.phase,
            waited_at=run.waited_at,
            stop_requested_at=run.stop_requested_at,
            stop_reason=run.stop_reason,
            outdated=outdated,
            waits_until_flat=waits_until_flat,
            trouble=self.trouble(record.id),
            waits_for=clean_text(run.waits_for, WAITS_FOR_LIMIT, lines=False) or None,
        )


def run_ends(record: BotRecord) -> tuple[RunEnd, ...]:
    """The ends of its newest runs, newest first."""
    return tuple(
        RunEnd(
            epoch=run.epoch,
            config_version=run.config_version,
            reason=run.exit_reason,
            created_at=run.created_at,
            ended_at=run.ended_at,
            claimed_at=run.claimed_at,
            live_at=run.live_at,
            exit_code=run.exit_code,
            message=run.error_message,
            closes_out=run.closes_out,
        )
        for run in record.runs
        if run.ended_at is not None and run.exit_reason is not None
    )
