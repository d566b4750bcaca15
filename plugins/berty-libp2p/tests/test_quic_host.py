"""Nodes of our own over QUIC on loopback: what sockets and the shell add to the machines."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import ConnectedUDPSocket, SocketAttribute, TaskGroup, UDPSocket
from berty_libp2p import bitswap, gossip
from berty_libp2p import host as host_module
from berty_libp2p.connection import HANDSHAKE_TIMEOUT
from berty_libp2p.host import Host
from berty_libp2p.link import ROOM, Stream
from berty_libp2p.multiaddr import Multiaddr, Target
from berty_libp2p.peers import PeerId

from berty_core.codec.cid import RAW, Cid
from berty_core.crypto.keys import PrivateKey
from berty_core.errors import EndOfStream, LinkLost, LocalProtocolError, TransportError

from .application import Application, until
from .test_host import LARGE, UPPER, answered, described, large, upper

pytest.importorskip("aioquic", reason="QUIC is an extra: pip install 'berty-libp2p[quic]'")
from berty_libp2p import quic, quic_engine
from berty_libp2p.udp import MAX_WAITING, QuicListener, QuicPump

SINK = "/test/sink/1.0.0"
SIZES = (0, 1, 4096, 256 * 1024 + 1, 2 * 1024 * 1024)

pytestmark = pytest.mark.anyio


class Clock:
    """The system's, which a test may put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@asynccontextmanager
