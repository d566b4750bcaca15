"""Bring two replicas of a group to the same entries: live push, and reconciliation by ranges after any gap.

A machine without I/O over the two logs of one group and one session. Frames are `SyncFrame` protobufs
(docs/reference/sync.md). Traffic and work grow with the difference of the two sets, not with their size.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import attrs

from ..codec.cid import Cid
from ..codec.pb import session_pb2 as pb
from ..codec.protobuf import parse
from ..errors import RemoteProtocolError
from .group import LogKind
from .range_index import FINGERPRINT_LENGTH, LEAF, RangeIndex, check_path, cid_of

MAX_FRAME = 4 * 1024 * 1024 + 64 * 1024
MAX_RANGES = 512
MAX_DIGESTS = 4096
MAX_QUEUE = 65536
ENTRIES_BYTES = 128 * 1024
ENTRIES_COUNT = 256
MAX_BLOCKS = 4096
MAX_LOOKS = 16384  # entries that are looked at for one frame; most of them the peer may have by now
SHORT = 16  # bytes of a digest that name an entry within a range
QUIET = 0.25  # seconds without entries after which the sets are compared again
_REMEMBERED = 8192


class LogView(Protocol):
    """What the machine reads of a log."""

    @property
    def index(self) -> RangeIndex:
        """Its range index."""

    def block(self, cid: Cid) -> bytes | None:
        """The block of an entry."""

    def find(self, digest: bytes) -> Cid | None:
        """The entry whose digest starts so."""

    def __contains__(self, cid: Cid) -> bool: ...


@attrs.frozen
class EntriesReceived:
    """Blocks that the peer sent; nothing about them is verified."""

    kind: LogKind
    blocks: tuple[bytes, ...] = attrs.field(repr=False)


@attrs.frozen
class HeldByPeer:
    """The peer confirmed that it has these entries durably."""

    kind: LogKind
    cids: tuple[Cid, ...]


@attrs.frozen
class InSync:
    """The peer has exactly the entries that we have, durably."""

    kind: LogKind


SyncEvent = EntriesReceived | HeldByPeer | InSync


@attrs.define
class _LogState:
    """What is known about the peer's replica of one log."""

    queue: deque[Cid | Iterator[Cid]] = attrs.field(factory=deque)
    peer_has: OrderedDict[Cid, None] = attrs.field(factory=OrderedDict)
    in_sync: bool = False
    check_at: float | None = None


