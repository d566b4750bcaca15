"""The one order of a log: the same on every replica, and no lie about a clock moves what others wrote."""

from __future__ import annotations

import random

import attrs
from hypothesis import given
from hypothesis import strategies as st

from berty_core.codec.cid import Cid
from berty_core.protocol.log import Position, choose_references, effective_time


@attrs.frozen
class Node:
    """An entry as far as its order goes."""

    cid: Cid
    time: int
    parents: tuple[int, ...]


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    """A graph of entries; parents come before children, clocks say anything."""
    nodes: list[Node] = []
    for index in range(draw(st.integers(1, 14))):
        parents = draw(st.sets(st.integers(0, index - 1), max_size=3)) if index else set()
        time = draw(st.integers(-5, 20) | st.sampled_from([0, 2**40, 2**63 - 1, -(2**63)]))
        nodes.append(Node(Cid.of(bytes([index])), time, tuple(sorted(parents))))
    return nodes


def order(nodes: list[Node], arrival: list[int]) -> list[Cid]:
    """The log that a replica shows after this order of arrival: entries wait for their parents."""
    times: dict[int, int] = {}
    waiting = list(arrival)
    while waiting:
        ready = [index for index in waiting if all(parent in times for parent in nodes[index].parents)]
        for index in ready:
            times[index] = effective_time([times[parent] for parent in nodes[index].parents])
        waiting = [index for index in waiting if index not in times]
    return [nodes[index].cid for index in sorted(times, key=lambda i: Position.of(times[i], nodes[i].cid))]


@given(graphs(), st.randoms(use_true_random=False))
def test_arrival_does_not_matter(nodes: list[Node], chance: random.Random) -> None:
    """Every order of arrival gives one order of the log."""
    arrival = list(range(len(nodes)))
    straight = order(nodes, arrival)
    chance.shuffle(arrival)
    assert order(nodes, arrival) == straight


@given(graphs(), st.data())
def test_a_huge_clock_moves_nothing_else(nodes: list[Node], data: st.DataObject) -> None:
    """A liar without children stands no later than right behind its parents, and the others stay as they were."""
    liar = data.draw(st.sampled_from([i for i in range(len(nodes)) if all(i not in n.parents for n in nodes)]))
    honest = [cid for cid in order(nodes, list(range(len(nodes)))) if cid != nodes[liar].cid]
    nodes[liar] = attrs.evolve(nodes[liar], time=2**63 - 1)
    assert [cid for cid in order(nodes, list(range(len(nodes)))) if cid != nodes[liar].cid] == honest


@given(st.lists(st.integers(0, 2**31), max_size=5))
def test_effective_time_follows_the_parents(parents: list[int]) -> None:
    """One more than the latest parent: an entry stands behind everything that it knew, whatever its clock says."""
    assert effective_time(parents) == 1 + max(parents, default=0)


@given(graphs())
def test_an_entry_stands_behind_its_parents(nodes: list[Node]) -> None:
    """No clock, however small, moves an entry before what it descends from."""
    places = {cid: place for place, cid in enumerate(order(nodes, list(range(len(nodes)))))}
    assert all(places[nodes[parent].cid] < places[node.cid] for node in nodes for parent in node.parents)


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.binary(min_size=32, max_size=32)), max_size=8))
def test_packed_positions_sort_alike(values: list[tuple[int, bytes]]) -> None:
    """36 packed bytes have the order of the positions, and read back."""
    positions = [Position(time, digest) for time, digest in values]
    assert sorted(positions) == [Position.unpack(data) for data in sorted(p.pack() for p in positions)]
    assert all(len(position.pack()) == 36 for position in positions)


def test_references_of_a_line() -> None:
    """Distances 2, 4, 8 … and the oldest of a short log (IPFS log, section 2.5, with its two examples)."""
    cids = [Cid.of(bytes([index])) for index in range(70)]

    def chosen(previous: int) -> list[int]:
        newest = [cids[index] for index in range(previous - 1, -1, -1)][:64]
        return [cids.index(cid) for cid in choose_references(newest, [cids[previous - 1]])]

    assert chosen(33) == [31, 29, 25, 17, 1, 0]
    assert chosen(65) == [63, 61, 57, 49, 33, 1]
    assert choose_references([], []) == ()
    assert chosen(1) == []


@given(st.integers(0, 80), st.integers(1, 64), st.integers(0, 5))
def test_references_are_few_and_distinct(length: int, count: int, heads: int) -> None:
    """No parent and no entry twice, and no more than the distances allow."""
    newest = [Cid.of(bytes([index])) for index in range(length)][:count]
    refs = choose_references(newest, newest[:heads], count)
    assert len(set(refs)) == len(refs) <= count.bit_length() + 1
    assert not set(refs) & set(newest[:heads])
