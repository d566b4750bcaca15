"""Unsigned LEB128 as libp2p and protobuf write it: at most ten bytes, 64 bits, shortest form required."""

from __future__ import annotations

from ..errors import LocalProtocolError, RemoteProtocolError

MAX_LENGTH = 10


def encode_varint(value: int) -> bytes:
    """Encode 0 <= value < 2**64."""
    if not 0 <= value < 1 << 64:
        raise LocalProtocolError(f"a varint holds 0 to 2^64-1, not {value}")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_varint(data: bytes | bytearray | memoryview, offset: int = 0) -> tuple[int, int] | None:
    """Return (value, offset behind it), or None while more bytes are needed."""
    value = 0
    for position in range(MAX_LENGTH):
        if offset + position >= len(data):
            return None
        byte = data[offset + position]
        value |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            if value >= 1 << 64:
                raise RemoteProtocolError("varint above 64 bits")
            if byte == 0 and position:
                raise RemoteProtocolError("varint is not in its shortest form")
            return value, offset + position + 1
    raise RemoteProtocolError("varint longer than ten bytes")
