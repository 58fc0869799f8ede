"""Reports between bars: what a bot makes of them with a venue that answers when it wants to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from botrunner.engine.trading_bot import BaseTradingBot
from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from botrunner.trading.account import Account
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order
from botrunner.trading.reports import (
    Accepted,
    Canceled,
    Executed,
    Expired,
    OutcomeUnknown,
    Rejected,
    Report,
    Sent,
    Working,
)
from botrunner.trading.state import BarOutcome, BotState
from botrunner.trading.trades import BookError, Trade
from fleet.events import Event, EventKind
from fleet.states import OrderState
from fleet.times import from_ms
from tests.unit.botrunner.asked_venue import AskedVenue
from tests.unit.botrunner.paper_world import BAR_MS, EXIT, LONG, MARKET, Script, config

D = Decimal
ENTRY, LEAVE, STOP, TARGET, FLATTEN = Leg.ENTRY, Leg.EXIT, Leg.STOP_LOSS, Leg.TAKE_PROFIT, Leg.FLATTEN
BOTH = {"stop_loss_pct": 3, "take_profit_pct": 6}


class Live:
    """A bot with such a venue, its strategy, and what it committed."""

    def __init__(self, says: list[str | None], market: Market = MARKET, **sections: Any) -> None:
        made = config(**sections)
        self.venue, self.script, self.outcomes = AskedVenue(made, market), Script(says), list[BarOutcome]()
        self._start: Callable[[BotState], BaseTradingBot] = lambda state: BaseTradingBot(
            bot_id=7, config=made, market=market, venue=self.venue, state=state, commit=self.outcomes.append
        )
        self.bot = self._start(BotState(account=Account(cash=D(1000))))

    def bar(self, price: Any = 100) -> list[tuple[Any, ...]]:
        """A bar at one price; what the venue was asked for."""
        self.script.bar += 1
        prices = [D(price)] * 4
        self.bot.on_bar(self.script, Candle((self.script.bar + 1) * BAR_MS, *prices, D(1000)), ready=True)
        return self._asked()

    def report(self, *reports: Report) -> list[tuple[Any, ...]]:
        """Reports between bars; what the venue was asked for."""
        self.bot.take_reports(self.script, reports)
        return self._asked()

    def _asked(self) -> list[tuple[Any, ...]]:
        asked, self.venue.asked = self.venue.asked, []
        return asked

    def restart(self) -> None:
        self.bot = self._start(self.bot.state)

    def order(self, leg: Leg) -> Order:
        return next(order for order in self.bot.state.account.orders if order.leg is leg)

    @property
    def states(self) -> dict[Leg, OrderState]:
        return {order.leg: order.state for order in self.bot.state.account.orders}


def said(kind: type[Report], of: Order, after_s: float = 0, **fields: Any) -> Report:
    """Reported so much after the first bar's close."""
    at = from_ms(2 * BAR_MS) + timedelta(seconds=after_s)
    return kind(client_order_id=of.client_order_id, at=at, exchange_order_id="x", **fields)


def executed(of: Order, name: str, quantity: Any, price: Any = 100, after_s: float = 1) -> Report:
    return said(
        Executed, of, after_s, exchange_trade_id=name, quantity=D(quantity), price=D(price), fee=D(0), fee_currency="BTC"
    )  # fmt: skip


def holding(says: list[str | None], **sections: Any) -> Live:
    """A bot that bought 5 at 100, with all its protective orders accepted."""
    live = Live([LONG, *says], **sections)
    live.bar()
    live.report(executed(live.order(ENTRY), "entry", 5))
    live.report(*(said(Accepted, order) for order in live.bot.state.account.orders))
    return live


def test_a_bar_decides_and_leaves_the_order_to_be_sent_after_its_commit() -> None:
    live = Live([LONG])
    assert live.bar() == [("submit", ENTRY, 0, 5, None)]
    [outcome] = live.outcomes
    assert [(order.leg, order.state) for order in outcome.orders] == [(ENTRY, OrderState.INTENT)]
    assert outcome.account.orders == outcome.orders
    assert (outcome.fills, outcome.account.cash, live.script.told) == ((), 1000, [])


