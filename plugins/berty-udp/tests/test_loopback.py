"""Real sockets on the loopback interface."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import anyio
import pytest
from berty_udp.addresses import endpoint
from berty_udp.config import UdpConfig
from berty_udp.seam import MAX_ACCEPTED, MAX_LINKS

from berty_core.contracts.transport import Endpoint, Priority, State
from berty_core.errors import DeadlinePassed, LinkLost, LocalProtocolError, MessageTooLarge

from .conftest import running, until

pytestmark = pytest.mark.anyio
URGENT = Priority.INTERACTIVE


@pytest.fixture
def config() -> UdpConfig:
    """A port that no other test uses at this time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return UdpConfig(loopback=True, port=free.getsockname()[1], mtu=233)


async def test_everybody_else_hears(config: UdpConfig) -> None:
    """What one publishes the two others hear once, and it does not."""
    async with running(config) as one, running(config) as two, running(config) as three:
        buses = [await each.transport.bus() for each in (one, two, three)]
        async with (
            buses[0].subscribe(None) as own,
            buses[1].subscribe(None) as at_two,
            buses[2].subscribe(None) as at_three,
        ):
            await buses[0].publish(b"a" * 233, topic=None, priority=URGENT, deadline=None)
            await buses[1].publish(b"b", topic=None, priority=URGENT, deadline=None)
            with anyio.fail_after(10):
                assert (await at_two.receive()).data == b"a" * 233
                assert [(await at_three.receive()).data for _ in range(2)] == [b"a" * 233, b"b"]
                assert (await own.receive()).data == b"b"


async def test_source_can_be_dialled(config: UdpConfig) -> None:
    """Whoever is heard can be sent to, and answers on the same link; exactly one end is the initiator."""
    async with running(config) as one, running(config) as two:
        async with (await two.transport.bus()).subscribe(None) as heard:
            await (await one.transport.bus()).publish(b"here", topic=None, priority=URGENT, deadline=None)
            with anyio.fail_after(10):
                source = (await heard.receive()).source
        assert source is not None
        link = await two.transport.dial(source)
        await link.send(b"hello")
        await until(lambda: one.host.links)
        (accepted,) = one.host.links
        with anyio.fail_after(10):
            assert await accepted.receive() == b"hello"
            await accepted.send(b"x" * 233)
            assert await link.receive() == b"x" * 233
        assert (link.initiator, accepted.initiator) == (True, False)
        await link.aclose()
        await accepted.aclose()


async def test_too_large_and_too_late(config: UdpConfig) -> None:
    """Nothing is sent that exceeds the mtu, that is empty or that is too late."""
    async with running(config) as one, running(config) as two:
        bus = await one.transport.bus()
        async with (await two.transport.bus()).subscribe(None) as heard:
            with pytest.raises(LocalProtocolError):
                await bus.publish(b"", topic=None, priority=URGENT, deadline=None)
            with pytest.raises(MessageTooLarge):
                await bus.publish(bytes(234), topic=None, priority=URGENT, deadline=None)
            with pytest.raises(DeadlinePassed):
                await bus.publish(b"late", topic=None, priority=URGENT, deadline=one.host.now() - 1)
            with pytest.raises(LocalProtocolError):
                await bus.publish(b"topic", topic=b"topic", priority=URGENT, deadline=None)
            await bus.publish(b"next", topic=None, priority=URGENT, deadline=one.host.now() + 60)
            with anyio.fail_after(10):
                assert (await heard.receive()).data == b"next"


async def test_late_datagrams_open_nothing(config: UdpConfig) -> None:
    """What arrives for a link that was closed here is dropped."""
    async with running(config) as one, running(config) as two:
        async with (await two.transport.bus()).subscribe(None) as heard:
            await (await one.transport.bus()).publish(b"here", topic=None, priority=URGENT, deadline=None)
            with anyio.fail_after(10):
                source = (await heard.receive()).source
        assert source is not None
        link = await two.transport.dial(source)
        await link.send(b"1")
        await until(lambda: one.host.links)
        await one.host.links[0].aclose()
        await link.send(b"2")
        other = await two.transport.dial(source)
        await other.send(b"3")
        await until(lambda: len(one.host.links) > 1)
        with anyio.fail_after(10):
            assert await one.host.links[1].receive() == b"3"
        assert len(one.host.links) == 2


