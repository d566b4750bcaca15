"""Datagrams of a reliable stream as bytes (docs/reference/datagram-links.md, section 3).

Invariant: what does not parse is None, never an error: anybody may send anything to an open port.
"""

from __future__ import annotations

import enum
import struct
from typing import Final

import attrs

VERSION: Final = 1
ID_LENGTH: Final = 3
MIN_MTU: Final = 20
DATA_HEADER: Final = 1 + ID_LENGTH + 2
ACK_LENGTH: Final = 3  # of an acknowledgement without a map
MAX_MAP: Final = 32

_OPEN = struct.Struct(">B3sHB")
_ACCEPT = struct.Struct(">B3s3sHB")
_DATA = struct.Struct(">B3sH")
_ACK = struct.Struct(">HB")
_ABORT = struct.Struct(">B3s3s")


class Kind(enum.IntEnum):
    """The upper four bits of the first byte."""

    OPEN = 0x1
    ACCEPT = 0x2
    DATA = 0x3
    ACK = 0x4
    ABORT = 0x5
    PIECE = 0x6  # of a stream over datagrams that are never lost
    LAST_PIECE = 0x7


class Flag(enum.IntFlag):
    """The lower four bits of the first byte of DATA and ACK."""

    END = 1  # nothing comes behind this datagram
    ACK = 2  # an acknowledgement is in it
    MAP = 4  # with a map
    ASK = 8  # answer without waiting


@attrs.frozen
class Open:
    """Who dials names itself; `mtu` and `window` are what it takes."""

    sender: bytes
    mtu: int
    window: int
    version: int = VERSION


@attrs.frozen
class Accept:
    """The answer, with the other end's name."""

    receiver: bytes
    sender: bytes
    mtu: int
    window: int


@attrs.frozen
class Ack:
    """All numbers below `next` came, and those above it that the map shows; `window` more from `next` on may come."""

    next: int
    window: int
    map: bytes = b""

    @property
    def length(self) -> int:
        """Bytes that it takes in a datagram with data."""
        return ACK_LENGTH + (1 + len(self.map) if self.map else 0)


@attrs.frozen
class Data:
    """A numbered piece of the stream (numbers modulo 2^16)."""

    receiver: bytes
    number: int
    payload: bytes = attrs.field(repr=False)
    end: bool = False
    ack: Ack | None = None
    ask: bool = False


@attrs.frozen
class Acknowledgement:
    """An acknowledgement that travels alone."""

    receiver: bytes
    ack: Ack
    ask: bool = False


@attrs.frozen
class Abort:
    """The stream is no more. Both names are in it, so that guessing one is not enough."""

    receiver: bytes
    sender: bytes


@attrs.frozen
class Piece:
    """Somebody takes this link for one that loses nothing."""


Message = Open | Accept | Data | Acknowledgement | Abort | Piece


def encode(message: Open | Accept | Data | Acknowledgement | Abort) -> bytes:
    """The datagram of a message."""
    match message:
        case Open(sender, mtu, window, version):
            return _OPEN.pack(Kind.OPEN << 4 | version, sender, mtu, window)
        case Accept(receiver, sender, mtu, window):
            return _ACCEPT.pack(Kind.ACCEPT << 4 | VERSION, receiver, sender, mtu, window)
        case Data():
            return _encode_data(message)
        case Acknowledgement(receiver, ack, ask):
            first = Kind.ACK << 4 | Flag.ASK * ask
            return _DATA.pack(first, receiver, ack.next) + bytes([ack.window]) + ack.map
        case Abort(receiver, sender):
            return _ABORT.pack(Kind.ABORT << 4, receiver, sender)


def _encode_data(data: Data) -> bytes:
    first = Kind.DATA << 4 | Flag.END * data.end | Flag.ASK * data.ask
    block = b""
    if data.ack is not None:
        first |= Flag.ACK
        block = _ACK.pack(data.ack.next, data.ack.window)
        if data.ack.map:
            first |= Flag.MAP
            block += bytes([len(data.ack.map)]) + data.ack.map
    return _DATA.pack(first, data.receiver, data.number) + block + data.payload


def decode(datagram: bytes) -> Message | None:
    """What a datagram says, or None if it says nothing."""
    if not datagram:
        return None
    kind, flags = datagram[0] >> 4, datagram[0] & 15
    if kind == Kind.DATA:
        return _decode_data(datagram, flags)
    if kind == Kind.ACK:
        return _decode_ack(datagram, flags)
    return _decode_other(datagram, kind, flags)


def _decode_other(datagram: bytes, kind: int, flags: int) -> Message | None:
    if kind == Kind.OPEN and len(datagram) == _OPEN.size:
        _, sender, mtu, window = _OPEN.unpack(datagram)
        return Open(sender, mtu, window, flags) if mtu >= MIN_MTU else None
    if kind == Kind.ACCEPT and flags == VERSION and len(datagram) == _ACCEPT.size:
        _, receiver, sender, mtu, window = _ACCEPT.unpack(datagram)
        return Accept(receiver, sender, mtu, window) if mtu >= MIN_MTU else None
    if kind == Kind.ABORT and flags == 0 and len(datagram) == _ABORT.size:
        return Abort(*_ABORT.unpack(datagram)[1:])
    return Piece() if kind in (Kind.PIECE, Kind.LAST_PIECE) and flags == VERSION else None


def _decode_ack(datagram: bytes, flags: int) -> Acknowledgement | None:
    if len(datagram) < DATA_HEADER + 1 or len(datagram) > DATA_HEADER + 1 + MAX_MAP or flags & ~Flag.ASK:
        return None
    _, receiver, following = _DATA.unpack_from(datagram)
    ack = Ack(following, datagram[DATA_HEADER], datagram[DATA_HEADER + 1 :])
    return Acknowledgement(receiver, ack, bool(flags & Flag.ASK))


def _decode_data(datagram: bytes, flags: int) -> Data | None:
    if len(datagram) < DATA_HEADER or (flags & Flag.MAP and not flags & Flag.ACK):
        return None
    _, receiver, number = _DATA.unpack_from(datagram)
    ack, position = None, DATA_HEADER
    if flags & Flag.ACK:
        if len(datagram) < position + ACK_LENGTH:
            return None
        following, window = _ACK.unpack_from(datagram, position)
        position += ACK_LENGTH
        received = b""
        if flags & Flag.MAP:
            length = datagram[position] if position < len(datagram) else 0
            received = datagram[position + 1 : position + 1 + length]
            if not 1 <= length <= MAX_MAP or len(received) < length:
                return None
            position += 1 + length
        ack = Ack(following, window, received)
    payload = datagram[position:]
    if not payload and not flags & Flag.END:
        return None  # a number that carries nothing has no use
    return Data(receiver, number, payload, bool(flags & Flag.END), ack, bool(flags & Flag.ASK))


def near(number: int, known: int) -> int:
    """The whole number nearest to `known` of which only the lower 16 bits were sent."""
    return known + ((number - known + 0x8000) & 0xFFFF) - 0x8000
