"""What must not be sent. Invariant: who is refused here has sent nothing."""

from __future__ import annotations

from ..contracts.traits import Traits
from ..errors import DeadlinePassed, LocalProtocolError, MessageTooLarge

MAX_TOPIC = 64  # bytes


def check_datagram(data: bytes, traits: Traits) -> None:
    """Refuse what a datagram link with these traits must not send: LocalProtocolError, MessageTooLarge."""
    if not data:
        raise LocalProtocolError("an empty datagram says nothing")
    if len(data) > traits.mtu:
        raise MessageTooLarge(f"a datagram here has at most {traits.mtu} bytes, not {len(data)}")


def check_published(data: bytes, traits: Traits, topic: bytes | None, deadline: float | None, now: float) -> None:
    """Refuse what a bus with these traits must not publish; DeadlinePassed besides those of a link."""
    check_topic(traits, topic)
    check_datagram(data, traits)
    if deadline is not None and now > deadline:
        raise DeadlinePassed("it is too late for this datagram")


def check_topic(traits: Traits, topic: bytes | None) -> None:
    """Refuse a topic where there are none, and none where there are: LocalProtocolError."""
    if (topic is not None) != traits.topics:
        raise LocalProtocolError("this bus wants a topic" if traits.topics else "this bus has no topics")
    if topic is not None and not 0 < len(topic) <= MAX_TOPIC:
        raise LocalProtocolError(f"a topic has 1 to {MAX_TOPIC} bytes, not {len(topic)}")
