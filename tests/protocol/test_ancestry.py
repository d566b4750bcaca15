"""Walks over graphs give what sets say."""

from __future__ import annotations

import random

import attrs
import pytest

from berty_core.codec.cid import DAG_CBOR, Cid
from berty_core.protocol import ancestry
from berty_core.protocol.ancestry import newest_ancestors, not_descended_from
from berty_core.protocol.log import Position, effective_time


@attrs.define
class RandomGraph:
    """So many entries, each upon some of the newest before it."""

    places: dict[Cid, Position] = attrs.field(factory=dict)
    edges: dict[Cid, tuple[Cid, ...]] = attrs.field(factory=dict)
    visits: int = 0

    @classmethod
    def of(cls, size: int, chance: random.Random) -> RandomGraph:
        """Make one."""
        graph = cls()
        for _ in range(size):
            near = list(graph.places)[-6:]
            graph.add(
                tuple(chance.sample(near, min(len(near), chance.randint(0 if chance.random() < 0.1 else 1, 3)))), chance
            )
        return graph

    def add(self, parents: tuple[Cid, ...], chance: random.Random) -> Cid:
        """Add an entry."""
        cid = Cid(DAG_CBOR + chance.randbytes(32))
        self.edges[cid] = parents
        self.places[cid] = Position.of(effective_time(self.places[parent].time for parent in parents), cid)
        return cid

    def position(self, cid: Cid) -> Position | None:
        """Where an entry stands."""
        return self.places.get(cid)

    def parents(self, cid: Cid) -> tuple[Cid, ...]:
        """Its parents."""
        self.visits += 1
        return self.edges[cid]

    def descent(self, starts: list[Cid]) -> set[Cid]:
        """All that these descend from, and themselves."""
        found: set[Cid] = set()
        todo = [cid for cid in starts if cid in self.edges]
        while todo:
            cid = todo.pop()
            if cid not in found:
                found.add(cid)
                todo += self.edges[cid]
        return found

    @property
    def heads(self) -> list[Cid]:
        """Entries without children."""
        parents = {parent for edges in self.edges.values() for parent in edges}
        return [cid for cid in self.edges if cid not in parents]


@pytest.mark.parametrize("seed", range(100))
def test_walks_agree_with_sets(seed: int) -> None:
    """The difference of two histories, and the newest of one, in order."""
    chance = random.Random(seed)
    graph = RandomGraph.of(chance.randint(1, 60), chance)
    every = list(graph.edges)
    known = [*chance.sample(every, chance.randint(0, min(4, len(every)))), Cid(DAG_CBOR + chance.randbytes(32))]
    place = graph.places.__getitem__
    wanted = sorted(graph.descent(graph.heads) - graph.descent(known), key=place)
    assert not_descended_from(graph, graph.heads, known) == wanted
    assert newest_ancestors(graph, known, 10) == sorted(graph.descent(known), key=place, reverse=True)[:10]


def test_a_walk_looks_at_the_difference_only() -> None:
    """The work grows with what is missing, not with the history."""
    chance = random.Random(1)
    graph = RandomGraph()
    cid = graph.add((), chance)
    chain = [cid := graph.add((cid,), chance) for _ in range(1000)]
    assert not_descended_from(graph, [chain[-1]], [chain[-4]]) == chain[-3:]
    assert graph.visits < 20
    assert not_descended_from(graph, [chain[-1]], [chain[-1]]) == []


@pytest.mark.parametrize("seed", range(10))
def test_a_common_past_is_not_walked(seed: int) -> None:
    """Where two branches meet in the past the walk ends, from whichever side that place was seen first."""
    chance = random.Random(seed)
    graph = RandomGraph()
    cid = graph.add((), chance)
    past = [cid := graph.add((cid,), chance) for _ in range(500)]
    known = graph.add((past[-1],), chance)
    side = graph.add((past[-2],), chance)
    new = graph.add((graph.add((known,), chance), side), chance)
    assert set(not_descended_from(graph, [new], [known])) == graph.descent([new]) - graph.descent([known])
    assert graph.visits < 30


def test_a_walk_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is missing, so many entries are looked at and no more."""
    monkeypatch.setattr(ancestry, "MAX_WALK", 10)
    chance = random.Random(1)
    graph = RandomGraph.of(100, chance)
    assert len(not_descended_from(graph, graph.heads, [])) <= 10
