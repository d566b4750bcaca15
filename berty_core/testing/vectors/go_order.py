"""The order that go-ipfs-log gives a log, modelled to check recordings (IPFS log, sections 2.3 to 2.9).

Nothing else may use it: with equal clocks it depends on the order of arrival, so replicas differ. Ours is in
`protocol.log`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import attrs

from ...codec.cid import Cid
from ...protocol.entry import Entry, LogIdentity, sign_entry

_BLOCK = 20


def before(left: Entry, right: Entry) -> bool:
    """Whether a descending sort puts `left` first: by time, then clock id; of equal ones always (section 2.3)."""
    return (left.time, left.clock_id) >= (right.time, right.clock_id)


def sort_descending(items: Iterable[Entry]) -> list[Entry]:
    """Go's `sort.SliceStable` under a comparison that is not one: insertion sort in blocks, then SymMerge."""
    data = list(items)
    for start in range(0, len(data), _BLOCK):
        _insertion(data, start, min(start + _BLOCK, len(data)))
    size = _BLOCK
    while size < len(data):
        for start in range(0, len(data) - size, 2 * size):
            _merge(data, start, start + size, min(start + 2 * size, len(data)))
        size *= 2
    return data


def _insertion(data: list[Entry], start: int, end: int) -> None:
    for index in range(start + 1, end):
        place = index
        while place > start and before(data[place], data[place - 1]):
            data[place - 1], data[place] = data[place], data[place - 1]
            place -= 1


def _lowest(start: int, end: int, behind: Callable[[int], bool]) -> int:
    """The lowest place from `start` that is not `behind`, by halving."""
    while start < end:
        middle = (start + end) // 2
        if behind(middle):
            start = middle + 1
        else:
            end = middle
    return start


def _rotate(data: list[Entry], start: int, middle: int, end: int) -> None:
    data[start:end] = data[middle:end] + data[start:middle]


def _merge(data: list[Entry], a: int, m: int, b: int) -> None:
    """SymMerge of [a, m) and [m, b), with its letters."""
    if m - a == 1:
        i = _lowest(m, b, lambda h: before(data[h], data[a]))
        _rotate(data, a, a + 1, i)
        return
    if b - m == 1:
        i = _lowest(a, m, lambda h: not before(data[m], data[h]))
        _rotate(data, i, m, m + 1)
        return
    mid = (a + b) // 2
    n = mid + m
    start, r = (n - b, mid) if m > mid else (a, m)
    p = n - 1
    start = _lowest(start, r, lambda c: not before(data[p - c], data[c]))
    end = n - start
    if start < m < end:
        _rotate(data, start, m, end)
    if a < start < mid:
        _merge(data, a, start, mid)
    if mid < end < b:
        _merge(data, mid, end, b)


def traverse(entries: Mapping[Cid, Entry], roots: Iterable[Entry], amount: int = -1) -> list[Entry]:
    """Newest first, along `next` (section 2.6)."""
    stack = sort_descending(roots)
    result: list[Entry] = []
    seen: set[Cid] = set()
    while stack and (amount < 0 or len(result) < amount):
        entry = stack.pop(0)
        result.append(entry)
        seen.add(entry.cid)
        fresh = [cid for cid in entry.next if cid in entries and cid not in seen]
        for cid in dict.fromkeys(fresh):
            stack.insert(0, entries[cid])
            seen.add(cid)
        if fresh:
            stack = sort_descending(stack)
    return result


def values(entries: Mapping[Cid, Entry], raw_heads: Iterable[Entry]) -> list[Entry]:
    """A whole log, oldest first."""
    return traverse(entries, raw_heads)[::-1]


def find_heads(entries: Iterable[Entry]) -> list[Entry]:
    """Entries that none of the others names as parent (section 2.7)."""
    kept = list(entries)
    named = {cid for entry in kept for cid in entry.next}
    return sorted((entry for entry in kept if entry.cid not in named), key=lambda entry: entry.clock_id)


def references(entries: Mapping[Cid, Entry], heads: list[Entry], count: int) -> tuple[Cid, ...]:
    """The `refs` of an append whose sorted heads are given (section 2.5: they are sorted a second time)."""
    found = traverse(entries, heads, max(count, len(heads)))
    taken, distance = [], 1
    while distance <= min(count, len(found)):
        taken.append(found[distance - 1].cid)
        distance *= 2
    if found and len(found) < count:
        taken.append(found[-1].cid)
    parents = {head.cid for head in heads}
    return tuple(dict.fromkeys(cid for cid in taken if cid not in parents))


@attrs.define
class GoLog:
    """One replica's log with its insertion order, as go-ipfs-log keeps it."""

    identity: LogIdentity
    log_id: str
    pointers: int
    make: Callable[..., tuple[Entry, bytes]] = sign_entry
    entries: dict[Cid, Entry] = attrs.field(factory=dict)
    raw_heads: list[Entry] = attrs.field(factory=list)
    time: int = 0

    @property
    def heads(self) -> list[Entry]:
        """Sorted heads."""
        return sort_descending(self.raw_heads)

    @property
    def values(self) -> list[Entry]:
        """All entries, oldest first."""
        return values(self.entries, self.raw_heads)

    def append(self, value: bytes) -> Entry:
        """Sign the next entry (section 2.5)."""
        heads = self.heads
        self.time = max([self.time, *(head.time for head in heads)]) + 1
        parents = tuple(head.cid for head in reversed(heads))
        refs = references(self.entries, heads, self.pointers)
        entry, _ = self.make(self.identity, self.log_id, value, parents, refs, self.time)
        self.entries[entry.cid] = entry
        self.raw_heads = [entry]
        return entry

    def join(self, other: GoLog) -> None:
        """Take in another replica (sections 2.8 and 2.9)."""
        new = difference(other.entries, other.raw_heads, self.entries)
        self.entries.update({entry.cid: entry for entry in new})
        named = {cid for entry in self.entries.values() for cid in entry.next}
        united = {head.cid: head for head in [*self.raw_heads, *other.raw_heads]}
        self.raw_heads = [head for head in find_heads(united.values()) if head.cid not in named]
        self.time = max([self.time, *(head.time for head in self.raw_heads)])


def difference(entries: Mapping[Cid, Entry], heads: Iterable[Entry], own: Mapping[Cid, Entry]) -> list[Entry]:
    """What a log has and `own` lacks, breadth first from its heads (section 2.8)."""
    queue = [head.cid for head in heads]
    traversed, result = set(queue), list[Entry]()
    while queue:
        cid = queue.pop(0)
        if cid not in entries or cid in own:
            continue
        result.append(entries[cid])
        for parent in entries[cid].next:
            if parent not in traversed and parent not in own:
                traversed.add(parent)
                queue.append(parent)
    return result
