"""Reads short binary forms from the front. Invariant: it gives bytes that are there, or RemoteProtocolError."""

from __future__ import annotations

from ..codec.varint import decode_varint
from ..errors import RemoteProtocolError


class ShortReader:
    """A position in some bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    def take(self, count: int) -> bytes:
        """The next so many bytes."""
        piece = self._data[self._offset : self._offset + count]
        if len(piece) != count:
            raise RemoteProtocolError("a datagram that ends too early")
        self._offset += count
        return piece

    def byte(self) -> int:
        """The next byte as a number."""
        return self.take(1)[0]

    def varint(self) -> int:
        """The next varint."""
        read = decode_varint(self._data, self._offset)
        if read is None:
            raise RemoteProtocolError("a datagram that ends within a number")
        value, self._offset = read
        return value

    def rest(self) -> bytes:
        """All that is left."""
        piece, self._offset = self._data[self._offset :], len(self._data)
        return piece

    @property
    def at_end(self) -> bool:
        """Whether everything was read."""
        return self._offset >= len(self._data)

    def end(self) -> None:
        """RemoteProtocolError if something is left."""
        if not self.at_end:
            raise RemoteProtocolError("bytes behind the end")
