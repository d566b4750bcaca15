"""Entries as members of a group send them where each byte counts: without what the receiver can make itself.

A block of 1.7 kB shrinks to some 170 bytes, since all members have the group's secret and its graph: they sign and seal
again what is signed and sealed under the group's own keys, and work out shortcuts and time. Invariant: `expand` gives
exactly the block that was meant, which the first bytes of its digest check, or refuses; nobody but a member may be
believed, for the receiver signs what it is told (docs/reference/groupcast.md).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Protocol

from ..codec.cid import DAG_CBOR, Cid
from ..codec.pb import wesh_pb2 as pb
from ..codec.protobuf import parse
from ..codec.varint import encode_varint
from ..crypto.boxes import open_secretbox, seal_secretbox
from ..errors import LocalProtocolError, RemoteProtocolError
from ..ids import DeviceId
from .ancestry import Graph, newest_ancestors
from .entry import Entry, LogIdentity, decode_entry, encode_entry, sign_entry
from .group import Group
from .log import REFERENCE_COUNT, choose_references
from .short_reader import ShortReader

ID_LENGTH = 6  # of a digest: names an entry within its log
DEVICE_LENGTH = 4
MAX_WHOLE = 256 * 1024
MAX_LINKS = 255

MESSAGE, EVENT, SHORT_PARENTS, OWN_REFERENCES, OWN_TIME, SIGNED, SHORT_DEVICE, WHOLE = (1 << bit for bit in range(8))
_SHORT = SHORT_PARENTS | OWN_REFERENCES | OWN_TIME | SHORT_DEVICE


class CompactLog(Graph, Protocol):
    """What is read of the log that an entry belongs to."""

    def starting_with(self, digest: bytes) -> list[Cid]:
        """The entries whose digest starts so; two are enough to tell that it names none."""


class Unready(Exception):
    """An entry cannot be made yet: these first bytes of digests name no entry here."""

    def __init__(self, missing: tuple[bytes, ...]) -> None:
        super().__init__("entries that this one builds on are not here yet")
        self.missing = missing


def short_id(cid: Cid) -> bytes:
    """What names an entry within its log on a bus."""
    return cid.digest[:ID_LENGTH]


class EntryCompactor:
    """Shrinks and restores the entries of one log of a group whose secret is known."""

    def __init__(self, group: Group, address: str, log: CompactLog, devices: Callable[[], Iterable[DeviceId]]) -> None:
        self._group = group
        self._address = address
        self._log = log
        self._devices = devices
        self._identity = LogIdentity.of(group.signing_key)

    def shrink(self, block: bytes, *, alone: bool = False) -> bytes:
        """The shortest form that `expand` restores; `alone`: also where nothing else of the log is known."""
        entry = decode_entry(block)
        for form in (0,) if alone else (_SHORT, 0):
            try:
                data = self._write(entry, form)
                if self.expand(short_id(entry.cid), data) == block:
                    return data
            except (RemoteProtocolError, LocalProtocolError, Unready):
                continue  # an entry that was not made as ours are
        return bytes((WHOLE,)) + zlib.compress(block, 9)

    def expand(self, name: bytes, data: bytes) -> bytes:
        """The block that begins its digest with `name`; Unready, or RemoteProtocolError if it cannot be made."""
        reader = ShortReader(data)
        form = reader.byte()
        block = _inflate(reader.rest()) if form & WHOLE else self._read(form, reader)
        if not Cid.of(block).digest.startswith(name):
            raise RemoteProtocolError("an entry that is not the one it is called")
        return block

    # -- entries -------------------------------------------------------------------------------

    def _write(self, entry: Entry, form: int) -> bytes:
        value, form = self._write_value(entry.value, form)
        if form & OWN_TIME and entry.time != self._next_time(entry.next):
            form &= ~OWN_TIME
        if form & OWN_REFERENCES and entry.refs != self._references(entry.next):
            form &= ~OWN_REFERENCES
        again, _ = sign_entry(self._identity, self._address, entry.value, entry.next, entry.refs, entry.time)
        if again.sig != entry.sig:
            form |= SIGNED
        if entry.time < 0 and not form & OWN_TIME:
            raise LocalProtocolError("a clock that no entry of ours has")
        return b"".join(
            (
                bytes((form,)),
                _links(entry.next, form),
                b"" if form & OWN_REFERENCES else _links(entry.refs, form),
                b"" if form & OWN_TIME else encode_varint(entry.time),
                entry.sig if form & SIGNED else b"",
                value,
            )
        )

    def _read(self, form: int, reader: ShortReader) -> bytes:
        parents = self._read_links(form, reader)
        references = None if form & OWN_REFERENCES else self._read_links(form, reader)
        time = None if form & OWN_TIME else reader.varint()
        sig = reader.take(64) if form & SIGNED else None
        value = self._read_value(form, reader)
        references = self._references(parents) if references is None else references
        time = self._next_time(parents) if time is None else time
        if time >= 1 << 63:
            raise RemoteProtocolError("a clock beyond 63 bits")
        entry, block = sign_entry(self._identity, self._address, value, parents, references, time)
        if sig is None:
            return block
        return encode_entry(
            Entry(
                entry.cid,
                entry.log_id,
                entry.payload,
                entry.next,
                entry.refs,
                entry.time,
                entry.clock_id,
                entry.key,
                sig,
                entry.identity,
            )
        )

    def _read_links(self, form: int, reader: ShortReader) -> tuple[Cid, ...]:
        count = reader.byte()
        if not form & SHORT_PARENTS:
            return tuple(Cid(DAG_CBOR + reader.take(32)) for _ in range(count))
        names = [reader.take(ID_LENGTH) for _ in range(count)]
        found = [self._log.starting_with(name) for name in names]
        if missing := tuple(name for name, cids in zip(names, found, strict=True) if not cids):
            raise Unready(missing)
        if any(len(cids) > 1 for cids in found):
            raise RemoteProtocolError("the short name of a parent names two entries")
        return tuple(cids[0] for cids in found)

    def _positions(self, cids: tuple[Cid, ...]) -> list[int]:
        positions = [(cid, self._log.position(cid)) for cid in cids]
        if missing := tuple(short_id(cid) for cid, position in positions if position is None):
            raise Unready(missing)
        return [position.time for _, position in positions if position is not None]

    def _next_time(self, parents: tuple[Cid, ...]) -> int:
        return 1 + max(self._positions(parents), default=0)

    def _references(self, parents: tuple[Cid, ...]) -> tuple[Cid, ...]:
        """The shortcuts of an append: when it was made, the log was what its parents descend from."""
        self._positions(parents)
        return choose_references(newest_ancestors(self._log, parents, REFERENCE_COUNT), parents)

    # -- what entries carry ----------------------------------------------------------------------

    def _write_value(self, value: bytes, form: int) -> tuple[bytes, int]:
        for write in (self._write_message, self._write_event):
            try:
                return write(value, form)
            except RemoteProtocolError:
                continue
        return value, form & ~SHORT_DEVICE

    def _write_message(self, value: bytes, form: int) -> tuple[bytes, int]:
        envelope = parse(pb.MessageEnvelope, value)
        headers = parse(pb.MessageHeaders, self._open(envelope.nonce, envelope.message_headers))
        device, sig, nonce = headers.device_pk, headers.sig, envelope.nonce
        if len(device) != 32 or len(sig) != 64 or len(nonce) != 24:
            raise RemoteProtocolError("headers that are not as ours")
        if form & SHORT_DEVICE and self._devices_like(device[:DEVICE_LENGTH]) == [device]:
            device = device[:DEVICE_LENGTH]
        else:
            form &= ~SHORT_DEVICE
        data = encode_varint(headers.counter) + device + sig + nonce + envelope.message
        if self._seal_message(headers.counter, headers.device_pk, sig, nonce, envelope.message) != value:
            raise RemoteProtocolError("an envelope that was not encoded as ours are")
        return data, form | MESSAGE

    def _write_event(self, value: bytes, form: int) -> tuple[bytes, int]:
        envelope = parse(pb.GroupEnvelope, value)
        data = envelope.nonce + self._open(envelope.nonce, envelope.event)
        if self._seal_event(data) != value:
            raise RemoteProtocolError("an envelope that was not encoded as ours are")
        return data, (form | EVENT) & ~SHORT_DEVICE

    def _read_value(self, form: int, reader: ShortReader) -> bytes:
        if form & MESSAGE:
            counter = reader.varint()
            device = self._read_device(form, reader)
            sig, nonce = reader.take(64), reader.take(24)
            return self._seal_message(counter, device, sig, nonce, reader.rest())
        return self._seal_event(reader.rest()) if form & EVENT else reader.rest()

    def _read_device(self, form: int, reader: ShortReader) -> bytes:
        if not form & SHORT_DEVICE:
            return reader.take(32)
        found = self._devices_like(reader.take(DEVICE_LENGTH))
        if len(found) != 1:
            raise Unready(())
        return found[0]

    def _devices_like(self, start: bytes) -> list[bytes]:
        return [bytes(device) for device in self._devices() if device.startswith(start)]

    def _open(self, nonce: bytes, box: bytes) -> bytes:
        opened = open_secretbox(self._group.secret, nonce, box) if len(nonce) == 24 else None
        if opened is None:
            raise RemoteProtocolError("a box that the group's secret does not open")
        return opened

    def _seal_message(self, counter: int, device: bytes, sig: bytes, nonce: bytes, box: bytes) -> bytes:
        headers = pb.MessageHeaders(counter=counter, device_pk=device, sig=sig).SerializeToString()
        sealed = seal_secretbox(self._group.secret, nonce, headers)
        return pb.MessageEnvelope(message_headers=sealed, message=box, nonce=nonce).SerializeToString()

    def _seal_event(self, data: bytes) -> bytes:
        nonce, event = data[:24], data[24:]
        if len(nonce) != 24:
            raise RemoteProtocolError("an event without its nonce")
        sealed = seal_secretbox(self._group.secret, nonce, event)
        return pb.GroupEnvelope(nonce=nonce, event=sealed).SerializeToString()


def _links(cids: tuple[Cid, ...], form: int) -> bytes:
    if len(cids) > MAX_LINKS:
        raise LocalProtocolError("more links than the short form counts")
    digests = [short_id(cid) if form & SHORT_PARENTS else cid.digest for cid in cids]
    return bytes((len(cids),)) + b"".join(digests)


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        block = inflater.decompress(data, MAX_WHOLE)
    except zlib.error as error:
        raise RemoteProtocolError("a block that cannot be inflated") from error
    if not inflater.eof or inflater.unused_data:
        raise RemoteProtocolError("a block that does not end where it should")
    return block