async def test_strangers_leave_room_for_our_own_links(config: UdpConfig) -> None:
    """Whoever opens as many links as there may be, from any addresses, does not keep this device from dialling."""
    async with running(config) as one, running(config) as two:
        async with (await two.transport.bus()).subscribe(None) as heard:
            await (await one.transport.bus()).publish(b"here", topic=None, priority=URGENT, deadline=None)
            await (await two.transport.bus()).publish(b"here too", topic=None, priority=URGENT, deadline=None)
            with anyio.fail_after(10):
                source = (await heard.receive()).source
        assert source is not None
        host, _, port = source.address.rpartition(":")
        with ExitStack() as stack:
            for _ in range(MAX_LINKS + 8):
                stranger = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                stranger.sendto(b"x", (host, int(port)))
            await until(lambda: len(one.host.links) >= MAX_ACCEPTED)
            await until(lambda: one.transport._heard)
            (near,) = one.transport._heard
            link = await one.transport.dial(endpoint(near))
            await link.aclose()
        assert len(one.host.links) == MAX_ACCEPTED


async def test_gone_again(config: UdpConfig) -> None:
    """A link to somebody who has gone is lost by the first answer of the network."""
    async with running(config) as one:
        async with running(config) as two, (await one.transport.bus()).subscribe(None) as heard:
            await (await two.transport.bus()).publish(b"here", topic=None, priority=URGENT, deadline=None)
            with anyio.fail_after(10):
                source = (await heard.receive()).source
        assert source is not None
        link = await one.transport.dial(source)
        await link.send(b"anybody?")
        with anyio.fail_after(10), pytest.raises(LinkLost, match="nobody listens"):
            await link.receive()
        await link.aclose()


async def test_only_who_was_heard(config: UdpConfig) -> None:
    """An address that nobody spoke from is not dialled."""
    async with running(config) as one:
        with pytest.raises(LinkLost, match="was not heard"):
            await one.transport.dial(Endpoint("udp", "127.0.0.1:9"))


async def test_stop_loses_everything(config: UdpConfig) -> None:
    """When the transport stops, links are lost, subscriptions end, and nothing can be begun."""
    async with running(config) as two:
        async with running(config) as one:
            bus = await one.transport.bus()
            subscription = bus.subscribe(None)
            heard = await subscription.__aenter__()
            async with (await two.transport.bus()).subscribe(None) as at_two:
                await bus.publish(b"here", topic=None, priority=URGENT, deadline=None)
                with anyio.fail_after(10):
                    source = (await at_two.receive()).source
            assert source is not None
            await (await two.transport.dial(source)).send(b"1")
            await until(lambda: one.host.links)
            assert one.host.states[-1] == (State.ACTIVE, ())
        (link,) = one.host.links
        assert await link.receive() == b"1"
        with pytest.raises(LinkLost):
            await link.receive()
        with pytest.raises(anyio.EndOfStream):
            await heard.receive()
        await subscription.__aexit__(None, None, None)
        with pytest.raises(LinkLost):
            await bus.publish(b"x", topic=None, priority=URGENT, deadline=None)
        with pytest.raises(LinkLost):
            await one.transport.dial(source)
        with pytest.raises(LocalProtocolError):
            await one.transport.run(one.host)


async def test_no_such_interface() -> None:
    """Without an interface the transport runs, and says what it lacks."""
    async with running(UdpConfig(interfaces=("nosuch0",))) as one:
        state, reasons = one.host.states[-1]
        assert state is State.UNAVAILABLE
        assert "nosuch0" in reasons[0]
