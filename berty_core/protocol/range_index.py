"""An index over the positions of a log: any subtree's count and fingerprint without reading its entries.

A trie of hexadecimal digits, kept as small records. A node with more than `LEAF` positions is split into sixteen.
Its shape depends on the set alone, so two replicas with equal sets have equal nodes everywhere.

The fingerprint is AdHash (Bellare and Micciancio, 1997): the sum of hashes modulo 2^4096, wide enough that Wagner's
generalized birthday attack costs more than 2^100, so chosen CIDs cannot make two different sets look equal.
"""

from __future__ import annotations

import hashlib
from bisect import insort
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs

from ..codec.cid import DAG_CBOR, Cid
from ..errors import RemoteProtocolError
from .log import Position

LEAF = 32
SUM_LENGTH = 512
FINGERPRINT_LENGTH = 32
MAX_PATH = 1 + 8 + 64
DIGITS = "0123456789abcdef"
_MODULUS_MASK = (1 << SUM_LENGTH * 8) - 1
_CACHED_NODES = 2048
_COUNT_LENGTH = 8
_CHILD_LENGTH = _COUNT_LENGTH + FINGERPRINT_LENGTH


def path_of(position: Position) -> str:
    """The digits of a position, in the order of positions: length of the time, the time, the digest."""
    time = f"{position.time:x}"
    return f"{len(time):x}{time}{position.digest.hex()}"


def position_of(path: str) -> Position:
    """Read a whole path back."""
    length = int(path[0], 16)
    return Position(int(path[1 : 1 + length], 16), bytes.fromhex(path[1 + length :]))


def cid_of(path: str) -> Cid:
    """The CID of the entry at a whole path."""
    return Cid(DAG_CBOR + bytes.fromhex(path[1 + int(path[0], 16) :]))


def check_path(path: str) -> str:
    """Accept a prefix that a peer names, or RemoteProtocolError."""
    if len(path) > MAX_PATH or path.strip(DIGITS):
        raise RemoteProtocolError("not a path of the range index")
    return path


def element_hash(path: str) -> int:
    """The share of one position in the sum."""
    return int.from_bytes(hashlib.shake_128(path.encode()).digest(SUM_LENGTH), "big")


@attrs.frozen
class Summary:
    """How many positions lie below a path, and the fingerprint of exactly that set."""

    count: int
    fingerprint: bytes


EMPTY = Summary(0, bytes(FINGERPRINT_LENGTH))


@attrs.define
class _Leaf:
    """Up to `LEAF` positions, by their paths in order; their sum is made once it is asked for."""

    paths: list[str]
    total: int | None = None

    def add(self, path: str, share: int) -> None:
        if self.total is not None:
            self.total += share
        insort(self.paths, path)

    def summary(self) -> Summary:
        if self.total is None:
            self.total = sum(map(element_hash, self.paths))
        return _summary(len(self.paths), self.total)

    def encode(self) -> bytes:
        return b"\0" + b"".join(position_of(path).pack() for path in self.paths)


@attrs.define
class _Inner:
    """The sum of all that lies below, and a summary of each child, so that comparing reads none of the children."""

    total: int
    children: dict[str, Summary]

    def summary(self) -> Summary:
        return _summary(sum(child.count for child in self.children.values()), self.total)

    def encode(self) -> bytes:
        present = sum(1 << int(digit, 16) for digit in self.children)
        parts = [b"\1", present.to_bytes(2, "big"), (self.total & _MODULUS_MASK).to_bytes(SUM_LENGTH, "big")]
        for digit in sorted(self.children):
            child = self.children[digit]
            parts += (child.count.to_bytes(_COUNT_LENGTH, "big"), child.fingerprint)
        return b"".join(parts)


_Node = _Leaf | _Inner


