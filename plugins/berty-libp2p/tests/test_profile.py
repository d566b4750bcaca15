"""The parts of the profile: whose key it shows for how long, what it tells whom, what its settings may be."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute
from berty_libp2p import identity as identities
from berty_libp2p import profile as profile_module
from berty_libp2p.config import Libp2pConfig, has_quic
from berty_libp2p.gossip import Gossip, Joined, Received
from berty_libp2p.identity import identity
from berty_libp2p.multiaddr import Multiaddr
from berty_libp2p.peers import PeerId
from berty_libp2p.plugin import Libp2pSpec
from berty_libp2p.profile import Libp2pProfile

from berty_core.config import NodeConfig
from berty_core.crypto.keys import PrivateKey
from berty_core.errors import LocalProtocolError, UserError
from berty_core.fitting import fit
from berty_core.loading import LeftOut
from berty_core.plugins import load_plugins
from berty_core.runtime.node import Node
from berty_core.runtime.sessions.profile_host import NodePort
from berty_core.runtime.status import status

from .test_exchange import Person, _has, _reads, eventually, joined

pytestmark = pytest.mark.anyio
OFF_LINE = NodeConfig(keyring=False)


async def test_the_key_stays_for_its_time(tmp_path: Path) -> None:
    """It outlives a restart, sealed; a copied home, the end of its hours and a clock that went back bring another."""
    now = 1_800_000_000.0
    async with Node.open(tmp_path / "Ann", name="Ann", config=OFF_LINE, network=False) as node:
        host = NodePort(node, "libp2p", now=lambda: now)
        first = await identity(host, 2)
        assert first.left == 7200
    shutil.copytree(tmp_path / "Ann", tmp_path / "copy")
    async with Node.open(tmp_path / "copy", config=OFF_LINE, network=False) as node:
        assert (await identity(NodePort(node, "libp2p", now=lambda: now), 2)).key != first.key
    for file in (tmp_path / "Ann").glob("berty.sqlite3*"):
        assert bytes(first.key.seed) not in file.read_bytes()
    async with Node.open(tmp_path / "Ann", config=OFF_LINE, network=False) as node:
        host = NodePort(node, "libp2p", now=lambda: now)
        now += 7199
        assert await identity(host, 2) == identities.Identity(first.key, 1.0)
        assert (await identity(host, 0)) == identities.Identity(first.key, None)
        now += 1
        second = await identity(host, 2)
        assert second.key != first.key
        now -= 60
        third = await identity(host, 2)
        assert third.key not in (first.key, second.key)


async def test_a_running_profile_changes_its_peer_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When its time is over it goes on under another id and another port, and knows still whom to dial."""
    monkeypatch.setattr(identities, "HOUR", 1.0)
    async with (
        Node.open(tmp_path / "Ann", name="Ann", config=OFF_LINE, network=False) as ann,
        Node.open(tmp_path / "Bob", name="Bob", config=OFF_LINE, network=False) as bob,
        anyio.create_task_group() as tasks,
    ):
        rotating = Libp2pProfile(Libp2pConfig(host="127.0.0.1", rotate_hours=1))
        staying = Libp2pProfile(Libp2pConfig(host="127.0.0.1", rotate_hours=0))
        await tasks.start(rotating.run, NodePort(ann, "libp2p"))
        await tasks.start(staying.run, NodePort(bob, "libp2p"))
        before = rotating.addresses()
        await rotating.connect(staying.addresses()[0])

        async def again() -> bool:
            return bool(rotating.addresses()) and rotating.addresses() != before and bool(rotating.peers())

        await eventually(again)
        tasks.cancel_scope.cancel()


async def test_who_serves_contacts_only_shows_nothing_else(tmp_path: Path) -> None:
    """Such a node asks somebody and talks with a contact; the other learns no topic of it that it does not follow."""
    async with (
        Node.open(tmp_path / "Ann", name="Ann", config=OFF_LINE, network=False) as ann,
        Node.open(tmp_path / "Bob", name="Bob", config=OFF_LINE, network=False) as bob,
        anyio.create_task_group() as tasks,
    ):
        await ann.store.write(ann.actions.group_new, "secret")
        await ann.store.write(ann.actions.requests_on)
        quiet = Libp2pProfile(Libp2pConfig(host="127.0.0.1", contacts_only=True))
        await tasks.start(quiet.run, NodePort(ann, "libp2p"))
        async with joined(bob) as exchange:
            await exchange.node.listen("127.0.0.1")
            one, two = (Person(node, exchange, exchange.node.addresses[0]) for node in (ann, bob))
            link = (await two.do(bob.actions.contact_link))["link"]
            await one.do(ann.actions.contact_add, link)
            await quiet.connect(str(exchange.node.addresses[0]))
            await eventually(lambda: _has(two, "Ann"))
            await two.do(bob.actions.contact_accept, "Ann")
            await bob.send("Ann", "hello Ann")
            await eventually(lambda: _reads(one, "Bob", {"hello Ann"}))
            await ann.send("Bob", "hello Bob")
            await eventually(lambda: _reads(two, "Ann", {"hello Bob"}))
            (peer,) = exchange.node.peers
            followed = _topics(exchange.node.router, peer)
            assert followed
            assert followed <= exchange.node.router.topics
            assert exchange.requests._records == {}
        tasks.cancel_scope.cancel()


