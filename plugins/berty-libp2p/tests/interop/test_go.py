"""Against go-libp2p, go-libp2p-pubsub and boxo's bitswap: whoever dials, both ends see and do the same."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from berty_libp2p import bitswap, gossip
from berty_libp2p.config import has_quic
from berty_libp2p.host import Host
from berty_libp2p.link import Stream
from berty_libp2p.multiaddr import Multiaddr
from berty_libp2p.peers import PeerId

from berty_core.codec.cid import RAW, Cid
from berty_core.crypto.keys import PrivateKey
from berty_core.errors import EndOfStream, LinkLost

from ..application import Application, until
from .go_peer import GoPeer, go_peer

ECHO = "/test/echo/1.0.0"
SIZES = (0, 1, 4096, 256 * 1024 + 1, 2 * 1024 * 1024)

pytestmark = pytest.mark.anyio


async def echo(peer: PeerId, stream: Stream) -> None:
    """Send everything back."""
    try:
        while True:
            stream.send(await stream.receive())
    except EndOfStream:
        stream.finish()


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Host, Application]]:
    application = Application()
    key = PrivateKey(os.urandom(32))
    host = Host(key, os.urandom, time.monotonic, time.time_ns(), application, application, {ECHO: echo})
    async with anyio.create_task_group() as tasks:
        await tasks.start(host.run)
        yield host, application
        tasks.cancel_scope.cancel()


async def meet(host: Host, application: Application, go: GoPeer, dials: str, transport: str = "tcp") -> PeerId:
    """Bring a link up in one direction, until both have described themselves."""
    name = PeerId.parse(go.peer_id)
    if dials == "we dial":
        assert await host.dial(Multiaddr.parse(go.at(transport))) == name
    else:
        address = await (host.listen if transport == "tcp" else host.listen_quic)("127.0.0.1")
        await go.call("connect", addr=str(address))
    await until(application, lambda: name in host.peers and host.peers[name].description.agent)
    with anyio.fail_after(10):
        while not (await go.call("about", peer=str(host.peer_id)))["agent"]:
            await anyio.sleep(0.01)
    return name


async def test_identify_and_ping(program: Path, dials: str, transport: str) -> None:
    """Each learns the other's agent, protocols and addresses, and both can ping."""
    async with go_peer(program) as go, running() as (host, application):
        name = await meet(host, application, go, dials, transport)
        said = host.peers[name].description
        assert said.agent == "berty-libp2p-test-peer"
        assert {gossip.PROTOCOL, bitswap.PROTOCOL, "/ipfs/ping/1.0.0"} <= said.protocols
        assert {Multiaddr.parse(address).target for address in go.addresses} == {one.target for one in said.addresses}
        about = await go.call("about", peer=str(host.peer_id))
        assert about["agent"] == "berty-python"
        assert {gossip.PROTOCOL, bitswap.PROTOCOL, ECHO, "/ipfs/id/1.0.0"} <= set(about["protocols"])
        assert 0 < await host.ping(name) < 1
        assert 0 < (await go.call("ping", peer=str(host.peer_id)))["seconds"] < 1


async def test_gossip_both_ways_at_once_after_the_link(program: Path, dials: str, transport: str) -> None:
    """What is published the moment that the other's subscription is seen arrives, both ways; a stranger's topic not."""
    async with go_peer(program) as go, running() as (host, application):
        host.subscribe("topic")
        await go.call("subscribe", topic="topic")
        await go.call("subscribe", topic="other")
        name = await meet(host, application, go, dials, transport)
        await until(application, lambda: ("topic", name) in application.joined)
        assert host.publish("topic", b"from python") == 1
        message = await go.event("message", topic="topic")
        assert (message["peer"], bytes.fromhex(message["data"])) == (str(host.peer_id), b"from python")
        await go.event("topic_join", topic="topic", peer=str(host.peer_id))
        await go.call("publish", topic="topic", data=b"from go".hex())
        await until(application, lambda: application.messages)
        assert application.messages == [("topic", b"from go", name)]
        assert host.router.mesh("topic") == {name}
        host.unsubscribe("topic")
        await go.event("topic_leave", topic="topic", peer=str(host.peer_id))


