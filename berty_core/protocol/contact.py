"""What may be done with a contact in which state, as a table (Wesh protocol, section 5.3)."""

from __future__ import annotations

import enum

from ..errors import UserError
from .metadata import ContactState as State
from .metadata import EventType


class Action(enum.Enum):
    """What a person or the network does to a contact."""

    SEND = "send a request to"
    SENT = "hand over a request to"
    RECEIVE = "receive a request from"
    ACCEPT = "accept"
    DISCARD = "discard"
    BLOCK = "block"
    UNBLOCK = "unblock"


ENQUEUED, SENT = EventType.OUTGOING_ENQUEUED, EventType.OUTGOING_SENT

TRANSITIONS: dict[Action, dict[State, EventType]] = {
    Action.SEND: {
        State.UNDEFINED: ENQUEUED,
        State.TO_REQUEST: ENQUEUED,
        State.BLOCKED: ENQUEUED,
        State.REMOVED: SENT,
        State.DISCARDED: SENT,
        State.RECEIVED: SENT,
    },
    Action.SENT: {State.TO_REQUEST: SENT, State.RECEIVED: SENT, State.REMOVED: SENT, State.DISCARDED: SENT},
    Action.RECEIVE: {
        State.UNDEFINED: EventType.INCOMING_RECEIVED,
        State.REMOVED: EventType.INCOMING_RECEIVED,
        State.DISCARDED: EventType.INCOMING_RECEIVED,
        State.TO_REQUEST: SENT,  # each asked the other: nothing is left to accept (section 14.11)
    },
    Action.ACCEPT: {State.RECEIVED: EventType.INCOMING_ACCEPTED},
    Action.DISCARD: {State.RECEIVED: EventType.INCOMING_DISCARDED},
    Action.BLOCK: {state: EventType.CONTACT_BLOCKED for state in State if state is not State.BLOCKED},
    Action.UNBLOCK: {State.BLOCKED: EventType.CONTACT_UNBLOCKED},
}

_WORDS = {
    State.UNDEFINED: "is not known: a link makes them known",
    State.TO_REQUEST: "has not been reached with your request yet: it goes out when you meet",
    State.RECEIVED: "has asked you already: accept or discard the request",
    State.ADDED: "is a contact already",
    State.REMOVED: "is no contact any longer: ask again with their link",
    State.DISCARDED: "was discarded: ask them with their link",
    State.BLOCKED: "is blocked: unblock them first",
}


def event_for(action: Action, state: State, name: str = "somebody") -> EventType:
    """The event that an action on a contact writes; UserError in words where the state does not allow it."""
    event = TRANSITIONS[action].get(state)
    if event is None:
        raise UserError(f"cannot {action.value} {name}, who {_WORDS[state]}")
    return event
