"""Metadata events, their signature rules, and the state they reduce to (Wesh protocol, section 4).

State is a set of registers; each keeps the value of the newest event by log order, so entries may arrive in any
order and a late old one needs no replay.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

import attrs
from google.protobuf.message import Message

from ..codec.pb import wesh_pb2 as pb
from ..codec.protobuf import parse
from ..crypto.keys import PrivateKey, verify
from ..errors import RemoteProtocolError
from ..ids import DeviceId, GroupId
from .envelope import open_event, seal_event
from .group import Group


class EventType(enum.IntEnum):
    """Numbers of the events (section 4.3)."""

    MEMBER_DEVICE_ADDED = 1
    DEVICE_CHAIN_KEY_ADDED = 2
    GROUP_JOINED = 101
    GROUP_LEFT = 102
    REQUESTS_DISABLED = 103
    REQUESTS_ENABLED = 104
    REFERENCE_RESET = 105
    OUTGOING_ENQUEUED = 106
    OUTGOING_SENT = 107
    INCOMING_RECEIVED = 108
    INCOMING_DISCARDED = 109
    INCOMING_ACCEPTED = 110
    CONTACT_BLOCKED = 111
    CONTACT_UNBLOCKED = 112
    ALIAS_KEY_ADDED = 201
    ALIAS_RESOLVER_ADDED = 301
    INITIAL_MEMBER_ANNOUNCED = 302
    ADMIN_ROLE_GRANTED = 303
    REPLICATING = 403
    CREDENTIAL_REGISTERED = 500
    PAYLOAD_SENT = 1001


class ContactState(enum.IntEnum):
    """Where a contact stands (section 4.4)."""

    UNDEFINED = 0
    TO_REQUEST = 1
    RECEIVED = 2
    ADDED = 3
    REMOVED = 4
    DISCARDED = 5
    BLOCKED = 6


PAYLOADS: dict[EventType, type[Message]] = {
    EventType.MEMBER_DEVICE_ADDED: pb.GroupMemberDeviceAdded,
    EventType.DEVICE_CHAIN_KEY_ADDED: pb.GroupDeviceChainKeyAdded,
    EventType.GROUP_JOINED: pb.AccountGroupJoined,
    EventType.GROUP_LEFT: pb.AccountGroupLeft,
    EventType.REQUESTS_DISABLED: pb.AccountContactRequestDisabled,
    EventType.REQUESTS_ENABLED: pb.AccountContactRequestEnabled,
    EventType.REFERENCE_RESET: pb.AccountContactRequestReferenceReset,
    EventType.OUTGOING_ENQUEUED: pb.AccountContactRequestOutgoingEnqueued,
    EventType.OUTGOING_SENT: pb.AccountContactRequestOutgoingSent,
    EventType.INCOMING_RECEIVED: pb.AccountContactRequestIncomingReceived,
    EventType.INCOMING_DISCARDED: pb.AccountContactRequestIncomingDiscarded,
    EventType.INCOMING_ACCEPTED: pb.AccountContactRequestIncomingAccepted,
    EventType.CONTACT_BLOCKED: pb.AccountContactBlocked,
    EventType.CONTACT_UNBLOCKED: pb.AccountContactUnblocked,
    EventType.ALIAS_KEY_ADDED: pb.ContactAliasKeyAdded,
    EventType.ALIAS_RESOLVER_ADDED: pb.MultiMemberGroupAliasResolverAdded,
    EventType.INITIAL_MEMBER_ANNOUNCED: pb.MultiMemberGroupInitialMemberAnnounced,
    EventType.ADMIN_ROLE_GRANTED: pb.MultiMemberGroupAdminRoleGranted,
    EventType.REPLICATING: pb.GroupReplicating,
    EventType.CREDENTIAL_REGISTERED: pb.AccountVerifiedCredentialRegistered,
    EventType.PAYLOAD_SENT: pb.GroupMetadataPayloadSent,
}


@attrs.frozen
class MetadataEvent:
    """An event that was opened and whose signature rule holds. `device` is None for what the group key signed."""

    type: EventType
    payload: Message = attrs.field(repr=False)
    device: DeviceId | None


def seal_metadata(group: Group, event_type: EventType, payload: Message, signer: PrivateKey, nonce: bytes) -> bytes:
    """Sign and seal an event: the envelope for the metadata log."""
    data = payload.SerializeToString()
    return seal_event(group.secret, event_type, data, signer.sign(data), nonce)


def announce_device(member: PrivateKey, device: PrivateKey) -> pb.GroupMemberDeviceAdded:
    """The payload of event 1: a device shows that it belongs to a member."""
    return pb.GroupMemberDeviceAdded(
        member_pk=bytes(member.public), device_pk=bytes(device.public), member_sig=member.sign(bytes(device.public))
    )


def open_metadata(group: Group, envelope: bytes) -> MetadataEvent:
    """Open an envelope and check the event's signature rule (section 4.2); RemoteProtocolError if any part fails."""
    outer = open_event(group.secret, envelope)
    try:
        event_type = EventType(outer.event_type)
    except ValueError as error:
        raise RemoteProtocolError(f"unknown type of event: {outer.event_type}") from error
    payload = parse(PAYLOADS[event_type], outer.payload)
    if event_type is EventType.INITIAL_MEMBER_ANNOUNCED:
        if not verify(group.public_key, outer.payload, outer.sig):
            raise RemoteProtocolError("an event that the group's key did not sign")
        return MetadataEvent(event_type, payload, None)
    device = DeviceId(payload.device_pk)  # type: ignore[attr-defined]
    if not verify(device, outer.payload, outer.sig):
        raise RemoteProtocolError("an event that its device did not sign")
    if isinstance(payload, pb.GroupMemberDeviceAdded) and not verify(
        payload.member_pk, payload.device_pk, payload.member_sig
    ):
        raise RemoteProtocolError("a device that its member did not sign")
    return MetadataEvent(event_type, payload, device)


