"""The Wesh side of a libp2p node: logs kept in step by heads messages, and contact requests.

Rules beside Go nodes (Wesh protocol, sections 2.10, 5.4 and 6.6): heads go to whoever joins a topic; a direct frame is
answered unless it holds all our heads; one that brought something new is passed on; after a burst the heads are
repeated, since Go drops gossip that its queues have no room for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

import anyio
import attrs
from anyio.abc import TaskGroup, TaskStatus

from berty_core.codec.cid import Cid
from berty_core.codec.frames import encode_frame
from berty_core.contracts.session import Added, Change, Changes, ChangesMissed, Log, LogId, LogsChanged, ProfileHost
from berty_core.crypto.keys import PrivateKey
from berty_core.errors import BertyError, LocalProtocolError, RemoteProtocolError
from berty_core.ids import DeviceId
from berty_core.protocol.heads import MAX_MESSAGE

from .bitswap import MAX_FETCHES, BlockFetched
from .bitswap import Event as BlockEvent
from .gap import Gap, Pair
from .gossip import Event as GossipEvent
from .gossip import Joined, Received
from .host import Host
from .link import Stream
from .log_frames import DIRECT_BYTES, GOSSIP_BYTES, Frame, LogFrames
from .misfits import Misfits
from .peers import PeerId
from .requests import Requests, until_closed

DIRECT: Final = "/go-orbit-db/direct-channel/1.2.0"
BURST: Final = 8  # publications after which the heads are repeated
QUIET: Final = 0.25  # seconds without one, before they are
REFRESH: Final = 600.0  # seconds after which topics of another period are looked for
MAX_INBOX: Final = 1024  # frames and blocks of one log that wait; what is dropped comes again with later heads
MAX_DEVICES: Final = 1024
MAX_WANTED: Final = 8192  # blocks of one log at a time
MAX_MISFITS: Final = 4
MAX_EXPECTED: Final = 65536  # entries that somebody else stored meanwhile stay among the expected
STORED: Final = 256  # entries in one commit
FEW: Final = 4  # blocks that are stored at once, without asking first what of them is known


@attrs.frozen
class _Named:
    """Entries that a peer says it holds, as which device, and whether they are all of its heads."""

    cids: tuple[Cid, ...]
    device: DeviceId | None
    heads: bool


@attrs.define(eq=False)
class _LogState:
    """What is under way for one log."""

    gap: Gap = attrs.field(factory=Gap)
    inbox: dict[Cid, bytes] = attrs.field(factory=dict)
    senders: dict[PeerId, None] = attrs.field(factory=dict)
    to_answer: dict[PeerId, tuple[frozenset[Cid], bytes]] = attrs.field(factory=dict)
    named: dict[PeerId, _Named] = attrs.field(factory=dict)  # what peers say they hold
    bad: list[bytes] = attrs.field(factory=list)  # blocks that did not hold
    direct: bool = False  # whether what waits came by a direct frame
    added: int = 0  # entries of a gap that is not closed yet
    missing: bool = False  # whether what was stored last lacks a parent
    busy: bool = False
    members: set[PeerId] = attrs.field(factory=set)  # peers that have shown the link key
    expected: set[Cid] = attrs.field(factory=set)  # being stored by us: gossip has spread them already
    published: int = 0
    quiet: bool = True


class Exchange:
    """One node's logs on libp2p. `run` it, then let `node` listen and dial."""

    def __init__(
        self, key: PrivateKey, host: ProfileHost, clock: Callable[[], float], *, contacts_only: bool = False
    ) -> None:
        self.refused = 0  # frames and entries that did not hold
        self._host = host
        self.requests = Requests(host, self._start, hidden=contacts_only)
        served = {DIRECT: self._serve_direct, **self.requests.served}
        self.node = Host(key, host.entropy, clock, int(host.now() * 1e9), self, self, served, reserved=contacts_only)
        self._frames = LogFrames(self.node.peer_id, host.rotation, host.entropy)
        self._misfits = Misfits(self._frames, self.node.router)
        self._states: dict[LogId, _LogState] = {}
        self._fetched_for: dict[Cid, LogId] = {}
        self._devices: dict[PeerId, DeviceId] = {}  # as which peers present themselves
        self._last_heads: dict[tuple[PeerId, LogId], frozenset[Cid]] = {}
        self._tasks: TaskGroup | None = None

    # -- life ----------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled."""
        with self._host.changes() as changes:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                await tasks.start(self.node.run)
                await self._refresh()
                tasks.start_soon(self._keep_time)
                task_status.started()
                while True:
                    await self._take_changes(_waiting(await changes.receive(), changes))

    async def _keep_time(self) -> None:
        while True:
            await anyio.sleep(REFRESH)
            await self.requests.refresh(self.node)

    async def _take_changes(self, changes: Sequence[Change]) -> None:
        missed = any(isinstance(change, ChangesMissed) for change in changes)
        if missed or any(isinstance(change, LogsChanged) for change in changes):
            await self._refresh()
        await self._publish([change for change in changes if isinstance(change, Added)])
        if missed:
            for log in list(self._frames.by_address.values()):
                self._gossip(log, await self._host.heads(log.id))

    async def _refresh(self) -> None:
        """Follow the logs that are ours now, and show the topic that requests meet under."""
        new, gone = self._frames.follow(await self._host.logs(), self._host.now())
        for address in gone:
            self.node.unsubscribe(address)
        known = {log.id for log in self._frames.by_address.values()}
        for log_id in self._states.keys() - known:
            del self._states[log_id]
        for log_id in known - self._states.keys():
            self._states[log_id] = _LogState()
        for address in new:
            self.node.subscribe(address)
        await self.requests.refresh(self.node)

    def _start(self, function: Callable[..., object], *arguments: object) -> None:
        if self._tasks is not None:
            self._tasks.start_soon(function, *arguments)  # type: ignore[arg-type]

    # -- what the node tells -------------------------------------------------------------------

    async def read(self, cids: Iterable[Cid]) -> Mapping[Cid, bytes]:
        """Blocks for peers."""
        return await self._host.blocks(list(cids))

    def peer_changed(self, peer: PeerId) -> None:
        """A peer came, described itself or left."""
        self.requests.peer_changed(self.node, peer)
        if peer not in self.node.peers:
            self._tidy()
            self._misfits.gone(peer)
            self._last_heads = {key: heads for key, heads in self._last_heads.items() if key[0] != peer}
            for state in self._states.values():
                state.members.discard(peer)

    def gossip(self, event: GossipEvent) -> None:
        """A message came, or a peer joined a topic."""
        if isinstance(event, Received):
            self._take_frame(event.message.data, event.sender, event.message.author, direct=False)
        elif isinstance(event, Joined) and (log := self._frames.by_address.get(event.topic)):
            self._start(self._send_heads, log, event.peer)

    def block(self, event: BlockEvent) -> None:
        """A block that was asked for came, or nobody has it."""
        log_id = self._fetched_for.pop(event.cid, None)
        state = self._states.get(log_id) if log_id else None
        if log_id is None or state is None:
            return
        if isinstance(event, BlockFetched):
            state.inbox[event.cid] = event.block
        else:
            state.gap.give_up(event.cid)
        self._wake(log_id, state)

    def is_met_privately(self, peer: PeerId) -> bool:
        """Whether a private session reaches the device as which a peer presented itself: it carries all of it."""
        device = self._devices.get(peer)
        return device is not None and self._host.is_met_privately(device)

    def _tidy(self) -> None:
        """Remember of peers that are gone only those that a dialler asks for: the last ones."""
        while len(self._devices) > MAX_DEVICES:
            del self._devices[next(iter(self._devices))]

    def shared_with(self, peer: PeerId) -> list[LogId]:
        """The logs that a peer follows, of ours."""
        return [
            log.id for address, log in self._frames.by_address.items() if peer in self.node.router.followers(address)
        ]

    def misfits(self) -> tuple[str, ...]:
        """Why peers that are in groups of ours exchange nothing with us, in words; at most so many are told."""
        return tuple(islice(self._misfits.words(self.node.peers), MAX_MISFITS))

    # -- frames in -----------------------------------------------------------------------------

    async def _serve_direct(self, peer: PeerId, stream: Stream) -> None:
        """A frame on the direct channel: the peer has just joined."""
        self._take_frame(await stream.receive_frame(MAX_MESSAGE), peer, peer, direct=True)

    def _take_frame(self, data: bytes, peer: PeerId, author: PeerId, *, direct: bool) -> None:
        try:
            frame = self._frames.read(data, self._host.now())
        except RemoteProtocolError:
            self.refused += 1
            return
        if frame is None:
            self._misfits.unread(peer, data)
            return
        self._misfits.read(peer)
        if frame.device and direct:
            self._devices[peer] = frame.device
        state = self._states.get(frame.log.id)
        if state is not None and len(state.inbox) < MAX_INBOX:
            self._note_frame(state, frame, peer, direct=direct)
            if frame.peer_id == author:  # it speaks for itself
                cids = tuple(map(Cid.of, frame.blocks))
                state.named[author] = _Named(cids, frame.device, direct)
                state.members.add(author)

    def _note_frame(self, state: _LogState, frame: Frame, peer: PeerId, *, direct: bool) -> None:
        brought = {Cid.of(block): block for block in frame.blocks}
        state.inbox.update(brought)
        state.senders[peer] = None
        if direct:
            state.direct = True
            state.to_answer[peer] = (frozenset(brought), frame.rotation)
        self._wake(frame.log.id, state)

    def _wake(self, log_id: LogId, state: _LogState) -> None:
        if not state.busy:
            state.busy = True
            self._start(self._work, log_id, state)

    async def _work(self, log_id: LogId, state: _LogState) -> None:
        """Take in what waits for a log, everything that waits at once, until nothing does."""
        try:
            while self._states.get(log_id) is state:
                inbox, state.inbox = state.inbox, {}
                if inbox:
                    await self._take_blocks(log_id, state, inbox)
                if not state.gap.fetching:
                    await self._close_gap(log_id, state)
                if not state.inbox:
                    return
        finally:
            state.busy = False

    async def _take_blocks(self, log_id: LogId, state: _LogState, blocks: dict[Cid, bytes]) -> None:
        """Keep what is new and holds, and ask for what it leads to that the log lacks."""
        if len(blocks) <= FEW and not state.gap:
            await self._take_few(log_id, state, blocks)
            return
        new = await self._host.unknown(log_id, list(blocks))
        verified = await self._host.verify(log_id, [blocks[cid] for cid in new])
        self.refused += len(verified.refused)
        state.bad += verified.refused
        links = state.gap.add(verified.entries)
        state.gap.fetching.difference_update(blocks)
        if state.gap.full:
            links, dropped = state.gap.sink()
            self._cancel(dropped)
        await self._fetch_lacking(log_id, state, links)

    async def _take_few(self, log_id: LogId, state: _LogState, blocks: Mapping[Cid, bytes]) -> None:
        """Most often the parents of a live message are here: then one visit to the store is all."""
        verified = await self._host.verify(log_id, list(blocks.values()))
        self.refused += len(verified.refused)
        state.missing = False
        await self._store(log_id, state, verified.entries, verified.refused)
        if state.missing:
            links = dict.fromkeys(cid for entry, _ in verified.entries for cid in (*entry.next, *entry.refs))
            await self._fetch_lacking(log_id, state, links)

    async def _fetch_lacking(self, log_id: LogId, state: _LogState, links: Iterable[Cid]) -> None:
        unknown = await self._host.unknown(log_id, list(links))
        self._fetch(log_id, state, [cid for cid in unknown if cid not in state.inbox])

    def _cancel(self, cids: Collection[Cid]) -> None:
        for cid in cids:
            self._fetched_for.pop(cid, None)
        self.node.cancel(cids)

    def _fetch(self, log_id: LogId, state: _LogState, wanted: Sequence[Cid]) -> None:
        """Ask for blocks; an honest log never asks for as many as there is no room for."""
        room = min(MAX_WANTED - len(state.gap.fetching), MAX_FETCHES - self.node.exchange.fetching)
        wanted = [cid for cid in wanted if self._fetched_for.get(cid, log_id) == log_id][: max(0, room)]
        state.gap.fetching.update(wanted)
        self._fetched_for.update(dict.fromkeys(wanted, log_id))
        self.node.fetch(wanted, list(state.senders))

    async def _close_gap(self, log_id: LogId, state: _LogState) -> None:
        """Nothing is on its way any more: store what is here, pass it on, and answer who has just joined."""
        before, pairs, bad = state.added, state.gap.take(), tuple(state.bad)
        state.bad = []
        for begin in range(0, len(pairs), STORED):
            await self._store(log_id, state, pairs[begin : begin + STORED])
        if bad:
            await self._store(log_id, state, (), bad)
        added = state.added - before
        if not added:
            state.gap.give_up_above()
        if await self._rise(log_id, state):
            return
        added, state.added = state.added, 0
        log = next((log for log in self._frames.by_address.values() if log.id == log_id), None)
        answers, state.to_answer = state.to_answer, {}
        direct, state.direct = state.direct, False
        state.senders.clear()
        named, state.named = state.named, {}
        for one in named.values():
            await self._host.named(log_id, one.cids, one.device, heads=one.heads)
        if log is None:
            return
        if direct and added:
            self._gossip(log, await self._host.heads(log_id))
        for peer, (brought, rotation) in answers.items():
            await self._answer(log, peer, brought, rotation)

    async def _store(
        self, log_id: LogId, state: _LogState, pairs: Sequence[Pair], refused: Sequence[bytes] = ()
    ) -> None:
        if len(state.expected) > MAX_EXPECTED:
            state.expected.clear()
        state.expected.update(entry.cid for entry, _ in pairs)
        stored = await self._host.store(log_id, pairs, refused)
        state.added += stored.added
        state.missing = state.missing or bool(stored.missing)
        for entry, block in pairs:
            self.node.added(entry.cid, block)

    async def _rise(self, log_id: LogId, state: _LogState) -> bool:
        """Whether the stretch above what was stored is being fetched now."""
        while begun := state.gap.rise():
            if wanted := await self._host.unknown(log_id, begun):
                self._fetch(log_id, state, wanted)
                return bool(state.gap.fetching)
        return False

    async def _answer(self, log: Log, peer: PeerId, brought: frozenset[Cid], rotation: bytes) -> None:
        heads = await self._host.heads(log.id)
        cids = frozenset(map(Cid.of, heads))
        if cids <= brought or self._last_heads.get((peer, log.id)) == cids:
            return
        self._last_heads[peer, log.id] = cids
        self._start(self._send_direct, log, peer, heads, rotation)

    # -- frames out ----------------------------------------------------------------------------

    async def _publish(self, added: Sequence[Added]) -> None:
        """Send what was written here, or came by another way, to everyone of its topic."""
        logs = {log.id: log for log in self._frames.by_address.values()}
        blocks: dict[LogId, list[bytes]] = {}
        for one in added:
            state = self._states.get(one.log)
            if state is not None and one.cid in state.expected:
                state.expected.discard(one.cid)
            elif state is not None:
                blocks.setdefault(one.log, []).append(one.block)
                self.node.added(one.cid, one.block)
        for log_id, found in blocks.items():
            self._gossip(logs[log_id], found)

    def _gossip(self, log: Log, blocks: Sequence[bytes]) -> None:
        followers, state = self.node.router.followers(log.address), self._states.get(log.id)
        if not followers or state is None:
            return
        for portion, data in self._frames.pack(log, blocks, GOSSIP_BYTES, self._host.now()):
            try:
                self.node.publish(log.address, data)
            except LocalProtocolError:  # one entry alone is too large for a message
                for peer in followers:
                    self._start(self._send_direct, log, peer, portion, b"")
            if not state.members.isdisjoint(followers):
                self._start(self._host.sent, log.id, list(map(Cid.of, portion)))
            state.published += 1
        if state.published >= BURST and state.quiet:
            state.quiet = False
            self._start(self._settle, log, state)

    async def _settle(self, log: Log, state: _LogState) -> None:
        """Repeat the heads once it is quiet after a burst."""
        while True:
            published = state.published
            await anyio.sleep(QUIET)
            if published == state.published:
                break
        state.published, state.quiet = 0, True
        for peer in self.node.router.followers(log.address):
            await self._send_heads(log, peer)

    async def _send_heads(self, log: Log, peer: PeerId) -> None:
        """Tell a peer the heads of a log, also if there are none."""
        heads = await self._host.heads(log.id)
        self._last_heads[peer, log.id] = frozenset(map(Cid.of, heads))
        await self._send_direct(log, peer, heads, b"")

    async def _send_direct(self, log: Log, peer: PeerId, blocks: Sequence[bytes], rotation: bytes) -> None:
        """Send frames on the direct channel, and wait for the peer to close each: it resets what it has read."""
        for _, data in self._frames.pack(log, blocks, DIRECT_BYTES, self._host.now(), rotation):
            try:
                stream = await self.node.open_stream(peer, DIRECT)
                stream.send(encode_frame(data, MAX_MESSAGE))
                stream.finish()
                await until_closed(stream)
            except BertyError:
                return  # the peer is gone, or takes no direct frames


def _waiting(first: Change, changes: Changes) -> list[Change]:
    """A change and those that wait behind it."""
    found = [first]
    while (change := changes.receive_nowait()) is not None:
        found.append(change)
    return found
