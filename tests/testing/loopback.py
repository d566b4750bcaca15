"""Sound transports over sockets of the loopback interface, small enough to be broken in any way that a test wants."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import attrs
from anyio.abc import ByteStream, ObjectReceiveStream, TaskStatus

from berty_core.contracts.transport import (
    Beacon,
    Datagram,
    Endpoint,
    EndpointFound,
    EndpointLost,
    Priority,
    Probe,
    State,
    Traits,
    Transport,
    TransportHost,
)
from berty_core.errors import BudgetSpent, EndOfStream, LinkLost, LocalProtocolError
from berty_core.media import Fanout, Sightings, check_datagram, check_published, check_topic

HERE = "127.0.0.1"
BOTH = frozenset({"asyncio", "trio"})
TCP = Traits(stream=True, bitrate=10**9, latency=0.0, beacon_bytes=100, dial_timeout=2, lost_after=1, backends=BOTH)
UDP = Traits(
    stream=False,
    mtu=500,
    reliable=False,
    ordered=False,
    broadcast=True,
    topics=True,
    budgeted=True,
    discovers=False,
    bitrate=10**7,
    latency=0.0,
    dial_timeout=1,
    backends=BOTH,
)


class Town:
    """Who is there: what multicast would tell. Its streams and sockets belong to the transports."""

    def __init__(self) -> None:
        self.residents: list[Any] = []

    def tell(self, teller: object, endpoint: Endpoint, beacon: Beacon | None, *, here: bool) -> None:
        """Tell all others that somebody is there or gone."""
        for other in self.residents:
            if other is not teller:
                other.sightings.found(endpoint, beacon) if here else other.sightings.lost(endpoint)


@attrs.frozen
class TownConfig:
    """Where the device lives."""

    town: Town = attrs.field(factory=Town, eq=False)


class TcpLink:
    """A TCP connection."""

    traits = TCP

    def __init__(self, stream: ByteStream, remote: Endpoint, links: set[Any], *, initiator: bool) -> None:
        self.remote, self.initiator = remote, initiator
        self.stream, self.closed, self.links = stream, False, links
        links.add(self)

    async def send(self, data: bytes) -> None:
        """Send all."""
        try:
            await self.stream.send(data)
        except (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError) as error:
            raise LinkLost("the connection broke") from error

    async def receive(self) -> bytes:
        """Receive some."""
        try:
            return await self.stream.receive()
        except anyio.EndOfStream as error:
            raise (LinkLost("closed here") if self.closed else EndOfStream("closed there")) from error
        except (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError) as error:
            raise LinkLost("the connection broke") from error

    async def aclose(self) -> None:
        """Close."""
        self.closed = True
        self.links.discard(self)
        await anyio.aclose_forcefully(self.stream)


class TcpTransport:
    """Streams over TCP; the town tells who is there."""

    def __init__(self, config: TownConfig) -> None:
        self.town = config.town
        self.sightings = Sightings()
        self.links: set[Any] = set()
        self.host: TransportHost | None = None
        self.shown: Endpoint | None = None
        self.listening: anyio.CancelScope | None = None

    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Live in the town."""
        if self.host is not None:
            raise LocalProtocolError("run before")
        self.host = host
        try:
            async with anyio.create_task_group() as self.tasks:
                self.town.residents.append(self)
                for other in self.town.residents:
                    if other is not self and other.shown:
                        self.sightings.found(other.shown, other.beacon)
                host.state(State.ACTIVE)
                task_status.started()
                await anyio.sleep_forever()
        finally:
            self.hide()
            if self in self.town.residents:
                self.town.residents.remove(self)
            self.sightings.end()
            with anyio.CancelScope(shield=True):
                for link in list(self.links):
                    await link.aclose()

    def discover(self) -> AbstractAsyncContextManager[ObjectReceiveStream[EndpointFound | EndpointLost]]:
        """Who is there."""
        return self.sightings.listen()

    async def advertise(self, beacon: Beacon | None) -> None:
        """Listen at a new port."""
        self.hide()
        await anyio.lowlevel.checkpoint()
        if beacon is None:
            return
        listener = await anyio.create_tcp_listener(local_host=HERE)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610  no database
        self.listening = anyio.CancelScope()
        self.tasks.start_soon(self.listen, listener, self.listening)
        self.shown, self.beacon = Endpoint("loopback", str(port)), beacon
        self.town.tell(self, self.shown, beacon, here=True)

    async def listen(self, listener: Any, scope: anyio.CancelScope) -> None:
        """Accept until hidden; links live on."""
        with scope:
            async with listener:
                await listener.serve(self.accept, self.tasks)

    async def accept(self, stream: ByteStream) -> None:
        """Hand a link over."""
        assert self.host is not None
        self.host.accept(self.link(stream, Endpoint("loopback", "somebody"), initiator=False))

    def link(self, stream: ByteStream, remote: Endpoint, *, initiator: bool) -> TcpLink:
        """A link of a connection."""
        return TcpLink(stream, remote, self.links, initiator=initiator)

    async def dial(self, endpoint: Endpoint) -> Any:
        """Connect."""
        await anyio.lowlevel.checkpoint()
        if endpoint not in self.sightings.present:
            raise LinkLost("nobody is there")
        try:
            stream = await anyio.connect_tcp(HERE, int(endpoint.address))
        except OSError as error:
            raise LinkLost("nobody answers") from error
        return self.link(stream, endpoint, initiator=True)

    def hide(self) -> None:
        """Be at no port any more."""
        if self.listening is not None:
            self.listening.cancel()
        shown, self.shown, self.listening = self.shown, None, None
        if shown is not None:
            self.town.tell(self, shown, None, here=False)


