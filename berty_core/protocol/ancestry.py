"""Walks over the graph of a log from its newest entries down, in the log's own order.

Invariant: an entry is reached after all its descendants, since it stands before each of them; so a walk ends as soon
as nothing it looks for can follow.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Protocol

import attrs

from ..codec.cid import Cid
from .log import Position

MAX_WALK = 65536  # entries that one walk looks at


class Graph(Protocol):
    """What a walk reads of a log."""

    def position(self, cid: Cid) -> Position | None:
        """Where an entry stands; None if it is not in the log."""

    def parents(self, cid: Cid) -> tuple[Cid, ...]:
        """The parents of an entry that is in the log."""


@attrs.define(order=True)
class _Step:
    """A place in the heap: the newest first."""

    backwards: tuple[int, int]
    cid: Cid = attrs.field(order=False)


class _Walk:
    """Entries from the newest down, each once."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._heap: list[_Step] = []
        self._seen: set[Cid] = set()

    def add(self, cid: Cid) -> bool:
        """Walk over this entry too; False if it was seen or is not in the log."""
        if cid in self._seen or (position := self._graph.position(cid)) is None:
            return False
        self._seen.add(cid)
        heapq.heappush(self._heap, _Step((-position.time, -int.from_bytes(position.digest, "big")), cid))
        return True

    def __iter__(self) -> Iterator[Cid]:
        for _ in range(MAX_WALK):
            if not self._heap:
                return
            yield heapq.heappop(self._heap).cid


def newest_ancestors(graph: Graph, starts: Iterable[Cid], count: int) -> list[Cid]:
    """The newest `count` of some entries and all that they descend from, newest first."""
    walk, found = _Walk(graph), list[Cid]()
    for cid in starts:
        walk.add(cid)
    for cid in walk:
        found.append(cid)
        if len(found) == count:
            break
        for parent in graph.parents(cid):
            walk.add(parent)
    return found


def not_descended_from(graph: Graph, heads: Iterable[Cid], known: Iterable[Cid]) -> list[Cid]:
    """What `heads` descend from (and themselves) and `known` do not, oldest first.

    Where it is more than `MAX_WALK` entries back to what is known, only the newest are found.
    """
    walk, held, found = _Walk(graph), set(known), list[Cid]()
    for cid in held:
        walk.add(cid)
    wanted = {cid for cid in heads if walk.add(cid)}  # those in the walk that are not known to be held
    for cid in walk if wanted else ():
        if cid in held:
            held.update(graph.parents(cid))
            wanted.difference_update(held.intersection(graph.parents(cid)))
        else:
            wanted.discard(cid)
            found.append(cid)
        wanted.update(parent for parent in graph.parents(cid) if walk.add(parent) and parent not in held)
        if not wanted:
            break
    return found[::-1]
