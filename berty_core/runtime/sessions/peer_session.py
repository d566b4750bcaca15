"""One session over one link: the pump that joins the machine to the link, and the streams that run inside it.

A session ends when its link breaks, when the peer breaks a rule, or when it is not needed; nothing is lost by that.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

import anyio
import attrs
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from ...codec.frames import FrameReader, encode_frame
from ...contracts.session import Verified
from ...contracts.transport import Endpoint, Link
from ...crypto.keys import PrivateKey, Secret
from ...errors import BertyError, RemoteProtocolError, TransportError, UserError
from ...ids import AccountId, DeviceId, GroupId
from ...protocol.group import Group, LogKind, contact_group
from ...protocol.handshake import ContactRequester, ContactResponder, RequestReceived, RequestSent
from ...protocol.offers import MAX_FRAME as MAX_CONTROL_FRAME
from ...protocol.offers import BeaconChanged, GroupOffers, GroupProven, GroupWithdrawn, PeerDrains
from ...protocol.session import Opened, Pace, Session, SessionEvent, StreamData, StreamEnded, StreamStarted
from ...protocol.shareable import MAX_FRAME as MAX_REQUEST_FRAME
from ...protocol.shareable import ShareableContact
from ...protocol.sync import MAX_FRAME as MAX_SYNC_FRAME
from ...protocol.sync import entries_in
from ..drivers.airtime_queue import AirtimeQueue
from ..replica.verification import INLINE, verify_in_threads
from ..store_worker import StoreWorker
from .sign_of_life import SignOfLife
from .sync_hub import SyncHub, SyncPartner, SyncPeer

CONTROL, GROUP, REQUEST = "control", "group", "contact request"
BACKLOG = 256 * 1024  # bytes of a stream that may wait before no more entries are collected for it
MAX_BACKLOG = 64 * 1024 * 1024  # a peer that makes us answer so much and does not read loses the link
MAX_WAITING = 65536  # frames of a stream that wait to be stored; their bytes are bounded by its window
MAX_STREAMS = 1000  # below what a session takes, so that no honest peer meets that limit
PROBE_TIMEOUT = 3.0
DRAIN_LIMIT = 5.0
PATIENCE = 60.0  # seconds after which a session that shares nothing is closed
PIPELINE = 2  # frames that are verified while an earlier one is stored

logger = logging.getLogger("berty.session")


class SessionHost(Protocol):
    """What a session is given by its node."""

    store: StoreWorker
    hub: SyncHub
    entropy: Callable[[int], bytes]
    monotonic: Callable[[], float]

    def groups_to_offer(self) -> list[tuple[Group, PrivateKey]]:
        """The groups that may be shown to a peer."""

    def account_key(self) -> PrivateKey:
        """The account's key, for contact requests."""

    def accepts_requests(self) -> bool:
        """Whether strangers who hold our link may ask."""

    async def own_contact(self, contact: AccountId) -> ShareableContact:
        """What we tell a contact about ourselves."""

    async def request_sent(self, contact: AccountId) -> None:
        """A request was handed over."""

    async def request_received(self, contact: ShareableContact) -> None:
        """Somebody asked."""

    def session_changed(self, session: PeerSession) -> None:
        """A session opened, met a group, changed its beacon, was drained by the peer, or ended."""

    def session_doubted(self, session: PeerSession) -> None:
        """A session leaves what was sent without any answer, or gives one again."""


@attrs.define(eq=False)
class _Control:
    reader: FrameReader = attrs.field(factory=lambda: FrameReader(MAX_CONTROL_FRAME))


@attrs.define(eq=False)
class _Sync:
    group: GroupId
    frames: MemoryObjectSendStream[tuple[bytes, int]]
    queue: MemoryObjectReceiveStream[tuple[bytes, int]]
    peer: SyncPeer | None = None
    reader: FrameReader = attrs.field(factory=lambda: FrameReader(MAX_SYNC_FRAME))
    unconsumed: int = 0
    more: bool = False


@attrs.frozen(eq=False)
class _Turn:
    """Keeps frames in order although they are verified side by side."""

    previous: anyio.Event
    done: anyio.Event
    slots: anyio.Semaphore


@attrs.define(eq=False)
class _Request:
    machine: ContactRequester | ContactResponder
    contact: AccountId | None = None  # whom we ask
    size: int = 0