async def test_a_burst_of_gossip_arrives_whole(program: Path, transport: str) -> None:
    """Five hundred messages of Go in a row all come, in order, each once."""
    async with go_peer(program) as go, running() as (host, application):
        host.subscribe("topic")
        await go.call("subscribe", topic="topic")
        name = await meet(host, application, go, "we dial", transport)
        await go.event("topic_join", topic="topic", peer=str(host.peer_id))
        await go.call("publish", topic="topic", data=bytes(250).hex(), count=500)
        await until(application, lambda: len(application.messages) == 500)
        assert [int.from_bytes(data[-4:], "big") for _, data, _ in application.messages] == list(range(500))
        assert {author for _, _, author in application.messages} == {name}


async def test_gossip_is_passed_on(program: Path, transport: str) -> None:
    """Two Go nodes that know only us exchange messages through us, signed by their authors."""
    async with go_peer(program) as one, go_peer(program) as two, running() as (host, application):
        host.subscribe("topic")
        for go in (one, two):
            await go.call("subscribe", topic="topic")
            await meet(host, application, go, "we dial", transport)
            await go.event("topic_join", topic="topic", peer=str(host.peer_id))
        await one.call("publish", topic="topic", data=b"through".hex())
        message = await two.event("message", topic="topic")
        assert (message["peer"], bytes.fromhex(message["data"])) == (one.peer_id, b"through")


@pytest.mark.parametrize("size", SIZES)
async def test_blocks_both_ways(program: Path, dials: str, transport: str, size: int) -> None:
    """A block of each size is fetched from Go and served to it."""
    async with go_peer(program) as go, running() as (host, application):
        name = await meet(host, application, go, dials, transport)
        theirs, ours = b"\1" * size, b"\2" * size
        cid = Cid.parse((await go.call("put", data=theirs.hex()))["cid"])
        host.fetch([cid], [name])
        await until(application, lambda: {cid} & (application.fetched.keys() | application.missing))
        assert application.fetched.get(cid) == (theirs or None)  # boxo does not give an empty block out
        got = await go.call("get", cid=str(application.put(ours)))
        assert bytes.fromhex(got["data"]) == ours


async def test_many_blocks_from_two_peers(program: Path, transport: str) -> None:
    """Blocks that only the second peer has come from there, once the first has said no."""
    async with go_peer(program) as one, go_peer(program) as two, running() as (host, application):
        names = [await meet(host, application, go, "we dial", transport) for go in (one, two)]
        blocks = [b"block %d" % number for number in range(300)]
        cids = [Cid.parse((await two.call("put", data=block.hex()))["cid"]) for block in blocks]
        host.fetch(cids, names)
        await until(application, lambda: len(application.fetched) == len(cids))
        assert [application.fetched[cid] for cid in cids] == blocks
        nobody = Cid(RAW + bytes(32))
        host.fetch([nobody], names)
        await until(application, lambda: nobody in application.missing)


async def test_a_block_that_comes_later_is_sent_to_who_waits(program: Path, transport: str) -> None:
    """Go asks for a block that is not here; once it is, Go gets it without asking again."""
    async with go_peer(program) as go, running() as (host, application):
        await meet(host, application, go, "they dial", transport)
        block = b"later" * 2000
        cid = Cid(RAW + hashlib.sha256(block).digest())
        async with anyio.create_task_group() as tasks:

            async def get() -> None:
                assert bytes.fromhex((await go.call("get", cid=str(cid)))["data"]) == block

            tasks.start_soon(get)
            await anyio.sleep(0.2)
            application.put(block)
            host.added(cid, block)


async def test_streams_of_an_application(program: Path, dials: str, transport: str) -> None:
    """Half a megabyte goes there and back on a stream of our own protocol, opened by either side."""
    async with go_peer(program) as go, running() as (host, application):
        name = await meet(host, application, go, dials, transport)
        data = os.urandom(512 * 1024)
        number = (await go.call("open", peer=str(host.peer_id), protocol=ECHO))["stream"]
        await go.call("write", stream=number, data=data.hex())
        await go.call("finish", stream=number)
        got = b""
        while len(got) < len(data):
            got += bytes.fromhex((await go.event("data", stream=number))["data"])
        assert got == data
        assert not (await go.event("end", stream=number))["reset"]
        await go.call("handle", protocol="/test/sink/1.0.0")
        stream = await host.open_stream(name, "/test/sink/1.0.0")
        stream.send(data)
        stream.finish()
        taken = (await go.event("stream", protocol="/test/sink/1.0.0"))["stream"]
        got = b""
        while len(got) < len(data):
            got += bytes.fromhex((await go.event("data", stream=taken))["data"])
        assert got == data
        await go.call("reset", stream=taken)
        with pytest.raises(LinkLost):
            await stream.receive()
        unknown = await host.open_stream(name, "/test/unknown/1.0.0")
        with pytest.raises(LinkLost, match="does not speak /test/unknown"):
            await unknown.receive()


