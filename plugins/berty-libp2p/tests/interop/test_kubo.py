"""Against an unmodified Kubo: identify, ping, gossip and blocks, whoever dials."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from berty_libp2p import bitswap, gossip
from berty_libp2p.multiaddr import Multiaddr
from berty_libp2p.peers import PeerId

from berty_core.codec.cid import Cid

from ..application import until
from .kubo import encode_topic, kubo
from .test_go import running

pytestmark = pytest.mark.anyio

BLOCK = {"cid-codec": "raw", "mhtype": "sha2-256"}
SIZES = (1, 4096, 256 * 1024 + 1, 2 * 1024 * 1024)


async def test_everything_with_kubo(kubo_program: Path, tmp_path: Path, dials: str, transport: str) -> None:
    """Each describes itself and answers pings; messages and blocks of several sizes go both ways."""
    async with (
        kubo(kubo_program, tmp_path) as their,
        running() as (host, application),
        anyio.create_task_group() as tasks,
    ):
        name = PeerId.parse(their.peer_id)
        await tasks.start(their.subscribe, "topic")
        host.subscribe("topic")
        if dials == "we dial":
            assert await host.dial(Multiaddr.parse(their.at(transport))) == name
        else:
            address = await (host.listen if transport == "tcp" else host.listen_quic)("127.0.0.1")
            await their.call("swarm/connect", arg=str(address))
        await until(application, lambda: name in host.peers and host.peers[name].description.agent)
        assert host.peers[name].description.agent.startswith("kubo/")
        assert {gossip.PROTOCOL, bitswap.PROTOCOL} <= host.peers[name].description.protocols
        assert 0 < await host.ping(name) < 1
        pinged = await their.call("ping", arg=str(host.peer_id), count="1")
        assert b'"Success":true' in pinged if isinstance(pinged, bytes) else pinged["Success"]
        await until(application, lambda: ("topic", name) in application.joined)
        host.publish("topic", b"from python")
        with anyio.fail_after(10):
            while not their.messages:
                await anyio.sleep(0.01)
        assert their.messages == [(str(host.peer_id), b"from python")]
        await their.call("pubsub/pub", b"from kubo", arg=encode_topic("topic"))
        await until(application, lambda: application.messages)
        assert application.messages == [("topic", b"from kubo", name)]
        for size in SIZES:
            theirs, ours = b"\1" * size, b"\2" * size
            put = await their.call(
                "block/put", theirs, **{"cid-codec": "raw", "mhtype": "sha2-256", "allow-big-block": "true"}
            )
            cid = Cid.parse(put["Key"])
            host.fetch([cid], [name])
            await until(application, lambda cid=cid: cid in application.fetched)
            assert application.fetched[cid] == theirs
            got = await their.call("block/get", arg=str(application.put(ours)))
            assert got == ours
        tasks.cancel_scope.cancel()
