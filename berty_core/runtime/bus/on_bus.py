"""A transport with a bus, as the node uses it: it speaks to groups there, shows us there, and finds others there.

Invariant: to the connectivity it is a transport with links like any other. Where the medium has links of its own those
are used, and all our points are shown; elsewhere only who may be asked for contact shows itself, and links carry that.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import cycle, islice
from typing import Protocol, cast

import anyio
import attrs
from anyio.abc import ObjectReceiveStream, TaskStatus
from anyio.streams.memory import MemoryObjectSendStream

from ...contracts.bus import Budget, Bus, Datagram, Priority
from ...contracts.traits import Traits
from ...contracts.transport import (
    Beacon,
    BudgetedTransport,
    BusTransport,
    Endpoint,
    EndpointFound,
    EndpointLost,
    Link,
    LinkTransport,
    Probe,
    Transport,
    TransportHost,
    TransportSpec,
)
from ...errors import BertyError, LinkLost, UserError
from ...protocol.bus_beacons import ADDRESS_LENGTH, BusBeacon, LinkDatagram, decode_clear, encode_clear, tags_in
from ...protocol.rendezvous import advert_tag
from ...protocol.trickle import Trickle
from ..drivers.airtime_queue import AirtimeQueue
from ..drivers.guarded_bus import INNER, BusKeeper, GuardedBus, Unkept, bus_fault
from ..drivers.running import DriverFault
from ..drivers.severable import Severable, see_end, within
from ..replica.replica import Points
from .groups import GONE_FOR, BusGroups, BusHost, unit_of
from .links import LIFE, SHORTEST_LIFE, BusLinks, link_traits

SHORTEST_SHOW, LONGEST_SHOW = 1.0, 600.0  # seconds, and at least 16 units, between two beacons
LOST_AFTER = 3 * LONGEST_SHOW
MAX_NEAR = 256
BUS_TOPIC = b"berty"
ROOM = 1024
BUS_LIMIT = 10.0  # seconds in which a transport that runs has to give its bus

Found = EndpointFound | EndpointLost
Made = tuple[TransportSpec, Callable[[], Transport]]


class OnBusHost(BusHost, Protocol):
    """What a transport with a bus is given by its node."""

    async def points(self) -> Points:
        """Where to meet."""


def on_buses(host: OnBusHost, transports: Sequence[Made]) -> list[Made]:
    """Let transports that have a bus use it; all others are left as they are."""
    return [_on_bus(host, *made) if made[0].traits.broadcast else made for made in transports]


def _on_bus(host: OnBusHost, spec: TransportSpec, make: Callable[[], Transport]) -> Made:
    on_bus = OnBusSpec(spec)
    return on_bus, lambda: OnBus(host, on_bus, make())


def _show_ourselves(spec: TransportSpec) -> Traits:
    """The traits of a transport once the bus does what the medium does not."""
    traits = spec.traits
    if traits.discovers:
        return traits
    traits = traits if traits.dials else link_traits(traits)
    return attrs.evolve(traits, discovers=True, beacon_bytes=8 + 8 * tags_in(spec.traits.mtu), lost_after=LOST_AFTER)


class OnBusSpec:
    """A spec with the traits of what is made of it; all else is the plugin's."""

    def __init__(self, spec: TransportSpec) -> None:
        self.name, self.api, self.config = spec.name, spec.api, spec.config
        self.platforms, self.tested_on = spec.platforms, spec.tested_on
        self.own_traits = spec.traits
        self.keeper: BusKeeper = Unkept()
        self.traits = _show_ourselves(spec)
        self._spec = spec

    def probe(self, config: object) -> Probe:
        """Tell whether it can run."""
        return self._spec.probe(config)

    def create(self, config: object) -> Transport:
        """Make the bare transport."""
        return self._spec.create(config)


@attrs.define(eq=False)
class _Near:
    nonce: bytes
    tags: tuple[bytes, ...]
    until: float


