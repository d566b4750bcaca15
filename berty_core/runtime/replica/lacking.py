"""What a log has that some readers lack, found from their heads: it costs what is lacking, not the history."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence

from ...codec.cid import Cid
from .stored_log import StoredLog


def lacking(log: StoredLog, readers: Sequence[Collection[Cid]]) -> list[Cid]:
    """Entries that at least one reader lacks, and refused ancestors, parents first; all of them without readers.

    Each reader is given by entries that it holds, and with these it holds their ancestors. What is not in the log
    says nothing.
    """
    if not any(any(log.time_of(cid) is not None for cid in held) for held in readers):
        return [*log.refused(), *log.cids()]
    return _walk(log, readers)


def holds(log: StoredLog, heads: Collection[Cid], wanted: Collection[Cid]) -> set[Cid]:
    """Those of `wanted` (entries of the log) that are these heads, or ancestors of them."""
    return set(wanted) - set(_walk(log, [heads]))


def _walk(log: StoredLog, readers: Sequence[Collection[Cid]]) -> list[Cid]:
    """Go down from the heads, latest first, so that all children of an entry have been seen before it."""
    all_hold = (1 << len(readers)) - 1
    holders: dict[Cid, int] = dict.fromkeys(log.heads, 0)
    for number, held in enumerate(readers):
        for cid in held:
            if log.time_of(cid) is not None:
                holders[cid] = holders.get(cid, 0) | 1 << number
    queue = [(-(log.time_of(cid) or 0), cid) for cid in holders]
    heapq.heapify(queue)
    open_ends = sum(mask != all_hold for mask in holders.values())
    found: list[tuple[int, Cid]] = []
    while open_ends:
        time, cid = heapq.heappop(queue)
        mask = holders[cid]
        if mask != all_hold:
            open_ends -= 1
            found.append((-time, cid))
        for parent in _parents(log, cid):
            before = holders.get(parent)
            after = (before or 0) | mask
            holders[parent] = after
            if before is None:
                heapq.heappush(queue, (-(log.time_of(parent) or 0), parent))
                open_ends += after != all_hold
            elif before != all_hold and after == all_hold:
                open_ends -= 1
    return [cid for _, cid in sorted(found)]


def _parents(log: StoredLog, cid: Cid) -> tuple[Cid, ...]:
    """Parents of an entry; those of a refused one were never asked for."""
    stored = log.get(cid)
    return stored.entry.next if stored is not None else ()
