"""One log in the store: entries, heads and order.

Invariant: an entry is in only once all its parents are, or are refused.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Iterator

import attrs

from ...codec.cid import DAG_CBOR, Cid
from ...errors import StoreCorrupt
from ...protocol.entry import Entry, decode_entry
from ...protocol.log import REFERENCE_COUNT, Position, choose_references, effective_time
from ...protocol.range_index import RangeIndex, cid_of, path_of
from .records import ENTRY, HEAD, INDEX, LOG_KEY, PLACE, REFUSED, Records, after_prefix

MAX_REFUSED_BLOCK = 4 * 1024 * 1024
GRAPH_CACHE = 4096  # entries whose place and parents are kept in memory
MAX_WALK = 4096  # entries that are read to find out what heads descend from


@attrs.frozen
class StoredEntry:
    """An entry with its place in the log."""

    position: Position
    block: bytes = attrs.field(repr=False)

    @property
    def entry(self) -> Entry:
        """The decoded block; it was verified before it was stored."""
        return decode_entry(self.block)


class StoredLog:
    """A log that is read lazily: opening it costs its heads, whatever its length."""

    def __init__(self, records: Records, address: str) -> None:
        self.address = address
        self.key = Cid.parse(address.split("/")[2]).digest[:LOG_KEY]
        self._records = records
        self._index = RangeIndex(
            lambda path: records.get(INDEX + self.key + path.encode()),
            lambda path, value: records.put(INDEX + self.key + path.encode(), value),
        )
        self.heads: dict[Cid, int] = {}
        self._newest: list[tuple[str, Cid]] = []  # the last 64 in order, newest first
        self._unindexed: list[Position] = []  # inserted by the open transaction
        self._graph: OrderedDict[Cid, tuple[Position, tuple[Cid, ...]]] = OrderedDict()
        self.reload()

    @property
    def index(self) -> RangeIndex:
        """The range index, with everything that was inserted."""
        self.flush()
        return self._index

    def flush(self) -> None:
        """Write what the open transaction inserted into the index: each node once, however many entries came."""
        if self._unindexed:
            positions, self._unindexed = self._unindexed, []
            self._index.insert(positions)

    def reload(self) -> None:
        """Read heads and the newest positions again (at opening, and after a commit that failed)."""
        self._unindexed.clear()
        self._graph.clear()
        self._index.forget()
        prefix = HEAD + self.key
        self.heads = {
            Cid(DAG_CBOR + key[len(prefix) :]): int.from_bytes(value, "big")
            for key, value in self._records.scan(prefix)
        }
        newest = self.index.paths(reverse=True)
        self._newest = [(path, cid_of(path)) for path, _ in zip(newest, range(REFERENCE_COUNT), strict=False)]

    def time_of(self, cid: Cid) -> int | None:
        """The effective time of an entry that is here; 0 for one that is refused; None if it is unknown."""
        value = self._records.get(ENTRY + self.key + cid.digest)
        if value is not None:
            return int.from_bytes(value[:4], "big")
        return 0 if self._records.get(REFUSED + self.key + cid.digest) is not None else None

    def __contains__(self, cid: Cid) -> bool:
        return self.time_of(cid) is not None

    def lacking(self, cids: Iterable[Cid]) -> list[Cid]:
        """Those that are neither here nor refused: one look for each that is nowhere."""
        return [cid for cid in cids if self._records.get(PLACE + cid.digest) is None or cid not in self]

    def __len__(self) -> int:
        return self.index.summary().count

    def get(self, cid: Cid) -> StoredEntry | None:
        """An entry, or None."""
        value = self._records.get(ENTRY + self.key + cid.digest)
        if value is None:
            return None
        return StoredEntry(Position.of(int.from_bytes(value[:4], "big"), cid), value[4:])

    def block(self, cid: Cid) -> bytes | None:
        """The block of an entry, also of a refused one: others need it to judge for themselves."""
        found = self.get(cid)
        return found.block if found else self._records.get(REFUSED + self.key + cid.digest)

    def insert(self, entry: Entry, block: bytes) -> Position:
        """Add a verified entry whose parents are here, within a transaction."""
        return self.insert_many([(entry, block)])[0]

    def insert_many(self, entries: Iterable[tuple[Entry, bytes]]) -> list[Position]:
        """Add verified entries, parents before children, none of them here yet, within a transaction."""
        positions = []
        for entry, block in entries:
            parents = [self.time_of(parent) or 0 for parent in entry.next]
            position = Position.of(effective_time(parents), entry.cid)
            self._records.put(ENTRY + self.key + entry.cid.digest, position.time.to_bytes(4, "big") + block)
            self._records.put(PLACE + entry.cid.digest, self.key)
            self._move_heads(entry, position.time)
            self._remember(position, entry)
            positions.append(position)
        self._unindexed += positions
        self._newest += [(path_of(position), Cid(DAG_CBOR + position.digest)) for position in positions]
        self._newest = sorted(self._newest, reverse=True)[:REFERENCE_COUNT]
        return positions

    def _move_heads(self, entry: Entry, time: int) -> None:
        for parent in entry.next:
            if self.heads.pop(parent, None) is not None:
                self._records.delete(HEAD + self.key + parent.digest)
        self.heads[entry.cid] = time
        self._records.put(HEAD + self.key + entry.cid.digest, time.to_bytes(4, "big"))

    def refuse(self, cid: Cid, block: bytes) -> None:
        """Remember an ancestor that breaks the rules, so that it does not stand before its descendants."""
        self._records.put(REFUSED + self.key + cid.digest, block)
        if self._records.get(PLACE + cid.digest) is None:
            self._records.put(PLACE + cid.digest, self.key)

    def refused(self) -> list[Cid]:
        """Ancestors that were refused: who gets the log needs them to judge for itself."""
        prefix = REFUSED + self.key
        return [Cid(DAG_CBOR + key[len(prefix) :]) for key, _ in self._records.scan(prefix)]

    @property
    def newest(self) -> str:
        """The path of the newest entry; an empty text while there is none."""
        return self._newest[0][0] if self._newest else ""

    def next_links(self) -> tuple[tuple[Cid, ...], tuple[Cid, ...], int]:
        """Parents, shortcuts and clock time of the next append: newest head last, as Go writes them."""
        heads = sorted(self.heads, key=lambda cid: Position.of(self.heads[cid], cid))
        time = 1 + max(self.heads.values(), default=0)
        return tuple(heads), choose_references([cid for _, cid in self._newest], heads), time

    def position(self, cid: Cid) -> Position | None:
        """Where an entry stands; None if it is not here, or refused."""
        found = self._graph_of(cid)
        return found[0] if found else None

    def parents(self, cid: Cid) -> tuple[Cid, ...]:
        """The parents of an entry; none if it is not here."""
        found = self._graph_of(cid)
        return found[1] if found else ()

    def _graph_of(self, cid: Cid) -> tuple[Position, tuple[Cid, ...]] | None:
        if cid in self._graph:
            return self._graph[cid]
        if (stored := self.get(cid)) is None:
            return None
        return self._remember(stored.position, stored.entry)

    def _remember(self, position: Position, entry: Entry) -> tuple[Position, tuple[Cid, ...]]:
        self._graph[entry.cid] = known = (position, entry.next)
        if len(self._graph) > GRAPH_CACHE:
            self._graph.popitem(last=False)
        return known

    def starting_with(self, digest: bytes) -> list[Cid]:
        """Up to two entries whose digest starts so."""
        found = self._records.scan(ENTRY + self.key + digest)  # with what the open transaction inserted
        return [Cid(DAG_CBOR + key[-32:]) for key, _ in found[:2]]

    def reached(self, heads: Iterable[Cid], wanted: Iterable[Cid], limit: int = MAX_WALK) -> list[Cid]:
        """Those of `wanted` that are among `heads` or their ancestors, as far as reading so many entries tells."""
        heads = [cid for cid in heads if cid in self]
        sought = {cid: time for cid in wanted if (time := self.time_of(cid)) is not None}
        if self.heads.keys() <= set(heads):
            return list(sought)
        earliest = min(sought.values(), default=0)
        walk = [(-(self.time_of(cid) or 0), cid) for cid in dict.fromkeys(heads)]
        heapq.heapify(walk)
        seen, found = set(heads), list[Cid]()
        while walk and len(found) < len(sought) and limit > 0:
            time, cid = heapq.heappop(walk)
            limit -= 1
            if cid in sought:
                found.append(cid)
            for parent in self.parents(cid) if -time > earliest else ():
                if parent not in seen:
                    seen.add(parent)
                    heapq.heappush(walk, (-(self.time_of(parent) or 0), parent))
        return found

    def find(self, digest: bytes) -> Cid | None:
        """The entry whose digest starts with these bytes (16 or more), or the refused one, which others need too."""
        for place in (ENTRY, REFUSED):
            start = place + self.key + digest
            if found := self._records.store.scan(start, after_prefix(start), limit=1):
                return Cid(DAG_CBOR + found[0][0][-32:])
        return None

    def cids(self, *, reverse: bool = False) -> Iterator[Cid]:
        """All entries in the log's order (or against it), read as they are asked for."""
        return map(cid_of, self.index.paths(reverse=reverse))

    def read(self, cid: Cid) -> StoredEntry:
        """An entry that must be there."""
        found = self.get(cid)
        if found is None:
            raise StoreCorrupt(f"the store lost entry {cid}")
        return found
