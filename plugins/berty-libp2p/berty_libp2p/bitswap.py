"""Bitswap 1.2: blocks by their content identifiers, asked of several peers and served to them.

Answers go on our own stream to a peer, never on the one on which the question came (libp2p notes, trap 1).
Invariant: a block that is handed on hashes to what was asked for; what one peer can make us keep or look up is bounded.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import attrs

from berty_core.codec.cid import DAG_CBOR, RAW, Cid
from berty_core.codec.frames import encode_frame
from berty_core.codec.protobuf import parse
from berty_core.errors import LocalProtocolError, RemoteProtocolError

from .pb import libp2p_pb2 as pb
from .peers import PeerId

PROTOCOL: Final = "/ipfs/bitswap/1.2.0"
MAX_MESSAGE: Final = 4 * 1024 * 1024
MAX_BLOCK: Final = MAX_MESSAGE - 4096  # entries end at 2 MiB; to go past a larger one it must be seen
PACKED: Final = 512 * 1024  # bytes of blocks after which a message is closed
OVERHEAD: Final = 16  # bytes, at most, around each part of a message
SMALL: Final = 4096  # bytes; a block of this size is sent where only its presence was asked for
MAX_WANTED: Final = 1024  # blocks that a peer may want from us at a time
LOOKUPS: Final = 64  # blocks that are looked up for a peer at a time
IN_FLIGHT: Final = 256  # blocks that we want from a peer at a time
MAX_FETCHES: Final = 65536
PATIENCE: Final = 5.0  # seconds until another peer is asked
WANT_BLOCK, WANT_HAVE = 0, 1
HAVE, DONT_HAVE = 0, 1
_KINDS: Final = (DAG_CBOR, RAW)


@attrs.frozen
class BlockFetched:
    """A block that was asked for, checked against its content identifier."""

    cid: Cid
    block: bytes = attrs.field(repr=False)


@attrs.frozen
class BlockMissing:
    """Nobody who was asked has this block, or sent it in time."""

    cid: Cid


Event = BlockFetched | BlockMissing


@attrs.frozen
class _Wanted:
    """What a peer wants: the block or a word whether it is there, and whether it wants to hear a no."""

    kind: int
    say_no: bool


@attrs.define(eq=False)
class _Peer:
    """What one peer wants, what waits to be sent to it, and what it was asked for."""

    wanted: dict[bytes, _Wanted] = attrs.field(factory=dict)
    due: dict[bytes, None] = attrs.field(factory=dict)  # to be looked up
    looking: set[bytes] = attrs.field(factory=set)
    asked: dict[Cid, float] = attrs.field(factory=dict)  # with the time at which patience ends, in that order
    out: pb.Bitswap = attrs.field(factory=pb.Bitswap)
    frames: list[bytes] = attrs.field(factory=list)
    open_size: int = 0  # about how many bytes `out` has
    size: int = 0  # and everything that waits
    dirty: bool = False


@attrs.define(eq=False)
class _Fetch:
    """A block that we want, and the peers that may still be asked."""

    candidates: deque[PeerId]
    asked: PeerId | None = None


class Bitswap:
    """The engine for all peers. It knows no store: `lookups` says what is asked for, `answer` brings what was found."""

    def __init__(self) -> None:
        self._peers: dict[PeerId, _Peer] = {}
        self._fetches: dict[Cid, _Fetch] = {}
        self._waiting: dict[Cid, None] = {}  # for room in flight
        self._missing: list[BlockMissing] = []

    # -- fetching ------------------------------------------------------------------------------

    def fetch(self, cids: Iterable[Cid], peers: Iterable[PeerId], now: float) -> None:
        """Want blocks; `peers` are asked first and in that order, then every other one.

        `BlockFetched` or `BlockMissing` follows for each. LocalProtocolError above 65,536 blocks at a time.
        """
        first = [name for name in dict.fromkeys(peers) if name in self._peers]
        others = [name for name in self._peers if name not in first]
        for cid in cids:
            if cid in self._fetches:
                self._add_candidates(self._fetches[cid], first)
                continue
            if len(self._fetches) >= MAX_FETCHES:
                raise LocalProtocolError(f"{len(self._fetches)} blocks are being fetched, and no more can be")
            self._fetches[cid] = _Fetch(deque(first + others))
            self._waiting[cid] = None
        self._ask_waiting(now)

    def cancel(self, cids: Iterable[Cid], now: float) -> None:
        """Want blocks no longer."""
        for cid in cids:
            self._forget(cid, None)
        self._ask_waiting(now)

    @property
    def fetching(self) -> int:
        """How many blocks are wanted."""
        return len(self._fetches)

    # -- serving -------------------------------------------------------------------------------

    def lookups(self, ready: Callable[[PeerId], bool] = lambda _: True) -> list[tuple[PeerId, tuple[bytes, ...]]]:
        """What is to be looked up now, for peers that take more (`ready`); bring each by `answer`."""
        found = []
        for name, peer in self._peers.items():
            room = LOOKUPS - len(peer.looking)
            if peer.due and room > 0 and peer.size < MAX_MESSAGE and ready(name):
                cids = tuple(peer.due)[:room]
                for cid in cids:
                    del peer.due[cid]
                peer.looking.update(cids)
                found.append((name, cids))
        return found

    def answer(self, name: PeerId, cid: bytes, block: bytes | None) -> None:
        """What was found for a peer: the block, or None."""
        peer = self._peers.get(name)
        if peer is None or cid not in peer.looking:
            return
        peer.looking.discard(cid)
        wanted = peer.wanted.get(cid)
        if wanted is None:
            return  # cancelled meanwhile
        if block is None or len(block) > MAX_BLOCK or len(cid) != Cid.LENGTH:
            if wanted.say_no:
                self._say(peer, cid, DONT_HAVE)
            return
        self._give_in_time(peer, cid, wanted, block)

    def added(self, cid: Cid, block: bytes) -> None:
        """A block is here that was not before: whoever asked for it gets it."""
        for peer in self._peers.values():
            wanted = peer.wanted.get(cid)
            if wanted is None or cid in peer.due or cid in peer.looking:
                continue
            self._give_in_time(peer, cid, wanted, block)

    def _give_in_time(self, peer: _Peer, cid: bytes, wanted: _Wanted, block: bytes) -> None:
        """A peer that does not read finds its blocks in the store later."""
        if peer.size < MAX_MESSAGE:
            self._give(peer, cid, wanted, block)
        else:
            peer.due[cid] = None

    # -- peers ---------------------------------------------------------------------------------

    def add_peer(self, name: PeerId) -> None:
        """A peer that speaks bitswap is there."""
        self._peers.setdefault(name, _Peer())

    def remove_peer(self, name: PeerId, now: float) -> None:
        """A peer is gone: others are asked for what it was asked for."""
        peer = self._peers.pop(name, None)
        if peer is None:
            return
        for cid in peer.asked:
            self._ask_another(cid)
        self._ask_waiting(now)

    def repeat(self, name: PeerId, now: float) -> None:
        """Our stream to a peer was opened anew: what it was asked for before may be lost, so it is asked again."""
        peer = self._peers.get(name)
        if peer is not None:
            peer.frames.clear()
            peer.size = peer.open_size = 0
            peer.out = pb.Bitswap(wantlist=pb.Bitswap.Wantlist(full=True))
            for cid in peer.asked:
                self._want(peer, cid)
            peer.asked = dict.fromkeys(peer.asked, now + PATIENCE)
            peer.dirty = True

    # -- the wire and the clock ----------------------------------------------------------------

    def receive(self, name: PeerId, frame: bytes, now: float) -> list[Event]:
        """Take one message of a peer; RemoteProtocolError means: close the connection."""
        message = parse(pb.Bitswap, frame, MAX_MESSAGE)
        peer = self._peers.get(name)
        if peer is None:
            return []
        if message.HasField("wantlist"):
            self._note_wants(peer, message.wantlist)
        events: list[Event] = []
        for part in message.payload:
            self._take_block(name, part, events)
        for presence in message.presences:
            self._take_presence(name, peer, presence)
        self._ask_waiting(now)
        return events + self._take_missing()

    def take(self, ready: Callable[[PeerId], bool] = lambda _: True) -> list[tuple[PeerId, bytes]]:
        """Frames to send now, to the peers that take more (`ready`)."""
        out: list[tuple[PeerId, bytes]] = []
        for name, peer in self._peers.items():
            if (peer.dirty or peer.frames) and ready(name):
                self._close_message(peer)
                out += [(name, frame) for frame in peer.frames]
                peer.frames.clear()
                peer.size = 0
        return out

    def timeout(self) -> float | None:
        """When `wake` wants to be called."""
        times = [next(iter(peer.asked.values())) for peer in self._peers.values() if peer.asked]
        return min(times, default=None) if not self._missing else 0.0

    def wake(self, now: float) -> list[Event]:
        """Ask others for what was not sent in time."""
        for peer in self._peers.values():
            for cid, until in list(peer.asked.items()):
                if until > now:
                    break
                self._cancel_at(peer, cid)
                self._ask_another(cid)
        self._ask_waiting(now)
        return self._take_missing()

    # -- wants of ours -------------------------------------------------------------------------

    def _add_candidates(self, fetch: _Fetch, names: list[PeerId]) -> None:
        fetch.candidates.extend(name for name in names if name not in fetch.candidates and name != fetch.asked)

    def _ask_waiting(self, now: float) -> None:
        """Ask for as much as may be in flight, of each block's first candidate that has room."""
        while self._waiting:
            cid = next(iter(self._waiting))
            fetch = self._fetches[cid]
            while fetch.candidates and fetch.candidates[0] not in self._peers:
                fetch.candidates.popleft()
            if not fetch.candidates:
                self._forget(cid, None)
                self._missing.append(BlockMissing(cid))
                continue
            name = next((name for name in fetch.candidates if self._has_room(name)), None)
            if name is None:
                return
            fetch.candidates.remove(name)
            fetch.asked = name
            del self._waiting[cid]
            self._peers[name].asked[cid] = now + PATIENCE
            self._want(self._peers[name], cid)

    def _has_room(self, name: PeerId) -> bool:
        peer = self._peers.get(name)
        return peer is not None and len(peer.asked) < IN_FLIGHT

    def _ask_another(self, cid: Cid) -> None:
        self._fetches[cid].asked = None
        self._waiting[cid] = None

    def _want(self, peer: _Peer, cid: Cid) -> None:
        peer.out.wantlist.entries.add(cid=cid, priority=1, send_dont_have=True)
        self._grow(peer, len(cid))

    def _cancel_at(self, peer: _Peer, cid: Cid) -> None:
        peer.asked.pop(cid, None)
        peer.out.wantlist.entries.add(cid=cid, cancel=True)
        self._grow(peer, len(cid))

    def _forget(self, cid: Cid, sender: PeerId | None) -> None:
        """A block is wanted no longer: whoever was asked, and did not send it, is told."""
        fetch = self._fetches.pop(cid, None)
        self._waiting.pop(cid, None)
        peer = self._peers.get(fetch.asked) if fetch and fetch.asked else None
        if fetch is None or peer is None:
            return
        if fetch.asked == sender:
            peer.asked.pop(cid, None)
        else:
            self._cancel_at(peer, cid)

    def _take_block(self, name: PeerId, part: pb.Bitswap.Block, events: list[Event]) -> None:
        if part.prefix not in _KINDS or len(part.data) > MAX_BLOCK:
            return
        cid = Cid(part.prefix + hashlib.sha256(part.data).digest())
        if cid in self._fetches:
            self._forget(cid, name)
            events.append(BlockFetched(cid, part.data))

    def _take_presence(self, name: PeerId, peer: _Peer, presence: pb.Bitswap.Presence) -> None:
        if presence.type != DONT_HAVE or len(presence.cid) != Cid.LENGTH:
            return
        cid = Cid(presence.cid)
        if cid in peer.asked:
            del peer.asked[cid]
            self._ask_another(cid)

    def _take_missing(self) -> list[Event]:
        missing, self._missing = self._missing, []
        return list(missing)

    # -- wants of others -----------------------------------------------------------------------

    def _note_wants(self, peer: _Peer, wantlist: pb.Bitswap.Wantlist) -> None:
        if wantlist.full:
            peer.wanted.clear()
            peer.due.clear()
        for entry in wantlist.entries:
            if entry.cancel:
                peer.wanted.pop(entry.cid, None)
                peer.due.pop(entry.cid, None)
            elif len(entry.cid) > 128:
                raise RemoteProtocolError(f"a content identifier of {len(entry.cid)} bytes")
            elif entry.cid in peer.wanted or len(peer.wanted) < MAX_WANTED:
                peer.wanted[entry.cid] = _Wanted(entry.want_type, entry.send_dont_have)
                peer.due[entry.cid] = None
            elif entry.send_dont_have:
                self._say(peer, entry.cid, DONT_HAVE)

    def _give(self, peer: _Peer, cid: bytes, wanted: _Wanted, block: bytes) -> None:
        if wanted.kind == WANT_HAVE and len(block) > SMALL:
            self._say(peer, cid, HAVE)
            return
        del peer.wanted[cid]
        if peer.open_size + len(block) > MAX_BLOCK:
            self._close_message(peer)
        peer.out.payload.add(prefix=cid[:4], data=block)
        self._grow(peer, len(block))

    def _say(self, peer: _Peer, cid: bytes, presence: int) -> None:
        if peer.size > 3 * MAX_MESSAGE:
            raise RemoteProtocolError("the peer asks for blocks faster than it reads")
        peer.out.presences.add(cid=cid, type=presence)
        self._grow(peer, len(cid))

    def _grow(self, peer: _Peer, size: int) -> None:
        peer.dirty = True
        peer.open_size += size + OVERHEAD
        peer.size += size + OVERHEAD
        if peer.open_size > PACKED:
            self._close_message(peer)

    def _close_message(self, peer: _Peer) -> None:
        if peer.dirty:
            peer.frames.append(encode_frame(peer.out.SerializeToString(), MAX_MESSAGE))
            peer.out = pb.Bitswap()
            peer.open_size = 0
            peer.dirty = False
