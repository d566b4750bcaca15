"""The range index against a sorted list that does the same by counting: for any set, in any order, in any batches."""

from __future__ import annotations

import hashlib
import random
import time
from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berty_core.codec.cid import DAG_CBOR, Cid
from berty_core.errors import RemoteProtocolError
from berty_core.protocol.log import Position
from berty_core.protocol.range_index import (
    EMPTY,
    FINGERPRINT_LENGTH,
    LEAF,
    MAX_PATH,
    RangeIndex,
    Summary,
    check_path,
    cid_of,
    element_hash,
    path_of,
    position_of,
)

# Times and digests that share beginnings, so that the trie gets deep with few of them.
TIMES = st.one_of(st.integers(1, 40), st.integers(0, 2**32 - 1))
DIGESTS = st.builds(lambda head, tail: (head + tail).ljust(32, b"\0"), st.binary(max_size=2), st.binary(max_size=2))
POSITIONS = st.builds(Position, TIMES, DIGESTS)
SETS = st.sets(POSITIONS, max_size=150)


class Nodes:
    """A store of nodes that counts its calls."""

    def __init__(self) -> None:
        self.records: dict[str, bytes] = {}
        self.reads = self.writes = 0

    def get(self, path: str) -> bytes | None:
        self.reads += 1
        return self.records.get(path)

    def put(self, path: str, value: bytes) -> None:
        self.writes += 1
        self.records[path] = value

    def index(self) -> RangeIndex:
        """An index over what is stored, with nothing in memory."""
        return RangeIndex(self.get, self.put)


