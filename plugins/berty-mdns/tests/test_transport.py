"""The decisions, over a platform in memory."""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
import pytest
from berty_mdns.config import MdnsConfig
from berty_mdns.links import MAX_PER_ADDRESS
from berty_mdns.seam import MAX_ACCEPTED, MAX_DIALED, LocalAddress, Resolved, Timing
from berty_mdns.testing import FakeDriver, RecordingHost
from berty_mdns.transport import MdnsTransport
from berty_mdns.txt import encode_txt

from berty_core.contracts.transport import Beacon, Endpoint, EndpointFound, EndpointLost, State
from berty_core.errors import LinkLost, LocalProtocolError

pytestmark = pytest.mark.anyio
LAN = LocalAddress("eth0", 2, "192.0.2.1", 24)
LINK_LOCAL = LocalAddress("eth0", 2, "fe80::1%2", 64)
LO = LocalAddress("lo", 1, "127.0.0.1", 8, loopback=True)
VPN = LocalAddress("tun0", 5, "198.51.100.1", 24, point_to_point=True)
QUICK = Timing(
    poll=0.02, tick=0.02, stagger=0.05, dial=0.5, believe_least=0.1, settle=0.05, greet_apart=0.0, backoff_first=0.02
)
BEACON = Beacon(b"nonce678", (b"tag45678",))
OTHER = Beacon(b"other678", ())


def resolved(beacon: Beacon = BEACON, *addresses: str, port: int = 4000, ttl: float = 120.0) -> Resolved:
    return Resolved(port, encode_txt(beacon), addresses or ("192.0.2.9",), ttl)


@asynccontextmanager
async def running(*interfaces, timing=QUICK, config=None, driver=None):
    driver = driver or FakeDriver(*(interfaces or (LAN,)))
    transport = MdnsTransport(config or MdnsConfig(), driver, timing)
    host = RecordingHost()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks, transport.discover() as events:

            async def run(*, task_status):
                await transport.run(host, task_status=task_status)

            await tasks.start(run)
            yield transport, driver, host, events
            tasks.cancel_scope.cancel()


async def until(condition):
    with anyio.fail_after(4):
        while not condition():
            await anyio.sleep(0.005)


async def quiet(events, seconds=0.1):
    """Fail if an event comes within this time."""
    with anyio.move_on_after(seconds):
        event = await events.receive()
        raise AssertionError(event)


async def test_a_second_run_is_refused():
    """A transport runs once, also after its end."""
    async with running() as (transport, _, host, _):
        with pytest.raises(LocalProtocolError):
            await transport.run(host)
    with pytest.raises(LocalProtocolError):
        await transport.run(host)


async def test_names_port_and_listener_are_fresh_with_each_beacon():
    """Each beacon gets its own port and random names; the old port closes, says goodbye, and its links live on."""
    async with running() as (transport, driver, host, events):
        responder = driver.responders[0]
        await transport.advertise(BEACON)
        [first] = responder.shown.values()
        await until(lambda: driver.listeners[0]._taken)
        stream = await driver.listeners[0].connect("192.0.2.9", "192.0.2.1")
        await transport.advertise(OTHER)
        [second] = responder.shown.values()

        assert responder.withdrawn == [first.instance]
        assert driver.listeners[0].closed.is_set()
        assert not stream.closed.is_set()
        fields = [{a.instance, a.host, a.port, a.text} for a in (first, second)]
        assert len(fields[0]) == len(fields[1]) == 4
        assert not fields[0] & fields[1]
        await host.links[0].send(b"still here")
        await transport.advertise(None)
        assert not responder.shown
        assert driver.listeners[1].closed.is_set()
        await quiet(events)  # what is our own is never reported


async def test_the_end_closes_everything():
    """When the transport is cancelled, links, port and sockets are closed, with a goodbye, and streams end."""
    async with running() as (transport, driver, host, events):
        await transport.advertise(BEACON)
        await until(lambda: driver.listeners[0]._taken)
        stream = await driver.listeners[0].connect("192.0.2.9", "192.0.2.1")
    assert stream.closed.is_set()
    assert driver.listeners[0].closed.is_set()
    assert driver.responders[0].goodbye is True
    with pytest.raises(anyio.EndOfStream):
        await events.receive()
    with pytest.raises(LinkLost):
        await host.links[0].receive()
    with pytest.raises(LinkLost):
        await transport.dial(Endpoint("mdns", "anybody"))


