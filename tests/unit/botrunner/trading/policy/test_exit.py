"""How a position is left, and what becomes pointless then."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from botrunner.market.side import Side
from botrunner.trading.book import Book
from botrunner.trading.order_ids import Leg, client_order_id
from botrunner.trading.orders import OrderType
from botrunner.trading.policy.exit import (
    fitted,
    flatten,
    leave,
    leave_again,
    rejected_exit,
    sellable,
    when_closed,
    when_stopped,
    written_off,
)
from botrunner.trading.policy.intents import Amend, Cancel, Intent, Submit, WriteOff
from botrunner.trading.signal import Signal, SignalKind
from fleet.exit_kinds import ExitKind
from fleet.states import OrderState
from tests.unit.botrunner.paper_world import MARKET
from tests.unit.botrunner.trading.policy.policy_world import AT, BAR, account, close, order, terms, trade

D = Decimal
ENTRY, EXIT, STOP, TARGET, FLATTEN = Leg.ENTRY, Leg.EXIT, Leg.STOP_LOSS, Leg.TAKE_PROFIT, Leg.FLATTEN
OUT = Signal(SignalKind.EXIT, "out", exit_kind=ExitKind.TIME)
TERMS = terms()
DEAR = replace(MARKET, min_notional=D(50))
REFUSED = order(EXIT, state=OrderState.REJECTED)
SHORT = trade(side=Side.SELL)


def cancelled(intents: tuple[Intent, ...]) -> list[Leg]:
    return [intent.order.leg for intent in intents if isinstance(intent, Cancel)]


def sent(intents: tuple[Intent, ...]) -> list[tuple[Any, ...]]:
    orders = [intent.order for intent in intents if isinstance(intent, Submit)]
    return [(made.leg, made.side, made.type, made.price, made.quantity) for made in orders]


MARKET_EXIT = (EXIT, Side.SELL, OrderType.MARKET, None, D(5))


@pytest.mark.parametrize(
    ("given_account", "on", "cancels", "orders"),
    [
        pytest.param(account(), TERMS, [], [], id="nothing to leave"),
        pytest.param(account(order(ENTRY)), TERMS, [ENTRY], [], id="a waiting entry is taken back"),
        pytest.param(account(held=trade()), TERMS, [], [MARKET_EXIT], id="all that is held"),
        pytest.param(account(order(ENTRY), held=trade()), TERMS, [ENTRY], [MARKET_EXIT], id="with an entry left"),
        pytest.param(account(order(EXIT), held=trade()), TERMS, [], [], id="it is being left"),
        pytest.param(account(REFUSED, held=trade()), TERMS, [], [], id="or will be"),
        pytest.param(account(order(STOP, working=True), held=trade()), TERMS, [], [], id="its stop sells it"),
        pytest.param(account(order(STOP), held=trade()), TERMS, [], [MARKET_EXIT], id="its stop rests"),
        pytest.param(
            account(held=trade()), terms(trading={"exit_order_type": "limit", "limit_offset_pct": 1}), [],
            [(EXIT, Side.SELL, OrderType.LIMIT, D(101), D(5))], id="by a limit",
        ),
        pytest.param(
            account(held=SHORT), TERMS, [], [(EXIT, Side.BUY, OrderType.MARKET, None, D(5))], id="a debt is bought back"
        ),
        pytest.param(
            account(held=trade("0.1", side=Side.SELL)), terms(DEAR), [],
            [(EXIT, Side.BUY, OrderType.MARKET, None, D("0.1"))], id="whatever it is worth",
        ),
    ],
)  # fmt: skip
def test_an_exit_signal(given_account: Book, on: Any, cancels: list[Leg], orders: list[Any]) -> None:
    found = leave(OUT, given_account, on, close())
    assert (cancelled(found), sent(found)) == (cancels, orders)
    assert len(found) == len(cancels) + len(orders)


def test_what_an_exit_says_of_itself() -> None:
    on = terms(trading={"exit_order_type": "limit", "limit_ttl_bars": 2})
    [intent] = leave(OUT, account(held=trade()), on, close())
    assert isinstance(intent, Submit)
    assert (intent.order.reason, intent.order.exit_kind, intent.order.attempt) == ("out", ExitKind.TIME, 0)
    assert intent.order.client_order_id == client_order_id(bot_id=7, signal_at=AT, leg=EXIT)
    assert (intent.order.state, intent.order.expires_at) == (OrderState.INTENT, AT + 3 * BAR)


def test_what_is_worth_too_little_is_written_off_for_the_signals_reason() -> None:
    assert leave(OUT, account(held=trade("0.1")), terms(DEAR), close()) == (WriteOff(AT + BAR, "out", ExitKind.TIME),)


@pytest.mark.parametrize(
    ("given_account", "price", "on", "expected"),
    [
        pytest.param(account(REFUSED, held=trade(held=3)), 100, TERMS, 3, id="what is held now"),
        pytest.param(account(REFUSED, held=trade(held="0.5")), 100, terms(DEAR), "0.5", id="worth enough"),
        pytest.param(account(REFUSED, held=trade(held="0.5")), 99, terms(DEAR), None, id="not any more"),
    ],
)
def test_an_exit_that_failed_is_tried_again_at_market(given_account: Book, price: int, on: Any, expected: Any) -> None:
    failed = replace(REFUSED, type=OrderType.LIMIT, price=D(110), attempt=2)
    [found] = leave_again(failed, given_account, on, price=D(price), at=AT)
    if expected is None:
        assert found == WriteOff(AT, failed.reason, failed.exit_kind)
        return
    assert isinstance(found, Submit)
    made = found.order
    assert (made.type, made.price, made.quantity, made.attempt) == (OrderType.MARKET, None, D(expected), 3)
    assert (made.leg, made.signal_at, made.reason, made.exit_kind) == (EXIT, AT - BAR, "exit", ExitKind.TIME)


def test_without_a_position_an_exit_isnt_tried_again() -> None:
    assert leave_again(REFUSED, account(REFUSED), TERMS, price=D(100), at=AT) == (Cancel(REFUSED),)


@pytest.mark.parametrize(("orders", "expected"), [((), None), ((order(EXIT),), None), ((REFUSED,), REFUSED)])
def test_only_a_refused_exit_waits_to_be_sent_again(orders: Any, expected: Any) -> None:
    assert rejected_exit(account(*orders, held=trade())) == expected


@pytest.mark.parametrize(
    ("given_account", "cancels", "orders"),
    [
        (account(), [], []),
        (account(order(ENTRY)), [ENTRY], []),
        (account(order(STOP), REFUSED, held=trade()), [STOP, EXIT], [(FLATTEN, Side.SELL, OrderType.MARKET, None, 5)]),
        (account(held=SHORT), [], [(FLATTEN, Side.BUY, OrderType.MARKET, None, 5)]),
    ],
)
def test_a_bot_that_ends_closes_what_is_there(given_account: Book, cancels: list[Leg], orders: list[Any]) -> None:
    found = flatten(given_account, TERMS, close(), reason="why")
    assert (cancelled(found), sent(found)) == (cancels, orders)


def test_a_bot_that_ends_writes_off_what_it_cant_sell() -> None:
    found = flatten(account(held=trade(held="0.005")), TERMS, close(), reason="why")
    assert found == (WriteOff(AT + BAR, "why", ExitKind.FLATTEN),)


@pytest.mark.parametrize(
    ("given_account", "expected"),
    [
        (account(), ()),
        (account(held=trade(held="0.01")), ()),
        (account(order(ENTRY), held=trade(held="0.009")), ()),
        (account(held=trade(held="0.009")), (WriteOff(AT),)),
    ],
)
def test_what_an_exit_leaves_is_written_off_when_it_cant_be_sold(given_account: Book, expected: Any) -> None:
    assert written_off(given_account, MARKET, at=AT) == expected


def test_a_triggered_stop_closes_alone_and_an_end_leaves_nothing() -> None:
    every = (order(ENTRY), REFUSED, order(STOP), order(TARGET))
    assert cancelled(when_stopped(account(*every, held=trade()))) == [ENTRY, EXIT, TARGET]
    assert cancelled(when_closed(account(*every))) == [ENTRY, EXIT, STOP, TARGET]


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ((order(EXIT, 3),), []),
        ((order(EXIT, 5),), [(EXIT, D(3))]),
        ((order(EXIT, 5, filled_quantity=D(1)),), [(EXIT, D(4))]),
        ((order(EXIT, 5, filled_quantity=D(2)),), []),
        ((order(FLATTEN, 5), order(STOP, 5)), [(FLATTEN, D(3))]),
        ((REFUSED,), []),
    ],
)
def test_an_exit_asks_for_no_more_than_is_held(orders: Any, expected: Any) -> None:
    found = fitted(account(*orders, held=trade(held="3.009")), MARKET)
    assert [(made.order.leg, made.quantity) for made in found if isinstance(made, Amend)] == expected
    assert fitted(account(*orders), MARKET) == ()


@pytest.mark.parametrize(
    ("quantity", "price", "smallest", "minimum", "expected"),
    [
        ("1.239", "100", "0.01", "0", "1.23"),
        ("0.009", "100", "0.01", "0", "0"),
        ("0.09", "100", "0.01", "10", "0"),
        ("0.1", "100", "0.01", "10", "0.1"),
        # enough by value, not by quantity
        ("0.49", "100", "0.5", "10", "0"),
        ("0.5", "100", "0.5", "10", "0.5"),
        ("19", "0.5", "0.01", "10", "0"),
        ("20", "0.5", "0.01", "10", "20"),
    ],
)
def test_sellable(quantity: str, price: str, smallest: str, minimum: str, expected: str) -> None:
    market = replace(MARKET, min_quantity=D(smallest), min_notional=D(minimum))
    assert sellable(D(quantity), price=D(price), market=market) == D(expected)