def _topics(router: Gossip, peer: PeerId) -> set[str]:
    """What a peer has named."""
    return router._peers[peer].topics


async def test_a_link_of_another_transport(tmp_path: Path) -> None:
    """Whoever speaks libp2p to the port of the local network's transport meets the same node."""
    config = NodeConfig(keyring=False, disabled=("udp",), plugins={"mdns": {"loopback": True}})
    async with (
        Node.open(tmp_path / "Ann", name="Ann", config=config) as ann,
        Node.open(tmp_path / "Bob", name="Bob", config=OFF_LINE, network=False) as bob,
        joined(bob) as exchange,
    ):
        connectivity = ann.connectivity
        assert connectivity is not None
        (running,), (profile,) = connectivity.transports, connectivity.profiles

        async def shown() -> bool:
            return bool(getattr(running.transport, "_presence", None)) and profile.started

        await eventually(shown)
        port = running.transport._presence.announcement.port  # type: ignore[attr-defined]
        met = await exchange.node.dial(Multiaddr.tcp("127.0.0.1", port))
        assert profile.profile.addresses()[0].endswith(str(met))
        assert str(port) not in profile.profile.addresses()[0]
        assert await exchange.node.ping(met) < 5
        assert ann.sessions == ()


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """The status says so in words, and the rest of the node goes on; once the port is free the profile runs."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as taken:
        port = taken.extra(SocketAttribute.local_port)  # noqa: S610  no database is near
        settings = {"host": "127.0.0.1", "port": port}
        config = NodeConfig(keyring=False, disabled=("mdns", "udp"), plugins={"libp2p": settings})
        async with Node.open(tmp_path / "Ann", name="Ann", config=config) as ann:

            async def shown() -> dict[str, Any]:
                (view,) = (await status(ann))["session_profiles"]
                return dict(view)

            async def failed() -> bool:
                return (await shown())["state"] == "failed"

            async def runs() -> bool:
                return (await shown())["state"] == "active"

            await eventually(failed)
            (reason,) = (await shown())["reasons"]
            assert f"cannot listen on 127.0.0.1 port {port}" in reason
            assert "ExceptionGroup" not in reason
            await taken.aclose()
            await eventually(runs)
            assert (await shown())["addresses"][0].startswith(f"/ip4/127.0.0.1/tcp/{port}/p2p/")


@asynccontextmanager
async def profile(home: Path, **settings: Any) -> AsyncIterator[tuple[Libp2pProfile, list[str]]]:
    """A running profile, and why it is not all that it could be."""
    reasons: list[str] = []
    made = Libp2pProfile(Libp2pConfig(host="127.0.0.1", **settings))
    async with (
        Node.open(home, name=home.name, config=OFF_LINE, network=False) as node,
        anyio.create_task_group() as tasks,
    ):
        port = NodePort(node, "libp2p")
        port.state = lambda _, why=(): reasons.extend(why)  # type: ignore[method-assign]
        await tasks.start(made.run, port)
        yield made, reasons
        tasks.cancel_scope.cancel()


QUIC = pytest.mark.skipif(not has_quic(), reason="QUIC is an extra: pip install 'berty-libp2p[quic]'")


@QUIC
async def test_quic_is_spoken_on_the_same_port(tmp_path: Path) -> None:
    """Both addresses are shown, with one port and one peer id; whoever dials by QUIC is connected by QUIC."""
    async with profile(tmp_path / "Ann") as (ann, reasons), profile(tmp_path / "Bob") as (bob, _):
        tcp, quic = (Multiaddr.parse(address) for address in ann.addresses())
        assert (tcp.target.transport, quic.target.transport) == ("tcp", "quic-v1")
        assert tcp.target.port == quic.target.port and tcp.peer == quic.peer
        assert not any("QUIC" in reason for reason in reasons)
        assert await bob.connect(str(quic)) == str(quic.peer)
        (peer,) = bob.peers()
        assert "/quic-v1" in peer.addresses[0]
        with pytest.raises(UserError, match="this node itself"):
            await ann.connect(str(quic))


@QUIC
async def test_quic_that_is_off(tmp_path: Path) -> None:
    """Nothing listens, and an address that needs it is refused with the setting's name."""
    async with profile(tmp_path / "Ann", quic=False) as (ann, reasons):
        assert len(ann.addresses()) == 1 and not any("QUIC" in reason for reason in reasons)
        with pytest.raises(UserError, match="quic = true"):
            await ann.connect("/ip4/127.0.0.1/udp/1/quic-v1")


