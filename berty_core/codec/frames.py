"""Length-prefixed frames out of a byte stream. Invariant: a length is judged before anything is kept for it."""

from __future__ import annotations

from ..errors import LocalProtocolError, RemoteProtocolError
from .varint import decode_varint, encode_varint


class FrameReader:
    """Collect bytes and give back whole frames: unsigned varint length, then the payload.

    The two ends of a stream may cut it anywhere; memory is bounded by `limit` plus one chunk.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that `data` completes; RemoteProtocolError above `limit` bytes."""
        self._buffer += data
        frames: list[bytes] = []
        offset = 0
        while True:
            prefix = decode_varint(self._buffer, offset)
            if prefix is None:
                break
            length, start = prefix
            if length > self.limit:
                raise RemoteProtocolError(f"frame of {length} bytes, the limit is {self.limit}")
            if start + length > len(self._buffer):
                break
            frames.append(bytes(self._buffer[start : start + length]))
            offset = start + length
        del self._buffer[:offset]
        return frames

    def feed_one(self, data: bytes) -> tuple[bytes | None, int]:
        """Return (the first whole frame or None, how many bytes of `data` belong to it)."""
        before = len(self._buffer)
        for end in range(1, len(data) + 1):
            prefix = decode_varint(self._buffer + data[:end])
            if prefix is not None:
                break
        else:
            self._buffer += data
            return None, len(data)
        length, start = prefix
        if length > self.limit:
            raise RemoteProtocolError(f"frame of {length} bytes, the limit is {self.limit}")
        needed = start + length - before
        self._buffer += data[:needed]
        if needed > len(data):
            return None, len(data)
        frame = bytes(self._buffer[start:])
        self._buffer.clear()
        return frame, needed

    @property
    def pending(self) -> int:
        """Bytes of an unfinished frame."""
        return len(self._buffer)


def encode_frame(payload: bytes, limit: int) -> bytes:
    """Prefix `payload` with its length; above `limit` the peer would refuse it, so do we."""
    if len(payload) > limit:
        raise LocalProtocolError(f"frame of {len(payload)} bytes, the limit is {limit}")
    return encode_varint(len(payload)) + payload
