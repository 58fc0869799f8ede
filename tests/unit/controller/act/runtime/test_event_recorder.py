"""Notes on pods: posted once, slowly, and never in anybody's way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.act.runtime import RuntimeAway
from controller.act.runtime import event_recorder as module
from controller.act.runtime.event_recorder import EventRecorder, manifest_of
from controller.decide.pod_events import PodEvent
from controller.metrics import Metrics
from tests.unit.controller.make import NOW, pod


class Posts:
    """The API server's part; `away` answers are lost first."""

    def __init__(self, away: int = 0) -> None:
        self.away = away
        self.bodies: list[Mapping[str, Any]] = []

    async def post(self, body: Mapping[str, Any]) -> int:
        if self.away:
            self.away -= 1
            raise RuntimeAway("no answer")
        self.bodies.append(body)
        return 201


async def write(book: EventRecorder) -> None:
    writer = asyncio.create_task(book.write())
    await asyncio.sleep(0.05)
    writer.cancel()
    await asyncio.gather(writer, return_exceptions=True)


def notebook(posts: Posts) -> EventRecorder:
    return EventRecorder("bots", posts.post, lambda: datetime.now(UTC), Metrics())


async def test_a_note_is_posted_once_per_pod_and_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL_S", 0)
    posts = Posts()
    book = notebook(posts)
    for note in (PodEvent("Fenced", "a", warning=True), PodEvent("Fenced", "b"), PodEvent("RunEnded", "c")):
        book.add(pod(), note)
    book.add(pod(uid="u6"), PodEvent("Fenced", "d"))
    await write(book)
    told = [(body["involvedObject"]["uid"], body["reason"], body["type"], body["message"]) for body in posts.bodies]
    assert told == [
        ("u5", "Fenced", "Warning", "a"),
        ("u5", "RunEnded", "Normal", "c"),
        ("u6", "Fenced", "Normal", "d"),
    ]


async def test_a_lost_note_is_lost_and_the_next_is_posted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL_S", 0)
    posts = Posts(away=1)
    book = notebook(posts)
    book.add(pod(), PodEvent("Fenced", "a"))
    book.add(pod(), PodEvent("RunEnded", "b"))
    await write(book)
    assert [body["reason"] for body in posts.bodies] == ["RunEnded"]


async def test_a_flood_is_dropped() -> None:
    book = notebook(Posts())
    for number in range(module.WAITING_LIMIT + 50):
        book.add(pod(uid=str(number)), PodEvent("Fenced", "a"))
    assert book.metrics.registry.get_sample_value("botfleet_pod_notes_total", {"code": "dropped"}) == 50


@given(st.text(st.characters(codec=None), max_size=3000))
def test_any_message_is_one_that_kubernetes_takes(message: str) -> None:
    body = manifest_of("bots", pod(), PodEvent("Fenced", message), NOW)
    assert len(body["message"].encode()) <= 1024
    assert "\x00" not in body["message"]
    assert body["metadata"]["name"] == manifest_of("bots", pod(), PodEvent("Fenced", "other"), NOW)["metadata"]["name"]