def built(positions: list[Position], batches: int = 1) -> tuple[Nodes, RangeIndex]:
    """An index of these positions, inserted in so many batches."""
    nodes = Nodes()
    index = nodes.index()
    size = max(1, -(-len(positions) // batches))
    for start in range(0, len(positions), size):
        index.insert(positions[start : start + size])
    return nodes, index


def counted(paths: list[str]) -> Summary:
    """Count and fingerprint the slow way."""
    if not paths:
        return EMPTY
    total = sum(map(element_hash, paths)) % (1 << 4096)
    data = len(paths).to_bytes(8, "big") + total.to_bytes(512, "big")
    return Summary(len(paths), hashlib.sha256(data).digest())


def spread(count: int, seed: int = 1) -> list[Position]:
    """A log whose entries have times of their own."""
    made = random.Random(seed)
    return [Position(1 + number, made.randbytes(32)) for number in range(count)]


@given(st.lists(POSITIONS, min_size=2, max_size=2))
def test_paths_stand_in_the_order_of_positions(pair: list[Position]) -> None:
    """A path can be read back, names the entry, and sorts as text where its position stands."""
    one, other = pair
    assert position_of(path_of(one)) == one
    assert cid_of(path_of(one)) == Cid(DAG_CBOR + one.digest)
    assert (path_of(one) < path_of(other)) == (one < other)
    assert len(path_of(one)) <= MAX_PATH


@settings(max_examples=60, deadline=None)
@given(SETS, st.randoms(use_true_random=False), st.integers(1, 6))
def test_any_order_and_batches_give_the_same_nodes(
    positions: set[Position], shuffled: random.Random, batches: int
) -> None:
    """The shape, the sums and the bytes of every record follow from the set alone."""
    ordered = sorted(positions)
    mixed = list(ordered)
    shuffled.shuffle(mixed)
    first, _ = built(ordered)
    second, _ = built(mixed, batches)
    assert first.records == second.records


@settings(max_examples=60, deadline=None)
@given(SETS, st.lists(st.text("0123456789abcdef", max_size=6), max_size=6), st.booleans())
def test_ranges_are_what_counting_gives(positions: set[Position], prefixes: list[str], fresh: bool) -> None:
    """Summaries, children and paths of any prefix, also of those that end within a leaf or lead nowhere."""
    nodes, index = built(list(positions), 3)
    index = nodes.index() if fresh else index
    paths = sorted(map(path_of, positions))
    for prefix in ["", *prefixes, *(path[:length] for path in paths[:3] for length in (1, 3, 5, 40, len(path)))]:
        below = [path for path in paths if path.startswith(prefix)]
        assert index.summary(prefix) == counted(below)
        assert list(index.paths(prefix)) == below
        assert list(index.paths(prefix, reverse=True)) == below[::-1]
        children = {path[: len(prefix) + 1] for path in below if len(path) > len(prefix)}
        assert index.children(prefix) == [
            (child, counted([path for path in below if path.startswith(child)])) for child in sorted(children)
        ]
        deeper = index.descend(prefix)
        assert deeper.startswith(prefix)
        assert list(index.paths(deeper)) == below


@settings(max_examples=60, deadline=None)
@given(SETS.filter(bool), st.integers(0, 4), st.data())
def test_what_lies_outside_of_ranges(positions: set[Position], depth: int, data: st.DataObject) -> None:
    """The prefixes that are given back cover exactly what is within and in none of the ranges, once."""
    _, index = built(list(positions))
    within = path_of(data.draw(st.sampled_from(sorted(positions))))[:depth]
    assert list(index.outside(within, [within])) == list(index.outside(within, ["", within])) == []
    assert list(index.outside(within, [])) == [within]
    below = [path for path in sorted(map(path_of, positions)) if path.startswith(within)]
    cuts = [path[:length] for path in below for length in range(len(within), 8)] + [within + "0", within + "f" * 70]
    ranges = sorted(data.draw(st.sets(st.sampled_from(cuts), max_size=8)))
    found = [path for prefix in index.outside(within, ranges) for path in index.paths(prefix)]
    assert found == [path for path in below if not path.startswith(tuple(ranges) or ("x",))]


def test_what_lies_outside_in_a_larger_log() -> None:
    """The same where ranges are nodes, parts of leaves, or everything."""
    paths = sorted(map(path_of, spread(500)))
    _, index = built(spread(500))
    for ranges in ([""], ["3"], ["31", "312", "32"], ["1", "2", "3"], ["310", paths[400]], [paths[0][:9], paths[-1]]):
        found = [path for prefix in index.outside("", ranges) for path in index.paths(prefix)]
        assert found == [path for path in paths if not path.startswith(tuple(ranges))]
    assert list(index.outside("31", ["31"])) == []
    assert len(list(index.outside("", ["31"]))) < 20


@settings(max_examples=60, deadline=None)
@given(SETS, POSITIONS, POSITIONS)
def test_counts_between_any_two_positions(positions: set[Position], start: Position, stop: Position) -> None:
    """As many as a sorted list has there; none if the first is behind the second."""
    _, index = built(list(positions))
    ordered = sorted(positions)
    assert index.count_between(start, stop) == max(0, bisect_left(ordered, stop) - bisect_left(ordered, start))


@given(SETS.filter(bool), st.data())
@settings(max_examples=30, deadline=None)
def test_one_position_more_changes_every_range_around_it(positions: set[Position], data: st.DataObject) -> None:
    """Two sets that differ have different fingerprints in each range that holds the difference, and only there."""
    extra = data.draw(st.sampled_from(sorted(positions)))
    _, whole = built(sorted(positions))
    _, less = built(sorted(positions - {extra}))
    path = path_of(extra)
    for length in range(len(path) + 1):
        assert whole.summary(path[:length]).fingerprint != less.summary(path[:length]).fingerprint
    for prefix in "0123456789abcdef":
        if not path.startswith(prefix):
            assert whole.summary(prefix) == less.summary(prefix)


def test_an_empty_index() -> None:
    """Nothing has a count of 0 and a fingerprint of zeros, everywhere."""
    nodes, index = built([])
    assert index.summary() == index.summary("5") == Summary(0, bytes(FINGERPRINT_LENGTH))
    assert list(index.paths()) == index.children("") == []
    assert index.descend("") == ""
    assert list(index.outside("", [""])) == []
    assert index.count_between(Position(0, bytes(32)), Position(9, bytes(32))) == 0
    assert nodes.records == {}


def test_a_leaf_splits_when_it_is_full() -> None:
    """32 positions are one record; one more makes an inner node, and as many leaves as there are next digits."""
    positions = [Position(5, bytes([number]) + bytes(31)) for number in range(0, 256, 7)]
    nodes, index = built(positions[:LEAF])
    assert list(nodes.records) == [""]
    index.insert(positions[LEAF:])
    assert index.summary().count == len(positions)
    assert set(nodes.records) == {"", "1", "15", *(f"15{digit:x}" for digit in range(16))}
    assert nodes.records[""][0] == 1
    assert nodes.records["150"][0] == 0


def test_positions_that_are_almost_equal() -> None:
    """Entries with one time and digests that differ in their last digits: the trie is deep, and right."""
    positions = [Position(1, bytes(30) + number.to_bytes(2, "big")) for number in range(LEAF + 8)]
    nodes, index = built(positions)
    assert index.summary() == counted(sorted(map(path_of, positions)))
    assert list(nodes.index().paths()) == sorted(map(path_of, positions))
    assert index.descend("") == "11" + "0" * 62


def test_a_batch_writes_each_node_once() -> None:
    """A thousand entries in one batch cost a write for each node there is, not for each entry and level."""
    nodes, _ = built(spread(1000))
    assert nodes.writes == len(nodes.records) < 100


def test_one_more_entry_costs_its_path() -> None:
    """With nothing in memory, an insert among 20,000 reads and writes the nodes above it, and no others."""
    nodes, _ = built(spread(20_000))
    nodes.reads = nodes.writes = 0
    nodes.index().insert([Position(20_001, b"n" * 32)])
    assert nodes.reads <= 6
    assert nodes.writes <= 6


def test_a_summary_costs_its_depth() -> None:
    """With nothing in memory, any range is known after reading the nodes above it, not those below."""
    nodes, _ = built(spread(20_000))
    paths = [path_of(position) for position in spread(20_000)[::997]]
    for path in paths:
        for length in (0, 2, 4, 5, len(path)):
            nodes.reads = 0
            nodes.index().summary(path[:length])
            assert nodes.reads <= 6
        nodes.reads = 0
        nodes.index().children(path[:3])
        nodes.index().count_between(Position(1, bytes(32)), position_of(path))
        assert nodes.reads <= 18


def test_a_long_prefix_costs_no_more() -> None:
    """A peer may name prefixes of 73 digits: what is read is bounded by the trie, also where nothing is."""
    nodes, index = built(spread(5000))
    index.summary()
    nodes.reads = 0
    for number in range(500):
        prefix = hashlib.sha256(b"%d" % number).hexdigest() + "0" * (MAX_PATH - 64)
        index.summary(prefix)
        assert list(index.paths(prefix)) == []
        assert index.children(prefix) == []
    assert nodes.reads < 600  # each node of the trie at most once


def test_what_is_cached_is_bounded_and_can_be_dropped() -> None:
    """The memory for nodes has a limit; after a failed commit what was never stored is forgotten."""
    nodes, index = built(spread(60_000))
    assert len(index._cache) <= 2048 < len(nodes.records)
    before = index.summary()
    stored = dict(nodes.records)
    index.insert([Position(60_001, bytes(32))])
    assert index.summary() != before
    nodes.records = stored
    index.forget()
    assert index.summary() == before


@pytest.mark.parametrize("path", ["g", "A", "0 ", "00x00", "é", "1" * (MAX_PATH + 1), "\0"])
def test_what_is_no_path(path: str) -> None:
    """Only lower-case hexadecimal digits, at most 73."""
    with pytest.raises(RemoteProtocolError):
        check_path(path)


@given(st.text(max_size=80))
def test_any_text_is_a_path_or_refused(text: str) -> None:
    """A prefix of a peer is taken as it is, or refused."""
    try:
        assert check_path(text) == text
    except RemoteProtocolError:
        return
    assert set(text) <= set("0123456789abcdef")


def test_sums_cannot_be_cancelled_by_small_choices() -> None:
    """No two of a few thousand shares are equal or opposite, and all of their 4,096 bits are used."""
    shares = {element_hash(path_of(position)) for position in spread(3000)}
    assert len(shares) == 3000
    assert not shares & {(1 << 4096) - share for share in shares}
    used = 0
    for share in shares:
        used |= share
    assert used == (1 << 4096) - 1


def test_reading_a_summary_does_not_slow_down_with_the_log() -> None:
    """Printed for the record: what one summary costs with nothing in memory, at two sizes of a log."""
    for count in (1000, 60_000):
        nodes, _ = built(spread(count))
        begin = time.perf_counter()
        for _ in range(50):
            nodes.index().summary("3")
        print(f"{count} entries: {(time.perf_counter() - begin) / 50 * 1e6:.0f} us for a summary from the store")
        nodes.reads = 0
        nodes.index().summary("3")
        assert nodes.reads == 1
