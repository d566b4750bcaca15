"""Two and three nodes of our own over TCP on loopback: what the shell adds to the machines."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from berty_libp2p import bitswap, connection, gossip, identify, link
from berty_libp2p import host as host_module
from berty_libp2p.host import Host
from berty_libp2p.link import Stream
from berty_libp2p.multiaddr import Multiaddr
from berty_libp2p.peers import PeerId
from berty_libp2p.tcp import TRAITS, dial_tcp

from berty_core.codec.cid import RAW, Cid
from berty_core.contracts.transport import Endpoint
from berty_core.crypto.keys import PrivateKey
from berty_core.errors import EndOfStream, LinkLost, LocalProtocolError, RemoteProtocolError

from .application import Application, until

UPPER = "/test/upper/1.0.0"
LARGE = "/test/large/1.0.0"
ANSWER = bytes(range(256)) * 8192  # 2 MiB, more than any window

pytestmark = pytest.mark.anyio


async def upper(peer: PeerId, stream: Stream) -> None:
    """Answer one frame in capitals."""
    stream.send((await stream.receive_frame(100)).upper())
    stream.finish()


async def large(peer: PeerId, stream: Stream) -> None:
    """Answer with more than the peer's window takes, and be done."""
    await stream.receive()
    stream.send(ANSWER)
    stream.finish()


async def answered(stream: Stream) -> None:
    """All of that answer comes, and then its end."""
    with anyio.fail_after(30):
        assert await stream.receive_exactly(len(ANSWER)) == ANSWER
        with pytest.raises(EndOfStream):
            await stream.receive()


@asynccontextmanager
async def running(count: int) -> AsyncIterator[list[tuple[Host, Application, Multiaddr]]]:
    """Nodes that listen on loopback."""
    made = []
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            application = Application()
            key = PrivateKey(os.urandom(32))
            served = {UPPER: upper, LARGE: large}
            host = Host(key, os.urandom, time.monotonic, time.time_ns(), application, application, served)
            await tasks.start(host.run)
            made.append((host, application, await host.listen("127.0.0.1")))
        yield made
        tasks.cancel_scope.cancel()


async def described(host: Host, application: Application, name: PeerId) -> None:
    await until(application, lambda: name in host.peers and host.peers[name].description.agent)


async def test_two_nodes_meet() -> None:
    """Dialling returns who is there; both describe themselves, with the address at which they see the other."""
    async with running(2) as ((one, first, _), (two, second, address)):
        assert await one.dial(address) == two.peer_id
        await described(one, first, two.peer_id)
        await described(two, second, one.peer_id)
        said = one.peers[two.peer_id].description
        assert said.addresses == two.addresses
        assert UPPER in said.protocols
        assert said.observed is not None and said.observed.parts[0] == ("ip4", "127.0.0.1")
        assert 0 <= await one.ping(two.peer_id) < 1
        one.close_peer(two.peer_id)
        await until(second, lambda: one.peer_id not in two.peers)
        with pytest.raises(LinkLost):
            await one.ping(two.peer_id)


async def test_gossip_through_a_third_node() -> None:
    """Three in a row: what the first publishes the last receives, with its author, once."""
    async with running(3) as nodes:
        (one, first, _), (two, second, address), (three, third, _) = nodes
        for host, _, _ in nodes:
            host.subscribe("t")
        await one.dial(address)
        await three.dial(address)
        await until(second, lambda: len(two.router.mesh("t")) == 2)
        await until(first, lambda: one.router.followers("t"))
        assert one.publish("t", b"hello") == 1
        await until(third, lambda: third.messages)
        await until(second, lambda: second.messages)
        assert third.messages == second.messages == [("t", b"hello", one.peer_id)]