class Ledger:
    """At most `limit` seconds of airtime in a window, kept in the settings."""

    limit, window = 0.02, 60.0
    trusting = False  # believes a clock that is set back

    def __init__(self, kept: bytes | None) -> None:
        self.sent: list[list[float]] = json.loads(kept) if kept else []

    def airtime(self, size: int) -> float:
        """A millisecond, and a microsecond for each byte."""
        return 0.001 + size * 1e-6

    def left(self, now: float) -> float:
        """What may be used now, by a clock that is never set back."""
        if not self.trusting:
            now = max([now, *(at for at, _ in self.sent)])
        return self.limit - sum(used for at, used in self.sent if now - self.window < at <= now)

    def allowed_at(self, size: int, now: float) -> float:
        """When so much has left the window that this fits."""
        ends = sorted(at + self.window for at, _ in self.sent)
        return next((at for at in [now, *ends] if at >= now and self.airtime(size) <= self.left(at + 1e-6)), now)

    def spend(self, size: int, now: float) -> bytes:
        """Book it; what to keep."""
        self.sent.append([max([now, *(at for at, _ in self.sent)]), self.airtime(size)])
        return json.dumps(self.sent).encode()


class UdpLink:
    """Datagrams to and from one member."""

    traits = UDP

    def __init__(self, transport: UdpTransport, number: bytes, peer: int, *, initiator: bool) -> None:
        self.transport, self.number, self.peer, self.initiator = transport, number, peer, initiator
        self.remote = Endpoint("loopback", str(peer))
        self.lost = ""
        self.send_in, self.arrived = anyio.create_memory_object_stream[bytes](512)

    async def send(self, data: bytes) -> None:
        """Send one datagram."""
        await anyio.lowlevel.checkpoint()
        check_datagram(data, UDP)
        if self.lost:
            raise LinkLost(self.lost)
        self.transport.transmit(b"L" + bytes([self.initiator]) + self.number + data, self.peer)

    async def receive(self) -> bytes:
        """The next datagram."""
        try:
            return await self.arrived.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError) as error:
            raise LinkLost(self.lost) from error

    async def aclose(self) -> None:
        """Close; nobody tells the other end."""
        self.end("closed here")
        await anyio.lowlevel.checkpoint()

    def end(self, why: str) -> None:
        """Be lost."""
        self.lost = self.lost or why
        self.send_in.close()
        self.arrived.close()