async def test_a_dialler_that_prefers_tls(program: Path) -> None:
    """A Go node that proposes TLS first, as Kubo does, goes on to Noise."""
    async with go_peer(program, "--tls-first") as go, running() as (host, application):
        await meet(host, application, go, "they dial")
        assert (await go.call("ping", peer=str(host.peer_id)))["seconds"] > 0


async def test_other_kinds_of_keys_are_refused_in_words(program: Path, transport: str) -> None:
    """A Go node with an RSA key is not connected to, and the reason names the key."""
    async with go_peer(program, "--rsa") as go, running() as (host, _):
        address = Multiaddr(Multiaddr.parse(go.at(transport).rpartition("/p2p/")[0]).parts)
        with pytest.raises(LinkLost, match="RSA key"):
            await host.dial(address)
        assert not host.peers


async def test_another_peer_than_the_expected_one(program: Path, transport: str) -> None:
    """A peer id that does not belong to the address is refused, and both ids are named."""
    async with go_peer(program) as go, running() as (host, _):
        address = Multiaddr(Multiaddr.parse(go.at(transport)).parts[:-1]).with_peer(
            PeerId.of(PrivateKey(bytes(32)).public)
        )
        with pytest.raises(LinkLost, match=f"{go.peer_id} answers where"):
            await host.dial(address)


async def test_two_links_of_which_one_ends(program: Path, transport: str) -> None:
    """With a link in each direction, gossip and blocks go on when one of them ends."""
    async with go_peer(program) as go, running() as (host, application):
        host.subscribe("topic")
        await go.call("subscribe", topic="topic")
        name = await meet(host, application, go, "we dial")
        await host.dial(Multiaddr.parse(go.at(transport)))
        await until(application, lambda: len(host.peers[name].links) == 2)
        first = host.peers[name].links[0]
        await until(application, lambda: ("topic", name) in application.joined)
        first.close("the first link ends")
        await until(application, lambda: len(host.peers[name].links) == 1)
        for number in range(20):
            host.publish("topic", b"%d" % number)
        for number in range(20):  # Go checks signatures side by side, so messages may overtake each other
            await go.event("message", data=(b"%d" % number).hex())
        block = b"over the second link"
        assert bytes.fromhex((await go.call("get", cid=str(application.put(block))))["data"]) == block
        await go.call("publish", topic="topic", data=b"back".hex())
        await until(application, lambda: application.messages)


async def test_a_peer_that_vanishes(program: Path) -> None:
    """When the Go process is gone the peer is gone, and what was asked of it is missing."""
    async with running() as (host, application):
        async with go_peer(program) as go:
            name = await meet(host, application, go, "we dial")
            cid = Cid(RAW + bytes(32))
            stream = await host.open_stream(name, "/ipfs/ping/1.0.0")
        await until(application, lambda: name not in host.peers)
        with pytest.raises(LinkLost):
            await stream.receive()
        host.fetch([cid], [name])
        await until(application, lambda: cid in application.missing)


async def test_a_peer_that_goes(program: Path, transport: str) -> None:
    """Who says goodbye is gone at once, by either transport, whichever side does."""
    async with go_peer(program) as go, running() as (host, application):
        name = await meet(host, application, go, "we dial", transport)
        await go.call("disconnect", peer=str(host.peer_id))
        await until(application, lambda: name not in host.peers)
        await meet(host, application, go, "we dial", transport)
        host.close_peer(name)
        await go.event("disconnected", peer=str(host.peer_id))


async def test_go_expects_somebody_else(program: Path) -> None:
    """A Go node that dials another peer id than ours over QUIC does not get a connection, nor do we keep one."""
    if not has_quic():
        pytest.skip("QUIC is an extra: pip install 'berty-libp2p[quic]'")
    async with go_peer(program) as go, running() as (host, _):
        address = await host.listen_quic("127.0.0.1")
        another = Multiaddr(address.parts[:-1]).with_peer(PeerId.of(PrivateKey(bytes(32)).public))
        with pytest.raises(AssertionError, match="peer id mismatch"):
            await go.call("connect", addr=str(another))
        with anyio.fail_after(10):
            while host._links:
                await anyio.sleep(0.01)
        assert not host.peers