class PeerSession:
    """A live session, from the link's first byte to its last."""

    def __init__(
        self,
        host: SessionHost,
        link: Link,
        session: Session,
        *,
        endpoint: Endpoint | None = None,
        wanted: AccountId | None = None,
        is_link_tag: Callable[[bytes], bool] = lambda _: False,
        airtime: AirtimeQueue | None = None,
    ) -> None:
        self.link = link
        self.session = session
        self.endpoint = endpoint
        self.transport = link.remote.transport
        self.profile = ""
        self.beacon_nonce = b""
        self.former_nonce = b""  # under which this side may still know the peer
        self.handshake_hash = b""
        self.groups: dict[GroupId, DeviceId | None] = {}
        self.closed_because = ""
        self.opened_at = 0.0  # by the host's monotonic clock
        self._useless_since: float | None = None
        self.bytes_sent = self.bytes_received = 0
        self.settled = anyio.Event()  # it opened, or ended before that
        self.draining = ""  # why another session with the device is kept
        self.peer_drains = self.was_silent = False
        wait = airtime.longest_wait if airtime is not None else 0.0
        self.life = SignOfLife(
            link.traits,
            host.monotonic,
            self._ask_for_sign,
            self._doubted,
            is_held=lambda: airtime is not None and airtime.waits_until is not None,
        )
        self._pace = Pace.of_link(link.traits.bitrate, link.traits.latency, wait)
        session.suit(self._pace)
        self._host = host
        self._wanted = wanted
        self._contact = wanted
        self._is_link_tag = is_link_tag
        self._by_link = wanted is not None
        self._asked: set[AccountId] = set()
        self._offers: GroupOffers | None = None
        self._control_stream: int | None = None
        self._streams: dict[int, _Control | _Sync | _Request] = {}
        self._to_send = anyio.Event()
        self._tasks: TaskGroup | None = None

    @property
    def is_open(self) -> bool:
        """Whether the handshake is done and the session not closed."""
        return bool(self.handshake_hash) and not self.closed_because

    @property
    def offered(self) -> frozenset[GroupId]:
        """The groups that are shown to the peer; what it does not share says nothing to it."""
        return self._offers.shown if self._offers else frozenset()

    # -- life ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the session until it ends; errors of peer and link end it, and are kept as its reason."""
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                if self.closed_because:  # before it began
                    tasks.cancel_scope.cancel()
                tasks.start_soon(self._write)
                tasks.start_soon(self._tick)
                tasks.start_soon(self.life.watch)
                await self._read()
        except* (BertyError, OSError) as errors:
            self.closed_because = self.closed_because or self.draining or _words(errors)
        except* Exception as errors:  # a fault of this program costs this session, and not the node
            logger.error("a session failed", exc_info=errors)
            self.closed_because = self.closed_because or "a fault of this program, which its log has"
        finally:
            self._tasks = None
            with anyio.CancelScope(shield=True):
                await self._end()

    async def _end(self) -> None:
        self.closed_because = self.closed_because or "this node closed it"
        self.settled.set()
        for stream in list(self._streams.values()):
            if isinstance(stream, _Sync):
                self._detach(stream)
                stream.queue.close()
        self._streams.clear()
        with anyio.move_on_after(2):
            await self.link.aclose()
        self._host.session_changed(self)

    def close(self, reason: str) -> None:
        """End the session."""
        self.closed_because = self.closed_because or reason
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    async def _read(self) -> None:
        while True:
            data = await self.link.receive()
            self.bytes_received += len(data)
            self.life.heard()
            for event in self.session.receive(data, self._host.monotonic()):
                await self._take(event)
            self._flush()

    async def _write(self) -> None:
        said = 0
        while True:
            data = self.session.take()
            if data:
                if self.is_open and self.session.said != said:
                    said = self.session.said
                    self.life.sends(len(data))
                await self.link.send(data)
                self.bytes_sent += len(data)
                self._refill()
                continue
            self._to_send = anyio.Event()
            await self._to_send.wait()

    async def _tick(self) -> None:
        while True:
            due = self.session.timeout()
            delay = 5.0 if due is None else min(max(due - self._host.monotonic(), 0.01), 5.0)
            await anyio.sleep(delay)
            self._close_if_useless()
            if due is not None and due <= self._host.monotonic():
                self.session.wake(self._host.monotonic())
                self._flush()

    def _close_if_useless(self) -> None:
        """A session that shares no group is closed after a while; a request that is accepted later meets anew."""
        if self.groups or not self.is_open:
            self._useless_since = None
        elif self._useless_since is None:
            self._useless_since = self._host.monotonic()
        elif self._host.monotonic() - self._useless_since > PATIENCE:
            self.close("there is nothing to exchange with this peer")

    def probe(self) -> None:
        """The network changed: if the peer gives no sign of life soon, the session makes room for another."""
        if self.is_open and self._tasks is not None:
            self._tasks.start_soon(self._probe)

    async def _probe(self) -> None:
        received = self.bytes_received
        self._ask_for_sign()
        await anyio.sleep(PROBE_TIMEOUT + self._pace.extra)
        if self.bytes_received == received:
            self.close("the peer gave no sign of life after the network changed")

    def _ask_for_sign(self) -> None:
        self.session.ping()
        self._flush()

    def _doubted(self) -> None:
        self._host.session_doubted(self)

    async def gives_sign(self) -> bool:
        """Ask the peer for a sign of life, and wait for it as long as a probe would."""
        received = self.bytes_received
        self._ask_for_sign()
        with anyio.move_on_after(PROBE_TIMEOUT + self._pace.extra):
            while self.is_open and self.bytes_received == received:
                await self.life.wait_heard()
        return self.is_open and self.bytes_received != received

    # -- making room for another session ---------------------------------------------------------

    def drain(self, reason: str) -> None:
        """Send nothing new, tell the peer so, and end once both sides are done and all of it is confirmed."""
        if self.draining or not self.is_open or self._offers is None or self._tasks is None:
            return
        self.draining = reason
        self._offers.drain(silent=self.life.doubted_since is not None)
        self._send_control()
        self._let_news_pass(False)
        self._tasks.start_soon(self._drain)

    def go_on(self) -> None:
        """Both ends had chosen another session at once, and agree on this one."""
        self.draining, self.peer_drains = "", False
        self._let_news_pass(True)

    def _let_news_pass(self, passes: bool) -> None:
        for stream in self._streams.values():
            if isinstance(stream, _Sync) and stream.peer is not None:
                stream.peer.draining = not passes
                if passes:
                    self._host.store.post(stream.peer.sync.compare_again, self._host.monotonic())

    async def _drain(self) -> None:
        with anyio.move_on_after(DRAIN_LIMIT + self._pace.extra):
            while self.draining and not (self.peer_drains and self._is_quiet()):
                await anyio.sleep(0.02)  # what is confirmed is known on another thread
        if self.draining:
            self.close(self.draining)

    def _is_quiet(self) -> bool:
        """Whether everything that was sent is confirmed."""
        streams = [stream for stream in self._streams.values() if isinstance(stream, _Sync)]
        return all(stream.peer is None or stream.peer.sync.idle for stream in streams)

    def _flush(self) -> None:
        self._to_send.set()

    def _refill(self) -> None:
        """Let more entries come once the stream has room."""
        wants = False
        for number, stream in self._streams.items():
            if isinstance(stream, _Sync) and stream.peer is not None:
                stream.peer.ready = self.session.backlog(number) < BACKLOG
                wants = wants or (stream.more and stream.peer.ready)
        if wants:
            self._host.store.touch()

    # -- events --------------------------------------------------------------------------------

    async def _take(self, event: SessionEvent) -> None:
        match event:
            case Opened():
                await self._opened(event)
            case StreamStarted(number, kind, tag):
                await self._started(number, kind, tag)
            case StreamData(number, data):
                await self._data(number, data)
            case StreamEnded(number, reset):
                self._ended(number, reset)

    async def _opened(self, event: Opened) -> None:
        self.opened_at = self._host.monotonic()
        self.profile, self.beacon_nonce, self.handshake_hash = event.profile, event.beacon_nonce, event.handshake_hash
        self._offers = GroupOffers(event.handshake_hash, initiator=self.session.initiator, entropy=self._host.entropy)
        if self.session.initiator:
            self._control_stream = self.session.open_stream(CONTROL)
            self._streams[self._control_stream] = _Control()
        self._by_link |= self._is_link_tag(self.session.tag)
        if self._wanted is not None:
            self._asked.add(self._wanted)
            await self._request(self._wanted)
        self.offer_groups()
        self.settled.set()
        self._host.session_changed(self)

    def request(self, contact: AccountId) -> None:
        """Ask somebody who shows itself at the other end of an open session; who failed there is not asked again."""
        if self.is_open and contact not in self._asked and self._tasks is not None:
            self._asked.add(contact)
            self._tasks.start_soon(self._request, contact)

    async def _request(self, contact: AccountId) -> None:
        own = await self._host.own_contact(contact)
        machine = ContactRequester(self._host.account_key(), contact, own, Secret(self._host.entropy(32)))
        number = self.session.open_stream(REQUEST)
        self._streams[number] = _Request(machine, contact)
        self.session.send(number, machine.take())
        self._flush()

    async def _started(self, number: int, kind: str, tag: bytes) -> None:
        if len(self._streams) >= MAX_STREAMS:
            self.session.reset(number)
        elif kind == CONTROL and self._control_stream is None and not self.session.initiator:
            self._control_stream = number
            self._streams[number] = _Control()
            self._send_control()
        elif kind == GROUP and self._offers and (group := self._offers.group_of(tag)) is not None:
            await self._open_group(number, group, opener=False)
        elif kind == REQUEST and self._host.accepts_requests():
            machine = ContactResponder(self._host.account_key(), Secret(self._host.entropy(32)))
            self._streams[number] = _Request(machine)
        else:
            self.session.reset(number)  # an unknown type ends that stream and nothing else

    async def _data(self, number: int, data: bytes) -> None:
        stream = self._streams.get(number)
        if isinstance(stream, _Control):
            await self._control_data(number, stream, data)
        elif isinstance(stream, _Sync):
            self._sync_data(number, stream, data)
        elif isinstance(stream, _Request):
            await self._request_data(number, stream, data)

    def _ended(self, number: int, reset: bool) -> None:
        stream = self._streams.pop(number, None)
        if isinstance(stream, _Control):
            raise RemoteProtocolError("the peer ended the control stream")
        if isinstance(stream, _Sync):
            self._detach(stream)
        if stream is not None and not reset:
            self.session.finish(number)

    def _detach(self, stream: _Sync) -> None:
        stream.frames.close()
        if stream.peer is not None:
            self._host.store.post(self._host.hub.detach, stream.peer)

    # -- control -------------------------------------------------------------------------------

    def offer_groups(self) -> None:
        """Show the groups that were not shown on this session yet, and withdraw those that are ours no longer."""
        if self._offers is None:
            return
        groups = self._groups_to_offer()
        self._offers.offer(groups)
        for group in self._offers.shown - {group.id for group, _ in groups}:
            self._offers.withdraw(group)
            self._close_group(group)
        self._send_control()

    def _groups_to_offer(self) -> list[tuple[Group, PrivateKey]]:
        """All groups; but whoever merely holds a contact link learns about no group but the one with its account."""
        groups = self._host.groups_to_offer()
        if self.groups or not self._by_link:
            return groups
        if self._contact is None:
            return []
        shared = contact_group(self._host.account_key(), self._contact).id
        return [pair for pair in groups if pair[0].id == shared]

    def change_beacon(self, nonce: bytes) -> None:
        """Tell the peer under which nonce we are found from now on."""
        if self._offers is not None:
            self._offers.change_beacon(nonce)
            self._send_control()

    async def _control_data(self, number: int, stream: _Control, data: bytes) -> None:
        if self._offers is None:
            return
        self.session.consumed(number, len(data))
        for frame in stream.reader.feed(data):
            self._offers.receive(frame)
        self._send_control()
        for event in self._offers.events():
            match event:
                case GroupProven(group, _, device):
                    await self._proven(group, device)
                case GroupWithdrawn(group):
                    self._close_group(group)
                case BeaconChanged(nonce):
                    self.beacon_nonce = nonce
                    self._host.session_changed(self)
                case PeerDrains(silent):
                    self.peer_drains, self.was_silent = True, silent
                    self._host.session_changed(self)

    def _send_control(self) -> None:
        if self._offers is not None and self._control_stream is not None:
            for frame in self._offers.take():
                self._answer(self._control_stream, encode_frame(frame, MAX_CONTROL_FRAME))
            self._flush()

    async def _proven(self, group: GroupId, device: DeviceId | None) -> None:
        if self._offers is None or group not in self._offers.shown:
            return  # withdrawn since
        self.groups[group] = device
        shares_logs = self.profile == self.session.profile  # those of another profile have other addresses
        if self.session.initiator and shares_logs and len(self._streams) < MAX_STREAMS:
            number = self.session.open_stream(GROUP, self._offers.own_tag(group))
            await self._open_group(number, group, opener=True)
        self.offer_groups()
        self._host.session_changed(self)

    # -- groups --------------------------------------------------------------------------------

    async def _open_group(self, number: int, group: GroupId, *, opener: bool) -> None:
        host = self._host
        self._end_streams_of(group)  # the newest one counts
        send, receive = anyio.create_memory_object_stream[tuple[bytes, int]](math.inf)
        self._streams[number] = stream = _Sync(group, send, receive)
        deliver = partial(self._send_frame, number, stream)
        who = SyncPartner(self.groups.get(group), self.transport, deliver, self.close, self.handshake_hash)
        try:
            with anyio.CancelScope(shield=True):  # what is attached must be known, so that it is detached
                peer = await host.store.read(host.hub.attach, group, who, opener, host.monotonic())
            peer.draining = bool(self.draining)
            stream.peer = peer
        except RemoteProtocolError:
            self.session.reset(number)
            self._ended(number, reset=True)
            receive.close()
            return
        if self._streams.get(number) is not stream or self._tasks is None:
            host.store.post(host.hub.detach, peer)  # the group was withdrawn meanwhile
            receive.close()
        else:
            self._tasks.start_soon(self._serve_group, number, peer, receive)

    def _close_group(self, group: GroupId) -> None:
        self.groups.pop(group, None)
        self._end_streams_of(group)
        self._flush()

    def _end_streams_of(self, group: GroupId) -> None:
        for number, stream in list(self._streams.items()):
            if isinstance(stream, _Sync) and stream.group == group:
                self.session.reset(number)
                self._ended(number, reset=True)

    def _sync_data(self, number: int, stream: _Sync, data: bytes) -> None:
        """Queue whole frames; their window is given back once they are stored, so the queue is bounded by it."""
        stream.unconsumed += len(data)
        for frame in stream.reader.feed(data):
            stream.frames.send_nowait((frame, stream.unconsumed))
            stream.unconsumed = 0
        if stream.frames.statistics().current_buffer_used > MAX_WAITING:
            raise RemoteProtocolError("more small frames than the window is meant for")
        if stream.reader.pending:  # a frame may be larger than the window; the frame's own limit bounds it
            self.session.consumed(number, stream.unconsumed)
            stream.unconsumed = 0

    async def _serve_group(
        self, number: int, peer: SyncPeer, frames: MemoryObjectReceiveStream[tuple[bytes, int]]
    ) -> None:
        """Store frames in order, and verify the next ones meanwhile."""
        slots = anyio.Semaphore(PIPELINE)
        previous = anyio.Event()
        previous.set()
        async with frames, anyio.create_task_group() as tasks:
            async for frame, size in frames:
                await slots.acquire()
                turn = _Turn(previous, anyio.Event(), slots)
                tasks.start_soon(self._serve_frame, number, peer, frame, size, turn)
                previous = turn.done

    async def _serve_frame(self, number: int, peer: SyncPeer, frame: bytes, size: int, turn: _Turn) -> None:
        host = self._host
        try:
            found = entries_in(frame)
            verified = await _verify_ahead(peer, *found) if found else None
            await turn.previous.wait()
            write = host.store.write if found else host.store.write_cheaply
            await write(host.hub.receive, peer, frame, verified, host.monotonic())
            self.session.consumed(number, size)
            self._flush()
        finally:
            turn.done.set()
            turn.slots.release()

    def _send_frame(self, number: int, stream: _Sync, frame: bytes, more: bool) -> None:
        """Send what a sync machine has to say."""
        if self._streams.get(number) is not stream:
            return
        self._answer(number, encode_frame(frame, MAX_SYNC_FRAME))
        stream.more = more
        if stream.peer is not None:
            stream.peer.ready = self.session.backlog(number) < BACKLOG
        self._flush()

    def _answer(self, number: int, data: bytes) -> None:
        self.session.send(number, data)
        if self.session.backlog(number) > MAX_BACKLOG:
            self.close("the peer asks for more than it reads")

    # -- contact requests ----------------------------------------------------------------------

    async def _request_data(self, number: int, stream: _Request, data: bytes) -> None:
        stream.size += len(data)
        self.session.consumed(number, len(data))
        try:
            if stream.size > 8 * MAX_REQUEST_FRAME:
                raise RemoteProtocolError("a contact request that does not end")
            events = stream.machine.receive(data)
        except RemoteProtocolError:
            self.session.reset(number)
            self._streams.pop(number, None)
            if stream.contact is not None and stream.contact == self._wanted:
                raise
            return
        self.session.send(number, stream.machine.take())
        for event in events:
            match event:
                case RequestSent():
                    self.session.finish(number)
                    if stream.contact is not None:
                        await self._host.request_sent(stream.contact)
                        self._asked.discard(stream.contact)
                case RequestReceived():
                    self._contact = event.contact.account
                    with suppress(UserError):  # it is blocked; it is told nothing, and its session may serve others
                        await self._host.request_received(event.contact)
                    self.session.finish(number)
                    self.offer_groups()


async def _verify_ahead(peer: SyncPeer, kind: LogKind, blocks: tuple[bytes, ...]) -> Verified | None:
    """Verify many blocks on threads; few are verified where they are stored."""
    if len(blocks) <= INLINE:
        return None
    return await verify_in_threads(blocks, peer.group.logs[kind].address, peer.group.group.signing_public)


def _words(errors: BaseExceptionGroup[BaseException]) -> str:
    """The first error's own words."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TransportError):
        return str(error) or "the link broke"
    return str(error) or type(error).__name__
