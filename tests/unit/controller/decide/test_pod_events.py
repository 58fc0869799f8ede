"""What people read in `kubectl describe pod`."""

from __future__ import annotations

from typing import Any

import pytest

from controller.decide.actions import Action, EndRun, FenceRun, Guard, RequestStop, StartRun
from controller.decide.facts import RunFacts, StopReason
from controller.decide.pod_events import PodEvent, deletion_event, event_of
from fleet.states import ExitReason
from tests.unit.controller.make import pod, run

NEWER = "a newer config version takes over, or somebody asked for a restart"


@pytest.mark.parametrize(
    ("wanted", "newest", "target", "why"),
    [
        (None, None, {}, "trading_bots has no row 7"),
        (True, None, {}, "its run 5 is over"),
        (True, run(ended=True), {}, "its run 5 is over"),
        (True, run(), {"epoch": 4}, "its run 4 is over"),
        (True, run(), {"uid": "other"}, "run 5 has another pod"),
        (True, run(claimed_by=None), {"uid": "other"}, "run 5 has another pod"),
        (False, run(pod_uid=None), {}, "the bot is disabled or archived"),  # its claimant
        (False, run(claimed_by=None), {}, "the bot is disabled or archived"),
        (True, run(stop_reason="hung"), {}, "its main loop makes no progress"),
        (True, run(), {}, "its main loop makes no progress"),
        (True, run(outdated=True), {}, NEWER),
        (True, run(stop_reason="superseded"), {}, NEWER),
    ],
)
def test_why_a_pod_is_deleted(wanted: bool | None, newest: RunFacts | None, target: dict[str, Any], why: str) -> None:
    told = deletion_event(pod(**target), newest, wanted=wanted)
    assert told == PodEvent("Deleting", f"the controller deletes it: {why}")


@pytest.mark.parametrize(
    ("action", "event"),
    [
        (
            RequestStop(5, StopReason.STOPPED),
            PodEvent("StopRequested", "asked to stop: the bot is disabled or archived"),
        ),
        (
            RequestStop(5, StopReason.HUNG),
            PodEvent("StopRequested", "asked to stop: its main loop makes no progress", True),
        ),
        (
            FenceRun(5, ExitReason.NOT_CLAIMED, Guard.UNCLAIMED, None),
            PodEvent("Fenced", "run 5 lost its right to trade (not_claimed)"),
        ),
        (
            FenceRun(5, ExitReason.FENCED_SILENT, Guard.SILENT, "m"),
            PodEvent("Fenced", "run 5 lost its right to trade (fenced_silent): m", True),
        ),
        (EndRun(5, ExitReason.RELEASED, 0, None), PodEvent("RunEnded", "run 5 ended (released)")),
        (EndRun(5, ExitReason.FAILED, 1, "m"), PodEvent("RunEnded", "run 5 ended (failed): m", True)),
    ],
)
def test_what_happened_to_a_run(action: Action, event: PodEvent) -> None:
    assert event_of(action) == (5, event)


def test_the_start_of_a_run_is_no_event_of_a_pod() -> None:
    assert event_of(StartRun(5, 3)) is None