def test_a_filled_entry_gets_its_protection_in_the_same_step() -> None:
    live = Live([LONG], risk_management=BOTH)
    live.bar()
    entry = live.order(ENTRY)
    assert live.report(said(Sent, entry), said(Accepted, entry)) == []
    assert live.report(executed(entry, "a", 5)) == [("submit", STOP, 0, 5, 97), ("submit", TARGET, 0, 5, 106)]
    last = live.outcomes[-1]
    assert (last.follows, last.bar_at, last.bars, last.candle) == (from_ms(BAR_MS), from_ms(BAR_MS), 1, None)
    assert [order.state for order in last.orders] == [OrderState.FILLED, OrderState.INTENT, OrderState.INTENT]
    assert ([fill.quantity for fill in last.fills], last.trades[0].is_open) == ([5], True)
    assert live.script.told == [(0, "entered")]
    assert live.bot.state.account == last.account
    assert live.bot.state.last_bar_at == from_ms(BAR_MS)


def test_the_protection_follows_an_entry_in_parts() -> None:
    live = Live([LONG], risk_management=BOTH)
    live.bar()
    entry = live.order(ENTRY)
    assert live.report(executed(entry, "a", 2)) == [("submit", STOP, 0, 2, 97), ("submit", TARGET, 0, 2, 106)]
    wanted = [("amend", STOP, 5, 97), ("amend", TARGET, 5, 106)]
    assert live.report(executed(entry, "b", 3)) == wanted
    # nobody has confirmed it yet
    assert live.report() == wanted


def test_what_says_nothing_new_is_no_step() -> None:
    live = Live([LONG], risk_management=BOTH)
    assert live.bot.take_reports(live.script, ()) is None, "before the first bar"
    live.bar()
    entry = live.order(ENTRY)
    reports = [said(Accepted, entry), executed(entry, "a", 5)]
    live.report(*reports)
    committed, asked = len(live.outcomes), live.report(*reports, *reports)
    assert (len(live.outcomes), asked) == (committed, [])
    assert live.script.told == [(0, "entered")]


@pytest.mark.parametrize("closing", [STOP, TARGET])
def test_what_closes_the_position_cancels_the_rest(closing: Leg) -> None:
    live = holding([], risk_management=BOTH)
    other = TARGET if closing is STOP else STOP
    assert live.report(executed(live.order(closing), "b", 5, 97)) == [("cancel", other)]
    assert live.states == {other: OrderState.ACKED}
    assert live.order(other).cancel_wanted
    assert live.script.told == [(0, "entered"), (0, "exited")]
    assert live.bot.last_exit_at == live.bot.state.account.counters.last_exit_at
    # until it is confirmed, whoever asks, and however often the bot was started since
    live.restart()
    assert live.report() == [("cancel", other)]
    assert live.bar() == [("cancel", other)]
    live.report(said(Canceled, live.order(other), executed_quantity=D(0)))
    assert live.bot.in_market is False
    assert live.report() == []


def test_an_exits_first_execution_takes_the_rest_of_the_entry_back() -> None:
    live = Live([LONG], risk_management=BOTH)
    live.bar()
    entry = live.order(ENTRY)
    live.report(executed(entry, "a", 2))
    assert live.report(executed(live.order(STOP), "b", 2, 97)) == [("cancel", ENTRY), ("cancel", TARGET)]
    assert live.script.told == [(0, "entered")], "it may still be bought"
    found = live.report(said(Canceled, entry, executed_quantity=D(2)))
    assert found == [("cancel", TARGET)]
    assert live.script.told == [(0, "entered"), (0, "exited")]


def test_what_protected_a_position_that_is_sold_is_taken_back_while_its_entry_isnt_over() -> None:
    """It would go out for what isn't held any more. The rest of the entry, when it is known, is protected anew."""
    live = Live([LONG], risk_management=BOTH)
    live.bar()
    entry = live.order(ENTRY)
    live.report(executed(entry, "a", 4), said(Canceled, entry, executed_quantity=D(5)))
    stop = live.order(STOP)
    assert live.report(executed(live.order(TARGET), "b", 4, 106)) == [("cancel", ENTRY), ("cancel", STOP)]
    assert live.report(said(Canceled, stop, executed_quantity=D(0))) == [("cancel", ENTRY)]
    assert live.report(executed(entry, "c", 1)) == [("submit", STOP, 1, 1, 97), ("submit", TARGET, 1, 1, 106)]