class RangeIndex:
    """The trie of one log over two functions of a store: `get(path)` and `put(path, value)`."""

    def __init__(self, get: Callable[[str], bytes | None], put: Callable[[str, bytes], None]) -> None:
        self._get = get
        self._put = put
        self._cache: OrderedDict[str, _Node] = OrderedDict()

    def forget(self) -> None:
        """Drop what is cached, after a commit failed."""
        self._cache.clear()

    def insert(self, positions: Iterable[Position]) -> None:
        """Add positions that are not there yet; each touched node is written once."""
        changed: dict[str, _Node] = {}
        for position in positions:
            self._insert(path_of(position), changed)
        for path in sorted(changed, key=len, reverse=True):  # children first: their parents hold their summaries
            node = changed[path]
            if path:
                parent = changed[path[:-1]]
                assert isinstance(parent, _Inner)  # noqa: S101  what has a child is split
                parent.children[path[-1]] = node.summary()
            self._put(path, node.encode())
            self._remember(path, node)  # the cache may hold what it read from the store meanwhile

    def _insert(self, path: str, changed: dict[str, _Node]) -> None:
        share, prefix = element_hash(path), ""
        # what changed is looked up first: the cache may have dropped it, and the store does not have it yet
        node = changed.get("") or self._node("") or _Leaf([])
        while isinstance(node, _Inner):
            changed[prefix] = node
            node.total += share
            digit = path[len(prefix)]
            prefix += digit
            known = changed.get(prefix)
            node = known or (self._node(prefix) if digit in node.children else None) or _Leaf([])
        changed[prefix] = node
        node.add(path, share)
        if len(node.paths) > LEAF:
            self._split(prefix, node.paths, changed)

    def _split(self, prefix: str, paths: list[str], changed: dict[str, _Node]) -> None:
        """Turn a full leaf into an inner node with leaves below it."""
        leaves: dict[str, _Leaf] = {}
        for path in paths:
            leaves.setdefault(path[: len(prefix) + 1], _Leaf([], 0)).add(path, element_hash(path))
        changed[prefix] = _Inner(sum(leaf.total or 0 for leaf in leaves.values()), {})
        for child, leaf in leaves.items():
            changed[child] = leaf
            if len(leaf.paths) > LEAF:
                self._split(child, leaf.paths, changed)

    def summary(self, prefix: str = "") -> Summary:
        """Count and fingerprint of all positions whose path starts with `prefix`."""
        node = self._find(prefix[:-1])
        if node is not None and not prefix:
            return node.summary()
        if isinstance(node, _Inner):
            return node.children.get(prefix[-1], EMPTY)
        return _summary_of(_below(node, prefix))

    def children(self, prefix: str) -> list[tuple[str, Summary]]:
        """The summaries of the non-empty children of a prefix, in order."""
        node = self._find(prefix)
        if isinstance(node, _Inner):
            return [(prefix + digit, node.children[digit]) for digit in sorted(node.children)]
        found: dict[str, list[str]] = {}
        for path in _below(node, prefix):
            if len(path) > len(prefix):
                found.setdefault(path[: len(prefix) + 1], []).append(path)
        return [(child, _summary_of(paths)) for child, paths in found.items()]

    def descend(self, prefix: str) -> str:
        """The longest prefix below which all of this prefix's positions lie, while it is an inner node."""
        while isinstance(node := self._find(prefix), _Inner) and len(node.children) == 1:
            prefix += next(iter(node.children))
        return prefix

    def outside(self, within: str, ranges: Sequence[str]) -> Iterator[str]:
        """Prefixes that cover what is below `within` and in none of `ranges` (prefixes that start with `within`)."""
        ranges = [path for path in ranges if path.startswith(within)]
        if within in ranges:
            return
        if not ranges:
            yield within
            return
        node = self._find(within)
        if isinstance(node, _Inner):
            for digit in sorted(node.children):
                yield from self.outside(within + digit, ranges)
        else:
            yield from (path for path in _below(node, within) if not path.startswith(tuple(ranges)))

    def paths(self, prefix: str = "", *, reverse: bool = False) -> Iterator[str]:
        """All whole paths below a prefix, in order or against it."""
        node = self._find(prefix)
        if isinstance(node, _Inner):
            for digit in sorted(node.children, reverse=reverse):
                yield from self.paths(prefix + digit, reverse=reverse)
        else:
            yield from sorted(_below(node, prefix), reverse=reverse)

    def count_between(self, start: Position, stop: Position) -> int:
        """How many positions lie in start <= position < stop."""
        return max(0, self._count_below(path_of(stop)) - self._count_below(path_of(start)))

    def _count_below(self, path: str) -> int:
        count = 0
        for depth, own in enumerate(path):
            node = self._find(path[:depth])
            if not isinstance(node, _Inner):
                return count + sum(other < path for other in _below(node, path[:depth]))
            count += sum(child.count for digit, child in node.children.items() if digit < own)
        return count

    def _find(self, prefix: str) -> _Node | None:
        """The node at a prefix, or the leaf further up that holds what lies below it; None if nothing does.

        It goes down from the root, so that it reads no more nodes than there are, however long the prefix is.
        """
        node = self._node("")
        for depth, digit in enumerate(prefix):
            if not isinstance(node, _Inner):
                return node
            node = self._node(prefix[: depth + 1]) if digit in node.children else None
        return node

    def _node(self, prefix: str) -> _Node | None:
        node = self._cache.get(prefix)
        if node is not None:
            self._cache.move_to_end(prefix)
            return node
        data = self._get(prefix)
        return None if data is None else self._remember(prefix, _decode(data))

    def _remember(self, prefix: str, node: _Node) -> _Node:
        self._cache[prefix] = node
        if len(self._cache) > _CACHED_NODES:
            self._cache.popitem(last=False)
        return node


def _below(node: _Node | None, prefix: str) -> list[str]:
    """Those of a leaf's paths that start with a prefix."""
    return [path for path in node.paths if path.startswith(prefix)] if isinstance(node, _Leaf) else []


def _summary_of(paths: list[str]) -> Summary:
    return _summary(len(paths), sum(map(element_hash, paths)))


def _summary(count: int, total: int) -> Summary:
    if not count:
        return EMPTY
    data = count.to_bytes(_COUNT_LENGTH, "big") + (total & _MODULUS_MASK).to_bytes(SUM_LENGTH, "big")
    return Summary(count, hashlib.sha256(data).digest())


def _decode(data: bytes) -> _Node:
    if data[0] == 0:
        packed = data[1:]
        return _Leaf([path_of(Position.unpack(packed[i : i + 36])) for i in range(0, len(packed), 36)])
    present, start = int.from_bytes(data[1:3], "big"), 3 + SUM_LENGTH
    children = {}
    for digit in (digit for number, digit in enumerate(DIGITS) if present >> number & 1):
        count = int.from_bytes(data[start : start + _COUNT_LENGTH], "big")
        children[digit] = Summary(count, data[start + _COUNT_LENGTH : start + _CHILD_LENGTH])
        start += _CHILD_LENGTH
    return _Inner(int.from_bytes(data[3 : 3 + SUM_LENGTH], "big"), children)
