"""Entries that are longer than a datagram: cut into pieces, and put together again from whatever comes.

Invariant: what strangers and members make this device keep is bounded by `MAX_PARTIAL` entries and `MAX_BYTES`.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import attrs

from ...errors import LocalProtocolError
from ..group import LogKind
from .frames import MAX_PARTS, EntryFrame, PartFrame

MAX_PARTIAL = 64
MAX_BYTES = 256 * 1024
ENTRY_HEAD = 7  # bytes of a frame before a whole entry
PART_HEAD = 10  # before a piece of one

Name = tuple[LogKind, bytes]


def stamp_of(data: bytes) -> int:
    """One byte that tells apart two forms of the same entry."""
    return hashlib.sha256(data).digest()[0]


def split_entry(name: Name, data: bytes, room: int) -> list[EntryFrame | PartFrame]:
    """The frames, of at most `room` bytes each, that carry an entry; LocalProtocolError if it takes too many."""
    if ENTRY_HEAD + len(data) <= room:
        return [EntryFrame(*name, data)]
    size = room - PART_HEAD
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    if len(pieces) > MAX_PARTS:
        raise LocalProtocolError(f"an entry of {len(data)} bytes in pieces of {size}: it waits for a link")
    stamp = stamp_of(data)
    return [PartFrame(*name, stamp, index, len(pieces), piece) for index, piece in enumerate(pieces)]


@attrs.define
class Partial:
    """An entry of which some pieces came."""

    stamp: int
    count: int
    pieces: dict[int, bytes] = attrs.field(factory=dict)
    size: int = 0

    @property
    def missing(self) -> bytes:
        """A bit for each piece that is missing, the first one lowest."""
        bits = sum(1 << index for index in range(self.count) if index not in self.pieces)
        return bits.to_bytes((self.count + 7) // 8, "little")


def indices(missing: bytes) -> frozenset[int]:
    """Which pieces a bit field names."""
    bits = int.from_bytes(missing, "little")
    return frozenset(index for index in range(8 * len(missing)) if bits >> index & 1)


class Reassembly:
    """Entries that are coming in pieces, those that moved last at the end."""

    def __init__(self) -> None:
        self._partial: OrderedDict[Name, Partial] = OrderedDict()
        self._size = 0

    def add(self, part: PartFrame) -> bytes | None:
        """Take in a piece; the whole once it is there."""
        name = (part.log, part.name)
        partial = self._partial.get(name)
        if partial is None or (partial.stamp, partial.count) != (part.stamp, part.count):
            self.forget(name)
            partial = self._partial[name] = Partial(part.stamp, part.count)
        self._partial.move_to_end(name)
        if part.index not in partial.pieces:
            partial.pieces[part.index] = part.data
            partial.size += len(part.data)
            self._size += len(part.data)
        if len(partial.pieces) == partial.count:
            self.forget(name)
            data = b"".join(partial.pieces[index] for index in range(partial.count))
            return data if stamp_of(data) == partial.stamp else None
        while len(self._partial) > MAX_PARTIAL or self._size > MAX_BYTES:
            self.forget(next(iter(self._partial)))
        return None

    def get(self, name: Name) -> Partial | None:
        """What came of an entry so far."""
        return self._partial.get(name)

    def forget(self, name: Name) -> None:
        """It is no longer waited for."""
        if (partial := self._partial.pop(name, None)) is not None:
            self._size -= partial.size