class OnBus:
    """One transport with a bus; run once."""

    def __init__(self, host: OnBusHost, spec: OnBusSpec, transport: Transport) -> None:
        self._host = host
        self._spec = spec
        self._transport = transport
        self._own = spec.own_traits
        self._unit = unit_of(spec.own_traits)
        self.guarded: GuardedBus | None = None
        self.airtime = AirtimeQueue(mtu=self._own.mtu, now=time.time, budget=self._own_budget)
        """Whose turn it is on the air; the node puts one in its place that knows the quota as well."""
        self._links: BusLinks | None = None
        self._beacon: Beacon | None = None
        self._address = b""
        self._trickle: Trickle | None = None
        self._changed = anyio.Event()
        self._near: dict[Endpoint, _Near] = {}
        self._subscribers: list[MemoryObjectSendStream[Found]] = []
        self.groups: BusGroups | None = None

    # -- life ----------------------------------------------------------------------------------

    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run the transport, and on its bus groups, beacons and links."""
        calls: list[Severable[None]] = []
        try:
            async with anyio.create_task_group() as tasks:
                try:
                    await tasks.start(self._run_transport, host, calls, tasks.cancel_scope)
                    await tasks.start(self._use_bus, host)
                    task_status.started()
                    await anyio.sleep_forever()
                finally:
                    tasks.cancel_scope.cancel()
                    await see_end(calls, INNER)
        finally:
            if self._links is not None:
                self._links.end_all("the transport ended")
            for subscriber in self._subscribers:
                subscriber.close()

    async def _run_transport(
        self,
        host: TransportHost,
        calls: list[Severable[None]],
        scope: anyio.CancelScope,
        *,
        task_status: TaskStatus[None],
    ) -> None:
        calls.append(Severable(self._transport.run(host, task_status=task_status)))
        await calls[0]
        scope.cancel()

    async def _use_bus(self, host: TransportHost, *, task_status: TaskStatus[None]) -> None:
        """Speak and listen on the bus, as soon as the medium is there."""
        while (bus := await self._obtain_bus()) is None:
            task_status.started()
            task_status = anyio.TASK_STATUS_IGNORED
            await anyio.sleep(GONE_FOR)
        self.guarded = bus
        if not self._own.dials:
            self._links = self._make_links(host, bus.traits)
            self._links.addresses = (self._address,) if self._beacon is not None else ()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._speak_to_groups, host, bus)
            if not self._own.discovers:
                tasks.start_soon(self._listen, bus)
                tasks.start_soon(self._show)
            task_status.started()

    async def _obtain_bus(self) -> GuardedBus | None:
        """The medium's bus, looked at; None while the medium is gone. DriverFault."""
        try:
            bus = await within(BUS_LIMIT, self._ask_for_bus(), INNER)
        except LinkLost:
            return None
        except TimeoutError:
            raise DriverFault(f"bus() did not end within {BUS_LIMIT:g} s") from None
        if words := bus_fault(bus):
            raise DriverFault(words)
        self._unit = unit_of(bus.traits)
        return GuardedBus(self._spec.name, bus, self._spec.keeper, self._host.monotonic, unit=self._unit)

    async def _ask_for_bus(self) -> Bus:
        try:
            return await cast(BusTransport, self._transport).bus()
        except BertyError as error:
            raise LinkLost(str(error)) from error
        except Exception as error:  # a driver may raise anything; it is named
            raise DriverFault(f"bus() raised {type(error).__name__}: {error}") from error

    async def _speak_to_groups(self, host: TransportHost, bus: GuardedBus) -> None:
        try:
            self.groups = BusGroups(self._host, self._spec.name, bus, host.now, self.airtime)
        except UserError as error:  # a medium that is not meant for groups; its links may be fine
            host.logger.warning("%s carries no groups: %s", self._spec.name, error)
            return
        await self.groups.run()

    def _make_links(self, host: TransportHost, traits: Traits) -> BusLinks:
        return BusLinks(
            self._spec.name,
            link_traits(traits),
            say=self._say,
            accept=host.accept,
            entropy=host.entropy,
            monotonic=host.monotonic,
            life=max(LIFE * self._unit, SHORTEST_LIFE),
        )

    # -- what the connectivity calls -----------------------------------------------------------

    async def bus(self) -> Bus:
        """The medium's bus."""
        return await cast(BusTransport, self._transport).bus()

    @property
    def has_paced_links(self) -> bool:
        """Whether its links take their turns by themselves."""
        return not self._own.dials

    def _own_budget(self) -> Budget | None:
        return self.budget() if self._own.budgeted else None

    def budget(self) -> Budget:
        """The medium's budget."""
        return cast(BudgetedTransport, self._transport).budget()

    async def dial(self, endpoint: Endpoint) -> Link:
        """Open a link, by the medium's own means if it has any."""
        if self._own.dials:
            return await cast(LinkTransport, self._transport).dial(endpoint)
        await anyio.lowlevel.checkpoint()
        if self._links is None:
            raise LinkLost("the transport does not run")
        return self._links.dial(endpoint)

    async def advertise(self, beacon: Beacon | None) -> None:
        """Show this beacon, at a new address."""
        if self._own.discovers:
            if self._own.beacon_bytes:
                await cast(LinkTransport, self._transport).advertise(beacon)
            return
        await anyio.lowlevel.checkpoint()
        self._beacon, before = beacon, self._address
        self._address = self._host.entropy(ADDRESS_LENGTH)
        if self._links is not None:
            self._links.addresses = (self._address, before) if beacon is not None else ()
        self._trickle = None
        self._changed.set()

    @asynccontextmanager
    async def discover(self) -> AsyncIterator[ObjectReceiveStream[Found]]:
        """Stream who is there."""
        if self._own.discovers:
            async with cast(LinkTransport, self._transport).discover() as found:
                yield found
            return
        send, receive = anyio.create_memory_object_stream[Found](ROOM)
        for endpoint, near in self._near.items():
            send.send_nowait(EndpointFound(endpoint, Beacon(near.nonce, near.tags)))
        self._subscribers.append(send)
        with send, receive:
            try:
                yield receive
            finally:
                self._subscribers.remove(send)

    # -- showing ourselves ---------------------------------------------------------------------

    async def _show(self) -> None:
        """Say who is here: soon after something changed, and ever more rarely."""
        turn = 0
        while True:
            self._changed = anyio.Event()
            now = self._host.monotonic()
            if self._trickle is None:
                shortest = max(SHORTEST_SHOW, 16 * self._unit)
                self._trickle = Trickle(shortest, max(LONGEST_SHOW, shortest), self._chance, now)
            if self._trickle.wake(now) and (said := await self._what_to_show(turn)) is not None:
                turn += 1
                await self._say(encode_clear(said), Priority.BACKGROUND)
            self._forget_old(now)
            with anyio.move_on_after(max(0.0, self._trickle.timeout() - self._host.monotonic())):
                await self._changed.wait()

    def _chance(self) -> float:
        return int.from_bytes(self._host.entropy(4), "big") / (1 << 32)

    async def _what_to_show(self, turn: int) -> BusBeacon | None:
        """All our tags in turn where links are the medium's own; else our contact link alone, or a question."""
        beacon = self._beacon
        if beacon is None or self.guarded is None:
            return None
        room = tags_in(self.guarded.traits.mtu)  # as it is configured; the spec says what is usual
        if self._own.dials:
            start = turn * room % max(1, len(beacon.tags))
            some = islice(cycle(beacon.tags), start, start + min(room, len(beacon.tags))) if beacon.tags else ()
            return BusBeacon(self._address, beacon.nonce, tuple(some))
        points = await self._host.points()
        tags = () if points.own_link is None else (advert_tag(points.own_link, beacon.nonce),)
        shown = tuple(tag for tag in tags if tag in beacon.tags)
        return BusBeacon(self._address, beacon.nonce, shown) if shown or points.wanted else None

    async def _say(self, data: bytes, priority: Priority = Priority.REPAIR) -> None:
        """Put a datagram in clear on the air, once there is airtime. LinkLost."""
        if self.guarded is None:
            return
        topic = BUS_TOPIC if self._own.topics else None
        put = partial(self.guarded.publish, data, topic=topic, priority=priority, deadline=None)
        try:
            await self.airtime.send(put, len(data), priority, source=("in clear", priority))
        except LinkLost:
            if priority is not Priority.BACKGROUND:
                raise

    # -- hearing others ------------------------------------------------------------------------

    async def _listen(self, bus: GuardedBus) -> None:
        send, heard = anyio.create_memory_object_stream[Datagram](ROOM)

        def hear(datagram: Datagram) -> None:
            with suppress(anyio.WouldBlock):  # it comes again, as on the air
                send.send_nowait(datagram)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bus.listen, BUS_TOPIC if self._own.topics else None, hear)
            with send, heard:
                async for datagram in heard:
                    await self._take(datagram)

    async def _take(self, datagram: Datagram) -> None:
        match decode_clear(datagram.data):
            case BusBeacon() as beacon:
                await self._hear(beacon, datagram.source)
            case LinkDatagram() as link if self._links is not None:
                self._links.hear(link)

    async def _hear(self, beacon: BusBeacon, source: Endpoint | None) -> None:
        """Somebody is there. Who came newly is shown soon who else is."""
        endpoint = source if self._own.dials else Endpoint(self._spec.name, beacon.address.hex())
        if endpoint is None or endpoint.transport != self._spec.name:
            return
        now = self._host.monotonic()
        known = self._near.get(endpoint)
        if known is None or known.nonce != beacon.nonce:
            if self._trickle is not None:
                self._trickle.disagree(now)
                self._changed.set()
            known = self._near[endpoint] = _Near(beacon.nonce, (), 0.0)
            if len(self._near) > MAX_NEAR:
                self._lose(next(iter(self._near)))
        known.until = now + LOST_AFTER
        tags = beacon.tags if self._own.dials else await self._wanted_in(beacon)
        news = tuple(tag for tag in tags if tag not in known.tags)
        if news:
            known.tags = (known.tags + news)[-1024:]
            self._tell(EndpointFound(endpoint, Beacon(beacon.nonce, known.tags)))

    async def _wanted_in(self, beacon: BusBeacon) -> tuple[bytes, ...]:
        """Tags of those whom we want to ask for contact: for anything else no link is opened over such a bus."""
        wanted = (await self._host.points()).wanted
        ours = {advert_tag(point, beacon.nonce) for point in wanted}
        return tuple(tag for tag in beacon.tags if tag in ours)

    def _forget_old(self, now: float) -> None:
        for endpoint in [endpoint for endpoint, near in self._near.items() if near.until <= now]:
            self._lose(endpoint)

    def _lose(self, endpoint: Endpoint) -> None:
        if self._near.pop(endpoint).tags:
            self._tell(EndpointLost(endpoint))

    def _tell(self, event: Found) -> None:
        for subscriber in self._subscribers:
            try:
                subscriber.send_nowait(event)
            except anyio.WouldBlock:
                continue  # it is told again with the next beacon
