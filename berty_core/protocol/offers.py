"""Which groups two ends of a session share, told without naming any other (docs/reference/session.md).

Each side shows tags that depend on the session and on its role, so nothing can be replayed or reflected. For a tag
that both know, each proves the group's secret, and only to whom has proven it, which device it is.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from itertools import islice

import attrs

from ..codec.pb import session_pb2 as pb
from ..codec.protobuf import parse
from ..crypto.kdf import equal, hkdf_sha256, hmac_sha256
from ..crypto.keys import PrivateKey, verify
from ..errors import RemoteProtocolError
from ..ids import DeviceId, GroupId
from .group import Group

TAG_LENGTH = 16
PADDING = 16  # the number of tags is a multiple of this
MAX_TAGS = 4096
MAX_FRAME = TAG_LENGTH * MAX_TAGS + 1024
_ROLES = {True: b"initiator", False: b"responder"}


class Level(enum.Enum):
    """What a peer has proven about a group."""

    REPLICA = "replica"  # it knows the link key: it is given entries, and no device's name
    MEMBER = "member"


@attrs.frozen
class GroupProven:
    """The peer takes part in a group that we share; a member's device is known."""

    group: GroupId
    level: Level
    device: DeviceId | None


@attrs.frozen
class GroupWithdrawn:
    """The peer takes part no longer."""

    group: GroupId


@attrs.frozen
class BeaconChanged:
    """The peer shows itself under another nonce."""

    nonce: bytes


@attrs.frozen
class PeerDrains:
    """The peer keeps another session with us, and sends nothing new on this one, which was silent or is the worse."""

    silent: bool


OfferEvent = GroupProven | GroupWithdrawn | BeaconChanged | PeerDrains


@attrs.define
class _Shared:
    """A group of ours on this session: both tags, and how far each side's proof has come."""

    group: Group
    device: PrivateKey
    own_tag: bytes
    peer_tag: bytes
    offered: bool = False
    matched: bool = False
    proven: bool = False
    done: bool = False