async def test_blocks_and_streams() -> None:
    """A block goes both ways, a missing one is told of, and an application's stream is served."""
    async with running(2) as ((one, first, _), (two, second, address)):
        await one.dial(address)
        await described(one, first, two.peer_id)
        await described(two, second, one.peer_id)
        for host, mine, theirs in ((one, first, second), (two, second, first)):
            block = os.urandom(100_000)
            cid, nobody = theirs.put(block), Cid(RAW + hashlib.sha256(os.urandom(8)).digest())
            host.fetch([cid, nobody])
            await until(mine, lambda mine=mine, cid=cid, nobody=nobody: cid in mine.fetched and nobody in mine.missing)
            assert mine.fetched[cid] == block
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
        assert await one.ping(two.peer_id) >= 0


async def test_a_changed_description_is_pushed() -> None:
    """A node that begins to listen elsewhere tells its peers."""
    async with running(2) as ((one, first, _), (two, _, address)):
        await one.dial(address)
        await described(one, first, two.peer_id)
        await until_true(lambda: bool(two.peers) and identify.PUSH in two.peers[one.peer_id].description.protocols)
        another = await two.listen("127.0.0.1")
        await until(first, lambda: len(one.peers[two.peer_id].description.addresses) == 2)
        assert another.parts[:2] in [address.parts for address in one.peers[two.peer_id].description.addresses]


async def test_a_node_on_every_interface_names_the_one_that_is_used() -> None:
    """Who listens on 0.0.0.0 says the address at which the peer has reached it; without one, nothing."""
    async with running(2) as ((one, first, _), (two, _, address)):
        port = address.parts[1]
        everywhere = [Multiaddr((host, port)) for host in (("ip4", "0.0.0.0"), ("ip6", "::"))]  # noqa: S104
        two.addresses = tuple(everywhere)
        await one.dial(address)
        await described(one, first, two.peer_id)
        assert one.peers[two.peer_id].description.addresses == (Multiaddr((("ip4", "127.0.0.1"), port)),)


async def until_true(condition: Callable[[], object]) -> None:
    with anyio.fail_after(5):
        while not condition():
            await anyio.sleep(0.01)


async def test_what_cannot_be_dialled() -> None:
    """Nobody there, another peer, ourselves, and addresses of other kinds: each in words."""
    async with running(2) as ((one, _, own), (_, _, address)):
        with pytest.raises(LinkLost, match="cannot be reached"):
            await one.dial(Multiaddr.parse("/ip4/127.0.0.1/tcp/1"))
        with pytest.raises(LinkLost, match="was expected"):
            await one.dial(Multiaddr(address.parts[:2]).with_peer(PeerId.of(PrivateKey(bytes(32)).public)))
        with pytest.raises(LinkLost, match="ourselves"):
            await one.dial(Multiaddr(own.parts[:2]))
        with pytest.raises(RemoteProtocolError, match="only TCP and QUIC v1"):
            await one.dial(Multiaddr.parse("/ip4/127.0.0.1/udp/1/quic"))
        assert one.peers == {}


async def test_a_stranger_that_says_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A TCP connection without a handshake ends when its time is over, and so does one that speaks nonsense."""
    monkeypatch.setattr(connection, "HANDSHAKE_TIMEOUT", 0.1)
    async with running(1) as ((host, _, address),):
        for first in (b"", b"GET / HTTP/1.0\r\n\r\n"):
            stranger = await dial_tcp(*address.tcp_target)
            if first:
                await stranger.send(first)
            with anyio.fail_after(5), pytest.raises((EndOfStream, LinkLost)):
                while True:
                    await stranger.receive()
            await stranger.aclose()
        await until_true(lambda: not host._links)


async def test_links_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limits, of all peers and of one, links are closed; those that are open stay."""
    monkeypatch.setattr(host_module, "MAX_LINKS_OF_PEER", 2)
    async with running(2) as ((one, _, _), (two, second, address)):
        await one.dial(address)
        await one.dial(address)
        await until(second, lambda: len(two.peers[one.peer_id].links) == 2)
        with pytest.raises(LinkLost, match="2 links already"):
            await one.dial(address)
        assert await one.ping(two.peer_id) >= 0
        monkeypatch.setattr(host_module, "MAX_LINKS", 2)
        with pytest.raises(LocalProtocolError, match="2 connections"):
            await one.dial(address)
        stranger = await dial_tcp(*address.tcp_target)
        with anyio.fail_after(5), pytest.raises((EndOfStream, LinkLost)):
            while True:
                await stranger.receive()
        await stranger.aclose()