@attrs.frozen
class Register:
    """One piece of state: a kind, the keys it is about, and the value that an event gives it."""

    kind: str
    keys: tuple[bytes, ...]
    value: bytes

    @property
    def name(self) -> tuple[str, tuple[bytes, ...]]:
        """What identifies the register."""
        return self.kind, self.keys


def reduce(event: MetadataEvent) -> tuple[Register, ...]:
    """The registers that an event writes; events without state write none."""
    rule = _REDUCERS.get(event.type)
    return rule(event.payload, event.device or b"") if rule else ()


def _member_device(payload: pb.GroupMemberDeviceAdded, device: bytes) -> tuple[Register, ...]:
    return (Register("device", (device,), payload.member_pk),)


def _chain_key(payload: pb.GroupDeviceChainKeyAdded, device: bytes) -> tuple[Register, ...]:
    return (Register("chain", (device, payload.dest_member_pk), payload.payload),)


def _joined(payload: pb.AccountGroupJoined, _: bytes) -> tuple[Register, ...]:
    return (Register("group", (payload.group.public_key,), payload.group.SerializeToString()),)


def _left(payload: pb.AccountGroupLeft, _: bytes) -> tuple[Register, ...]:
    return (Register("group", (payload.group_pk,), b""),)


def _requests(enabled: bool) -> Callable[[Message, bytes], tuple[Register, ...]]:
    return lambda _payload, _device: (Register("requests", (), b"\1" if enabled else b"\0"),)


def _reference(payload: pb.AccountContactRequestReferenceReset, _: bytes) -> tuple[Register, ...]:
    seed = payload.public_rendezvous_seed
    return (Register("seed", (), seed),) if len(seed) == 32 else ()


def _enqueued(payload: pb.AccountContactRequestOutgoingEnqueued, _: bytes) -> tuple[Register, ...]:
    contact = payload.contact
    return (
        Register("contact", (contact.pk,), bytes([ContactState.TO_REQUEST])),
        *_details(contact.pk, contact.public_rendezvous_seed, contact.metadata),
        Register("own metadata", (contact.pk,), payload.own_metadata),
    )


def _received(payload: pb.AccountContactRequestIncomingReceived, _: bytes) -> tuple[Register, ...]:
    return (
        Register("contact", (payload.contact_pk,), bytes([ContactState.RECEIVED])),
        *_details(payload.contact_pk, payload.contact_rendezvous_seed, payload.contact_metadata),
    )


def _details(contact: bytes, seed: bytes, metadata: bytes) -> tuple[Register, ...]:
    """Seed and metadata of a contact; an event that lacks them does not erase what an earlier one told."""
    found = (Register("contact seed", (contact,), seed), Register("contact metadata", (contact,), metadata))
    return tuple(register for register in found if register.value)


def _contact(state: ContactState) -> Callable[[Message, bytes], tuple[Register, ...]]:
    return lambda payload, _device: (Register("contact", (payload.contact_pk,), bytes([state])),)  # type: ignore[attr-defined]


def _alias(payload: pb.ContactAliasKeyAdded, device: bytes) -> tuple[Register, ...]:
    return (Register("alias", (device,), payload.alias_pk),)


def _admin(payload: pb.MultiMemberGroupInitialMemberAnnounced, _: bytes) -> tuple[Register, ...]:
    return (Register("admin", (payload.member_pk,), b"\1"),)


def _replicating(payload: pb.GroupReplicating, _: bytes) -> tuple[Register, ...]:
    return (Register("replicating", (payload.replication_server.encode(),), payload.authentication_url.encode()),)


def _credential(payload: pb.AccountVerifiedCredentialRegistered, _: bytes) -> tuple[Register, ...]:
    return (
        Register("credential", (payload.identifier.encode(), payload.issuer.encode()), payload.SerializeToString()),
    )


_REDUCERS: dict[EventType, Callable[..., tuple[Register, ...]]] = {
    EventType.MEMBER_DEVICE_ADDED: _member_device,
    EventType.DEVICE_CHAIN_KEY_ADDED: _chain_key,
    EventType.GROUP_JOINED: _joined,
    EventType.GROUP_LEFT: _left,
    EventType.REQUESTS_DISABLED: _requests(False),
    EventType.REQUESTS_ENABLED: _requests(True),
    EventType.REFERENCE_RESET: _reference,
    EventType.OUTGOING_ENQUEUED: _enqueued,
    EventType.OUTGOING_SENT: _contact(ContactState.ADDED),
    EventType.INCOMING_RECEIVED: _received,
    EventType.INCOMING_DISCARDED: _contact(ContactState.DISCARDED),
    EventType.INCOMING_ACCEPTED: _contact(ContactState.ADDED),
    EventType.CONTACT_BLOCKED: _contact(ContactState.BLOCKED),
    EventType.CONTACT_UNBLOCKED: _contact(ContactState.REMOVED),
    EventType.ALIAS_KEY_ADDED: _alias,
    EventType.INITIAL_MEMBER_ANNOUNCED: _admin,
    EventType.REPLICATING: _replicating,
    EventType.CREDENTIAL_REGISTERED: _credential,
}


def group_id_of(register: Register) -> GroupId:
    """The group that a `group` register is about."""
    return GroupId(register.keys[0])