async def test_found_changed_and_lost():
    """A peer is found with its beacon, found again when that changes, and lost at its goodbye."""
    async with running() as (_, driver, _, events):
        responder = driver.responders[0]
        peer = Endpoint("mdns", "peer")
        responder.answers["peer"] = resolved()
        responder.heard("PEER", True)
        assert EndpointFound(peer, BEACON) == await events.receive()
        responder.answers["peer"] = resolved(OTHER)
        responder.heard("peer", True)
        assert EndpointFound(peer, OTHER) == await events.receive()
        responder.heard("peer", False)
        assert EndpointLost(peer) == await events.receive()


@pytest.mark.parametrize(
    "answer",
    [
        None,
        Resolved(4000, b"", ("192.0.2.9",), 120),
        Resolved(4000, b"\xffgarbage", ("192.0.2.9",), 120),
        Resolved(4000, b"\x09txtvers=1", ("192.0.2.9",), 120),
        resolved(port=0),
        resolved(port=70000),
        resolved(BEACON, "203.0.113.5"),  # not on our network
        resolved(BEACON, "127.0.0.1"),
        resolved(BEACON, "224.0.0.1", "0.0.0.0", "::", "no address"),  # noqa: S104 - nothing is bound
        resolved(BEACON, "fe80::9"),  # link-local without saying on which link
        resolved(BEACON, "fe80::9%7"),  # on a link that is not ours
    ],
)
async def test_what_a_stranger_announces_wrongly_is_ignored(answer):
    """An announcement that is no beacon, or cannot be dialled from here, is neither reported nor an error."""
    async with running(LAN, LINK_LOCAL) as (_, driver, _, events):
        if answer is not None:
            driver.responders[0].answers["stranger"] = answer
        driver.responders[0].heard("stranger", True)
        await quiet(events)
        driver.responders[0].answers["peer"] = resolved(BEACON, "fe80::9%2")
        driver.responders[0].heard("peer", True)
        assert await events.receive() == EndpointFound(Endpoint("mdns", "peer"), BEACON)


async def test_a_name_that_is_none_of_ours_is_not_even_asked_for():
    """Names with control characters, dots or capitals beyond ASCII are left alone."""
    async with running() as (_, driver, _, events):
        for name in ("", "a b", "a.b", "a\x1b[2J", "é", "x" * 64):
            driver.responders[0].heard(name, True)
        await quiet(events, 0.05)
        assert driver.responders[0].asked == []


async def test_a_goodbye_beats_a_slow_answer():
    """A peer that leaves while it is being resolved is not reported."""
    async with running() as (_, driver, _, events):
        responder = driver.responders[0]
        responder.answers["peer"] = resolved()
        responder.delay = 0.05
        responder.heard("peer", True)
        await until(lambda: responder.asked)
        responder.heard("peer", False)
        await quiet(events)


async def test_a_silent_peer_is_lost_when_its_time_is_out():
    """A peer is looked up again when its records run out, kept if it answers, and lost if not."""
    async with running() as (_, driver, _, events):
        responder = driver.responders[0]
        responder.answers["peer"] = resolved(ttl=0.0)
        responder.heard("peer", True)
        await events.receive()
        await until(lambda: len(responder.asked) >= 3)
        del responder.answers["peer"]
        assert await events.receive() == EndpointLost(Endpoint("mdns", "peer"))


async def test_a_flood_of_names_is_bounded():
    """Of 5,000 announcements at most 1,000 are kept."""
    async with running() as (transport, driver, _, _):
        responder = driver.responders[0]
        responder.answers = {f"peer{number}": resolved() for number in range(5000)}
        for name in responder.answers:
            responder.heard(name, True)
        await until(lambda: len(transport._directory) == 1000)
        await anyio.sleep(0.05)
        assert len(transport._directory) == 1000
        assert not transport._finder._queued


