"""Berty apps are found by `_p2p._udp`, and find us, on the multicast DNS of berty-mdns; strangers' words are few."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from berty_libp2p.announcement import MAX_ADDRESSES, PORT, SERVICE, decode_text, encode_text
from berty_libp2p.config import Libp2pConfig, has_quic
from berty_libp2p.host import Host
from berty_libp2p.multiaddr import Multiaddr
from berty_libp2p.peers import PeerId
from berty_libp2p.profile import Libp2pProfile
from berty_mdns.config import MdnsConfig
from berty_mdns.driver import ZeroconfDriver
from berty_mdns.testing import RecordingHost
from berty_mdns.transport import MdnsTransport
from hypothesis import given
from hypothesis import strategies as st

from berty_core.config import NodeConfig
from berty_core.contracts.transport import Transport
from berty_core.crypto.keys import PrivateKey
from berty_core.errors import RemoteProtocolError
from berty_core.runtime.node import Node
from berty_core.runtime.sessions.profile_host import NodePort

from .application import Application, until
from .test_exchange import eventually

PEER = PeerId.of(PrivateKey(bytes(32)).public)
OFF_LINE = NodeConfig(keyring=False)


def text_of(*strings: str) -> bytes:
    """Raw TXT data."""
    return b"".join(bytes([len(string)]) + string.encode() for string in strings)


def test_an_announcement_has_the_form_of_the_app() -> None:
    """One `dnsaddr=` string for each address, with the peer id at its end."""
    both = [f"/ip4/192.168.1.7/tcp/4001/p2p/{PEER}", f"/ip4/192.168.1.7/udp/4001/quic-v1/p2p/{PEER}"]
    text = encode_text(kind("192.168.1.7", 4001).with_peer(PEER) for kind in (Multiaddr.tcp, Multiaddr.quic))
    assert text == text_of(*(f"dnsaddr={address}" for address in both))
    assert decode_text(text) == tuple(map(Multiaddr.parse, both))
    assert decode_text(encode_text([])) == ()


@pytest.mark.parametrize(
    "address",
    [
        f"/ip4/192.168.1.7/udp/4001/quic/p2p/{PEER}",
        "/ip4/192.168.1.7/udp/4001/quic-v1",
        f"/ip4/8.8.8.8/udp/4001/quic-v1/p2p/{PEER}",
        f"/ip4/192.168.1.7/udp/0/quic-v1/p2p/{PEER}",
        "/ip4/192.168.1.7/tcp/4001",
        f"/ip4/8.8.8.8/tcp/4001/p2p/{PEER}",
        f"/ip4/127.0.0.1/tcp/4001/p2p/{PEER}",
        f"/ip4/0.0.0.0/tcp/4001/p2p/{PEER}",
        f"/ip4/224.0.0.1/tcp/4001/p2p/{PEER}",
        f"/ip4/192.168.1.7/tcp/0/p2p/{PEER}",
        f"/ip6/fe80::1/tcp/4001/p2p/{PEER}",
        f"/dns4/example.org/tcp/4001/p2p/{PEER}",
        f"/ip4/192.168.1.7/tcp/4001/ws/p2p/{PEER}",
        "/ip4/192.168.1.7/tcp/4001/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
    ],
)
def test_what_is_not_dialled(address: str) -> None:
    """What cannot be dialled, who has no Ed25519 id, and what is not of this network is left out; the rest stays."""
    good = f"/ip4/10.0.0.1/tcp/4001/p2p/{PEER}"
    text = text_of("dnsaddr=" + address, "dnsaddr=" + good, "other=1")
    assert decode_text(text) == (Multiaddr.parse(good),)


def test_loopback_is_for_itself() -> None:
    """Who is confined to this machine dials this machine alone."""
    here, there = (f"/ip4/{ip}/tcp/4001/p2p/{PEER}" for ip in ("127.0.0.1", "10.0.0.1"))
    text = text_of("dnsaddr=" + here, "dnsaddr=" + there)
    assert decode_text(text, loopback=True) == (Multiaddr.parse(here),)
    assert decode_text(text) == (Multiaddr.parse(there),)


def test_addresses_are_few() -> None:
    """However many an announcement names."""
    assert len(decode_text(encode_text(Multiaddr.tcp("10.0.0.1", n).with_peer(PEER) for n in range(1, 50)))) == (
        MAX_ADDRESSES
    )


def text_of_bytes(strings: list[bytes]) -> bytes:
    return b"".join(bytes([len(string) + 8]) + b"dnsaddr=" + string for string in strings)


@given(st.one_of(st.binary(max_size=600), st.lists(st.binary(max_size=100)).map(text_of_bytes)))
def test_any_text_gives_addresses_or_an_error(text: bytes) -> None:
    """Nothing else, and never more than a few."""
    try:
        assert len(decode_text(text)) <= MAX_ADDRESSES
    except RemoteProtocolError:
        return


class OnLan(NodePort):
    """A node that has this transport, and nothing private on it."""

    def __init__(self, node: Node, lan: MdnsTransport) -> None:
        super().__init__(node, "libp2p")
        self.logger = logging.getLogger("berty.session.test")
        self._lan = lan

    def transport(self, name: str) -> Transport | None:
        """The LAN."""
        return self._lan if name == "mdns" else None


@asynccontextmanager
async def lan_alone() -> AsyncIterator[MdnsTransport]:
    """Multicast DNS on loopback."""
    lan = MdnsTransport(MdnsConfig(loopback=True), ZeroconfDriver())
    async with anyio.create_task_group() as tasks:
        await tasks.start(lan.run, RecordingHost())
        yield lan
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def on_lan(home: Path, **settings: Any) -> AsyncIterator[Libp2pProfile]:
    """A node whose profile shares the multicast DNS of a transport."""
    profile = Libp2pProfile(Libp2pConfig(**settings))
    async with (
        lan_alone() as lan,
        Node.open(home, name=home.name, config=OFF_LINE, network=False) as node,
        anyio.create_task_group() as tasks,
    ):
        await tasks.start(profile.run, OnLan(node, lan))
        yield profile
        tasks.cancel_scope.cancel()


def met(one: Libp2pProfile, other: Libp2pProfile) -> bool:
    """Whether there is a link with the other."""
    return any(other.addresses()[0].endswith(peer.id) for peer in one.peers())


@pytest.mark.anyio
async def test_two_nodes_find_each_other(tmp_path: Path) -> None:
    """They announce what they listen on under long random names, meet by themselves, and say goodbye."""
    async with lan_alone() as third:
        with third.services.browse(SERVICE) as heard:
            async with on_lan(tmp_path / "Ann") as ann, on_lan(tmp_path / "Bob") as bob:

                async def both() -> bool:
                    return met(ann, bob) and met(bob, ann)

                await eventually(both)
                shown: dict[str, list[str]] = {}
                with anyio.fail_after(10):
                    while len(shown) < 2:
                        name = (await heard.receive()).instance
                        text = await third.services.text(SERVICE, name)
                        shown[name] = list(map(str, decode_text(text or b"", loopback=True)))
                assert sorted(shown.values()) == sorted([ann.addresses(), bob.addresses()])
                assert all(len(addresses) == (2 if has_quic() else 1) for addresses in shown.values())
                assert all(32 <= len(name) <= 63 and name.isalnum() and name.islower() for name in shown)
                assert len(ann.peers()) == len(bob.peers()) == 1
            with anyio.fail_after(10):
                gone = {one.instance for one in [await heard.receive(), await heard.receive()] if not one.is_there}
            assert gone == set(shown)


@pytest.mark.anyio
async def test_who_is_not_discoverable_is_not_announced(tmp_path: Path) -> None:
    """It still finds and dials who announces itself."""
    async with lan_alone() as third:
        with third.services.browse(SERVICE) as heard:
            async with on_lan(tmp_path / "Ann", discoverable=False) as ann:
                await anyio.sleep(0.5)
                assert heard.statistics().current_buffer_used == 0
                async with on_lan(tmp_path / "Bob") as bob:

                    async def both() -> bool:
                        return met(ann, bob) and met(bob, ann)

                    await eventually(both)
                    assert [peer.dialled_by_us for peer in bob.peers()] == [False]
                    with anyio.fail_after(10):
                        text = await third.services.text(SERVICE, (await heard.receive()).instance)
                    assert list(map(str, decode_text(text or b"", loopback=True))) == bob.addresses()


@asynccontextmanager
async def phone() -> AsyncIterator[tuple[Host, Application]]:
    """A node as phones have it: it listens on QUIC alone, announces that, and dials nobody."""
    application = Application()
    key = PrivateKey(os.urandom(32))
    node = Host(key, os.urandom, time.monotonic, time.time_ns(), application, application)
    async with lan_alone() as lan, anyio.create_task_group() as tasks:
        await tasks.start(node.run)
        address = await node.listen_quic("127.0.0.1")
        await lan.services.announce(SERVICE, "p" * 40, "h" * 40, PORT, lambda _: encode_text([address]))
        yield node, application
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
@pytest.mark.skipif(not has_quic(), reason="QUIC is an extra: pip install 'berty-libp2p[quic]'")
async def test_a_phone_that_listens_on_quic_alone(tmp_path: Path) -> None:
    """It is found and dialled."""
    async with phone() as (node, application), on_lan(tmp_path / "Ann") as ann:
        await until(application, lambda: node.peers)
        ((name, peer),) = node.peers.items()
        assert ann.addresses()[0].endswith(str(name))
        assert not peer.links[0].initiator

        async def seen() -> bool:
            return any("/quic-v1" in address for peer in ann.peers() for address in peer.addresses)

        await eventually(seen)


@pytest.mark.anyio
@pytest.mark.skipif(not has_quic(), reason="QUIC is an extra: pip install 'berty-libp2p[quic]'")
async def test_a_phone_without_quic_here(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With QUIC off it is not dialled, which the log says; nothing of ours is announced for QUIC."""
    caplog.set_level(logging.INFO, "berty.session.test")
    async with phone() as (node, _), on_lan(tmp_path / "Ann", quic=False) as ann:

        async def said() -> bool:
            return f"{node.peer_id} is not dialled: it listens on QUIC alone" in caplog.text

        await eventually(said)
        assert not node.peers
        assert not any("quic" in address for address in ann.addresses())