async def running(
    count: int, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[list[tuple[Host, Application, Multiaddr]]]:
    """Nodes that listen for QUIC on loopback."""
    made = []
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            application = Application()
            key = PrivateKey(os.urandom(32))
            served = {UPPER: upper, LARGE: large, SINK: unread}
            host = Host(key, os.urandom, clock, time.time_ns(), application, application, served)
            await tasks.start(host.run)
            made.append((host, application, await host.listen_quic("127.0.0.1")))
        yield made
        tasks.cancel_scope.cancel()


async def until_true(condition: Callable[[], object]) -> None:
    """Wait for what no event tells."""
    with anyio.fail_after(30):
        while not condition():
            await anyio.sleep(0.01)


async def unread(peer: PeerId, stream: Stream) -> None:
    """Take what comes when told to, and not before."""
    await READ.wait()
    while True:
        await stream.receive()


READ = anyio.Event()


async def test_two_nodes_meet() -> None:
    """Dialling returns who is there; both describe themselves with QUIC addresses, and leaving is noticed at once."""
    async with running(2) as ((one, first, _), (two, second, address)):
        assert address.parts[1][0] == "udp" and address.parts[2][0] == "quic-v1"
        assert await one.dial(address) == two.peer_id
        await described(one, first, two.peer_id)
        await described(two, second, one.peer_id)
        said = one.peers[two.peer_id].description
        assert said.addresses == two.addresses == (Multiaddr(address.parts[:3]),)
        assert said.observed is not None and [name for name, _ in said.observed.parts] == ["ip4", "udp", "quic-v1"]
        assert 0 <= await one.ping(two.peer_id) < 1
        assert 0 <= await two.ping(one.peer_id) < 1
        one.close_peer(two.peer_id)
        await until(second, lambda: one.peer_id not in two.peers)
        with pytest.raises(LinkLost):
            await one.ping(two.peer_id)


async def test_a_node_on_every_interface_names_the_one_that_is_used() -> None:
    """Who listens on 0.0.0.0 says the address at which the peer has reached it."""
    async with running(1) as ((one, first, _),), running(1) as ((two, _, _),):
        two.addresses = ()
        address = await two.listen_quic()
        await one.dial(Multiaddr((("ip4", "127.0.0.1"), *address.parts[1:])))
        await described(one, first, two.peer_id)
        assert one.peers[two.peer_id].description.addresses == (Multiaddr((("ip4", "127.0.0.1"), *address.parts[1:3])),)


async def test_ipv6() -> None:
    """Both kinds of addresses listen on one port."""
    async with running(2) as ((one, _, _), (two, _, address)):
        try:
            there = await two.listen_quic("::1", address.target.port)
        except OSError:
            pytest.skip("no IPv6 here")
        assert there.target.port == address.target.port
        everywhere = await one.listen_quic("0.0.0.0")  # noqa: S104
        assert (await one.listen_quic("::", everywhere.target.port)).target.port == everywhere.target.port
        assert await one.dial(there) == two.peer_id
        assert str(one.peers[two.peer_id].links[0].observed) == str(Multiaddr(there.parts[:3]))


async def test_gossip_through_a_third_node() -> None:
    """Three in a row, one link over QUIC and one over TCP: what the first publishes the last receives, once."""
    async with running(3) as nodes:
        (one, first, _), (two, second, address), (three, third, _) = nodes
        for host, _, _ in nodes:
            host.subscribe("t")
        await one.dial(address)
        await three.dial(await two.listen("127.0.0.1"))
        await until(second, lambda: len(two.router.mesh("t")) == 2)
        await until(first, lambda: one.router.followers("t"))
        for number in range(100):
            one.publish("t", b"%d" % number)
        await until(third, lambda: len(third.messages) == 100)
        assert third.messages == [("t", b"%d" % number, one.peer_id) for number in range(100)]


async def test_blocks_of_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """They go both ways, many at once, and one that nobody has is told of."""
    monkeypatch.setattr(bitswap, "PATIENCE", 60.0)
    async with running(2) as ((one, first, _), (two, second, address)):
        await one.dial(address)
        await described(one, first, two.peer_id)
        await described(two, second, one.peer_id)
        for host, mine, theirs in ((one, first, second), (two, second, first)):
            blocks = [os.urandom(size) for size in SIZES] + [os.urandom(300) for _ in range(200)]
            cids = [theirs.put(block) for block in blocks]
            nobody = Cid(RAW + hashlib.sha256(os.urandom(8)).digest())
            host.fetch([*cids, nobody])
            await until(mine, lambda mine=mine, cids=cids: len(mine.fetched) == len(cids) and mine.missing, 30)
            assert [mine.fetched[cid] for cid in cids] == blocks
            assert mine.missing == {nobody}


async def test_streams_of_an_application() -> None:
    """They are served, end by themselves, and one that breaks the rules is reset alone."""
    async with running(2) as ((one, first, _), (two, _, address)):
        await one.dial(address)
        await described(one, first, two.peer_id)
        stream = await one.open_stream(two.peer_id, UPPER)
        stream.send(b"\x05hello")
        assert await stream.receive_exactly(5) == b"HELLO"
        with pytest.raises(EndOfStream):
            await stream.receive()
        stream.reset()
        stream = await one.open_stream(two.peer_id, UPPER)
        stream.send(b"\xff\x01")
        with pytest.raises(LinkLost):
            await stream.receive()
        stream = await one.open_stream(two.peer_id, LARGE)
        stream.send(b"?")
        stream.finish()
        await answered(stream)
        unknown = await one.open_stream(two.peer_id, "/test/unknown")
        with pytest.raises(LinkLost, match="does not speak /test/unknown"):
            await unknown.receive()
        assert await one.ping(two.peer_id) >= 0


async def test_a_stream_that_is_not_read_fills_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The window of one stream is what waits at the reader, the rest at the writer, who is told; others go on."""
    monkeypatch.setitem(globals(), "READ", anyio.Event())
    async with running(2) as ((one, first, _), (two, _, address)):
        await one.dial(address)
        await described(one, first, two.peer_id)
        stream = await one.open_stream(two.peer_id, SINK)
        stream.send(bytes(ROOM))
        connection = one.peers[two.peer_id].links[0].connection
        await until_true(lambda: connection.backlog(stream.number) <= ROOM - quic_engine.STREAM_WINDOW + 100)
        assert await one.ping(two.peer_id) >= 0
        waiting = [role for link in two._links for role in link._roles.values() if isinstance(role, Stream)]
        assert sum(map(len, waiting[0]._incoming)) <= quic_engine.STREAM_WINDOW
        assert connection.backlog(stream.number) >= ROOM - quic_engine.STREAM_WINDOW
        READ.set()
        await until_true(lambda: connection.backlog(stream.number) == 0)


async def test_a_peer_that_does_not_keep_up_holds_blocks_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks for a peer that reads nothing wait in the exchange, not in the connection; they come when it reads."""
    monkeypatch.setattr(bitswap, "PATIENCE", 60.0)
    async with running(2) as ((one, first, _), (two, second, address)):
        await one.dial(address)
        await described(one, first, two.peer_id)
        await described(two, second, one.peer_id)
        cids = [first.put(os.urandom(32 * 1024)) for _ in range(192)]
        link = two.peers[one.peer_id].links[0]
        kept: list[tuple[int, int]] = []
        consumed = link.connection.consumed
        monkeypatch.setattr(link.connection, "consumed", lambda stream, count: kept.append((stream, count)))
        two.fetch(cids)
        there = one.peers[two.peer_id].links[0]
        await until_true(lambda: sum(count for _, count in kept) >= quic_engine.STREAM_WINDOW - 200)
        assert await one.ping(two.peer_id) >= 0
        (speaking,) = (number for name, number in there._speaking.items() if "bitswap" in name)
        assert there.connection.backlog(speaking) < ROOM + bitswap.LOOKUPS * 33 * 1024 < 192 * 32 * 1024
        assert len(second.fetched) < 192
        monkeypatch.setattr(link.connection, "consumed", consumed)
        for stream, count in kept:
            consumed(stream, count)
        link.flush()
        await until(second, lambda: len(second.fetched) == 192, 30)


async def test_what_cannot_be_dialled() -> None:
    """Nobody there, another peer, and ourselves: each in words, and at once."""
    async with running(2) as ((one, _, own), (_, _, address)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        with anyio.fail_after(5), pytest.raises(LinkLost, match="cannot be reached"):
            await one.dial(Multiaddr.quic("127.0.0.1", port))
        with pytest.raises(LinkLost, match="was expected"):
            await one.dial(Multiaddr(address.parts[:3]).with_peer(PeerId.of(PrivateKey(bytes(32)).public)))
        with pytest.raises(LinkLost, match="ourselves"):
            await one.dial(Multiaddr(own.parts[:3]))
        with pytest.raises(LinkLost, match="looked up"):
            await one.dial(Multiaddr.parse("/dns4/name.invalid/udp/1/quic-v1"))
        assert one.peers == {}


async def test_a_name_is_looked_up() -> None:
    """An address may have a name in it."""
    async with running(2) as ((one, _, _), (two, _, address)):
        assert await one.dial(Multiaddr((("dns4", "localhost"), *address.parts[1:]))) == two.peer_id


async def test_strangers_that_say_nothing_are_forgotten() -> None:
    """First datagrams that nothing follows are dropped when their time is over; nonsense begins nothing."""
    clock = Clock()
    async with running(2, clock) as ((one, _, _), (two, _, address)):
        target = address.target
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            party = quic.QuicParty(PrivateKey(os.urandom(32)), os.urandom, lambda _: False)
            for number in range(5):
                ((first, _),) = party.dial(number, None, clock(), time.time()).take(clock())
                stranger.sendto(first, (target.host, target.port))
                stranger.sendto(os.urandom(1300), (target.host, target.port))
            await until_true(lambda: len(two._links) == 5)
            clock.ahead += HANDSHAKE_TIMEOUT
            await until_true(lambda: not two._links)
        assert await one.dial(address) == two.peer_id


async def test_links_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limits, of all peers and of one, connections are refused or not begun; those that are open stay."""
    monkeypatch.setattr(host_module, "MAX_LINKS_OF_PEER", 2)
    async with running(2) as ((one, _, _), (two, second, address)):
        await one.dial(address)
        await one.dial(address)
        await until(second, lambda: len(two.peers[one.peer_id].links) == 2)
        with pytest.raises(LinkLost):
            await one.dial(address)
        assert await one.ping(two.peer_id) >= 0
        monkeypatch.setattr(host_module, "MAX_LINKS", 2)
        with pytest.raises(LocalProtocolError, match="2 connections"):
            await one.dial(address)
        assert len(two.peers[one.peer_id].links) == 2


async def test_a_peer_that_vanishes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is gone without a goodbye, as a phone does, is missed; what waits for it is told."""
    clock = Clock()
    async with running(1, clock) as ((one, first, _),), running(1) as ((two, _, address),):
        await one.dial(address)
        await described(one, first, two.peer_id)
        stream = await one.open_stream(two.peer_id, UPPER)
        await until_true(lambda: not one.peers[two.peer_id].links[0].connection._negotiating)
        for link in two._links:
            assert isinstance(link._pump, QuicPump)
            monkeypatch.setattr(link._pump, "deliver", lambda *_: None)
            monkeypatch.setattr(link._pump, "_transmit", lambda: None)
        clock.ahead += quic_engine.IDLE_TIMEOUT
        with anyio.fail_after(10), pytest.raises(LinkLost, match="nothing was heard from the peer for 30 s"):
            await stream.receive()
        await until(first, lambda: two.peer_id not in one.peers)


async def test_a_peer_that_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its old link, on which it said no goodbye, ends soon after the new one has opened, and gossip goes on there."""
    monkeypatch.setattr(quic, "PATIENCE", 0.5)
    async with running(2) as ((one, first, _), (two, second, address)):
        two.subscribe("t")
        await one.dial(address)
        await until_true(lambda: bool(one.router.followers("t")))
        dead = two.peers[one.peer_id].links[0]
        for link in (one.peers[two.peer_id].links[0], dead):
            monkeypatch.setattr(link._pump, "_transmit", lambda: None)
        await one.dial(address)
        await until(second, lambda: len(two.peers[one.peer_id].links) == 2)
        await until(second, lambda: two.peers[one.peer_id].links[0] is not dead)
        assert dead.closed_because == "the peer is gone: it does not answer"
        await until(first, lambda: len(one.peers[two.peer_id].links) == 1)
        one.publish("t", b"again")
        await until(second, lambda: second.messages)


async def test_a_machine_that_says_that_nobody_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the listener's process is gone its machine says so, and the dialler sees it long before silence tells."""
    monkeypatch.setattr(quic, "PATIENCE", 0.5)
    async with running(1) as ((one, first, _),):
        async with running(1) as ((two, _, address),):
            await one.dial(address)
            await described(one, first, two.peer_id)
            link = one.peers[two.peer_id].links[0]
            for there in two._links:
                monkeypatch.setattr(there._pump, "_transmit", lambda: None)
        one.push_description()
        await until(first, lambda: two.peer_id not in one.peers)
        assert link.closed_because == "the peer is gone: it does not answer"


class Router:
    """A router on the way to a listener, which gives the dialler another port whenever it is asked to."""

    def __init__(self, target: Target, tasks: TaskGroup) -> None:
        self._target = target
        self._tasks = tasks
        self._front: UDPSocket | None = None
        self._back: ConnectedUDPSocket | None = None
        self._dialler: tuple[str, int] = ("", 0)

    async def open(self) -> Multiaddr:
        self._front = await anyio.create_udp_socket(socket.AF_INET, local_host="127.0.0.1")
        await self.change()
        self._tasks.start_soon(self._forth)
        return Multiaddr.quic(*self._front.extra_attributes[SocketAttribute.local_address]()[:2])

    async def change(self) -> None:
        self._back = await anyio.create_connected_udp_socket(self._target.host, self._target.port)
        self._tasks.start_soon(self._return, self._back)

    async def _forth(self) -> None:
        assert self._front is not None
        async with self._front:
            async for data, dialler in self._front:
                self._dialler = dialler
                assert self._back is not None
                await self._back.send(data)

    async def _return(self, back: ConnectedUDPSocket) -> None:
        assert self._front is not None
        async with back:
            async for data in back:
                await self._front.sendto(data, *self._dialler)


async def test_a_peer_that_gets_another_port() -> None:
    """A link goes on when the dialler's address changes, and what is seen of it follows."""
    async with running(2) as ((one, first, _), (two, _, address)), anyio.create_task_group() as tasks:
        router = Router(address.target, tasks)
        assert await one.dial(await router.open()) == two.peer_id
        await described(one, first, two.peer_id)
        before = two.peers[one.peer_id].links[0].observed
        await router.change()
        assert await one.ping(two.peer_id) >= 0
        assert await two.ping(one.peer_id) >= 0
        assert two.peers[one.peer_id].links[0].observed != before
        assert len(two.peers[one.peer_id].links) == 1
        tasks.cancel_scope.cancel()


async def test_a_listener_keeps_no_account_of_what_is_over() -> None:
    """It knows a connection by the ids that it was given, until it ends."""
    async with running(2) as ((one, first, _), (two, second, _)), anyio.create_task_group() as tasks:
        listener = QuicListener(two._quic_party(), two.clock, two._unix_time, two._accept, lambda: True)
        bound = await tasks.start(listener.run, "127.0.0.1", 0)
        for _ in range(3):
            await one.dial(Multiaddr.quic(*bound))
            await described(one, first, two.peer_id)
            assert len(listener._pumps) == len(listener._server._ids) == 1
            assert len(listener._server._by_id) > 2
            one.close_peer(two.peer_id)
            await until(second, lambda: not two.peers)
            await until(first, lambda: not one.peers)
        assert not listener._server._ids and not listener._server._by_id
        tasks.cancel_scope.cancel()


async def test_a_host_that_ends_says_so() -> None:
    """Whoever is connected to it knows at once, whoever dialled."""
    async with running(1) as ((one, first, own),):
        async with running(1) as ((_, _, address),), running(1) as ((three, _, _),):
            await one.dial(address)
            await three.dial(own)
            await until(first, lambda: len(one.peers) == 2)
            links = [peer.links[0] for peer in one.peers.values()]
        await until(first, lambda: not one.peers)
        assert [link.closed_because for link in links] == ["the peer closed the QUIC connection"] * 2


async def test_datagrams_that_wait_are_bounded() -> None:
    """A flood at one connection is dropped, as a network may."""
    async with running(2) as ((one, _, _), (two, _, address)):
        await one.dial(address)
        pump = one.peers[two.peer_id].links[0]._pump
        assert isinstance(pump, QuicPump)
        for _ in range(10 * MAX_WAITING):
            pump.deliver(bytes(1200), pump.connection.address)
        assert len(pump._waiting) == MAX_WAITING
        assert await one.ping(two.peer_id) >= 0


async def test_a_peer_that_stops_reading_gossip(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that the peer reads no more, but leaves open, is opened anew, and what is said later arrives."""
    async with running(2) as ((one, _, _), (two, second, address)):
        two.subscribe("t")
        await one.dial(address)
        await until_true(lambda: bool(one.router.followers("t")))
        one.publish("t", b"first")
        await until(second, lambda: second.messages)
        there, here = one.peers[two.peer_id].links[0], two.peers[one.peer_id].links[0]
        before = there._speaking[gossip.PROTOCOL]
        connection = here.connection
        assert isinstance(connection, quic.QuicConnection)
        monkeypatch.setattr(connection._muxer, "reset", lambda _: None)
        connection._engine.stop_stream(before, 0)
        here.flush()
        await until_true(lambda: there._speaking.get(gossip.PROTOCOL) != before)
        one.publish("t", b"second")
        await until(second, lambda: [data for _, data, _ in second.messages] == [b"first", b"second"])


async def test_a_port_that_is_taken() -> None:
    """Listening where somebody else does is an error of the system, and nothing stays behind."""
    async with running(2) as ((one, _, _), (_, _, address)):
        with pytest.raises(OSError, match="in use"):
            await one.listen_quic("127.0.0.1", address.target.port)
        assert len(one.addresses) == 1


async def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said what is to be installed, or switched on; TCP goes on."""
    async with running(2) as ((one, _, _), (two, _, address)):
        one.quic = False
        assert not one.can_dial(address)
        with pytest.raises(TransportError, match="quic = true"):
            await one.dial(address)
        monkeypatch.setattr(host_module, "has_quic", lambda: False)
        with pytest.raises(TransportError, match=r"pip install 'berty-libp2p\[quic\]'"):
            await one.dial(address)
        with pytest.raises(TransportError, match="pip install"):
            await one.listen_quic("127.0.0.1")
        assert await one.dial(await two.listen("127.0.0.1")) == two.peer_id


async def test_an_aioquic_that_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that lacks what is used of it is refused by name."""
    monkeypatch.setattr(quic_engine, "missing_names", lambda: ["QuicConnection._close_event"])
    async with anyio.create_task_group() as tasks:
        application = Application()
        key = PrivateKey(os.urandom(32))
        host = Host(key, os.urandom, time.monotonic, time.time_ns(), application, application)
        await tasks.start(host.run)
        with pytest.raises(TransportError, match=r"it has no QuicConnection\._close_event$"):
            await host.listen_quic("127.0.0.1")
        tasks.cancel_scope.cancel()


def test_nothing_loads_aioquic_before_it_is_used() -> None:
    """Importing the plugin, or a host, brings neither aioquic nor the certificates' library."""
    code = "import sys, berty_libp2p.plugin, berty_libp2p.profile, berty_libp2p.host\n"
    code += "print([name for name in sys.modules if name.split('.')[0] in ('aioquic', 'OpenSSL')])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