class GroupOffers:
    """The control conversation of one session."""

    def __init__(self, handshake_hash: bytes, *, initiator: bool, entropy: Callable[[int], bytes]) -> None:
        self._hash = handshake_hash
        self._initiator = initiator
        self._entropy = entropy
        self._shared: dict[GroupId, _Shared] = {}
        self._by_peer_tag: dict[bytes, GroupId] = {}
        self._peer_tags: dict[bytes, None] = {}
        self._tags_shown = 0
        self._frames: list[bytes] = []
        self._events: list[OfferEvent] = []

    def offer(self, groups: Iterable[tuple[Group, PrivateKey]]) -> None:
        """Show these groups (with our device key in each), among random tags; those that were shown are left out.

        So are those for which the peer has no room: it takes `MAX_TAGS` in a session, random ones included.
        """
        unseen = (pair for pair in groups if pair[0].id not in self._shared)
        new = [self._add(group, device) for group, device in islice(unseen, MAX_TAGS - self._tags_shown)]
        if not new:
            return
        tags = [shared.own_tag for shared in new]
        tags += [self._entropy(TAG_LENGTH) for _ in range(-len(tags) % PADDING)]
        self._tags_shown += len(tags)
        self._send(offer=pb.Offer(tags=b"".join(sorted(tags))))  # sorted: real and random ones mix
        for shared in new:
            shared.offered = True
            if shared.peer_tag in self._peer_tags:
                self._match(shared)

    def _add(self, group: Group, device: PrivateKey) -> _Shared:
        own, peer = (group_tag(group, self._hash, initiator) for initiator in (self._initiator, not self._initiator))
        shared = self._shared[group.id] = _Shared(group, device, own, peer)
        self._by_peer_tag[peer] = group.id
        return shared

    def withdraw(self, group: GroupId) -> None:
        """Take part in a group no longer."""
        shared = self._shared.pop(group, None)
        if shared is None:
            return
        self._by_peer_tag.pop(shared.peer_tag, None)
        self._send(withdrawal=pb.Withdrawal(tag=shared.own_tag))  # the peer may have matched what we have not yet

    def change_beacon(self, nonce: bytes) -> None:
        """Tell the peer under which nonce we show ourselves now."""
        self._send(beacon=pb.BeaconChange(nonce=nonce))

    def drain(self, *, silent: bool) -> None:
        """Tell the peer that another session is kept, as this one is the worse, or was silent."""
        self._send(draining=pb.Draining(silent=silent))

    @property
    def shown(self) -> frozenset[GroupId]:
        """The groups that we show on this session."""
        return frozenset(self._shared)

    def own_tag(self, group: GroupId) -> bytes:
        """The tag under which we showed a group."""
        return self._shared[group].own_tag

    def group_of(self, peer_tag: bytes) -> GroupId | None:
        """The proven group that a peer's stream names."""
        group = self._by_peer_tag.get(peer_tag)
        return group if group is not None and self._shared[group].done else None

    def take(self) -> list[bytes]:
        """Frames to be sent on the control stream."""
        frames, self._frames = self._frames, []
        return frames

    def events(self) -> list[OfferEvent]:
        """What has been proven since the last call."""
        events, self._events = self._events, []
        return events

    def receive(self, data: bytes) -> None:
        """Take in one control frame; RemoteProtocolError for a false proof."""
        frame = parse(pb.ControlFrame, data, MAX_FRAME)
        match frame.WhichOneof("frame"):
            case "offer":
                self._receive_offer(frame.offer)
            case "proof":
                self._receive_proof(frame.proof)
            case "presence":
                self._receive_presence(frame.presence)
            case "withdrawal":
                self._receive_withdrawal(frame.withdrawal)
            case "beacon":
                self._events.append(BeaconChanged(frame.beacon.nonce[:8]))
            case "draining":
                self._events.append(PeerDrains(frame.draining.silent))

    def _receive_offer(self, message: pb.Offer) -> None:
        data = message.tags
        if len(data) % (TAG_LENGTH * PADDING) or len(self._peer_tags) + len(data) // TAG_LENGTH > MAX_TAGS:
            raise RemoteProtocolError("a malformed offer, or too many tags")
        for start in range(0, len(data), TAG_LENGTH):
            tag = data[start : start + TAG_LENGTH]
            self._peer_tags[tag] = None
            group = self._by_peer_tag.get(tag)
            if group is not None and self._shared[group].offered:
                self._match(self._shared[group])

    def _match(self, shared: _Shared) -> None:
        """Both know the link key: show that we know the secret, if we do."""
        if shared.matched:
            return
        shared.matched = True
        mac = member_proof(shared.group, self._hash, self._initiator) if shared.group.secret else b""
        self._send(proof=pb.Proof(tag=shared.own_tag, mac=mac))

    def _receive_proof(self, message: pb.Proof) -> None:
        shared = self._find(message.tag)
        if shared is None or shared.proven:
            return
        if not message.mac or not shared.group.secret:
            shared.proven = shared.done = True
            self._events.append(GroupProven(shared.group.id, Level.REPLICA, None))
            return
        if not equal(message.mac, member_proof(shared.group, self._hash, not self._initiator)):
            raise RemoteProtocolError("a false proof of a group's secret")
        shared.proven = True
        self._match(shared)
        text = presence_text(shared.group, self._hash, self._initiator)
        self._send(
            presence=pb.Presence(
                tag=shared.own_tag, device=bytes(shared.device.public), signature=shared.device.sign(text)
            )
        )

    def _receive_presence(self, message: pb.Presence) -> None:
        shared = self._find(message.tag)
        if shared is None or shared.done:
            return
        if not shared.proven:
            return  # it answers an offer that we have withdrawn and made anew meanwhile; a proof follows
        device = DeviceId(message.device)
        text = presence_text(shared.group, self._hash, not self._initiator)
        if device == shared.device.public or not verify(device, text, message.signature):
            raise RemoteProtocolError("a false proof of a device")
        shared.done = True
        self._events.append(GroupProven(shared.group.id, Level.MEMBER, device))

    def _receive_withdrawal(self, message: pb.Withdrawal) -> None:
        self._peer_tags.pop(message.tag, None)
        shared = self._find(message.tag)
        if shared is not None:
            shared.matched = shared.proven = shared.done = False
            self._events.append(GroupWithdrawn(shared.group.id))

    def _find(self, peer_tag: bytes) -> _Shared | None:
        group = self._by_peer_tag.get(peer_tag)
        return None if group is None else self._shared[group]

    def _send(self, **frame: object) -> None:
        self._frames.append(pb.ControlFrame(**frame).SerializeToString())  # type: ignore[arg-type]


def group_tag(group: Group, handshake_hash: bytes, initiator: bool) -> bytes:
    """The 16 bytes by which one side of one session shows a group."""
    key = hkdf_sha256(group.link_key, b"berty group tag")
    return hmac_sha256(key, handshake_hash + _ROLES[initiator])[:TAG_LENGTH]


def member_proof(group: Group, handshake_hash: bytes, initiator: bool) -> bytes:
    """32 bytes that only who knows the group's secret can make for this session and role."""
    key = hkdf_sha256(group.secret, b"berty member proof")
    return hmac_sha256(key, handshake_hash + _ROLES[initiator] + group.public_key)


def presence_text(group: Group, handshake_hash: bytes, initiator: bool) -> bytes:
    """What a device signs to show itself in this session and role."""
    return b"berty device presence" + handshake_hash + _ROLES[initiator] + group.public_key