class UdpTransport:
    """A bus with topics and a budget, and links of datagrams, over one UDP socket."""

    def __init__(self, config: TownConfig, traits: Traits = UDP) -> None:
        self.traits = traits
        self.town = config.town
        self.host: TransportHost | None = None
        self.socket: socket.socket | None = None
        self.links: dict[bytes, UdpLink] = {}
        self.topics: dict[bytes, Fanout[Datagram]] = {}
        self.ended = False

    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Live in the town."""
        if self.host is not None:
            raise LocalProtocolError("run before")
        self.host = host
        self.ledger = Ledger(await host.setting("ledger"))
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self.socket.setblocking(False)
            self.socket.bind((HERE, 0))
            self.port = self.socket.getsockname()[1]
            self.town.residents.append(self)
            host.state(State.ACTIVE)
            task_status.started()
            while True:
                await self.read(self.socket)
        finally:
            self.ended = True
            if self in self.town.residents:
                self.town.residents.remove(self)
            self.socket.close()
            for link in self.links.values():
                link.end("the transport stopped")
            for fanout in self.topics.values():
                fanout.end()

    async def read(self, channel: socket.socket) -> None:
        """Take one datagram."""
        try:
            data, (_, port) = channel.recvfrom(70_000)
        except BlockingIOError:
            await anyio.wait_readable(channel)
            return
        await anyio.lowlevel.checkpoint()
        if data[:1] == b"B":
            topic, payload = data[2 : 2 + data[1]], data[2 + data[1] :]
            self.heard(topic, Datagram(payload, Endpoint("loopback", str(port))))
        elif data[1:2]:
            self.arrived(data[2:10], data[1], data[10:], port)

    def heard(self, topic: bytes, datagram: Datagram) -> None:
        """Somebody published."""
        if topic in self.topics:
            self.topics[topic].put(datagram)

    def arrived(self, number: bytes, by_initiator: int, data: bytes, port: int) -> None:
        """Something came for a link; the first opens it."""
        assert self.host is not None
        link = self.links.get(number)
        if link is None and by_initiator:
            link = self.links[number] = UdpLink(self, number, port, initiator=False)
            self.host.accept(self.wrap(link))
        if link is not None and not link.lost:
            try:
                link.send_in.send_nowait(data)
            except anyio.WouldBlock:
                return

    def wrap(self, link: UdpLink) -> Any:
        """The link as the core gets it."""
        return link

    def transmit(self, data: bytes, port: int) -> None:
        """Put one datagram on the wire; what has no room is lost."""
        if self.ended or self.socket is None:
            raise LinkLost("the transport stopped")
        try:
            self.socket.sendto(data, (HERE, port))
        except (BlockingIOError, ConnectionError):
            return

    async def dial(self, endpoint: Endpoint) -> Any:
        """Open a link to a member."""
        await anyio.lowlevel.checkpoint()
        ports = [str(other.port) for other in self.town.residents if other is not self]
        if self.ended or endpoint.transport != "loopback" or endpoint.address not in ports:
            raise LinkLost("nobody is there")
        number = secrets.token_bytes(8)
        self.links[number] = UdpLink(self, number, int(endpoint.address), initiator=True)
        return self.wrap(self.links[number])

    async def bus(self) -> Any:
        """This transport."""
        await anyio.lowlevel.checkpoint()
        if self.ended:
            raise LinkLost("the transport stopped")
        return self

    def budget(self) -> Ledger:
        """The ledger."""
        return self.ledger

    async def publish(self, data: bytes, *, topic: bytes | None, priority: Priority, deadline: float | None) -> None:
        """Send to all, and book that before."""
        assert self.host is not None
        if self.ended:
            raise LinkLost("the transport stopped")
        now = self.host.now()
        check_published(data, UDP, topic, deadline, now)
        await anyio.lowlevel.checkpoint()
        if self.traits.budgeted:
            if self.ledger.airtime(len(data)) > self.ledger.left(now):
                raise BudgetSpent("not now")
            await self.host.put_setting("ledger", self.ledger.spend(len(data), now))
        name = topic or b""
        for port in [other.port for other in self.town.residents if other is not self]:
            self.transmit(b"B" + bytes([len(name)]) + name + data, port)

    @asynccontextmanager
    async def subscribe(self, topic: bytes | None) -> AsyncIterator[ObjectReceiveStream[Datagram]]:
        """Hear one topic."""
        check_topic(UDP, topic)
        fanout = self.topics.setdefault(topic or b"", Fanout())
        if self.ended:
            fanout.end()
        async with fanout.subscribe() as stream:
            yield stream


class LoopbackSpec:
    """How either is found and made."""

    name: str = "loopback"
    api: tuple[int, int] = (1, 0)
    config: type = TownConfig
    platforms: frozenset[str] = frozenset()
    tested_on: tuple[str, ...] = ("emulated: sockets of the loopback interface",)

    def __init__(self, traits: Traits) -> None:
        self.traits = traits

    def probe(self, config: object) -> Probe:
        """It can run everywhere."""
        return Probe(available=True)

    def create(self, config: Any) -> Transport:
        """Make one."""
        return TcpTransport(config) if self.traits.stream else UdpTransport(config, self.traits)