async def test_a_newcomer_is_greeted_only_after_a_recent_announcement():
    """Who announced lately repeats it for a newcomer, which may have missed it; who did so long ago need not."""
    async with running(timing=Timing(greet_window=0.1)) as (transport, driver, _, events):
        responder = driver.responders[0]
        responder.answers = {"early": resolved(), "late": resolved()}
        await transport.advertise(BEACON)
        responder.heard("early", True)
        await until(lambda: responder.repeated == list(responder.shown))
        await anyio.sleep(0.15)
        responder.heard("late", True)
        await events.receive()
        await anyio.sleep(0.1)
        assert len(responder.repeated) == 1


async def test_the_announcement_is_repeated_now_and_then():
    """A heartbeat lets peers find each other after a cut that neither side noticed."""
    async with running(timing=Timing(tick=0.01, heartbeat=0.05)) as (transport, driver, _, _):
        await transport.advertise(BEACON)
        await until(lambda: len(driver.responders[0].repeated) >= 3)


async def test_no_interface_then_one():
    """Without an interface the state says so, and the beacon that was asked for appears when one comes up."""
    driver = FakeDriver(LO, VPN)
    async with running(driver=driver) as (transport, _, host, _):
        assert host.states == [(State.STARTING, ()), (State.UNAVAILABLE, ("no network interface that is up",))]
        await transport.advertise(BEACON)
        assert not driver.listeners
        driver.interfaces.append(LAN)
        await until(lambda: driver.responders and driver.responders[0].shown)
        assert host.states[-1] == (State.ACTIVE, ())
        [shown] = driver.responders[0].shown.values()
        assert shown.addresses == ("192.0.2.1",)


async def test_a_changed_address_keeps_the_names():
    """A new set of addresses is announced under the same name and port, without a goodbye."""
    async with running() as (transport, driver, _, events):
        await transport.advertise(BEACON)
        responder = driver.responders[0]
        responder.answers["peer"] = resolved()
        responder.heard("peer", True)
        await events.receive()
        driver.interfaces[:] = [LocalAddress("eth0", 2, "192.0.2.77", 24), LINK_LOCAL]
        await until(lambda: len(driver.responders) == 2 and driver.responders[1].shown)
        [old], [new] = responder.shown.values(), driver.responders[1].shown.values()
        assert (old.instance, old.host, old.port) == (new.instance, new.host, new.port)
        assert new.addresses == ("192.0.2.77", "fe80::1")
        assert responder.goodbye is False
        assert await events.receive() == EndpointLost(Endpoint("mdns", "peer"))  # it did not answer on the new one


async def test_losing_all_interfaces_loses_all_endpoints():
    """When the last interface goes down, all endpoints are lost at once."""
    async with running() as (_, driver, host, events):
        driver.responders[0].answers["peer"] = resolved()
        driver.responders[0].heard("peer", True)
        await events.receive()
        driver.interfaces.clear()
        assert await events.receive() == EndpointLost(Endpoint("mdns", "peer"))
        assert host.states[-1][0] is State.UNAVAILABLE


@pytest.mark.parametrize("which", ["open_error", "listen_error"])
async def test_a_failed_socket_is_tried_again(which):
    """A socket that cannot be opened makes the transport unavailable with the reason, until it can."""
    driver = FakeDriver(LAN)
    setattr(driver, which, "no socket today")
    async with running(driver=driver) as (transport, _, host, _):
        await transport.advertise(BEACON)
        await until(lambda: host.states[-1] == (State.UNAVAILABLE, ("no socket today",)))
        setattr(driver, which, "")
        await until(lambda: host.states[-1] == (State.ACTIVE, ()))
        assert driver.responders[-1].shown


async def test_tries_grow_rare():
    """Each failure doubles the pause, with jitter on top."""
    driver = FakeDriver(LAN)
    driver.open_error = "no"
    async with running(driver=driver, timing=Timing(poll=0.005, backoff_first=0.04)):
        await anyio.sleep(0.25)
        assert 3 <= driver.opens <= 4


@pytest.mark.parametrize(
    ("config", "used"),
    [
        (MdnsConfig(), {LAN, LINK_LOCAL}),
        (MdnsConfig(ip="4"), {LAN}),
        (MdnsConfig(ip="6"), {LINK_LOCAL}),
        (MdnsConfig(loopback=True), {LO}),
        (MdnsConfig(interfaces=("tun0",)), {VPN}),
        (MdnsConfig(interfaces=("192.0.2.1", "lo")), {LAN, LO}),
    ],
)
async def test_the_configuration_chooses_the_interfaces(config, used):
    """By default all but loopback and point-to-point ones are used; named ones are used whatever they are."""
    async with running(LAN, LINK_LOCAL, LO, VPN, config=config) as (_, driver, _, _):
        assert set(driver.responders[0].addresses) == used