def test_a_triggered_stop_closes_alone() -> None:
    live = holding([EXIT], risk_management=BOTH)
    assert live.bar() == [("submit", LEAVE, 0, 5, None)]
    assert live.report(said(Working, live.order(STOP))) == [("cancel", LEAVE), ("cancel", TARGET)]


def test_an_exit_asks_for_no_more_than_its_stop_has_left() -> None:
    live = holding([EXIT], risk_management=BOTH)
    live.bar()
    found = live.report(
        executed(live.order(STOP), "b", 2, 97), said(Canceled, live.order(STOP), executed_quantity=D(2))
    )
    assert ("amend", LEAVE, 3, None) in found


@pytest.mark.parametrize("ends", ["strategy", "flatten"])
def test_what_cant_be_sold_isnt_written_off_before_its_entry_is_over(ends: str) -> None:
    """Else the entry's next execution would begin a second trade of the same name, with stops of the same names."""
    live = Live([LONG, EXIT if ends == "strategy" else None], risk_management={"stop_loss_pct": 3})
    live.bar()
    entry = live.order(ENTRY)
    live.report(executed(entry, "a", "0.004"))
    if ends == "strategy":
        live.bar()
    else:
        live.bot.flatten(live.script)
    assert live.script.told == [(0, "entered")]
    live.report(executed(entry, "b", "4.996"))
    trade = live.bot.state.account.trade
    assert trade is not None
    assert (trade.size, trade.dust) == (5, 0)
    assert live.bot.state.account.counters.trades_today == 1


SMALL = replace(MARKET, min_notional=D(200))
"""In which 1 at 100 can't be sold."""


def too_small(*says: str | None) -> Live:
    """A bot with 1 left of the 5 that its entry wanted, whose stop rests at the exchange; then its strategy leaves."""
    live = Live([LONG, *says], market=SMALL, risk_management={"stop_loss_pct": 3})
    live.bar()
    entry = live.order(ENTRY)
    live.report(executed(entry, "a", 1), said(Canceled, entry, executed_quantity=D(1)))
    live.report(said(Accepted, live.order(STOP)))
    return live


def test_a_write_off_waits_for_the_end_of_a_stop_that_rests_at_the_exchange() -> None:
    live = too_small(EXIT)
    assert live.bar() == [("cancel", STOP)]
    assert live.script.told == [(0, "entered")]
    live.restart()
    # whatever the price is by now, and until it is confirmed
    assert live.bar() == [("cancel", STOP)]
    assert live.report(said(Canceled, live.order(STOP), executed_quantity=D(0))) == []
    [trade] = live.outcomes[-1].trades
    assert (trade.is_open, trade.dust, trade.exit_reason, trade.exit_kind) == (False, 1, "out", "signal")
    assert live.script.told == [(0, "entered"), (2, "exited")]
    assert live.bot.state.account.write_off_wanted is None
    assert live.bot.in_market is False


@pytest.mark.parametrize("sold", ["1", "0.4"])
def test_a_stop_that_fires_before_its_cancellation_sells_what_was_to_be_written_off(sold: str) -> None:
    live = too_small(EXIT)
    live.bar()
    stop = live.order(STOP)
    live.report(executed(stop, "b", sold, 97))
    if sold != "1":
        assert live.script.told == [(0, "entered")]
        live.report(said(Canceled, stop, executed_quantity=D(sold)))
    trade = live.outcomes[-1].trades[-1]
    assert (trade.is_open, trade.sold, trade.dust, trade.exit_kind) == (False, D(sold), 1 - D(sold), "stop")
    assert live.bot.state.account.cash == 1000 - 100 + 97 * D(sold)
    assert live.bot.in_market is False