async def test_quic_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status and whoever dials are told what to install; the rest goes on."""
    monkeypatch.setattr(profile_module, "has_quic", lambda: False)
    async with profile(tmp_path / "Ann") as (ann, reasons), profile(tmp_path / "Bob") as (bob, _):
        assert any("pip install 'berty-libp2p[quic]'" in reason for reason in reasons)
        with pytest.raises(UserError, match="pip install"):
            await ann.connect("/ip4/127.0.0.1/udp/1/quic-v1")
        assert await ann.connect(bob.addresses()[0])


@QUIC
async def test_a_udp_port_that_is_taken(tmp_path: Path) -> None:
    """Where that very port was asked for the status says so, and the rest goes on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with profile(tmp_path / "Ann", port=port) as (ann, reasons):
            assert f"cannot listen on 127.0.0.1 UDP port {port}" in reasons[0]
            assert len(ann.addresses()) == 1


def exchange_frames(one: Gossip, two: Gossip) -> list[object]:
    """Let two routers talk until they have nothing more to say; what they told."""
    events: list[object] = []
    while frames := [(one, two, frame) for _, frame in one.take()] + [(two, one, frame) for _, frame in two.take()]:
        for sender, receiver, frame in frames:
            events += receiver.receive(sender.peer_id, frame[_prefix(frame) :], 0.0)
    return events


def _prefix(frame: bytes) -> int:
    return next(position for position, byte in enumerate(frame) if byte < 0x80) + 1


def router(*, reserved: bool) -> Gossip:
    return Gossip(PrivateKey(os.urandom(32)), os.urandom, 1, 0.0, reserved=reserved)


async def test_topics_are_named_to_who_knows_them() -> None:
    """A reserved router names no topic first; of those that a peer names it confirms its own, and no others."""
    quiet, open_ = router(reserved=True), router(reserved=False)
    for topic in ("both", "secret"):
        quiet.subscribe(topic, 0.0)
    for topic in ("both", "other"):
        open_.subscribe(topic, 0.0)
    quiet.add_peer(open_.peer_id)
    assert quiet.take() == []
    open_.add_peer(quiet.peer_id)
    events = exchange_frames(quiet, open_)
    assert {(event.topic, event.peer) for event in events if isinstance(event, Joined)} == {
        ("both", quiet.peer_id),
        ("both", open_.peer_id),
    }
    assert open_.followers("secret") == []
    quiet.publish("both", b"news", 0.0)
    (received,) = [event for event in exchange_frames(quiet, open_) if isinstance(event, Received)]
    assert received.message.data == b"news"
    quiet.unsubscribe("secret", 0.0)
    assert quiet.take() == []
    quiet.unsubscribe("both", 0.0)
    exchange_frames(quiet, open_)
    assert open_.followers("both") == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"host": "here"}, "an IP address of this machine"),
        ({"port": 70000}, "a number from 0 to 65535"),
        ({"rotate_hours": -1}, "a number from 0"),
        ({"peers": ["192.0.2.1:4001"]}, "addresses like /ip4/"),
        ({"hosts": ""}, "did you mean host"),
    ],
)
async def test_settings_that_cannot_work(settings: dict[str, object], words: str) -> None:
    """Each is refused with its key and what it should be."""
    fitted = fit(NodeConfig(plugins={"libp2p": settings}), load_plugins(disabled=["mdns", "udp", "unix"]))
    assert fitted.sessions == ()
    (left,) = fitted.left_out
    assert (left.name, left.state) == ("libp2p", "refused")
    assert words in left.reason


async def test_the_plugin_is_found() -> None:
    """By its entry point; with the defaults it can run."""
    failed: list[LeftOut] = []
    ((spec, profile),) = fit(NodeConfig(), load_plugins(disabled=["mdns", "udp", "unix"])).make_sessions(failed.append)
    assert failed == []
    assert spec.name == "libp2p"
    assert profile.peers() == profile.addresses() == ()
    with pytest.raises(LocalProtocolError, match="Libp2pConfig"):
        Libp2pSpec().probe(object())


async def test_importing_it_is_light() -> None:
    """What only some nodes need is imported there: other networks' libraries, and a search for a C library."""
    program = "import sys, berty_libp2p.profile; print(*sys.modules)"
    done = await anyio.run_process([sys.executable, "-c", program])
    assert {"ifaddr", "zeroconf", "berty_mdns", "aioquic", "ctypes.util"}.isdisjoint(done.stdout.decode().split())
