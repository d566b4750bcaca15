"""What may be done with a contact in which state: the specification's table, and what the events make of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berty_core.codec.pb import wesh_pb2 as pb
from berty_core.errors import UserError
from berty_core.ids import DeviceId
from berty_core.protocol.contact import TRANSITIONS, Action, event_for
from berty_core.protocol.metadata import PAYLOADS, ContactState, EventType, MetadataEvent, reduce

PEER = b"p" * 32
STATE = ContactState

# (Wesh protocol, section 5.3), written out by hand: the number of the event, in each state that allows the action.
SPECIFIED = {
    Action.SEND: {
        STATE.UNDEFINED: 106,
        STATE.TO_REQUEST: 106,
        STATE.BLOCKED: 106,
        STATE.REMOVED: 107,
        STATE.DISCARDED: 107,
        STATE.RECEIVED: 107,
    },
    Action.SENT: {STATE.TO_REQUEST: 107, STATE.RECEIVED: 107, STATE.REMOVED: 107, STATE.DISCARDED: 107},
    Action.RECEIVE: {STATE.UNDEFINED: 108, STATE.REMOVED: 108, STATE.DISCARDED: 108, STATE.TO_REQUEST: 107},
    Action.ACCEPT: {STATE.RECEIVED: 110},
    Action.DISCARD: {STATE.RECEIVED: 109},
    Action.BLOCK: dict.fromkeys(set(STATE) - {STATE.BLOCKED}, 111),
    Action.UNBLOCK: {STATE.BLOCKED: 112},
}
LEADS_TO = {106: STATE.TO_REQUEST, 107: STATE.ADDED, 108: STATE.RECEIVED, 109: STATE.DISCARDED}
LEADS_TO |= {110: STATE.ADDED, 111: STATE.BLOCKED, 112: STATE.REMOVED}
PAIRS = [(action, state) for action in Action for state in STATE]


def after(event_type: EventType, contact: bytes = PEER) -> ContactState:
    """The state that an event leaves, by the reducer of metadata."""
    payload = PAYLOADS[event_type]()
    if isinstance(payload, pb.AccountContactRequestOutgoingEnqueued):
        payload.contact.pk = contact
    else:
        payload.contact_pk = contact  # type: ignore[attr-defined]
    registers = reduce(MetadataEvent(event_type, payload, DeviceId(b"d" * 32)))
    (found,) = [register for register in registers if register.name == ("contact", (contact,))]
    return ContactState(found.value[0])


@pytest.mark.parametrize(("action", "state"), PAIRS, ids=lambda value: value.name)
def test_every_action_in_every_state(action: Action, state: ContactState) -> None:
    """Each pair gives the event that the specification names, or an error in words."""
    expected = SPECIFIED[action].get(state)
    if expected is not None:
        assert event_for(action, state) == expected
        return
    with pytest.raises(UserError) as caught:
        event_for(action, state, "Bob")
    assert action.value in str(caught.value)
    assert "Bob" in str(caught.value)


def test_the_table_names_every_action() -> None:
    """No action lacks a row, and no row is empty."""
    assert set(TRANSITIONS) == set(Action) == set(SPECIFIED)
    assert all(TRANSITIONS.values())


@pytest.mark.parametrize(("number", "state"), LEADS_TO.items())
def test_where_events_lead(number: int, state: ContactState) -> None:
    """The events of the table put a contact into these states."""
    assert after(EventType(number)) is state


def test_reasons_differ() -> None:
    """For one action each state that forbids it has words of its own."""
    for action in Action:
        reasons = []
        for state in STATE:
            if state not in TRANSITIONS[action]:
                with pytest.raises(UserError) as caught:
                    event_for(action, state)
                reasons.append(str(caught.value))
        assert len(set(reasons)) == len(reasons)


@given(st.lists(st.sampled_from(Action), max_size=12))
def test_any_sequence_of_actions(actions: list[Action]) -> None:
    """Whatever is tried: a contact is added only by an answer to a request, and a blocked one only by asking again."""
    state, asked, received = STATE.UNDEFINED, False, False
    for action in actions:
        try:
            event = event_for(action, state)
        except UserError:
            continue
        before, state = state, after(event)
        asked = asked or event is EventType.OUTGOING_ENQUEUED
        received = received or event is EventType.INCOMING_RECEIVED
        if state is STATE.ADDED:
            assert before not in (STATE.UNDEFINED, STATE.BLOCKED, STATE.ADDED)
            assert asked or received or before is STATE.REMOVED
        if before is STATE.BLOCKED:
            assert action in (Action.UNBLOCK, Action.SEND)


def test_two_who_ask_each_other_are_contacts() -> None:
    """A request that meets our own waiting one needs no acceptance (section 14.11), on either side."""
    enqueued = after(event_for(Action.SEND, STATE.UNDEFINED))
    assert after(event_for(Action.RECEIVE, enqueued)) is STATE.ADDED
    assert after(event_for(Action.SENT, enqueued)) is STATE.ADDED


def test_a_request_from_a_contact_or_somebody_blocked_is_dropped() -> None:
    """Who is added, has asked already or is blocked writes nothing by asking."""
    for state in (STATE.ADDED, STATE.RECEIVED, STATE.BLOCKED):
        with pytest.raises(UserError):
            event_for(Action.RECEIVE, state)
