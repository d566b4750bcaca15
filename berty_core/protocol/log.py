"""The one order of a log's entries, alike on every replica, and what an append refers to.

Order is (effective time, CID). The effective time is one more than the latest of the parents, which is what an honest
clock says (IPFS log, section 2.3). It follows from the graph alone, so a lie about a clock moves nothing: neither a
huge one, nor a small one, after which everything that follows would stand before what it follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from ..codec.cid import Cid

REFERENCE_COUNT = 64  # (Wesh protocol, section 2.9)


@attrs.frozen(order=True)
class Position:
    """Where an entry stands in its log; 36 bytes when packed, in the same order."""

    time: int
    digest: bytes

    def pack(self) -> bytes:
        """Four bytes of time, then the digest."""
        return self.time.to_bytes(4, "big") + self.digest

    @classmethod
    def unpack(cls, data: bytes) -> Position:
        """Read what `pack` wrote."""
        return cls(int.from_bytes(data[:4], "big"), bytes(data[4:36]))

    @classmethod
    def of(cls, time: int, cid: Cid) -> Position:
        """The position of an entry with this effective time."""
        return cls(time, cid.digest)


def effective_time(parent_times: Iterable[int]) -> int:
    """The time that orders: one more than the latest parent, 1 for an entry without parents."""
    return 1 + max(parent_times, default=0)


def choose_references(newest: Sequence[Cid], parents: Iterable[Cid], count: int = REFERENCE_COUNT) -> tuple[Cid, ...]:
    """Pick the shortcuts of an append: entries 1, 2, 4 … `count` back, and the oldest of a short log (IPFS log, 2.5).

    `newest` holds up to `count` entries of the log, newest first.
    """
    if not newest:
        return ()
    taken: list[Cid] = []
    distance = 1
    while distance <= min(count, len(newest)):
        taken.append(newest[distance - 1])
        distance *= 2
    if len(newest) < count:
        taken.append(newest[-1])
    exclude = set(parents)
    return tuple(dict.fromkeys(cid for cid in taken if cid not in exclude))
