"""What members say to each other on a bus, inside the seal: one frame in each datagram.

Invariant: decoding gives a frame that encodes to the same bytes, or RemoteProtocolError (docs/reference/groupcast.md).
"""

from __future__ import annotations

import enum

import attrs

from ...codec.cid import Cid
from ...crypto.keys import PrivateKey, verify
from ...errors import RemoteProtocolError
from ...ids import DeviceId, GroupId
from ..compact_entries import DEVICE_LENGTH, ID_LENGTH
from ..group import LogKind
from ..short_reader import ShortReader

MAX_PARTS = 255
MAX_HEADS = 4  # that a digest names; of more, the newest and a fingerprint of all
HELD_LENGTH = 10  # bytes of a digest that a signature covers: nobody finds two entries that share them
SIGNATURE_LENGTH = 64
HELD_LABEL = b"\0berty held on a bus"  # no protobuf begins with 0, so this can be signed as no message or event
_LOG_BIT = 0x80


class FrameKind(enum.IntEnum):
    """The first byte of a frame, without its highest bit, which names the log."""

    ENTRY = 1
    PART = 2
    DIGEST = 3
    SINCE = 4
    WANT = 5
    HELD = 6
    UNHELD = 7
    NAMED = 8


@attrs.frozen
class EntryFrame:
    """A whole entry in its compact form."""

    log: LogKind
    name: bytes
    data: bytes = attrs.field(repr=False)


@attrs.frozen
class PartFrame:
    """Piece `index` of `count` of an entry; `stamp` (one byte) tells apart two forms of the same entry."""

    log: LogKind
    name: bytes
    stamp: int
    index: int
    count: int
    data: bytes = attrs.field(repr=False)


@attrs.frozen
class HeadsOf:
    """The heads of one log by their names, newest first, and a fingerprint where there are more than are named."""

    names: tuple[bytes, ...] = ()
    all_of_them: bytes = b""


@attrs.frozen
class DigestFrame:
    """What the sender has: the heads of both logs."""

    metadata: HeadsOf
    messages: HeadsOf


@attrs.frozen
class SinceFrame:
    """The sender asks for what follows on what it has: its heads, and older entries at growing distances."""

    log: LogKind
    heads: tuple[bytes, ...]
    older: tuple[bytes, ...]


@attrs.frozen
class NamedFrame:
    """The sender asks for single entries, whose descendants it has."""

    log: LogKind
    names: tuple[bytes, ...]


@attrs.frozen
class WantFrame:
    """The sender lacks pieces of one entry (a bit for each), or all of it in a form that stands alone (no bits)."""

    log: LogKind
    name: bytes
    stamp: int
    missing: bytes


@attrs.frozen
class HeldFrame:
    """A device has these messages durably: `names` of `HELD_LENGTH` bytes, which its signature covers."""

    device: bytes
    names: tuple[bytes, ...]
    signature: bytes = attrs.field(repr=False)


@attrs.frozen
class UnheldFrame:
    """The sender asks who has these messages."""

    names: tuple[bytes, ...]


Frame = EntryFrame | PartFrame | DigestFrame | SinceFrame | NamedFrame | WantFrame | HeldFrame | UnheldFrame


def encode_groupcast(frame: Frame) -> bytes:
    """The bytes of a frame."""
    match frame:
        case EntryFrame(log, name, data):
            data = _head(FrameKind.ENTRY, log) + name + data
        case PartFrame(log, name, stamp, index, count, data):
            data = _head(FrameKind.PART, log) + name + bytes((stamp, index, count)) + data
        case DigestFrame(metadata, messages):
            data = _head(FrameKind.DIGEST) + _heads(metadata) + _heads(messages)
        case SinceFrame(log, heads, older):
            data = _head(FrameKind.SINCE, log) + bytes((len(heads),)) + b"".join(heads + older)
        case NamedFrame(log, names):
            data = _head(FrameKind.NAMED, log) + b"".join(names)
        case WantFrame(log, name, stamp, missing):
            data = _head(FrameKind.WANT, log) + name + bytes((stamp,)) + missing
        case HeldFrame(device, names, signature):
            data = _head(FrameKind.HELD) + device + signature + b"".join(names)
        case UnheldFrame(names):
            data = _head(FrameKind.UNHELD) + b"".join(names)
    return data


