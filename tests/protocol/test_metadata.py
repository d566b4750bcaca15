"""Metadata events: every type is sealed, opened and reduced; signature rules; strangers' and members' bytes."""

from __future__ import annotations

import random

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from berty_core.codec.pb import wesh_pb2 as pb
from berty_core.crypto.keys import PrivateKey
from berty_core.errors import RemoteProtocolError
from berty_core.protocol.envelope import seal_event
from berty_core.protocol.group import new_group
from berty_core.protocol.metadata import (
    PAYLOADS,
    ContactState,
    EventType,
    MetadataEvent,
    announce_device,
    group_id_of,
    open_metadata,
    reduce,
    seal_metadata,
)

_seeds = iter([b"\x07" * 32, b"\x08" * 32])
GROUP, GROUP_KEY = new_group(lambda _: next(_seeds))
MEMBER, DEVICE = PrivateKey(b"\x01" * 32), PrivateKey(b"\x02" * 32)
NONCE = b"n" * 24


def payload_of(kind: EventType) -> Message:
    """A payload with our device in it."""
    if kind is EventType.MEMBER_DEVICE_ADDED:
        return announce_device(MEMBER, DEVICE)
    message = PAYLOADS[kind]()
    if kind is not EventType.INITIAL_MEMBER_ANNOUNCED:
        message.device_pk = bytes(DEVICE.public)  # type: ignore[attr-defined]
    return message


def signer_of(kind: EventType) -> PrivateKey:
    """Who signs an event of this type."""
    return GROUP_KEY if kind is EventType.INITIAL_MEMBER_ANNOUNCED else DEVICE


@pytest.mark.parametrize("kind", EventType)
def test_every_type(kind: EventType) -> None:
    """An event of each type opens under its signature rule (Wesh protocol, section 4.2) and reduces."""
    event = open_metadata(GROUP, seal_metadata(GROUP, kind, payload_of(kind), signer_of(kind), NONCE))
    assert (event.type, event.payload) == (kind, payload_of(kind))
    assert event.device == (None if signer_of(kind) is GROUP_KEY else DEVICE.public)
    assert isinstance(reduce(event), tuple)


@pytest.mark.parametrize("kind", EventType)
def test_every_type_needs_its_signer(kind: EventType) -> None:
    """Signed by anybody else, an event of each type is refused."""
    for other in (PrivateKey(b"\x09" * 32), DEVICE if signer_of(kind) is GROUP_KEY else GROUP_KEY):
        with pytest.raises(RemoteProtocolError):
            open_metadata(GROUP, seal_metadata(GROUP, kind, payload_of(kind), other, NONCE))


def test_devices_need_their_member() -> None:
    """A device that a member did not sign does not belong to it."""
    payload = announce_device(MEMBER, DEVICE)
    payload.member_pk = bytes(PrivateKey(b"\x09" * 32).public)
    with pytest.raises(RemoteProtocolError, match="member"):
        open_metadata(GROUP, seal_metadata(GROUP, EventType.MEMBER_DEVICE_ADDED, payload, DEVICE, NONCE))


@pytest.mark.parametrize("number", [0, 3, 4, 9999, -1])
def test_unknown_types(number: int) -> None:
    """Types that nobody defines are refused."""
    with pytest.raises(RemoteProtocolError, match="unknown type"):
        open_metadata(GROUP, seal_event(GROUP.secret, number, b"", b"", NONCE))


@given(st.binary(max_size=100))
def test_any_bytes(data: bytes) -> None:
    """Bytes that nobody sealed are refused."""
    with pytest.raises(RemoteProtocolError):
        open_metadata(GROUP, data)


@settings(max_examples=200)
@given(st.sampled_from(EventType), st.binary(max_size=80), st.binary(max_size=40) | st.just(b"\x0a\x20"))
def test_any_payload_of_a_member(kind: EventType, payload: bytes, lead: bytes) -> None:
    """A member who signs rubbish gives an event that reduces, or RemoteProtocolError."""
    for data in (payload, lead + bytes(DEVICE.public) + payload):
        try:
            event = open_metadata(GROUP, seal_event(GROUP.secret, kind, data, signer_of(kind).sign(data), NONCE))
        except RemoteProtocolError:
            continue
        assert all(isinstance(register.value, bytes) for register in reduce(event))


def state(events: list[tuple[int, MetadataEvent]]) -> dict[tuple[str, tuple[bytes, ...]], tuple[int, bytes]]:
    """Registers as a store keeps them: the value of the newest position."""
    found: dict[tuple[str, tuple[bytes, ...]], tuple[int, bytes]] = {}
    for position, event in events:
        for register in reduce(event):
            if position >= found.get(register.name, (-1, b""))[0]:
                found[register.name] = position, register.value
    return found


CONTACT_EVENTS = [
    pb.AccountContactRequestOutgoingSent(contact_pk=b"c"),
    pb.AccountContactBlocked(contact_pk=b"c"),
    pb.AccountContactUnblocked(contact_pk=b"c"),
    pb.AccountContactRequestIncomingDiscarded(contact_pk=b"c"),
    pb.AccountContactRequestIncomingReceived(contact_pk=b"c", contact_metadata=b"m"),
    pb.AccountContactRequestOutgoingEnqueued(contact=pb.ShareableContact(pk=b"c", metadata=b"n")),
    pb.AccountGroupJoined(group=pb.Group(public_key=b"g" * 32)),
    pb.AccountGroupLeft(group_pk=b"g" * 32),
    pb.AccountContactRequestDisabled(),
    pb.AccountContactRequestEnabled(),
    pb.AccountContactRequestReferenceReset(public_rendezvous_seed=b"s" * 32),
    pb.AccountContactRequestReferenceReset(public_rendezvous_seed=b"short"),
]
KINDS = {message.DESCRIPTOR.name: kind for kind, message in PAYLOADS.items()}


@given(st.lists(st.sampled_from(CONTACT_EVENTS), max_size=12), st.randoms(use_true_random=False))
def test_state_does_not_depend_on_arrival(payloads: list[Message], chance: random.Random) -> None:
    """The newest by log order decides, in whatever order entries arrive."""
    events = [
        (position, MetadataEvent(KINDS[payload.DESCRIPTOR.name], payload, None))
        for position, payload in enumerate(payloads)
    ]
    straight = state(events)
    chance.shuffle(events)
    assert state(events) == straight


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (CONTACT_EVENTS[0], ContactState.ADDED),
        (CONTACT_EVENTS[1], ContactState.BLOCKED),
        (CONTACT_EVENTS[2], ContactState.REMOVED),
        (CONTACT_EVENTS[3], ContactState.DISCARDED),
        (CONTACT_EVENTS[4], ContactState.RECEIVED),
        (CONTACT_EVENTS[5], ContactState.TO_REQUEST),
        (pb.AccountContactRequestIncomingAccepted(contact_pk=b"c"), ContactState.ADDED),
    ],
)
def test_contact_states(payload: Message, expected: ContactState) -> None:
    """Each event gives its contact the state of the table (section 4.4)."""
    event = MetadataEvent(KINDS[payload.DESCRIPTOR.name], payload, None)
    (value,) = [register.value for register in reduce(event) if register.kind == "contact"]
    assert ContactState(value[0]) is expected


def test_groups_that_are_joined_and_left() -> None:
    """Both events are about one register, and leaving empties it."""
    joined, left = (
        reduce(MetadataEvent(KINDS[payload.DESCRIPTOR.name], payload, None))[0] for payload in CONTACT_EVENTS[6:8]
    )
    assert joined.name == left.name
    assert left.value == b""
    assert group_id_of(joined) == b"g" * 32
