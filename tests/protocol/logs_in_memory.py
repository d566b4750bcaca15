"""Logs of a group that live in memory, as the machines of the protocol read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from berty_core.codec.cid import Cid
from berty_core.crypto.keys import PrivateKey
from berty_core.ids import AccountId, DeviceId
from berty_core.protocol.compact_entries import EntryCompactor
from berty_core.protocol.entry import Entry, LogIdentity, decode_entry, sign_entry
from berty_core.protocol.envelope import seal_event, seal_message
from berty_core.protocol.group import BERTY, Group, LogKind, contact_group
from berty_core.protocol.log import Position, choose_references, effective_time
from berty_core.protocol.metadata import EventType

ANN, BOB = PrivateKey(b"\1" * 32), PrivateKey(b"\2" * 32)
GROUP = contact_group(ANN, AccountId(BOB.public))
DEVICES = [DeviceId(ANN.public), DeviceId(BOB.public)]


@attrs.define(eq=False)
class MemoryLog:
    """The entries of one log by CID; an entry is in once its parents are."""

    kind: LogKind = LogKind.MESSAGES
    group: Group = GROUP
    heads: dict[Cid, int] = attrs.field(factory=dict)
    blocks: dict[Cid, bytes] = attrs.field(factory=dict)
    entries: dict[Cid, Entry] = attrs.field(factory=dict)
    places: dict[Cid, Position] = attrs.field(factory=dict)
    waiting: dict[Cid, bytes] = attrs.field(factory=dict)
    names: dict[bytes, list[Cid]] = attrs.field(factory=dict)
    order: list[Cid] = attrs.field(factory=list)

    @property
    def address(self) -> str:
        """The log's address."""
        return self.group.address(BERTY, self.kind).text

    def position(self, cid: Cid) -> Position | None:
        """Where an entry stands."""
        return self.places.get(cid)

    def parents(self, cid: Cid) -> tuple[Cid, ...]:
        """Its parents."""
        return self.entries[cid].next

    def starting_with(self, digest: bytes) -> list[Cid]:
        """Up to two entries whose digest starts so."""
        return [cid for cid in self.names.get(digest[:6], []) if cid.digest.startswith(digest)][:2]

    def block(self, cid: Cid) -> bytes | None:
        """The block of an entry."""
        return self.blocks.get(cid)

    def cids(self, *, reverse: bool = False) -> Iterator[Cid]:
        """All entries in order."""
        if len(self.order) != len(self.places):
            self.order = sorted(self.places, key=self.places.__getitem__)
        return iter(self.order[::-1] if reverse else self.order)

    def add(self, block: bytes) -> bool:
        """Take in a block, once its parents are here; False if it was here."""
        entry = decode_entry(block)
        if entry.cid in self.blocks:
            return False
        if any(parent not in self.blocks for parent in entry.next):
            self.waiting[entry.cid] = block
            return False
        self.blocks[entry.cid], self.entries[entry.cid] = block, entry
        self.names.setdefault(entry.cid.digest[:6], []).append(entry.cid)
        place = Position.of(effective_time(self.places[parent].time for parent in entry.next), entry.cid)
        self.places[entry.cid] = place
        for parent in entry.next:
            self.heads.pop(parent, None)
        self.heads[entry.cid] = place.time
        for waiting in list(self.waiting.values()):
            if all(parent in self.blocks for parent in decode_entry(waiting).next):
                del self.waiting[Cid.of(waiting)]
                self.add(waiting)
        return True

    def append(self, value: bytes, *, parents: Iterable[Cid] | None = None, time: int | None = None) -> Cid:
        """Append an envelope as an own entry."""
        newest = list(self.cids(reverse=True))[:64]
        heads = sorted(self.heads, key=self.places.__getitem__) if parents is None else list(parents)
        clock = 1 + max(self.heads.values(), default=0) if time is None else time
        references = choose_references(newest, heads)
        entry, block = sign_entry(
            LogIdentity.of(self.group.signing_key), self.address, value, tuple(heads), references, clock
        )
        self.add(block)
        return entry.cid

    def compactor(self, devices: list[DeviceId] | None = None) -> EntryCompactor:
        """What shrinks its entries."""
        return EntryCompactor(self.group, self.address, self, lambda: DEVICES if devices is None else devices)


def message(text: bytes, counter: int = 1, device: PrivateKey = ANN, nonce: bytes = b"n" * 24) -> bytes:
    """The envelope of a message."""
    return seal_message(GROUP.secret, b"k" * 32, counter, device, text, nonce)


def event(payload: bytes = b"event", nonce: bytes = b"n" * 24) -> bytes:
    """The envelope of a metadata event."""
    return seal_event(GROUP.secret, EventType.PAYLOAD_SENT, payload, b"s" * 64, nonce)
