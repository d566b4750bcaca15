"""An index over the positions of a log: any subtree's count and fingerprint without reading its entries.

A trie of hexadecimal digits, kept as small records. A node with more than `LEAF` positions is split into sixteen.
Its shape depends on the set alone, so two replicas with equal sets have equal nodes everywhere.

The fingerprint is AdHash (Bellare and Micciancio, 1997): the sum of hashes modulo 2^4096, wide enough that Wagner's
generalized birthday attack costs more than 2^100, so chosen CIDs cannot make two different sets look equal.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator

import attrs

from ..codec.cid import DAG_CBOR, Cid
from ..errors import RemoteProtocolError
from .log import Position

LEAF = 32
SUM_LENGTH = 512
FINGERPRINT_LENGTH = 20
MAX_PATH = 1 + 8 + 64
DIGITS = "0123456789abcdef"
_MODULUS_MASK = (1 << SUM_LENGTH * 8) - 1
_CACHED_NODES = 2048


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
class _Node:
    """A leaf holds its paths in order; an inner node holds count, sum and which children exist."""

    paths: list[str] | None
    count: int = 0
    total: int = 0
    children: int = 0


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
        for path, node in changed.items():
            self._put(path, _encode(path, node))
            self._remember(path, node)  # the cache may hold what it read from the store meanwhile

    def _insert(self, path: str, changed: dict[str, _Node]) -> None:
        prefix, share = "", element_hash(path)
        while True:
            # what changed is looked up first: the cache may have dropped it, and the store does not have it yet
            node = changed.get(prefix) or self._node(prefix) or self._remember(prefix, _Node([]))
            changed[prefix] = node
            if node.paths is not None:
                node.paths.append(path)
                node.paths.sort()
                if len(node.paths) > LEAF:
                    self._split(prefix, node, changed)
                return
            node.count += 1
            node.total = (node.total + share) & _MODULUS_MASK
            node.children |= 1 << int(path[len(prefix)], 16)
            prefix = path[: len(prefix) + 1]

    def _split(self, prefix: str, node: _Node, changed: dict[str, _Node]) -> None:
        """Turn a full leaf into an inner node with leaves below it."""
        paths = node.paths or []
        node.paths, node.count = None, len(paths)
        node.total = sum(map(element_hash, paths)) & _MODULUS_MASK
        for path in paths:
            child = path[: len(prefix) + 1]
            if child not in changed:
                node.children |= 1 << int(child[-1], 16)
                changed[child] = self._remember(child, _Node([]))
            leaf = changed[child].paths
            assert leaf is not None  # noqa: S101  a split makes leaves only
            leaf.append(path)
        for child in {path[: len(prefix) + 1] for path in paths}:
            if len(changed[child].paths or ()) > LEAF:
                self._split(child, changed[child], changed)

    def summary(self, prefix: str = "") -> Summary:
        """Count and fingerprint of all positions whose path starts with `prefix`."""
        node, paths = self._find(prefix)
        if node is not None and node.paths is None:
            return _summary(node.count, node.total)
        return _summary(len(paths), sum(map(element_hash, paths)) & _MODULUS_MASK)

    def children(self, prefix: str) -> list[tuple[str, Summary]]:
        """The summaries of the non-empty children of a prefix, in order."""
        found = ((prefix + digit, self.summary(prefix + digit)) for digit in self._digits(prefix))
        return [(path, summary) for path, summary in found if summary.count]

    def descend(self, prefix: str) -> str:
        """The longest prefix below which all of this prefix's positions lie, while it is an inner node."""
        while True:
            digits = self._digits(prefix)
            if len(digits) != 1 or self.summary(prefix).count <= LEAF:
                return prefix
            prefix += digits[0]

    def _digits(self, prefix: str) -> str:
        node, paths = self._find(prefix)
        if node is not None and node.paths is None:
            return "".join(digit for number, digit in enumerate(DIGITS) if node.children >> number & 1)
        return "".join(sorted({path[len(prefix)] for path in paths if len(path) > len(prefix)}))

    def paths(self, prefix: str = "", *, reverse: bool = False) -> Iterator[str]:
        """All whole paths below a prefix, in order or against it."""
        node, paths = self._find(prefix)
        if node is None or node.paths is not None:
            yield from reversed(paths) if reverse else list(paths)
            return
        digits = self._digits(prefix)
        for digit in reversed(digits) if reverse else digits:
            yield from self.paths(prefix + digit, reverse=reverse)

    def count_between(self, start: Position, stop: Position) -> int:
        """How many positions lie in start <= position < stop."""
        return self._count_below(path_of(stop)) - self._count_below(path_of(start))

    def _count_below(self, path: str) -> int:
        count = 0
        for depth, own in enumerate(path):
            node, paths = self._find(path[:depth])
            if node is None or node.paths is not None:
                return count + sum(1 for other in paths if other < path)
            count += sum(
                self.summary(path[:depth] + digit).count for digit in self._digits(path[:depth]) if digit < own
            )
        return count

    def _find(self, prefix: str) -> tuple[_Node | None, list[str]]:
        """The node at a prefix, or the positions below it that a leaf further up holds."""
        node = self._node(prefix)
        if node is not None:
            return node, node.paths or []
        for length in range(len(prefix) - 1, -1, -1):
            leaf = self._node(prefix[:length])
            if leaf is not None:
                return None, [path for path in leaf.paths or () if path.startswith(prefix)]
        return None, []

    def _node(self, prefix: str) -> _Node | None:
        node = self._cache.get(prefix)
        if node is not None:
            self._cache.move_to_end(prefix)
            return node
        data = self._get(prefix)
        return None if data is None else self._remember(prefix, _decode(prefix, data))

    def _remember(self, prefix: str, node: _Node) -> _Node:
        self._cache[prefix] = node
        if len(self._cache) > _CACHED_NODES:
            self._cache.popitem(last=False)
        return node


def _summary(count: int, total: int) -> Summary:
    if not count:
        return EMPTY
    data = count.to_bytes(8, "big") + total.to_bytes(SUM_LENGTH, "big")
    return Summary(count, hashlib.sha256(data).digest()[:FINGERPRINT_LENGTH])


def _encode(prefix: str, node: _Node) -> bytes:
    if node.paths is None:
        return (
            b"\1"
            + node.children.to_bytes(2, "big")
            + node.count.to_bytes(8, "big")
            + node.total.to_bytes(SUM_LENGTH, "big")
        )
    return b"\0" + b"".join(position_of(path).pack() for path in node.paths)


def _decode(prefix: str, data: bytes) -> _Node:
    if data[0] == 1:
        return _Node(
            None,
            int.from_bytes(data[3:11], "big"),
            int.from_bytes(data[11:], "big"),
            int.from_bytes(data[1:3], "big"),
        )
    packed = data[1:]
    return _Node([path_of(Position.unpack(packed[i : i + 36])) for i in range(0, len(packed), 36)])
