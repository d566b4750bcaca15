"""Entries of one log whose parents are not here yet.

Invariant: their number and size are bounded, and an arrival costs what waits for it, not what waits in all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from ...codec.cid import Cid
from ...protocol.entry import Entry

MAX_ORPHANS = 4096
MAX_ORPHAN_BYTES = 16 * 1024 * 1024

Pair = tuple[Entry, bytes]


class Orphans:
    """Waiting entries, oldest first; the oldest are dropped when there are too many, and will be sent again."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Cid, Pair] = OrderedDict()
        self._children: dict[Cid, set[Cid]] = {}  # by the parent that is missing
        self._bytes = 0

    def __contains__(self, cid: Cid) -> bool:
        return cid in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry, block: bytes, absent: Iterable[Cid]) -> None:
        """Keep an entry until these parents are here."""
        if entry.cid in self._entries:
            return
        self._entries[entry.cid] = (entry, block)
        self._bytes += len(block)
        for parent in absent:
            self._children.setdefault(parent, set()).add(entry.cid)
        while len(self._entries) > MAX_ORPHANS or self._bytes > MAX_ORPHAN_BYTES:
            self.drop(next(iter(self._entries)))

    def drop(self, cid: Cid) -> Pair | None:
        """Keep an entry no longer; what it was, if it waited."""
        pair = self._entries.pop(cid, None)
        if pair is None:
            return None
        self._bytes -= len(pair[1])
        for parent in pair[0].next:
            waiting = self._children.get(parent)
            if waiting is not None:
                waiting.discard(cid)
                if not waiting:
                    del self._children[parent]
        return pair

    def absent(self) -> list[Cid]:
        """Parents that are waited for."""
        return [parent for parent in self._children if parent not in self._entries]

    def wait_for(self, cid: Cid) -> bool:
        """Whether any of them descends directly from this missing entry."""
        return cid in self._children

    def adopt(self, arrived: Iterable[Cid], is_here: Callable[[Cid], bool]) -> list[Pair]:
        """Take out those whose last missing parents have just arrived."""
        found = []
        for parent in arrived:
            for child in sorted(self._children.get(parent, ())):
                if all(map(is_here, self._entries[child][0].next)) and (pair := self.drop(child)):
                    found.append(pair)
        return found
