"""Collaborators of the manager for tests: a database, a runtime and a queue of starts that note what they are asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from controller.decide.admission import Candidate, Place
from controller.decide.facts import PodFacts
from controller.decide.pod_events import PodEvent
from controller.decide.podspec import PodRequest
from fleet.states import BotStatus
from fleet.trading_service.bots import BotRecord, RunRecord
from tests.unit.controller.make import NOW, ago, pod

MIXINS = {"entry_logic": {"name": "RSIOrBBEntryMixin"}, "exit_logic": {"name": "ATRExitMixin"}}
GOOD: dict[str, Any] = {"symbol": "BTCUSDT", "strategy": {"parameters": MIXINS}, "data": {"interval": "1h"}}
WAIT_FLAT = {**GOOD, "trading": {"on_stop": "wait_flat"}}

RUN = RunRecord(
    **dict.fromkeys(each.name for each in fields(RunRecord))
    | {
        "epoch": 5,
        "config_version": 3,
        "pod_name": "bot-7-a-e5",
        "pod_uid": "u5",
        "created_at": ago(600),
        "claimed_by": "u5/123",
        "claimed_at": ago(598),
        "live_at": ago(597),
        "heartbeat_at": ago(1),
        "progress_at": ago(2),
        "closes_out": False,
    }
)
ROW = BotRecord(
    id=7,
    user_id=11,
    name="a",
    enabled=True,
    archived=False,
    config_version=3,
    status=BotStatus.RUNNING,
    error_message=None,
    error_count=2,
    updated_at=ago(900),
    now=NOW,
    holding=False,
    runs=(RUN,),
)


@dataclass
class FakeStore:
    """Answers True to whatever is decided, or what the test says; keeps what it was asked."""

    row: BotRecord | None = ROW
    config: object = field(default_factory=lambda: GOOD)
    snapshot: object = field(default_factory=lambda: GOOD)
    answers: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)

    async def load(self, bot_id: int) -> BotRecord | None:
        assert bot_id == 7
        return self.row

    async def load_config(self, bot_id: int, config_version: int) -> object:
        assert bot_id == 7
        self.calls.append(("load_config", (config_version,), {}))
        return self.config

    async def load_run_config(self, bot_id: int, epoch: int) -> object:
        assert bot_id == 7
        self.calls.append(("load_run_config", (epoch,), {}))
        return self.snapshot

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def decide(*arguments: Any, **named: Any) -> Any:
            self.calls.append((name, arguments, named))
            answer = self.answers.get(name, True)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return decide

    def asked(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(arguments, named) for each, arguments, named in self.calls if each == name]


@dataclass
class FakeRuntime:
    """Pods by hand."""

    known: tuple[PodFacts, ...] = (pod(),)
    fails: dict[str, Exception] = field(default_factory=dict)
    done: list[tuple[str, Any]] = field(default_factory=list)

    def pods(self, bot_id: int) -> tuple[PodFacts, ...]:
        assert bot_id == 7
        return self.known

    def record_event(self, told: PodFacts, event: PodEvent) -> None:
        assert isinstance(told, PodFacts)
        self.done.append((f"event on {told.uid}", event))

    async def create(self, request: PodRequest) -> PodFacts:
        self._do("create", request)
        return pod(uid="made")

    async def delete(self, target: PodFacts) -> None:
        self._do("delete", target)

    def _do(self, name: str, what: object) -> None:
        self.done.append((name, what))
        if name in self.fails:
            raise self.fails[name]


@dataclass
class FakeStarts:
    place: Place | None = None
    calls: list[tuple[str, Any]] = field(default_factory=list)

    async def admit(self, candidate: Candidate) -> Place | None:
        self.calls.append(("admit", candidate))
        return self.place

    def not_due(self, bot_id: int, *, starting: bool) -> None:
        assert isinstance(starting, bool)
        self.calls.append(("not_due", (bot_id, starting)))

    def attempt_ended(self, bot_id: int) -> None:
        self.calls.append(("attempt_ended", bot_id))
