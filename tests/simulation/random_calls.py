"""Calls of the run protocol by chance, dense around its guards: stale leases, other processes' tokens, old epochs.

A simulated schedule asks mostly what a careful program asks. Here every second call is one that must be refused.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from fleet.errors import DatabaseAway, FencedError
from fleet.states import BotStatus, ExitReason
from fleet.trading_service.bots import Notification
from fleet.trading_service.lease import RunId
from fleet.trading_service.runs import DECISION_VALID_S, ShardLease, WatchLimits
from tests.simulation.database import Database, Operation, Run
from tests.simulation.times import START

T = TypeVar("T")

BOTS = 2
LIMITS_S = {"quiet_s": 1, "dead_s": 3, "stalled_s": 2, "asked_s": 4, "claim_s": 6, "start_s": 2}
"""Of the watch; so small that the steps of the clock fall on both sides of each, or else never reached."""

STEPS_S = [0, 0, 0, 0, 0.5, 0.5, 1, 2, 3, 30]


def calls_by_chance(seed: int, count: int) -> list[Operation]:
    """So many calls and their answers by the model; each is followed by a look at the bot that it was about."""
    caller = _Caller(random.Random(seed))
    for _ in range(count):
        caller.call()
    return caller.recorded


class _Caller:
    """Makes calls whose arguments are mostly those of the moment, and else of a moment ago or of somebody else."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._now = START
        self._database = Database(lambda: self._now, record=True)
        for bot_id in range(1, BOTS + 1):
            self._database.insert_bot(bot_id, {"version": 1}, user_id=bot_id, holding=bot_id == 1)
        self._database.acquire_shard(0, holder="c0", ttl_s=3)
        self._bot_id, self._careful = 1, True
        self._run: Run | None = None
        self._calls: list[tuple[float, Callable[[], None]]] = [
            (24, self._start_run), (12, self._claim), (12, self._heartbeat), (5, self._mark_live), (4, self._release),
            (4, self._record_pod), (5, self._request_stop), (5, self._adopt_config), (1.5, self._end_run),
            (5, self._explain_end), (7, self._fence_unclaimed), (6, self._fence_silent), (12, self._fence_stop_overdue),
            (2, self._prove_heartbeats), (1, self._locked_runs), (6, self._watch_runs), (1, self._load_run_config),
            (6, self._set_status), (1, self._load_config), (1, self._notify), (5, self._start_facts),
            (3, self._acquire_shard), (2, self._renew_shard), (3, self._edit), (2, self._hold_bot),
            (1, self._hold_run), (0.5, self._lock_runs), (0.5, self._set_read_only),
        ]  # fmt: skip

    @property
    def recorded(self) -> list[Operation]:
        assert self._database.recorded is not None
        return self._database.recorded

    def call(self) -> None:
        """One, at a moment that is mostly the last one's."""
        chance, database = self._chance, self._database
        self._now += timedelta(seconds=chance.choice(STEPS_S))
        self._careful = chance.random() < 0.5
        self._bot_id = chance.randint(1, BOTS)
        runs = database.bots[self._bot_id].runs
        self._run = runs[-2 if len(runs) > 1 and chance.random() < 0.1 else -1] if runs else None
        self._let_go()
        function = chance.choices([call for _, call in self._calls], weights=[weight for weight, _ in self._calls])[0]
        with suppress(DatabaseAway, FencedError):
            function()
        if chance.random() < 0.4:
            database.load_bot(self._bot_id)

    def _let_go(self) -> None:
        """Nobody holds anything for long."""
        database, chance = self._database, self._chance
        if database.runs_locked and chance.random() < 0.4:
            database.lock_runs(False)
        if database.read_only and chance.random() < 0.4:
            database.set_read_only(False)
        for bot in database.bots.values():
            if bot.held and chance.random() < 0.2:
                database.hold_bot(bot.id, False)
            if bot.held_epoch and chance.random() < 0.2:
                database.hold_run(bot.id, None)

    # -- arguments ---------------------------------------------------------------------------------------------

    def _mostly(self, value: T, *others: T) -> T:
        return value if self._careful or self._chance.random() < 0.7 else self._chance.choice(others)

    @property
    def _epoch(self) -> int:
        return self._run.record.epoch if self._run else 1

    @property
    def _run_id(self) -> RunId:
        token = self._run.record.claimed_by if self._run else None
        return RunId(self._bot_id, self._epoch, self._mostly(token or "a", "a", "b"))

    @property
    def _lease(self) -> ShardLease:
        epoch = self._database.shard.epoch
        return ShardLease(0, self._chance.choice([epoch, epoch, epoch, epoch - 1]))

    def _of_run(self) -> dict[str, Any]:
        return {"bot_id": self._bot_id, "epoch": self._epoch, "lease": self._lease}

    def _of_fence(self) -> dict[str, Any]:
        age_s = self._chance.choice([0.0, 0.0, DECISION_VALID_S - 0.5, DECISION_VALID_S])
        return {
            **self._of_run(),
            "reason": self._chance.choice([ExitReason.FENCED_SILENT, ExitReason.FENCED_HUNG, ExitReason.NOT_CLAIMED]),
            "message": self._chance.choice([None, "no sign of life"]),
            "decided_at": self._now - timedelta(seconds=age_s),
        }

    # -- a bot's calls -----------------------------------------------------------------------------------------

    def _claim(self) -> None:
        run = RunId(self._bot_id, self._epoch, self._chance.choice(["a", "b"]))
        self._database.claim(run, node=self._chance.choice([None, "n1", "n2"]))

    def _heartbeat(self) -> None:
        self._database.heartbeat(
            self._run_id,
            progress_age_s=self._chance.choice([0.0, 1.5, 2.5]),
            phase=self._chance.choice([None, "reads candles"]),
            waiting=self._chance.random() < 0.5,
        )

    def _mark_live(self) -> None:
        self._database.mark_live(self._run_id)

    def _release(self) -> None:
        self._database.release(
            self._run_id,
            exit_code=self._chance.choice([0, 1]),
            reason=self._mostly(ExitReason.RELEASED, ExitReason.FAILED),
            error_message=self._chance.choice([None, "broke"]),
            stuck=self._chance.random() < 0.5,
        )

    # -- the controller's --------------------------------------------------------------------------------------

    def _start_run(self) -> None:
        bot = self._database.bots[self._bot_id]
        newest = bot.runs[-1].record.epoch if bot.runs else 0
        epoch = max(1, newest + self._mostly(1 if self._chance.random() < 0.7 else 2, 0, -1))
        self._database.start_run(
            self._lease,
            bot.id,
            epoch,
            config_version=self._mostly(bot.version, bot.version - 1, bot.version + 1),
            controller="c0",
            runtime="kubernetes",
            pod_name=f"bot-{bot.id}-e{epoch}",
            closes_out=self._chance.random() < 0.2,
        )

    def _record_pod(self) -> None:
        self._database.record_pod(**self._of_run(), uid=self._chance.choice(["u1", "u2"]))

    def _request_stop(self) -> None:
        self._database.request_stop(**self._of_run(), reason=self._chance.choice(["stopped", "superseded", "hung"]))

    def _adopt_config(self) -> None:
        version = self._run.record.config_version if self._run else 1
        self._database.adopt_config(
            **self._of_run(),
            config_version=self._mostly(version + 1, version, version - 1),
            limits=self._chance.choice([None, {"max_daily_trades": version}]),
        )

    def _end_run(self) -> None:
        self._database.end_run(**self._of_run(), reason=ExitReason.FAILED, exit_code=1, message="it is dead")

    def _explain_end(self) -> None:
        seen = self._run.record.error_message if self._run else None
        self._database.explain_end(
            **self._of_run(), seen=self._mostly(seen, None, "it was never this"), message=f"at {self._now:%M:%S.%f}"
        )

    def _fence_unclaimed(self) -> None:
        self._database.fence_unclaimed(**self._of_fence())

    def _fence_silent(self) -> None:
        self._database.fence_silent(**self._of_fence(), silent_s=self._chance.choice([0.5, 2, 5]))

    def _fence_stop_overdue(self) -> None:
        asked_s, stalled_s = self._chance.choice([0, 0.5, 2]), self._chance.choice([None, 1, 2])
        self._database.fence_stop_overdue(**self._of_fence(), asked_s=asked_s, stalled_s=stalled_s)

    def _prove_heartbeats(self) -> None:
        self._database.prove_heartbeats(self._lease)

    def _locked_runs(self) -> None:
        self._database.locked_runs([*self._database.bots])

    def _watch_runs(self) -> None:
        limits = {name: self._chance.choice([value, 10_000, 10_000]) for name, value in LIMITS_S.items()}
        self._database.watch_runs(WatchLimits(**limits))

    def _start_facts(self) -> None:
        self._database.start_facts()

    def _load_config(self) -> None:
        self._database.load_config(self._bot_id, self._database.bots[self._bot_id].version - self._mostly(0, 1))

    def _load_run_config(self) -> None:
        self._database.load_run_config(self._bot_id, self._epoch)

    def _set_status(self) -> None:
        status = self._database.bots[self._bot_id].status
        self._database.update_bot_status(
            self._bot_id,
            seen=self._mostly(status, *BotStatus),
            status=self._mostly(BotStatus.STARTING, *BotStatus),
            message=self._chance.choice([None, "waits"]),
            error_count=self._chance.choice([0, 1]),
        )

    def _notify(self) -> None:
        note = Notification(
            bot_id=self._bot_id,
            kind="bot_error",
            severity="warning",
            title="t",
            body="b",
            key=f"key {self._chance.randrange(8)}",
        )
        self._database.add_notification(note)

    def _acquire_shard(self) -> None:
        self._database.acquire_shard(0, holder=self._chance.choice(["c0", "c1"]), ttl_s=3)

    def _renew_shard(self) -> None:
        self._database.renew_shard(self._lease)

    # -- what people do ----------------------------------------------------------------------------------------

    def _edit(self) -> None:
        bot = self._database.bots[self._bot_id]
        if not bot.held:
            self._database.edit_bot(
                bot.id,
                config={"version": self._mostly(bot.version, 0)},
                enabled=self._mostly(True, False),
                archived=self._mostly(False, True),
            )

    def _hold_bot(self) -> None:
        self._database.hold_bot(self._bot_id, True)

    def _hold_run(self) -> None:
        bot = self._database.bots[self._bot_id]
        if self._run and bot.held_epoch is None:
            self._database.hold_run(bot.id, self._epoch)

    def _lock_runs(self) -> None:
        self._database.lock_runs(True)

    def _set_read_only(self) -> None:
        self._database.set_read_only(True)