async def test_served_streams_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    """One link may have so many streams served at a time; the next is reset, and room comes back."""
    monkeypatch.setattr(link, "MAX_SERVED", 2)
    async with running(2) as ((one, first, _), (two, _, address)):
        await one.dial(address)
        await described(one, first, two.peer_id)
        streams = [await one.open_stream(two.peer_id, UPPER) for _ in range(3)]
        with pytest.raises(LinkLost):
            await streams[2].receive()
        for stream in streams[:2]:
            stream.send(b"\x01a")
            assert await stream.receive_exactly(1) == b"A"
            stream.reset()
        await until_true(lambda: not next(iter(two._links))._served)
        again = await one.open_stream(two.peer_id, UPPER)
        again.send(b"\x01b")
        assert await again.receive_exactly(1) == b"B"


@pytest.mark.parametrize("first", [True, False])
async def test_what_a_server_sent_last_arrives(first: bool) -> None:
    """Whether the peer ends its side first or last: a server that returns takes nothing back, and its place is free."""
    async with running(2) as ((one, at_one, _), (two, _, address)):
        await one.dial(address)
        await described(one, at_one, two.peer_id)
        stream = await one.open_stream(two.peer_id, LARGE)
        stream.send(b"?")
        if first:
            stream.finish()
        await answered(stream)
        stream.send(bytes(300_000))  # nobody reads it any more
        stream.finish()
        await until_true(lambda: not next(iter(two._links))._served)
        assert not next(iter(two._links)).connection.is_ending(stream.number)


async def test_a_peer_that_leaves_streams_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that the peer does not end, and one that it does not read, are reset when their time is over."""
    monkeypatch.setattr(link, "STREAM_TIMEOUT", 0.3)
    async with running(2) as ((one, first, _), (two, _, address)):
        await one.dial(address)
        await described(one, first, two.peer_id)
        for protocol in (UPPER, LARGE):
            (await one.open_stream(two.peer_id, protocol)).send(b"\x01a")
        at_two = next(iter(two._links))
        await until_true(lambda: at_two._served == 2)
        await until_true(lambda: at_two._served == 0)
        assert not any(isinstance(role, Stream) for role in at_two._roles.values())
        assert await one.ping(two.peer_id) >= 0


async def test_a_peer_that_takes_no_more_streams() -> None:
    """After its go-away new streams fail in words, and gossip that would need one ends the link and nothing else."""
    async with running(3) as ((one, _, _), (two, second, address), (three, third, _)):
        await one.dial(address)
        await three.dial(address)
        await described(two, second, one.peer_id)
        await described(two, second, three.peer_id)
        refusing = one.peers[two.peer_id].links[0]
        refusing.connection._open_yamux().go_away()
        refusing.flush()
        await until_true(lambda: two.peers[one.peer_id].links[0].connection._open_yamux()._left_by_peer)
        with pytest.raises(LinkLost, match="go away"):
            await two.open_stream(one.peer_id, UPPER)
        two.push_description()
        two.subscribe("t")
        await until(second, lambda: one.peer_id not in two.peers)
        three.subscribe("t")
        await until(third, lambda: ("t", two.peer_id) in third.joined)


async def test_unfinished_messages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams that leave messages unfinished may hold so much together; the next is reset, and room comes back."""
    monkeypatch.setattr(link, "MAX_HELD", 100)
    async with running(2) as ((one, first, _), (two, _, address)):
        await one.dial(address)
        await described(one, first, two.peer_id)
        streams = [await one.open_stream(two.peer_id, UPPER) for _ in range(2)]
        streams[0].send(b"\x50" + bytes(70))
        await until_true(lambda: two.held == 71)
        streams[1].send(b"\x50" + bytes(70))
        with pytest.raises(LinkLost):
            await streams[1].receive()
        streams[0].send(b"a" * 10)
        assert (await streams[0].receive_exactly(80)).endswith(b"AAAAAAAAAA")
        assert two.held == 0


