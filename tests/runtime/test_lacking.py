"""What readers lack is found from heads as it would be by comparing whole sets."""

from __future__ import annotations

import random

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from berty_core.codec.cid import Cid
from berty_core.crypto.keys import PrivateKey
from berty_core.crypto.vault import Vault
from berty_core.protocol.entry import Entry, LogIdentity, sign_entry
from berty_core.protocol.group import BERTY, LogKind, new_group
from berty_core.runtime.replica.lacking import holds, lacking
from berty_core.runtime.replica.records import Records
from berty_core.runtime.replica.stored_log import StoredLog
from berty_core.testing.memory_store import MemoryStore

GROUP = new_group(random.Random(1).randbytes)[0]
IDENTITY = LogIdentity.of(PrivateKey(GROUP.signing_key.seed))
ADDRESS = GROUP.address(BERTY, LogKind.METADATA).text
Shape = list[list[int]]
shapes = st.lists(st.lists(st.integers(1, 6), max_size=3), max_size=25)


@attrs.frozen
class Graph:
    """A log, its entries in the order in which they were made, and what each of them descends from."""

    log: StoredLog
    cids: list[Cid]
    ancestors: dict[Cid, set[Cid]]


def grow(shape: Shape) -> Graph:
    """Make a log: each entry names its parents by how many entries back they are."""
    log = StoredLog(Records(MemoryStore(), Vault(bytes(32), random.Random(2).randbytes)), ADDRESS)
    cids: list[Cid] = []
    ancestors: dict[Cid, set[Cid]] = {}
    pairs: list[tuple[Entry, bytes]] = []
    for number, back in enumerate(shape):
        parents = tuple(dict.fromkeys(cids[-each] for each in back if each <= len(cids)))
        pairs.append(sign_entry(IDENTITY, ADDRESS, b"%d" % number, parents, (), 1))
        cids.append(pairs[-1][0].cid)
        ancestors[cids[-1]] = {cids[-1]}.union(*(ancestors[parent] for parent in parents))
    with log._records.write(durable=False):
        log.insert_many(pairs)
        log.flush()
    return Graph(log, cids, ancestors)


@given(shapes, st.lists(st.lists(st.integers(0, 12), max_size=4), max_size=3))
@settings(max_examples=200, deadline=None)
def test_as_by_comparing_sets(shape: Shape, readers: list[list[int]]) -> None:
    """An entry is lacking unless each reader holds it or a descendant; what nobody knows here says nothing."""
    graph = grow(shape)
    unknown = Cid.of(b"of somebody else")
    held = [{graph.cids[n] if n < len(graph.cids) else unknown for n in reader} for reader in readers]
    found = lacking(graph.log, held)
    closures = [set[Cid]().union(*(graph.ancestors.get(cid, set()) for cid in reader)) for reader in held]
    expected = {cid for cid in graph.cids if not closures or not all(cid in closure for closure in closures)}
    assert set(found) == expected
    assert len(found) == len(expected)
    place = {cid: number for number, cid in enumerate(found)}
    for cid in found:
        assert all(place[other] < place[cid] for other in graph.ancestors[cid] - {cid} if other in place)


@given(shapes, st.integers(0, 30), st.lists(st.integers(0, 30), max_size=6))
@settings(max_examples=40, deadline=None)
def test_what_heads_hold(shape: Shape, head: int, wanted: list[int]) -> None:
    """Of some entries those are held that the head descends from."""
    graph = grow([*shape, []])
    top = graph.cids[head % len(graph.cids)]
    asked = {graph.cids[n % len(graph.cids)] for n in wanted}
    assert holds(graph.log, [top], asked) == asked & graph.ancestors[top]


def test_an_entry_that_turns_out_to_be_held() -> None:
    """A parent of a lacking entry that a reader holds by another child is not lacking, whichever comes first."""
    for seed in range(8):
        graph = grow([[], *[[1 + number] for number in range(2 + seed)]])  # a fan: all name the first entry
        for held in graph.cids[1:]:
            assert set(lacking(graph.log, [{held}])) == set(graph.cids) - {held, graph.cids[0]}


def test_it_costs_what_is_lacking() -> None:
    """Of a long history only the end is read."""
    graph = grow([[1]] * 300)
    read: list[Cid] = []
    real = graph.log.get
    graph.log.get = lambda cid: read.append(cid) or real(cid)  # type: ignore[method-assign, func-returns-value]
    assert lacking(graph.log, [{graph.cids[-3]}]) == graph.cids[-2:]
    assert len(read) < 10
