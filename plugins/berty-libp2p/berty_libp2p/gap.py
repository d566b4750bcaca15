"""What is missing between a log and what a peer has of it: followed backwards, and handed on parents first.

Invariant: only entries that were verified are followed, and a bounded number of them is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from berty_core.codec.cid import Cid
from berty_core.protocol.entry import Entry

MAX_ENTRIES: Final = 65536
MAX_BYTES: Final = 128 * 1024 * 1024

Pair = tuple[Entry, bytes]


class Gap:
    """Verified entries of one log that are not stored yet, and the identifiers that are being fetched."""

    def __init__(self) -> None:
        self.fetching: set[Cid] = set()
        self._entries: dict[Cid, Pair] = {}
        self._bytes = 0

    def __contains__(self, cid: Cid) -> bool:
        return cid in self._entries or cid in self.fetching

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def full(self) -> bool:
        """Whether what is kept must be handed on before more is fetched."""
        return len(self._entries) >= MAX_ENTRIES or self._bytes >= MAX_BYTES

    def add(self, pairs: Iterable[Pair]) -> list[Cid]:
        """Keep entries; the parents and shortcuts among them that are neither here nor on their way."""
        links: dict[Cid, None] = {}
        for entry, block in pairs:
            self.fetching.discard(entry.cid)
            if entry.cid not in self._entries:
                self._entries[entry.cid] = (entry, block)
                self._bytes += len(block)
                links.update(dict.fromkeys((*entry.next, *entry.refs)))
        return [cid for cid in links if cid not in self]

    def give_up(self, cid: Cid) -> None:
        """Nobody has this block."""
        self.fetching.discard(cid)

    @property
    def ready(self) -> bool:
        """Whether nothing is on its way any more."""
        return bool(self._entries) and not self.fetching

    def take(self) -> list[Pair]:
        """Everything that is kept, parents before children."""
        entries, self._entries, self._bytes = self._entries, {}, 0
        ordered: list[Pair] = []
        done: set[Cid] = set()
        for first in entries:
            walk = [first]
            while walk:
                cid = walk[-1]
                above = [p for p in entries[cid][0].next if p in entries and p not in done] if cid not in done else []
                if above:
                    walk += above
                    continue
                walk.pop()
                if cid not in done:
                    done.add(cid)
                    ordered.append(entries[cid])
        return ordered
