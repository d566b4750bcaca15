"""Real sockets: transports of one process on the loopback interface."""

from __future__ import annotations

import gc
import os
import socket
import struct
from contextlib import asynccontextmanager

import anyio
import pytest
from berty_mdns.config import MdnsConfig
from berty_mdns.driver import SERVICE, ZeroconfDriver
from berty_mdns.seam import LocalAddress, Timing
from berty_mdns.testing import RecordingHost
from berty_mdns.transport import MdnsTransport
from berty_mdns.txt import MAX_TAGS, encode_txt
from zeroconf import ServiceInfo
from zeroconf.asyncio import AsyncZeroconf

from berty_core.contracts.transport import Beacon, EndpointFound, EndpointLost, State
from berty_core.errors import EndOfStream, LinkLost, LocalProtocolError, TransportError

pytestmark = pytest.mark.anyio
MEGABYTE = os.urandom(1 << 20)


def beacon(tags: int = 3) -> Beacon:
    return Beacon(os.urandom(8), tuple(os.urandom(8) for _ in range(tags)))


@asynccontextmanager
async def node(shown: Beacon | None = None):
    transport = MdnsTransport(MdnsConfig(loopback=True), ZeroconfDriver())
    host = RecordingHost()
    async with anyio.create_task_group() as tasks, transport.discover() as events:

        async def run(*, task_status):
            await transport.run(host, task_status=task_status)

        await tasks.start(run)
        if shown is not None:
            await transport.advertise(shown)
        yield transport, host, events
        tasks.cancel_scope.cancel()


async def found(events, wanted: Beacon, within: float = 1.0):
    """Wait for one beacon; others on this machine may be announcing as well."""
    with anyio.fail_after(within):
        async for event in events:
            if isinstance(event, EndpointFound) and event.beacon == wanted:
                return event.endpoint
    raise AssertionError("the transport stopped")


async def lost(events, endpoint, within: float = 1.0):
    with anyio.fail_after(within):
        async for event in events:
            if event == EndpointLost(endpoint):
                return


async def until(condition):
    with anyio.fail_after(4):
        while not condition():
            await anyio.sleep(0.005)


@asynccontextmanager
async def linked():
    """Two nodes and a link: what the one dialled, what the other accepted."""
    shown = beacon()
    async with node(shown) as (_, host, _), node() as (transport, _, events):
        link = await transport.dial(await found(events, shown))
        await until(lambda: host.links)
        yield link, host.links[0]
        await link.aclose()
        await host.links[0].aclose()


@pytest.mark.parametrize("pause", [0.0, 0.6, 1.2])
async def test_both_find_each_other_within_a_second(pause):
    """Whoever starts first and however long before, both see the other's beacon within a second."""
    early, late = beacon(), beacon(MAX_TAGS)
    async with node(early) as (_, host, early_events):
        await anyio.sleep(pause)
        async with node(late) as (_, _, late_events):
            first, second = await found(late_events, early), await found(early_events, late)
            assert first != second
            assert host.states == [(State.STARTING, ()), (State.ACTIVE, ())]


async def test_a_goodbye_is_seen_at_once():
    """A peer that becomes invisible or ends is lost within a quarter of a second."""
    first, second = beacon(), beacon()
    async with node() as (_, _, events):
        async with node(first) as (transport, _, _):
            endpoint = await found(events, first)
            await transport.advertise(None)
            await lost(events, endpoint, within=0.25)
            await transport.advertise(second)
            endpoint = await found(events, second)
        await lost(events, endpoint, within=0.25)


async def test_a_new_beacon_is_a_new_endpoint():
    """With a new beacon the old endpoint is lost and refuses dials, another is found, and links live on."""
    first, second = beacon(), beacon()
    async with node(first) as (transport, host, _), node() as (dialler, _, events):
        old = await found(events, first)
        link = await dialler.dial(old)
        [[_, old_port]] = dialler._directory.targets(old.address)
        await transport.advertise(second)
        new = await found(events, second)
        assert new != old
        with pytest.raises(LinkLost):
            await dialler.dial(old)
        with pytest.raises(LinkLost):
            await ZeroconfDriver().connect("127.0.0.1", old_port)
        await link.send(b"ping")
        assert await host.links[0].receive() == b"ping"
        await (await dialler.dial(new)).aclose()


async def test_a_megabyte_both_ways_at_once():
    """Both directions carry a mebibyte at the same time, exactly, without delay of small packets."""

    async def read(link, into):
        while len(into) < len(MEGABYTE):
            chunk = await link.receive()
            assert 0 < len(chunk) <= 65536
            into += chunk

    async with linked() as (one, other):
        here, there = bytearray(), bytearray()
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one.send, MEGABYTE)
                tasks.start_soon(other.send, MEGABYTE[::-1])
                tasks.start_soon(read, one, here)
                tasks.start_soon(read, other, there)
        assert there == MEGABYTE
        assert here == MEGABYTE[::-1]
        for link in (one, other):
            raw = link._stream.transport.get_extra_info("socket")
            assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_send_waits_for_a_slow_reader():
    """What nobody reads does not pile up: `send` waits, and `aclose` frees it with LinkLost."""
    async with linked() as (one, other):
        sent = 0
        caught = []

        async def flood():
            nonlocal sent
            try:
                while True:
                    await one.send(MEGABYTE)
                    sent += len(MEGABYTE)
            except LinkLost as error:
                caught.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flood)
            await anyio.sleep(0.3)
            before = sent
            await anyio.sleep(0.2)
            assert sent == before
            with anyio.fail_after(5):
                await one.aclose()
        assert caught
        assert other.remote.address.startswith("127.0.0.1")


