"""Whatever a row's config or a notification's facts are, routing, words and summaries have an answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.foreign import load_json
from fleet.trading_service.performance import gauges_of
from tests.hostile_json import json_texts
from tests.unit.worker.notifications import NOW, notification
from worker.channels.messages import Message, document, text
from worker.channels.outcome import Channel
from worker.channels.routing import Contact, Installed, switches_of
from worker.dispatch import item_of
from worker.jobs.summaries import LISTED, Span, grouped, told
from worker.routes import silenced, targets_of

OPERATOR = Contact(email="ops@example.com")
INSTALLED = Installed(missing={})
documents = json_texts.map(load_json)
kinds = st.sampled_from(("bot_error", "risk_breach", "test", "daily_summary", "no kind of ours"))


@given(documents, documents, kinds, st.sampled_from((None, 7)), st.sampled_from((None, 1)))
def test_a_notification_is_routed_and_worded(
    config: object, facts: object, kind: str, bot_id: int | None, user_id: int | None
) -> None:
    made = notification(config=config, facts=facts, kind=kind, bot_id=bot_id, user_id=user_id)
    silenced(made)
    targets = targets_of(made, OPERATOR, INSTALLED)
    assert all(target.channel in set(Channel) for target in targets)
    item = item_of(made)
    assert item.mode in ("", "paper", "live")
    message = Message("k" * 32, user_id, (item,))
    document(message)
    text(message, limit=4000)


@given(documents)
def test_switches_of_anything(config: object) -> None:
    switches_of(config)


@given(st.lists(documents, max_size=5))
def test_summaries_of_anything(configs: list[object]) -> None:
    bots = [{"id": number, "user_id": 1, "config": config} for number, config in enumerate(configs)]
    for span in Span:
        assert len([bot for group in grouped(bots, span) for bot in group.bots]) <= len(bots)


def test_a_summary_of_a_large_fleet_can_be_read_and_stored() -> None:
    bot = {"id": 1, "name": "b", "status": "running", "in_position": False, "current_balance": None, "total_pnl": 0}
    lines = list(told([bot] * (LISTED + 5), []))
    assert len(lines) == LISTED + 1
    assert lines[-1] == "… and 5 more: botfleet bots list"


@given(documents)
def test_stored_metrics_are_figures_or_left_out(metrics: object) -> None:
    row = {
        "bot_id": 1, "user_id": 1, "name": "b", "symbol": "s", "interval": "1h", "calculated_at": NOW, "metrics": metrics,
    }  # fmt: skip
    assert gauges_of(row) is None