async def test_a_missing_interface_is_named():
    """A configured interface that is not there is named while the others work."""
    async with running(LAN, config=MdnsConfig(interfaces=("eth0", "wlan7"))) as (_, _, host, _):
        [_, (state, [reason])] = host.states
        assert state is State.ACTIVE
        assert "wlan7" in reason


async def test_few_addresses_are_shown():
    """Of many addresses at most four of each family are announced, the link-local ones first."""
    many = [LocalAddress("eth0", 2, f"2001:db8::{n}", 64) for n in range(1, 9)]
    async with running(*many, LINK_LOCAL, LAN) as (transport, driver, _, _):
        await transport.advertise(BEACON)
        [shown] = driver.responders[0].shown.values()
        assert shown.addresses == ("192.0.2.1", "fe80::1", "2001:db8::1", "2001:db8::2", "2001:db8::3")


async def dialable(driver, events, *addresses):
    driver.responders[0].answers["peer"] = resolved(BEACON, *addresses)
    driver.responders[0].heard("peer", True)
    return (await events.receive()).endpoint


async def test_dial_tries_addresses_in_turn():
    """A silent address delays the next by the stagger only, a refusing one not at all; the losers are given up."""
    async with running() as (transport, driver, _, events):
        peer = await dialable(driver, events, "192.0.2.7", "192.0.2.8", "192.0.2.9")
        driver.answer_after = {"192.0.2.8": 60.0, "192.0.2.9": 0.0}
        start = anyio.current_time()
        link = await transport.dial(peer)

        assert [ip for ip, _, _ in driver.connects] == ["192.0.2.7", "192.0.2.8", "192.0.2.9"]
        assert 0.05 <= anyio.current_time() - start < 0.3
        assert link.initiator
        assert link.remote == peer
        assert len(driver.streams) == 1


async def test_dial_failures_are_link_lost():
    """An unknown, foreign, silent or refusing endpoint gives LinkLost in time, and nothing stays open."""
    async with running() as (transport, driver, _, events):
        peer = await dialable(driver, events, "192.0.2.7")
        for endpoint in (Endpoint("mdns", "nobody"), Endpoint("ble", peer.address), Endpoint("mdns", ""), peer):
            with pytest.raises(LinkLost):
                await transport.dial(endpoint)
        driver.answer_after = {"192.0.2.7": 60.0}
        start = anyio.current_time()
        with pytest.raises(LinkLost, match="did not answer"):
            await transport.dial(peer)
        assert 0.4 < anyio.current_time() - start < 2


async def test_dialled_links_are_bounded_and_closing_makes_room():
    """The 129th link is refused, and allowed once another is closed."""
    async with running() as (transport, driver, _, events):
        peer = await dialable(driver, events, "192.0.2.7")
        driver.answer_after = {"192.0.2.7": 0.0}
        links = [await transport.dial(peer) for _ in range(MAX_DIALED)]
        with pytest.raises(LinkLost, match="open already"):
            await transport.dial(peer)
        await links[0].aclose()
        await links[0].aclose()
        await transport.dial(peer)


async def test_accepted_links_are_bounded():
    """One address may hold 16 links and all together 128; what arrives by a foreign interface is refused."""
    async with running() as (transport, driver, host, _):
        await transport.advertise(BEACON)
        [listener] = driver.listeners
        await until(lambda: listener._taken)
        foreign = await listener.connect("192.0.2.9", "198.51.100.1")
        assert foreign.closed.is_set()
        streams = [await listener.connect("192.0.2.9", "192.0.2.1") for _ in range(MAX_PER_ADDRESS + 1)]
        assert [stream.closed.is_set() for stream in streams] == [False] * MAX_PER_ADDRESS + [True]
        for number in range(2 * MAX_ACCEPTED):
            await listener.connect(f"192.0.2.{10 + number // 2}", "192.0.2.1")
        assert len(host.links) == MAX_ACCEPTED
        await host.links[0].aclose()
        assert not (await listener.connect("192.0.2.9", "192.0.2.1")).closed.is_set()