def test_an_exit_that_can_be_sent_after_all_takes_the_place_of_a_write_off() -> None:
    live = too_small(EXIT, EXIT)
    live.bar()
    assert live.bar(250) == [("cancel", STOP), ("submit", LEAVE, 0, 1, None)]
    live.report(said(Canceled, live.order(STOP), executed_quantity=D(0)))
    assert live.bot.state.account.trade is not None
    live.report(executed(live.order(LEAVE), "b", 1, 250))
    assert (live.outcomes[-1].trades[0].dust, live.script.told[-1]) == (0, (2, "exited"))


def test_a_bot_that_ends_closes_what_was_to_be_written_off_if_an_order_can() -> None:
    live = too_small(EXIT)
    live.bar()
    live.bot.flatten(live.script)
    assert live.venue.asked == [("cancel", STOP), ("submit", FLATTEN, 0, 1, None)]
    live.report(said(Canceled, live.order(STOP), executed_quantity=D(0)))
    assert live.bot.state.account.trade is not None
    live.report(executed(live.order(FLATTEN), "b", 1, 99))
    assert live.outcomes[-1].trades[0].exit_kind == "flatten"


def test_an_exit_is_taken_back_when_its_stop_has_sold_everything_and_the_entry_isnt_over() -> None:
    """It would sell what isn't there."""
    live = Live([LONG, EXIT], risk_management={"stop_loss_pct": 3})
    live.bar()
    entry = live.order(ENTRY)
    live.report(executed(entry, "a", 4))
    assert live.bar() == [("cancel", ENTRY), ("submit", LEAVE, 0, 4, None)]
    assert ("cancel", LEAVE) in live.report(executed(live.order(STOP), "b", 4, 97))
    assert live.order(LEAVE).cancel_wanted
    assert live.report(said(Expired, live.order(LEAVE), executed_quantity=D(0))) == [("cancel", ENTRY)]
    assert live.report(executed(entry, "c", 1)) == [("submit", STOP, 1, 1, 97)]


def test_an_exit_that_was_taken_back_before_it_left_isnt_sent_again() -> None:
    live = holding([EXIT], risk_management=BOTH)
    live.bar()
    assert live.report(said(Working, live.order(STOP))) == [("cancel", LEAVE), ("cancel", TARGET)]
    assert live.report(said(Expired, live.order(LEAVE), executed_quantity=D(0))) == [("cancel", TARGET)]


def test_an_exit_that_never_arrived_is_sent_again_at_once() -> None:
    live = holding([EXIT])
    live.bar()
    assert live.report(said(Expired, live.order(LEAVE), executed_quantity=D(0))) == [("submit", LEAVE, 1, 5, None)]


@pytest.mark.parametrize("leg", [LEAVE, STOP])
def test_what_was_refused_is_sent_again_at_the_next_bar(leg: Leg) -> None:
    live = holding([EXIT], risk_management=BOTH)
    live.bar()
    if leg is STOP:  # what was accepted can't be refused any more
        live.report(said(Canceled, live.order(STOP), executed_quantity=D(0)))
    refused = live.order(leg)
    assert live.report(said(Rejected, refused, reason="no")) == []
    assert [event.kind for event in live.outcomes[-1].events] == ["order_rejected"]
    assert live.report(said(Rejected, refused, reason="no")) == []
    assert [asked[:3] for asked in live.bar()] == [("submit", leg, refused.attempt + 1)]


def test_a_stop_that_is_gone_is_placed_again() -> None:
    live = holding([], risk_management=BOTH)
    assert live.report(said(Canceled, live.order(STOP), executed_quantity=D(0))) == [("submit", STOP, 1, 5, 97)]


def test_a_lost_entry_is_counted() -> None:
    live = Live([LONG])
    live.bar()
    live.report(said(Expired, live.order(ENTRY), executed_quantity=D(0)))
    assert live.bot.state.account.lost is not None
    assert live.bot.in_market is False