async def test_gossip_that_breaks_the_rules_ends_the_link() -> None:
    """Bytes that are no RPC close the connection of who sent them, and nothing else."""
    async with running(2) as ((one, _, _), (two, second, address)):
        await one.dial(address)
        await described(two, second, one.peer_id)
        stream = await one.open_stream(two.peer_id, gossip.PROTOCOL)
        stream.send(b"\x03\x0a\x7f\x00")
        await until(second, lambda: one.peer_id not in two.peers)
        assert await one.dial(address) == two.peer_id


@pytest.mark.parametrize(
    "protocol", [gossip.PROTOCOL, bitswap.PROTOCOL, identify.PUSH, identify.PROTOCOL, link.PING, UPPER]
)
async def test_garbage_on_any_stream_harms_nobody_else(protocol: str) -> None:
    """Random bytes on a stream of each protocol: that stream or its link ends, other peers are served as before."""
    chosen = random.Random(protocol)
    async with running(3) as ((bad, first, _), (two, _, address), (good, third, _)):
        await good.dial(address)
        await described(good, third, two.peer_id)
        for size in (1, 5, 300, 70_000):
            if two.peer_id not in bad.peers:
                await bad.dial(address)
            await described(bad, first, two.peer_id)
            stream = await bad.open_stream(two.peer_id, protocol)
            stream.send(chosen.randbytes(size))
            stream.finish()
            with anyio.move_on_after(0.2), pytest.raises((EndOfStream, LinkLost)):
                while True:
                    await stream.receive()
            assert 0 <= await good.ping(two.peer_id) < 5
        assert good.peer_id in two.peers


class PipeLink:
    """One end of a link in memory."""

    traits = TRAITS
    remote = Endpoint("pipe", "the other end")

    def __init__(self, initiator: bool, send: object, receive: object) -> None:
        self.initiator = initiator
        self._send, self._receive = send, receive

    async def send(self, data: bytes) -> None:
        try:
            await self._send.send(data)  # type: ignore[attr-defined]
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise LinkLost("the pipe broke") from error

    async def receive(self) -> bytes:
        try:
            data: bytes = await self._receive.receive()  # type: ignore[attr-defined]
        except (anyio.EndOfStream, anyio.ClosedResourceError) as error:
            raise EndOfStream("the pipe ended") from error
        return data

    async def aclose(self) -> None:
        self._send.close()  # type: ignore[attr-defined]
        self._receive.close()  # type: ignore[attr-defined]


async def test_any_stream_link_will_do() -> None:
    """Two nodes over a pipe that has no address, such as a radio's: they meet, gossip and swap blocks."""
    async with running(2) as ((one, first, _), (two, second, _)):
        there, there_end = anyio.create_memory_object_stream[bytes](0)
        back, back_end = anyio.create_memory_object_stream[bytes](0)
        two.subscribe("t")
        two.accept(PipeLink(False, back, there_end))
        assert await one.connect(PipeLink(True, there, back_end), two.peer_id) == two.peer_id
        await until_true(lambda: bool(one.router.followers("t")))
        one.publish("t", b"over a pipe")
        await until(second, lambda: second.messages)
        cid = second.put(b"a block")
        one.fetch([cid])
        await until(first, lambda: cid in first.fetched)
        assert one.peers[two.peer_id].description.observed is None
