"""What is missing between a log and what a peer has of it: followed backwards, and handed on parents first.

A gap of any length is closed with bounded memory: when what is kept is too much, its younger half is let go, and
what is below that is closed first. Then the stretch above is fetched again, down to what has been stored meanwhile.
Invariant: only entries that were verified are followed, and a bounded number of them is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from berty_core.codec.cid import Cid
from berty_core.protocol.entry import Entry

MAX_ENTRIES: Final = 65536
MAX_BYTES: Final = 128 * 1024 * 1024
MAX_SUNK: Final = 1024  # times, until all of a gap is closed
MAX_BEGINNINGS: Final = 8192  # of a stretch that waits

Pair = tuple[Entry, bytes]


class Gap:
    """Verified entries of one log that are not stored yet, and the identifiers that are being fetched."""

    def __init__(self) -> None:
        self.fetching: set[Cid] = set()
        self._entries: dict[Cid, Pair] = {}
        self._bytes = 0
        self._begun: dict[Cid, None] = {}  # where this stretch begins
        self._above: list[dict[Cid, None]] = []  # where those begin that wait, the uppermost first
        self._sunk = 0

    def __contains__(self, cid: Cid) -> bool:
        return cid in self._entries or cid in self.fetching

    def __len__(self) -> int:
        return len(self._entries)

    def __bool__(self) -> bool:
        return bool(self._entries or self.fetching or self._above)

    @property
    def full(self) -> bool:
        """Whether what is kept must be let go before more is fetched."""
        return len(self._entries) >= MAX_ENTRIES or self._bytes >= MAX_BYTES

    def add(self, pairs: Iterable[Pair]) -> list[Cid]:
        """Keep entries; the parents and shortcuts among them that are neither here nor on their way.

        What comes unasked while stretches wait belongs to the uppermost of these.
        """
        links: dict[Cid, None] = {}
        for pair in pairs:
            cid = pair[0].cid
            asked = cid in self.fetching
            self.fetching.discard(cid)
            if not asked and self._above:
                _begin(self._above[0], cid)
            elif cid not in self._entries:
                links.update(dict.fromkeys(self._keep(pair)))
                if not asked:
                    _begin(self._begun, cid)
        return [cid for cid in links if cid not in self]

    def _keep(self, pair: Pair) -> tuple[Cid, ...]:
        entry, block = pair
        self._entries[entry.cid] = pair
        self._bytes += len(block)
        return (*entry.next, *entry.refs)

    def sink(self) -> tuple[list[Cid], set[Cid]]:
        """Keep the older half alone; what it links to, and what was being fetched and is not wanted any more.

        After too many times nothing is wanted.
        """
        self._sunk += 1
        by_age = sorted(self._entries.values(), key=lambda pair: pair[0].time)
        older = by_age[: (len(by_age) + 1) // 2]
        self._above.append(self._begun)
        self._begun = {older[-1][0].cid: None}
        dropped, self.fetching, self._entries, self._bytes = self.fetching, set(), {}, 0
        links = dict.fromkeys(link for pair in older for link in self._keep(pair))
        return [cid for cid in links if cid not in self] if self._sunk <= MAX_SUNK else [], dropped

    def rise(self) -> list[Cid]:
        """What was kept is stored: where the stretch above it begins, to be fetched; none if there is none."""
        self._begun = self._above.pop() if self._above else {}
        if not self._above:
            self._sunk = 0
        return list(self._begun)

    def give_up_above(self) -> None:
        """What is below did not help: nothing above it is fetched any more."""
        self._above.clear()

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


def _begin(stretch: dict[Cid, None], cid: Cid) -> None:
    if len(stretch) < MAX_BEGINNINGS:
        stretch[cid] = None
