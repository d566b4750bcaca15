"""Protobuf fields without a schema, for the few foreign messages in recordings that this product does not speak."""

from __future__ import annotations

from ...codec.varint import decode_varint
from ...errors import RemoteProtocolError

Field = tuple[int, int | bytes, bytes]


def read_fields(data: bytes) -> list[Field]:
    """Number, value and the field's own bytes, in order; varints and length-delimited fields only."""
    fields: list[Field] = []
    offset = 0
    while offset < len(data):
        start = offset
        tag, offset = _varint(data, offset)
        value: int | bytes
        if tag & 7 == 0:
            value, offset = _varint(data, offset)
        elif tag & 7 == 2:
            length, offset = _varint(data, offset)
            value = data[offset : offset + length]
            offset += length
            if offset > len(data):
                raise RemoteProtocolError("a field ends behind its message")
        else:
            raise RemoteProtocolError(f"a field of wire type {tag & 7}")
        fields.append((tag >> 3, value, data[start:offset]))
    return fields


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    found = decode_varint(data, offset)
    if found is None:
        raise RemoteProtocolError("a message ends inside a number")
    return found


def field_bytes(fields: list[Field], number: int) -> bytes:
    """The last value of a length-delimited field, empty if there is none."""
    values = [value for found, value, _ in fields if found == number and isinstance(value, bytes)]
    return values[-1] if values else b""