def test_a_bot_that_ends_asks_for_the_close_and_hears_of_it_later() -> None:
    live = holding([], risk_management=BOTH)
    assert live.bot.flatten(live.script) is not None
    assert live.venue.asked == [("cancel", STOP), ("cancel", TARGET), ("submit", FLATTEN, 0, 5, None)]
    live.venue.asked = []
    assert live.states == {STOP: OrderState.ACKED, TARGET: OrderState.ACKED, FLATTEN: OrderState.INTENT}
    flat = live.order(FLATTEN)
    # cancelled before it was looked at again; never arrived; executed
    live.report(*(said(Canceled, live.order(leg), executed_quantity=D(0)) for leg in (STOP, TARGET)))
    live.report(said(Expired, flat, executed_quantity=D(0)))
    again = live.order(FLATTEN)
    assert again.attempt == 1
    live.report(executed(again, "z", 5, 99))
    [trade] = live.outcomes[-1].trades
    assert (trade.is_open, trade.exit_reason, trade.exit_kind) == (False, "flatten_on_stop", "flatten")


def test_a_bot_that_ends_again_leaves_the_close_under_way_alone() -> None:
    """A second order of its id would be sent while nobody knows what became of the first."""
    live = holding([])
    live.bot.flatten(live.script)
    live.report(said(OutcomeUnknown, live.order(FLATTEN), reason="no answer"))
    live.venue.asked.clear()
    live.restart()
    live.bot.flatten(live.script)
    assert (live.venue.asked, live.states) == ([], {FLATTEN: OrderState.UNKNOWN})


@pytest.mark.parametrize("ended", ["refused", "too little"])
def test_a_bot_that_has_to_close_again_at_the_same_bar_uses_no_id_twice(ended: str) -> None:
    live = Live([LONG])
    live.bar()
    entry = live.order(ENTRY)
    live.report(executed(entry, "a", 2))
    live.bot.flatten(live.script)
    first = live.order(FLATTEN)
    if ended == "refused":
        live.report(said(Rejected, first, reason="no"))
    else:  # the cancellation of the entry came too late
        live.report(executed(first, "b", 2), executed(entry, "c", 3))
    live.restart()
    live.bot.flatten(live.script)
    again = live.order(FLATTEN)
    assert (again.attempt, again.client_order_id != first.client_order_id) == (1, True)
    live.report(executed(again, "d", again.quantity), said(Canceled, entry, executed_quantity=D(2)))
    assert live.bot.state.account.flattens_sent == 0


def test_of_a_position_closed_in_a_later_step_people_are_told_there_and_once() -> None:
    def event(trade: Trade) -> Event:
        return Event(kind=EventKind.BOT_DISABLED, title=f"closed: {trade.net_pnl}", body="", dedupe_key="k")

    live = holding([])
    live.bot.flatten(live.script, event=event)
    flat = live.order(FLATTEN)
    live.report(said(Accepted, flat))
    live.report(executed(flat, "b", 2, 99))
    assert [outcome.events for outcome in live.outcomes] == [()] * len(live.outcomes), "it is still open"
    live.report(executed(flat, "c", 3, 99))
    assert [each.title for each in live.outcomes[-1].events] == ["closed: -5"]
    live.report(executed(flat, "c", 3, 99))
    live.bot.flatten(live.script, event=event)
    assert sum(len(outcome.events) for outcome in live.outcomes) == 1


def test_limits_that_change_move_the_stop_at_the_next_bar() -> None:
    live = holding([], risk_management=BOTH)
    live.bot.replace_config(config(risk_management={**BOTH, "stop_loss_pct": 2}))
    assert live.bar() == [("amend", STOP, 5, 98)] * 2, "before and after the decision: it isn't confirmed"


def test_reports_that_contradict_the_book_leave_the_bot_as_it_was() -> None:
    live = holding([], risk_management=BOTH)
    state, committed = live.bot.state, len(live.outcomes)
    with pytest.raises(Exception, match="reduces a position that doesn"):
        live.report(executed(replace(live.order(STOP), quantity=D(9)), "b", 5), executed(live.order(TARGET), "c", 1))
    assert (live.bot.state, len(live.outcomes)) == (state, committed)


@pytest.mark.parametrize("number", ["NaN", "Infinity"])
@pytest.mark.parametrize("field", ["price", "quantity", "fee"])
def test_an_execution_with_a_number_that_is_none_reaches_no_account(field: str, number: str) -> None:
    live = Live([LONG])
    live.bar()
    state = live.bot.state
    with pytest.raises(BookError, match="no such number"):
        live.report(replace(executed(live.order(ENTRY), "a", 1), **{field: D(number)}))
    assert live.bot.state is state