class GroupSync:
    """The conversation of two replicas of one group. `opener` speaks first."""

    def __init__(self, logs: Mapping[LogKind, LogView], *, opener: bool, now: float) -> None:
        self._logs = logs
        self._states = {kind: _LogState() for kind in LogKind}
        self._frames: deque[bytes] = deque()
        if opener:
            for kind in LogKind:
                self._compare(kind)
        else:
            for state in self._states.values():
                state.check_at = now + 4 * QUIET

    @property
    def waiting(self) -> int:
        """How many frames wait for `take`."""
        return len(self._frames)

    def take_back(self, waiting: int) -> None:
        """Forget the frames behind the first so many, and that the peer is in step: what they say did not happen."""
        while len(self._frames) > waiting:
            self._frames.pop()
        for state in self._states.values():
            state.in_sync = False

    @property
    def idle(self) -> bool:
        """Both logs were found equal and nothing is left to send."""
        return not self._frames and all(state.in_sync and not state.queue for state in self._states.values())

    @property
    def has_entries(self) -> bool:
        """Whether `next_entries` may have something to send."""
        return any(state.queue for state in self._states.values())

    # -- our side ------------------------------------------------------------------------------

    def push(self, kind: LogKind, cid: Cid) -> bool:
        """Send a new entry to the peer, unless the peer has it; True if it goes out."""
        state = self._states[kind]
        if cid in state.peer_has:
            return False
        state.in_sync = False
        if len(state.queue) >= MAX_QUEUE:
            return False  # comparing finds it once the queue is empty
        state.queue.append(cid)
        return True

    def stored(self, kind: LogKind, missing: Iterable[Cid], now: float) -> None:
        """What the peer sent is stored; ask for ancestors that are missing, and compare again when it is quiet."""
        missing = list(missing)[:MAX_DIGESTS]
        if missing:
            self._want(kind, [cid.digest for cid in missing], 32)
        self._states[kind].check_at = now + QUIET

    def confirm(self, kind: LogKind, cids: Iterable[Cid]) -> None:
        """Tell the peer that these are durable here."""
        digests = [cid.digest for cid in cids]
        for start in range(0, len(digests), MAX_DIGESTS):
            self._send(kind, held=pb.Digests(length=32, digests=b"".join(digests[start : start + MAX_DIGESTS])))

    def take(self) -> list[bytes]:
        """Frames to be sent now, ahead of entries."""
        frames = list(self._frames)
        self._frames.clear()
        return frames

    def next_entries(self, now: float) -> tuple[bytes, LogKind, tuple[Cid, ...]] | None:
        """The next frame of entries with what is in it, metadata first; None when nothing waits."""
        for kind, state in self._states.items():
            blocks, cids = self._collect(kind, state)
            if blocks:
                state.check_at = now + 4 * QUIET  # the receiver compares sooner
                frame = pb.SyncFrame(log=kind, entries=pb.Entries(blocks=blocks)).SerializeToString()
                return frame, kind, tuple(cids)
        return None

    def _collect(self, kind: LogKind, state: _LogState) -> tuple[list[bytes], list[Cid]]:
        blocks: list[bytes] = []
        cids: list[Cid] = []
        size = looks = 0
        while state.queue and len(blocks) < ENTRIES_COUNT and (looks := looks + 1) <= MAX_LOOKS:
            item = state.queue[0]
            cid = item if isinstance(item, Cid) else next(item, None)
            if cid is None or isinstance(item, Cid):
                state.queue.popleft()
            if cid is None or cid in state.peer_has or (block := self._logs[kind].block(cid)) is None:
                continue
            if blocks and size + len(block) > ENTRIES_BYTES:
                state.queue.appendleft(cid)
                break
            blocks.append(block)
            cids.append(cid)
            size += len(block)
            self._remember(state, cid)
        return blocks, cids

    def timeout(self) -> float | None:
        """When `wake` wants to be called."""
        return min((state.check_at for state in self._states.values() if state.check_at is not None), default=None)

    def wake(self, now: float) -> None:
        """Compare the sets where entries went to and fro and it has been quiet since."""
        for kind, state in self._states.items():
            if state.check_at is not None and state.check_at <= now:
                state.check_at = None
                self._compare(kind)

    def _compare(self, kind: LogKind) -> None:
        own = self._logs[kind].index.summary()
        self._send(kind, ranges=pb.Ranges(ranges=[pb.Range(count=own.count, fingerprint=own.fingerprint)]))

    # -- the peer's side -----------------------------------------------------------------------

    def receive(self, data: bytes) -> list[SyncEvent]:
        """Take in one frame; RemoteProtocolError if it breaks the rules."""
        frame = parse(pb.SyncFrame, data, MAX_FRAME)
        if frame.log not in (LogKind.METADATA, LogKind.MESSAGES):
            raise RemoteProtocolError(f"unknown log {frame.log}")
        kind = LogKind(frame.log)
        match frame.WhichOneof("frame"):
            case "ranges":
                return self._receive_ranges(kind, frame.ranges)
            case "have":
                self._receive_have(kind, frame.have)
            case "want":
                self._receive_want(kind, frame.want)
            case "want_below":
                self._receive_want_below(kind, frame.want_below)
            case "entries":
                return self._receive_entries(kind, frame.entries)
            case "held":
                return [
                    HeldByPeer(kind, tuple(Cid.from_bytes(b"\x01\x71\x12\x20" + d) for d in _digests(frame.held, 32)))
                ]
            case "in_sync":
                return self._receive_in_sync(kind, frame.in_sync)
        return []  # a kind of frame that a later version knows

    def _receive_ranges(self, kind: LogKind, message: pb.Ranges) -> list[SyncEvent]:
        if len(message.ranges) > MAX_RANGES:
            raise RemoteProtocolError("too many ranges at once")
        within = check_path(message.within)
        for described in message.ranges:
            if not check_path(described.path).startswith(within) or len(described.fingerprint) != FINGERPRINT_LENGTH:
                raise RemoteProtocolError("a range outside of what is described")
        for path in self._uncovered(kind, within, [described.path for described in message.ranges]):
            self._queue_below(kind, path)
        equal = [self._compare_range(kind, described) for described in message.ranges]
        if not within and len(equal) == 1 and equal[0] and not message.ranges[0].path:
            return self._found_equal(kind)
        return []

    def _compare_range(self, kind: LogKind, described: pb.Range) -> bool:
        """Answer one range: nothing if equal, what we have if it is little, else the ranges it is made of."""
        index, path = self._logs[kind].index, described.path
        own = index.summary(path)
        if (own.count, own.fingerprint) == (described.count, described.fingerprint):
            return True
        if not described.count:
            self._queue_below(kind, path)
        elif not own.count:
            self._send(kind, want_below=pb.Paths(paths=[path]))
        elif own.count <= LEAF:
            digests = b"".join([cid_of(own_path).digest[:SHORT] for own_path in index.paths(path)])
            self._send(kind, have=pb.Digests(within=path, length=SHORT, digests=digests))
        else:
            children = index.children(index.descend(path))
            ranges = [pb.Range(path=child, count=s.count, fingerprint=s.fingerprint) for child, s in children]
            self._send(kind, ranges=pb.Ranges(within=path, ranges=ranges))
        return False

    def _uncovered(self, kind: LogKind, within: str, described: list[str]) -> Iterator[str]:
        """Parts of `within` where we have entries and the peer has none."""
        if within in described:
            return
        if not any(path.startswith(within) for path in described):
            yield within
            return
        for child, _ in self._logs[kind].index.children(within):
            yield from self._uncovered(kind, child, described)

    def _receive_have(self, kind: LogKind, message: pb.Digests) -> None:
        path = check_path(message.within)
        theirs = frozenset(_digests(message, SHORT))
        log = self._logs[kind]
        self._want(kind, sorted(digest for digest in theirs if log.find(digest) is None), SHORT)
        self._queue_all(kind, (cid for cid in map(cid_of, log.index.paths(path)) if cid.digest[:SHORT] not in theirs))

    def _receive_want(self, kind: LogKind, message: pb.Digests) -> None:
        if message.length not in (SHORT, 32):
            raise RemoteProtocolError("digests of an unknown length")
        for digest in _digests(message, message.length):
            cid = self._logs[kind].find(digest)
            if cid is not None:
                self._states[kind].peer_has.pop(cid, None)  # it says it has not
                self._queue(kind, cid)

    def _receive_want_below(self, kind: LogKind, message: pb.Paths) -> None:
        if len(message.paths) > MAX_RANGES:
            raise RemoteProtocolError("too many paths at once")
        for path in message.paths:
            self._queue_below(kind, check_path(path))

    def _receive_entries(self, kind: LogKind, message: pb.Entries) -> list[SyncEvent]:
        state = self._states[kind]
        if len(message.blocks) > MAX_BLOCKS:
            raise RemoteProtocolError("too many entries at once")
        for block in message.blocks:
            self._remember(state, Cid.of(block))
        state.in_sync = False
        return [EntriesReceived(kind, tuple(message.blocks))]

    def _receive_in_sync(self, kind: LogKind, message: pb.Range) -> list[SyncEvent]:
        own = self._logs[kind].index.summary()
        if (own.count, own.fingerprint) != (message.count, message.fingerprint):
            return []  # something was added meanwhile; it is on its way
        self._states[kind].in_sync = True
        return [InSync(kind)]

    def _found_equal(self, kind: LogKind) -> list[SyncEvent]:
        state, own = self._states[kind], self._logs[kind].index.summary()
        state.check_at = None
        state.in_sync = True
        self._send(kind, in_sync=pb.Range(count=own.count, fingerprint=own.fingerprint))
        return [InSync(kind)]

    # -- shared --------------------------------------------------------------------------------

    def _want(self, kind: LogKind, digests: list[bytes], length: int) -> None:
        if digests:
            self._send(kind, want=pb.Digests(length=length, digests=b"".join(digests)))

    def _queue(self, kind: LogKind, cid: Cid) -> None:
        queue = self._states[kind].queue
        if len(queue) < MAX_QUEUE:
            queue.append(cid)

    def _queue_below(self, kind: LogKind, path: str) -> None:
        """Send all entries below a path, read as they are sent."""
        self._queue_all(kind, map(cid_of, self._logs[kind].index.paths(path)))

    def _queue_all(self, kind: LogKind, cids: Iterator[Cid]) -> None:
        queue = self._states[kind].queue
        if len(queue) < MAX_QUEUE:
            queue.append(cids)

    def _send(self, kind: LogKind, **frame: object) -> None:
        self._frames.append(pb.SyncFrame(log=kind, **frame).SerializeToString())  # type: ignore[arg-type]

    @staticmethod
    def _remember(state: _LogState, cid: Cid) -> None:
        state.peer_has[cid] = None
        if len(state.peer_has) > _REMEMBERED:
            state.peer_has.popitem(last=False)


def entries_in(data: bytes) -> tuple[LogKind, tuple[bytes, ...]] | None:
    """The blocks of a frame of entries, so that they can be verified before the machine is given the frame."""
    frame = parse(pb.SyncFrame, data, MAX_FRAME)
    if frame.WhichOneof("frame") != "entries" or frame.log not in (LogKind.METADATA, LogKind.MESSAGES):
        return None
    if len(frame.entries.blocks) > MAX_BLOCKS:
        raise RemoteProtocolError("too many entries at once")
    return LogKind(frame.log), tuple(frame.entries.blocks)


def _digests(message: pb.Digests, length: int) -> list[bytes]:
    data = message.digests
    if message.length != length or len(data) % length or len(data) > length * MAX_DIGESTS:
        raise RemoteProtocolError("malformed digests")
    return [data[i : i + length] for i in range(0, len(data), length)]