def decode_groupcast(data: bytes) -> Frame | None:
    """Read a frame; None for a kind that a later version knows."""
    reader = ShortReader(data)
    head = reader.byte()
    log = LogKind.MESSAGES if head & _LOG_BIT else LogKind.METADATA
    match _kind(head & ~_LOG_BIT):
        case FrameKind.ENTRY:
            return EntryFrame(log, reader.take(ID_LENGTH), _some(reader))
        case FrameKind.PART:
            return _read_part(log, reader)
        case FrameKind.SINCE | FrameKind.NAMED as kind:
            heads = [reader.take(ID_LENGTH) for _ in range(reader.byte())] if kind is FrameKind.SINCE else None
            names = _names(reader)
            return NamedFrame(log, names) if heads is None else SinceFrame(log, tuple(heads), names)
        case FrameKind.WANT:
            return _read_want(log, reader)
        case (FrameKind.DIGEST | FrameKind.HELD | FrameKind.UNHELD) as kind:
            if head & _LOG_BIT:
                raise RemoteProtocolError("a log where none is meant")
            return _read_rest(kind, reader)
    return None


def _kind(number: int) -> FrameKind | None:
    return FrameKind(number) if 1 <= number <= max(FrameKind) else None


def _read_part(log: LogKind, reader: ShortReader) -> PartFrame:
    part = PartFrame(log, reader.take(ID_LENGTH), reader.byte(), reader.byte(), reader.byte(), _some(reader))
    if not part.index < part.count or part.count < 2:
        raise RemoteProtocolError("a piece that is none of so many")
    return part


def _read_want(log: LogKind, reader: ShortReader) -> WantFrame:
    want = WantFrame(log, reader.take(ID_LENGTH), reader.byte(), reader.rest())
    if len(want.missing) > (MAX_PARTS + 7) // 8:
        raise RemoteProtocolError("more pieces than an entry has")
    return want


def _read_rest(kind: FrameKind, reader: ShortReader) -> Frame:
    if kind is FrameKind.DIGEST:
        digest = DigestFrame(_read_heads(reader), _read_heads(reader))
        reader.end()
        return digest
    if kind is FrameKind.HELD:
        device, signature = reader.take(DEVICE_LENGTH), reader.take(SIGNATURE_LENGTH)
        return HeldFrame(device, _names(reader, HELD_LENGTH), signature)
    return UnheldFrame(_names(reader))


def confirm_held(group: GroupId, device: PrivateKey, cids: tuple[Cid, ...]) -> HeldFrame:
    """The frame by which a device confirms messages."""
    names = tuple(cid.digest[:HELD_LENGTH] for cid in cids)
    return HeldFrame(bytes(device.public)[:DEVICE_LENGTH], names, device.sign(_held_bytes(group, names)))


def is_held(group: GroupId, device: DeviceId, held: HeldFrame) -> bool:
    """Whether this device signed that it has exactly these messages."""
    return verify(device, _held_bytes(group, held.names), held.signature)


def _held_bytes(group: GroupId, names: tuple[bytes, ...]) -> bytes:
    return HELD_LABEL + group + b"".join(names)


def _head(kind: FrameKind, log: LogKind = LogKind.METADATA) -> bytes:
    return bytes((kind | (_LOG_BIT if log is LogKind.MESSAGES else 0),))


def _heads(heads: HeadsOf) -> bytes:
    """A count, above `MAX_HEADS` if a fingerprint follows; then the names."""
    count = len(heads.names) + (MAX_HEADS + 1 if heads.all_of_them else 0)
    return bytes((count,)) + b"".join(heads.names) + heads.all_of_them


def _read_heads(reader: ShortReader) -> HeadsOf:
    count = reader.byte()
    more = count > MAX_HEADS
    if more:
        count -= MAX_HEADS + 1
    if count > MAX_HEADS:
        raise RemoteProtocolError("more heads than a digest names")
    names = tuple(reader.take(ID_LENGTH) for _ in range(count))
    return HeadsOf(names, reader.take(ID_LENGTH) if more else b"")


def _names(reader: ShortReader, length: int = ID_LENGTH) -> tuple[bytes, ...]:
    names = []
    while not reader.at_end:
        names.append(reader.take(length))
    return tuple(names)


def _some(reader: ShortReader) -> bytes:
    data = reader.rest()
    if not data:
        raise RemoteProtocolError("a frame that carries nothing")
    return data
