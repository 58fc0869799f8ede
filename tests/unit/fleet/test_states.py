"""The order state machine is a table: what it doesn't list is illegal."""

from fleet.states import ORDER_TRANSITIONS, TERMINAL_ORDER_STATES, OrderState


def test_every_state_has_an_entry() -> None:
    assert set(ORDER_TRANSITIONS) == set(OrderState)


def test_terminal_states_are_the_exchanges_final_ones() -> None:
    assert {OrderState.FILLED, OrderState.CANCELED, OrderState.REJECTED, OrderState.EXPIRED} == TERMINAL_ORDER_STATES


def test_nothing_leads_back_before_the_send() -> None:
    for state, following in ORDER_TRANSITIONS.items():
        assert OrderState.INTENT not in following, state
        if state is not OrderState.INTENT:
            assert OrderState.SENT not in following, state


def test_an_intent_is_never_filled_without_being_sent() -> None:
    assert ORDER_TRANSITIONS[OrderState.INTENT].isdisjoint({OrderState.FILLED, OrderState.PARTIAL, OrderState.ACKED})
