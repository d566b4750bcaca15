"""Services of other plugins on the transport's multicast DNS: they outlive changes of the interfaces."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import attrs
import pytest
from berty_mdns.config import MdnsConfig
from berty_mdns.seam import LocalAddress, Resolved, Timing
from berty_mdns.services import MAX_HEARD, ServiceHeard
from berty_mdns.testing import FakeDriver, RecordingHost
from berty_mdns.transport import MdnsTransport

from berty_core.errors import LocalProtocolError

pytestmark = pytest.mark.anyio
SERVICE = "_other._udp"
LAN = LocalAddress("eth0", 2, "192.0.2.7", 24)


def text(addresses: Sequence[str]) -> bytes:
    return ",".join(addresses).encode()


async def test_services_follow_the_interfaces() -> None:
    """What is announced and browsed goes on with the new responder, under the new addresses; withdrawn is withdrawn."""
    driver = FakeDriver(LAN)
    transport = MdnsTransport(MdnsConfig(), driver, Timing(poll=0.01))
    services = transport.services
    async with anyio.create_task_group() as tasks:
        await services.announce(SERVICE, "name", "host", 4001, text)  # before the transport runs
        await tasks.start(transport.run, RecordingHost())
        assert driver.responders[0].shown["name"].text == b"192.0.2.7"
        with services.browse(SERVICE) as heard:
            driver.interfaces = [attrs.evolve(LAN, ip="192.0.2.8")]
            with anyio.fail_after(5):
                while len(driver.responders) < 2 or not driver.responders[1].browsed:
                    await anyio.sleep(0.01)
            second = driver.responders[1]
            assert second.shown["name"].text == b"192.0.2.8"
            second.browsed[SERVICE]("other", True)
            assert await heard.receive() == ServiceHeard("other", True)
            second.answers["other"] = Resolved(1, b"words", (), 120.0)
            assert await services.text(SERVICE, "other") == b"words"
            assert await services.text(SERVICE, "nobody") is None
            with pytest.raises(LocalProtocolError), services.browse(SERVICE):
                pass
            for number in range(2 * MAX_HEARD):
                second.browsed[SERVICE](str(number), True)
            assert heard.statistics().current_buffer_used == MAX_HEARD
        second.browsed[SERVICE]("nobody listens any more", True)
        await services.withdraw(SERVICE)
        assert second.withdrawn == ["name"]
        tasks.cancel_scope.cancel()
    assert await services.text(SERVICE, "other") is None


async def test_where_the_transport_listens() -> None:
    """Who shares its multicast DNS is confined as it is."""
    hosts = [
        MdnsTransport(config, FakeDriver(LAN)).services.hosts for config in (MdnsConfig(), MdnsConfig(loopback=True))
    ]
    assert hosts == [("0.0.0.0", "::"), ("127.0.0.1",)]  # noqa: S104  nobody is bound here
