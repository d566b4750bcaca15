"""Bring two replicas of a group to the same entries: live push, and reconciliation by ranges after any gap.

A machine without I/O over the two logs of one group and one session. Frames are `SyncFrame` protobufs
(docs/reference/sync.md). Traffic and work grow with the difference of the two sets, not with their size.
Invariant: what a peer makes this machine keep is bounded by `MAX_QUEUE` short items and what it leaves unread.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, pairwise
from typing import Protocol

import attrs

from ..codec.cid import DAG_CBOR, Cid
from ..codec.pb import session_pb2 as pb
from ..codec.protobuf import parse
from ..crypto.kdf import equal, hkdf_sha256, hmac_sha256
from ..errors import RemoteProtocolError
from .group import LogKind
from .range_index import LEAF, RangeIndex, Summary, check_path, cid_of

MAX_FRAME = 4 * 1024 * 1024 + 64 * 1024
MAX_RANGES = 512
MAX_DIGESTS = 4096
MAX_QUEUE = 65536
ENTRIES_BYTES = 128 * 1024
ENTRIES_COUNT = 256
MAX_BLOCKS = 4096
MAX_NEAR = 4 * LEAF  # entries of ours that a leaf of the peer's is held against without looking up each
MAX_LOOKS = 16384  # entries that are looked at for one frame; most of them the peer may have by now
SHORT = 16  # bytes of a digest that name an entry
FINGERPRINT_LENGTH = 8  # on the wire, under a key of the session: nobody can look for two sets that it confuses
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

    queue: deque[Cid | str] = attrs.field(factory=deque)  # entries, and prefixes of all that is to be sent
    below: Iterator[str] | None = None  # the prefix that is being sent
    held_back: Cid | None = None  # it did not fit into the last frame
    peer_has: OrderedDict[Cid, None] = attrs.field(factory=OrderedDict)
    in_sync: bool = False
    check_at: float | None = None
    put_off: bool = False  # a comparison waits until everything is sent

    @property
    def has_entries(self) -> bool:
        return bool(self.queue or self.below or self.held_back)

    def next(self, index: RangeIndex) -> Cid | None:
        """The next entry in the queue."""
        while True:
            if self.held_back is not None:
                cid, self.held_back = self.held_back, None
                return cid
            if self.below is not None and (path := next(self.below, None)) is not None:
                return cid_of(path)
            self.below = None
            if not self.queue:
                return None
            item = self.queue.popleft()
            if isinstance(item, Cid):
                return item
            self.below = index.paths(item)


class GroupSync:
    """The conversation of two replicas of one group. `opener` speaks first.

    `session` is the handshake hash of the session (32 bytes): fingerprints on the wire depend on it.
    """

    def __init__(self, logs: Mapping[LogKind, LogView], *, opener: bool, now: float, session: bytes) -> None:
        self._logs = logs
        self._key = hkdf_sha256(session, b"berty range fingerprint")
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
        return not self._frames and all(state.in_sync and not state.has_entries for state in self._states.values())

    @property
    def has_entries(self) -> bool:
        """Whether `next_entries` may have something to send."""
        return any(state.has_entries for state in self._states.values())

    # -- our side ------------------------------------------------------------------------------

    def push(self, kind: LogKind, cid: Cid) -> bool:
        """Send a new entry to the peer, unless the peer has it; True if it goes out."""
        state = self._states[kind]
        if cid in state.peer_has:
            return False
        state.in_sync = False
        return self._queue(kind, cid)

    def stored(self, kind: LogKind, missing: Iterable[Cid], now: float) -> None:
        """What the peer sent is stored; ask for ancestors that are missing, and compare again when it is quiet."""
        missing = list(missing)[:MAX_DIGESTS]
        if missing:
            self._want(kind, [cid.digest for cid in missing], 32)
        self._states[kind].check_at = now + QUIET

    def compare_again(self, now: float) -> None:
        """Compare the sets at the next opportunity."""
        for state in self._states.values():
            state.check_at = now

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
                state.check_at, state.put_off = now + 4 * QUIET, False  # the receiver compares sooner
                frame = pb.SyncFrame(log=kind, entries=pb.Entries(blocks=blocks)).SerializeToString()
                return frame, kind, tuple(cids)
            if state.has_entries or state.put_off:
                state.check_at = now
        return None

    def _collect(self, kind: LogKind, state: _LogState) -> tuple[list[bytes], list[Cid]]:
        log, blocks, cids = self._logs[kind], list[bytes](), list[Cid]()
        size = looks = 0
        while len(blocks) < ENTRIES_COUNT and looks < MAX_LOOKS and (cid := state.next(log.index)) is not None:
            looks += 1
            if cid in state.peer_has or (block := log.block(cid)) is None:
                continue
            if blocks and size + len(block) > ENTRIES_BYTES:
                state.held_back = cid
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
                state.put_off = state.has_entries
                if not state.put_off:
                    self._compare(kind)

    def _compare(self, kind: LogKind) -> None:
        self._send(kind, ranges=pb.Ranges(ranges=[self._range("", self._logs[kind].index.summary())]))

    def _range(self, path: str, summary: Summary) -> pb.Range:
        return pb.Range(path=path, count=summary.count, fingerprint=self._fingerprint(summary))

    def _fingerprint(self, summary: Summary) -> bytes:
        return hmac_sha256(self._key, summary.fingerprint)[:FINGERPRINT_LENGTH]

    def _is_equal(self, own: Summary, described: pb.Range) -> bool:
        return own.count == described.count and equal(self._fingerprint(own), described.fingerprint)

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
                return [HeldByPeer(kind, tuple(Cid(DAG_CBOR + d) for d in _digests(frame.held, 32, MAX_DIGESTS)))]
            case "in_sync":
                return self._receive_in_sync(kind, frame.in_sync)
        return []  # a kind of frame that a later version knows

    def _receive_ranges(self, kind: LogKind, message: pb.Ranges) -> list[SyncEvent]:
        within, paths = _check_ranges(message)
        index = self._logs[kind].index
        if paths == [""]:  # a comparison begins
            if self._is_equal(index.summary(), message.ranges[0]):
                return self._found_equal(kind)
            if self._states[kind].has_entries:
                self._states[kind].put_off = True  # or what is on its way would be asked for again and again
                return []
        for path in index.outside(within, paths):
            self._queue(kind, path)
        wanted = [described.path for described in message.ranges if self._compare_range(kind, described)]
        if wanted:
            self._send(kind, want_below=pb.Paths(paths=wanted))
        return []

    def _compare_range(self, kind: LogKind, described: pb.Range) -> bool:
        """Answer a range with nothing if it is equal, with what we have if that is little, or with what it is made of.

        True if we have nothing there.
        """
        index, path = self._logs[kind].index, described.path
        own = index.summary(path)
        if self._is_equal(own, described):
            return False
        if not described.count:
            self._queue(kind, path)
        elif not own.count:
            return True
        elif own.count <= LEAF:
            digests = b"".join([cid_of(own_path).digest[:SHORT] for own_path in index.paths(path)])
            self._send(kind, have=pb.Digests(within=path, length=SHORT, digests=digests))
        else:
            ranges = [self._range(child, summary) for child, summary in index.children(index.descend(path))]
            self._send(kind, ranges=pb.Ranges(within=path, ranges=ranges))
        return False

    def _receive_have(self, kind: LogKind, message: pb.Digests) -> None:
        path, wanted, log = check_path(message.within), [], self._logs[kind]
        below = {cid.digest[:SHORT]: cid for cid in map(cid_of, islice(log.index.paths(path), MAX_NEAR))}
        for digest in _digests(message, SHORT, LEAF):
            cid = below.get(digest) or log.find(digest)
            if cid is None:
                wanted.append(digest)
            else:
                self._remember(self._states[kind], cid)
        self._want(kind, wanted, SHORT)
        self._queue(kind, path)

    def _receive_want(self, kind: LogKind, message: pb.Digests) -> None:
        if message.length not in (SHORT, 32):
            raise RemoteProtocolError("digests of an unknown length")
        for digest in _digests(message, message.length, MAX_DIGESTS):
            cid = self._logs[kind].find(digest)
            if cid is not None:
                self._states[kind].peer_has.pop(cid, None)  # it says it has not
                self._queue(kind, cid)

    def _receive_want_below(self, kind: LogKind, message: pb.Paths) -> None:
        if len(message.paths) > MAX_RANGES:
            raise RemoteProtocolError("too many paths at once")
        for path in [check_path(path) for path in message.paths]:
            self._queue(kind, path)

    def _receive_entries(self, kind: LogKind, message: pb.Entries) -> list[SyncEvent]:
        state = self._states[kind]
        if len(message.blocks) > MAX_BLOCKS:
            raise RemoteProtocolError("too many entries at once")
        for block in message.blocks:
            self._remember(state, Cid.of(block))
        state.in_sync = False
        return [EntriesReceived(kind, tuple(message.blocks))]

    def _receive_in_sync(self, kind: LogKind, message: pb.Range) -> list[SyncEvent]:
        if not self._is_equal(self._logs[kind].index.summary(), message):
            return []  # something was added meanwhile; it is on its way
        self._states[kind].in_sync = True
        return [InSync(kind)]

    def _found_equal(self, kind: LogKind) -> list[SyncEvent]:
        state = self._states[kind]
        state.check_at = None
        state.in_sync = True
        self._send(kind, in_sync=self._range("", self._logs[kind].index.summary()))
        return [InSync(kind)]

    # -- shared --------------------------------------------------------------------------------

    def _want(self, kind: LogKind, digests: list[bytes], length: int) -> None:
        if digests:
            self._send(kind, want=pb.Digests(length=length, digests=b"".join(digests)))

    def _queue(self, kind: LogKind, item: Cid | str) -> bool:
        """Send an entry, or all entries below a path, which are read as they are sent; False if there is no room."""
        state = self._states[kind]
        if len(state.queue) >= MAX_QUEUE:
            state.put_off = True  # comparing finds it once the queue is empty
            return False
        state.queue.append(item)
        return True

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


def _check_ranges(message: pb.Ranges) -> tuple[str, list[str]]:
    """What a description covers, and its ranges: in order, and none within another, or one frame asks for much."""
    within, paths = check_path(message.within), [check_path(described.path) for described in message.ranges]
    if len(paths) > MAX_RANGES:
        raise RemoteProtocolError("too many ranges at once")
    if any(not path.startswith(within) for path in paths):
        raise RemoteProtocolError("a range outside of what is described")
    if any(later <= path or later.startswith(path) for path, later in pairwise(paths)):
        raise RemoteProtocolError("ranges out of order, or within each other")
    if any(len(described.fingerprint) != FINGERPRINT_LENGTH for described in message.ranges):
        raise RemoteProtocolError("a fingerprint of another length")
    return within, paths


def _digests(message: pb.Digests, length: int, limit: int) -> list[bytes]:
    data = message.digests
    if message.length != length or len(data) % length or len(data) > length * limit:
        raise RemoteProtocolError("malformed digests")
    return [data[i : i + length] for i in range(0, len(data), length)]
