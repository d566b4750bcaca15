"""One link with a peer, and the streams that run on it: identify, ping, gossip, blocks, and those of an application."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import anyio
import attrs
from anyio.abc import TaskGroup

from berty_core.codec.frames import FrameReader
from berty_core.errors import BertyError, EndOfStream, LinkLost, LocalProtocolError, RemoteProtocolError

from . import bitswap, gossip, identify
from .gossip_messages import MAX_RPC
from .identify import DescriptionReader
from .multiaddr import Multiaddr
from .peers import PeerId
from .pump import Pump
from .streams import Connected, Event, StreamAccepted, StreamAgreed, StreamData, StreamEnded, StreamUnread

if TYPE_CHECKING:
    from .host import Host

PING: Final = "/ipfs/ping/1.0.0"
ROOM: Final = 1024 * 1024  # bytes that may wait for the peer before gossip and blocks are held back
MAX_LOST: Final = 5  # of our streams for gossip and blocks that a peer may reset
MAX_HELD: Final = 64 * 1024 * 1024  # bytes of unfinished messages, of all streams of a host
MAX_SERVED: Final = 64  # streams of the application's protocols that one link may have open
STREAM_TIMEOUT: Final = 60.0  # seconds for which a served stream may last


class Stream:
    """A stream of an application's protocol. What the peer sends waits here, bounded by the stream's window."""

    def __init__(self, link: PeerLink, number: int) -> None:
        self._link = link
        self.number = number
        self._incoming: deque[bytes] = deque()
        self._ended = self._reset = False
        self._reason = ""
        self._changed = anyio.Event()

    def send(self, data: bytes) -> None:
        """Send bytes; what the peer does not take yet waits. Quietly nothing once the stream is gone."""
        self._link.connection.send(self.number, data)
        self._link.flush()

    def finish(self) -> None:
        """Send nothing more."""
        self._link.connection.finish(self.number)
        self._link.flush()

    def reset(self) -> None:
        """End the stream at once."""
        self._link.drop(self.number)

    async def receive(self) -> bytes:
        """The next bytes; EndOfStream when the peer sends no more, LinkLost when it reset the stream."""
        while not self._incoming:
            if self._reset:
                raise LinkLost(self._reason or "the peer reset the stream")
            if self._ended:
                raise EndOfStream("the peer sends nothing more on this stream")
            self._changed = anyio.Event()
            await self._changed.wait()
        data = self._incoming.popleft()
        self._link.connection.consumed(self.number, len(data))
        self._link.flush()
        return data

    async def receive_exactly(self, count: int) -> bytes:
        """Exactly so many bytes; what is behind them stays. EndOfStream, LinkLost."""
        data = bytearray()
        while len(data) < count:
            data += await self.receive()
        if len(data) > count:
            self._incoming.appendleft(bytes(data[count:]))
        return bytes(data[:count])

    async def receive_frame(self, limit: int) -> bytes:
        """One length-prefixed message of at most `limit` bytes.

        RemoteProtocolError above it, and when unfinished messages of all streams together are more than may be held.
        """
        reader = FrameReader(limit)
        held = 0
        try:
            while True:
                frames = reader.feed(await self.receive())
                if frames:
                    return frames[0]
                self._link.hold(reader.pending - held)
                held = reader.pending
        finally:
            self._link.release(held)

    def push(self, data: bytes) -> None:
        """Bytes came."""
        self._incoming.append(data)
        self._changed.set()

    def end(self, reset: bool, reason: str) -> None:
        """The peer ended the stream."""
        self._ended, self._reset, self._reason = True, self._reset or reset, self._reason or reason
        self._changed.set()


@attrs.define(eq=False)
class _Frames:
    """A stream on which whole messages come, for gossip or blocks."""

    protocol: str
    reader: FrameReader


@attrs.define(eq=False)
class _Echo:
    """The peer pings."""


@attrs.define(eq=False)
class _Describing:
    """The peer says what it is: as an answer, or unasked."""

    reader: DescriptionReader = attrs.field(factory=DescriptionReader)


@attrs.define(eq=False)
class _Speaking:
    """We alone speak on this stream: what comes is dropped."""


_Role = _Frames | _Echo | _Describing | _Speaking | Stream


class PeerLink:
    """One link, from its first byte to its last."""

    def __init__(self, host: Host, pump: Pump) -> None:
        self.closed_because = ""
        self.connection = pump.connection
        self.opened_at = 0.0  # by the host's clock
        self._host = host
        self._pump = pump
        self._roles: dict[int, _Role] = {}
        self._speaking: dict[str, int] = {}  # our own stream for gossip and for blocks
        self._served = 0
        self._lost = 0
        self._settled = anyio.Event()
        self._moved = anyio.Event()
        self._tasks: TaskGroup | None = None

    @property
    def initiator(self) -> bool:
        """Whether we dialled."""
        return self.connection.initiator

    @property
    def peer(self) -> PeerId:
        """Who is there; LocalProtocolError before it has proved that."""
        if self.connection.peer is None:
            raise LocalProtocolError("nobody has proved to be there")
        return self.connection.peer

    @property
    def observed(self) -> Multiaddr | None:
        """The address at which we see the peer, where the link has one that can be written."""
        return self._pump.remote

    @property
    def local(self) -> Multiaddr | None:
        """Our own address on this link, where it has one."""
        return self._pump.local

    # -- life ----------------------------------------------------------------------------------

    async def connected(self) -> PeerId:
        """Wait until the peer has proved who it is; LinkLost in words if it does not."""
        await self._settled.wait()
        if self.closed_because:
            raise LinkLost(self.closed_because)
        return self.peer

    async def run(self) -> None:
        """Serve the link until it ends; errors of peer and link end it, and are kept as its reason."""
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                await self._pump.run(self._take, self._taken)
        except* (BertyError, OSError) as errors:
            self.closed_because = self.closed_because or _words(errors)
        finally:
            self.closed_because = self.closed_because or "this node closed it"
            self._end()
            await self._pump.aclose()

    def _end(self) -> None:
        self._settled.set()
        for role in self._roles.values():
            if isinstance(role, Stream):
                role.end(reset=True, reason=self.closed_because)
        self._roles.clear()
        if self.connection.peer is not None:
            self._host.link_closed(self)

    def close(self, reason: str) -> None:
        """End the link."""
        self.closed_because = self.closed_because or reason
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    def doubt(self) -> None:
        """See soon whether the peer is still there, which has come again by another link."""
        self.connection.doubt(self._host.clock())
        self.flush()

    def flush(self) -> None:
        """Send what is to be sent."""
        self._pump.flush()

    def hold(self, size: int) -> None:
        """Account for bytes of an unfinished message; RemoteProtocolError when there are too many on all links."""
        if self._host.held + size > MAX_HELD:
            raise RemoteProtocolError("too many messages are unfinished")
        self._host.held += size

    def release(self, size: int) -> None:
        """These bytes are held no longer."""
        self._host.held -= size

    # -- streams of ours -----------------------------------------------------------------------

    def open_stream(self, protocol: str) -> Stream:
        """Open a stream of an application's protocol; LinkLost once the link has ended."""
        if self.closed_because or not self.connection.is_open:
            raise LinkLost(self.closed_because or "the link is not open yet")
        try:
            number = self.connection.open_stream(protocol)
        except LocalProtocolError as error:
            raise LinkLost(str(error)) from error  # too many streams, or the peer takes no more
        stream = self._roles[number] = Stream(self, number)
        self.flush()
        return stream

    def send_on(self, protocol: str, frame: bytes) -> None:
        """Send a whole message on our own stream of a protocol, which is opened with the first one."""
        number = self._speaking.get(protocol)
        if number is None:
            try:
                number = self._speaking[protocol] = self.connection.open_stream(protocol)
            except LocalProtocolError as error:
                self.close(str(error))  # a link without gossip and blocks is of no use
                return
            self._roles[number] = _Speaking()
        self.connection.send(number, frame)
        self.flush()

    def has_room(self, protocol: str) -> bool:
        """Whether the peer keeps up with what we send on our stream of a protocol."""
        number = self._speaking.get(protocol)
        return number is None or self.connection.backlog(number) < ROOM

    def drop(self, number: int) -> None:
        """End a stream at once."""
        self._forget(number)
        self.connection.reset(number)
        self.flush()

    def _forget(self, number: int) -> _Role | None:
        role = self._roles.pop(number, None)
        for protocol, speaking in list(self._speaking.items()):
            if speaking == number:
                del self._speaking[protocol]
        return role

    # -- events --------------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        match event:
            case Connected():
                self._opened()
            case StreamAccepted(number, protocol):
                self._accepted(number, protocol)
            case StreamAgreed():
                pass
            case StreamData(number, data):
                self._data(number, data)
            case StreamUnread(number):
                self._unread(number)
            case StreamEnded(number, reset, reason):
                self._ended(number, reset, reason)

    def _opened(self) -> None:
        self._host.link_opened(self)
        self._settled.set()
        number = self.connection.open_stream(identify.PROTOCOL)
        self._roles[number] = _Describing()

    def _accepted(self, number: int, protocol: str) -> None:
        if self._host.server(protocol) is not None:
            self._serve(number, protocol)
        elif protocol == gossip.PROTOCOL:
            self._host.gossip_opened(self)
            self._roles[number] = _Frames(protocol, FrameReader(MAX_RPC))
        elif protocol == bitswap.PROTOCOL:
            self._host.begin(self, protocol)
            self._roles[number] = _Frames(protocol, FrameReader(bitswap.MAX_MESSAGE))
        elif protocol == PING:
            self._roles[number] = _Echo()
        elif protocol == identify.PUSH:
            self._roles[number] = _Describing()
        else:
            self._roles[number] = _Speaking()
            self.connection.send(number, self._host.describe(self))
            self.connection.finish(number)

    def _serve(self, number: int, protocol: str) -> None:
        if self._served >= MAX_SERVED or self._tasks is None:
            self.connection.reset(number)
            return
        self._served += 1
        stream = self._roles[number] = Stream(self, number)
        self._tasks.start_soon(self._run_server, protocol, stream)

    async def _run_server(self, protocol: str, stream: Stream) -> None:
        """Serve one stream; what goes wrong on it ends it and nothing else."""
        server = self._host.server(protocol)
        try:
            with anyio.move_on_after(STREAM_TIMEOUT):
                if server is not None:
                    await server(self.peer, stream)
                    await self._let_out(stream.number)
        except BertyError:
            pass
        finally:
            self._served -= 1
            stream.reset()

    async def _let_out(self, number: int) -> None:
        """Wait until a stream that its server has finished is over at the peer too, and drop what still comes."""
        if self.connection.is_ending(number) and number in self._roles:
            self._roles[number] = _Speaking()
        while self.connection.is_ending(number):
            await self._moved.wait()

    def _taken(self) -> None:
        """Bytes went out or came in."""
        self._moved.set()
        self._moved = anyio.Event()
        self._host.flush()

    def _data(self, number: int, data: bytes) -> None:
        role = self._roles.get(number)
        if isinstance(role, Stream):
            role.push(data)  # its window comes back when it is read
            return
        self.connection.consumed(number, len(data))
        if isinstance(role, _Frames):
            self._take_frames(role, data)
        elif isinstance(role, _Describing):
            role.reader.feed(data)
        elif isinstance(role, _Echo) and self.connection.backlog(number) < ROOM:
            self.connection.send(number, data)

    def _take_frames(self, role: _Frames, data: bytes) -> None:
        take = self._host.gossip_came if role.protocol == gossip.PROTOCOL else self._host.blocks_came
        for frame in role.reader.feed(data):
            take(self, frame)

    def _unread(self, number: int) -> None:
        """A stream on which we alone speak is of no use then; on others the peer may say more."""
        if number in self._speaking.values():
            self.connection.reset(number)
            self._ended(number, reset=True, reason="")

    def _ended(self, number: int, reset: bool, reason: str) -> None:
        spoken = next((protocol for protocol, own in self._speaking.items() if own == number), None)
        if spoken is not None and not reset:
            return  # the peer never had anything to say on this stream
        role = self._forget(number)
        if isinstance(role, Stream):
            role.end(reset, reason)
            return
        if isinstance(role, _Describing) and not reset:
            self._host.described(self, role.reader.end())
        if not reset:
            self.connection.finish(number)
        elif spoken is not None:
            self._lost += 1
            self._host.stream_lost(self, spoken, again=not reason and self._lost < MAX_LOST)


def _words(errors: BaseExceptionGroup[BaseException]) -> str:
    """The first error's own words."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__