async def test_close_in_all_its_forms():
    """A waiting `receive` gets LinkLost here and EndOfStream there; all later calls on a closed link get LinkLost."""
    async with linked() as (one, other):
        outcome = {}

        async def wait(name, link):
            try:
                await link.receive()
            except (LinkLost, EndOfStream) as error:
                outcome[name] = type(error)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait, "here", one)
                tasks.start_soon(wait, "there", other)
                await anyio.sleep(0.02)
                with pytest.raises(LocalProtocolError):
                    await one.receive()
                await one.aclose()
                await one.aclose()
        assert outcome == {"here": LinkLost, "there": EndOfStream}
        for call in (one.receive(), one.send(b"x"), one.send(b"")):
            with pytest.raises(LinkLost):
                await call
        with anyio.fail_after(5), pytest.raises(LinkLost):
            while True:
                await other.send(b"into the void")


async def test_a_reset_connection_is_link_lost():
    """A connection that breaks, rather than ends, is LinkLost."""
    async with linked() as (one, other):
        raw = other._stream.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await other.aclose()
        with anyio.fail_after(5), pytest.raises(LinkLost):
            await one.receive()


async def test_strangers_on_the_same_service_type_do_no_harm():
    """Garbage TXT data, no TXT data, names of control characters: ignored, and a peer is still found."""
    stranger = AsyncZeroconf(interfaces=["127.0.0.1"])
    names = ["stranger", "no text", "caf\u00e9 \U0001f4f7", "x" * 63]
    texts = [b"\xff" + os.urandom(99), b"", b"\x09txtvers=1", b"\x0a0=toolong8\x05"]
    infos = [
        ServiceInfo(
            SERVICE, f"{name}.{SERVICE}", port=9, properties=text, server="s.local.", parsed_addresses=["127.0.0.1"]
        )
        for name, text in zip(names, texts, strict=True)
    ]
    wanted = beacon()
    try:
        async with node() as (transport, host, events):
            for info in infos:
                await stranger.async_register_service(info, cooperating_responders=True)
            async with node(wanted):
                await found(events, wanted)
            await anyio.sleep(0.2)
            assert not {"stranger", "no text", "x" * 63} & transport._directory._entries.keys()
            assert host.states[-1] == (State.ACTIVE, ())
    finally:
        await stranger.async_close()


async def test_starting_and_stopping_leaves_nothing_behind():
    """Five lives leave no task, thread or file descriptor, and each ends within a second of its cancellation."""

    async def live():
        async with node(beacon()) as (transport, _, _):
            await transport.advertise(beacon())
        transport = MdnsTransport(MdnsConfig(loopback=True), ZeroconfDriver())
        with anyio.move_on_after(0.003):  # cancelled in the middle of starting
            await transport.run(RecordingHost())

    def descriptors():
        gc.collect()
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # noqa: PTH112, PTH208

    await live()
    await anyio.sleep(0.05)
    before = descriptors(), len(anyio.get_running_tasks())
    for _ in range(4):
        with anyio.fail_after(1):
            await live()
    await anyio.sleep(0.05)
    assert (descriptors(), len(anyio.get_running_tasks())) == before


async def test_a_closed_port_ends_serving_and_drops_who_waits():
    """A port that closes ends `serve`, and a connection that nobody took is closed."""
    driver = ZeroconfDriver()
    listener = await driver.listen(("127.0.0.1",), 0)
    waiting = await driver.connect("127.0.0.1", listener.port)
    await anyio.sleep(0.02)
    await listener.aclose()
    with anyio.fail_after(1), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
        await waiting.receive()
    await waiting.aclose()
    listener = await driver.listen(("127.0.0.1", "::1"), 0)
    with anyio.fail_after(1):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, anyio.sleep)
            await anyio.sleep(0.02)
            await listener.aclose()


async def test_a_port_that_is_taken_is_said():
    """A configured TCP port that somebody else holds makes the transport unavailable, and says which."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        transport = MdnsTransport(MdnsConfig(loopback=True, port=port), ZeroconfDriver(), Timing(backoff_first=0.1))
        host = RecordingHost()
        async with anyio.create_task_group() as tasks:

            async def run(*, task_status):
                await transport.run(host, task_status=task_status)

            await tasks.start(run)
            await transport.advertise(beacon())
            [*_, (state, [reason])] = host.states
            assert state is State.UNAVAILABLE
            assert str(port) in reason
            other.close()
            await until(lambda: host.states[-1][0] is State.ACTIVE)
            tasks.cancel_scope.cancel()


async def test_a_taken_multicast_port_is_a_transport_error():
    """A program that holds the multicast DNS port for itself alone is named, and no socket leaks."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rude:
        try:
            rude.bind(("127.0.0.1", 5353))
        except OSError:
            pytest.skip("somebody on this machine has the port already, and shares it")
        address = LocalAddress("lo", 1, "127.0.0.1", 8, loopback=True)
        with pytest.raises(TransportError, match="multicast DNS"):
            await ZeroconfDriver().open([address], lambda name, there: None)


async def test_a_full_announcement_is_one_packet():
    """With 128 tags and eight addresses an announcement fits one unfragmented packet."""
    opened = AsyncZeroconf(interfaces=["127.0.0.1"])
    try:
        info = ServiceInfo(
            SERVICE,
            f"{'n' * 32}.{SERVICE}",
            port=50000,
            properties=encode_txt(beacon(MAX_TAGS)),
            server=f"{'h' * 32}.local.",
            parsed_addresses=[f"192.0.2.{n}" for n in range(4)] + [f"2001:db8::{n}" for n in range(4)],
        )
        packets = opened.zeroconf.generate_service_broadcast(info, None).packets()
        assert [len(packet) <= 1460 for packet in packets] == [True]
    finally:
        await opened.async_close()
