"""A broadcast medium in one process, as bad as a test wants it: loss, repetition, order, delay, one sender at a time.

Invariant: what happens by chance follows from the seed alone; nobody hears itself; who listens too slowly misses the
oldest; without delay nothing happens by the clock.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import attrs
from anyio.abc import ObjectReceiveStream, TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from ..contracts.hookspecs import hookimpl
from ..contracts.transport import Budget, Datagram, Endpoint, Priority, Probe, State, Traits, TransportHost
from ..contracts.transport import TransportSpec as Spec
from ..errors import BudgetSpent, DeadlinePassed, LinkLost, LocalProtocolError, MessageTooLarge
from ..protocol.airtime import AirtimeLedger

ROOM = 256  # datagrams that one subscription keeps
MAX_TOPIC = 64


@attrs.frozen(kw_only=True)
class Weather:
    """What the medium does to datagrams: probabilities from 0 to 1 for each listener, times in seconds.

    One that is reordered comes up to `reordered_by` later than it would have. `half_duplex`: a datagram takes its
    time on the air, senders wait for silence, who sends does not hear, and two that overlap are both lost; that
    somebody sends is noticed `noticed_after` it began.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reordered_by: float = 0.02
    delay: float = 0.0
    half_duplex: bool = False
    noticed_after: float = 0.0005


@attrs.define(eq=False)
class _Transmission:
    start: float
    end: float
    collided: bool = False


class MemoryBusNetwork:
    """A medium that transports share; register it as a plugin (`plugins.hooks.register(network, network.name)`).

    `hears(sender, listener)` says, by their addresses, who is in range. `budget` makes one for each transport, given
    its host. With `source` listeners are told where a datagram comes from.
    """

    def __init__(
        self,
        name: str = "bus",
        *,
        mtu: int = 233,
        topics: bool = False,
        bitrate: int = 1_000_000,
        source: bool = False,
        weather: Weather = Weather(),
        seed: int = 0,
        hears: Callable[[int, int], bool] = lambda sender, listener: True,
        budget: Callable[[TransportHost], AirtimeLedger] | None = None,
    ) -> None:
        self.name = name
        self.weather = weather
        self.source = source
        self.hears = hears
        self.make_budget = budget
        self.traits = Traits(
            stream=False,
            mtu=mtu,
            reliable=weather.loss == 0 and not weather.half_duplex,
            ordered=weather.reorder == 0,
            half_duplex=weather.half_duplex,
            broadcast=True,
            topics=topics,
            bitrate=bitrate,
            latency=weather.delay,
            budgeted=budget is not None,
            dials=False,
            listens=False,
            discovers=False,
            backends=frozenset({"asyncio", "trio"}),
        )
        self.heard: list[bytes] = []  # every datagram that went on the air, oldest first
        self._random = random.Random(seed)  # noqa: S311  a simulation that can be repeated
        self._transports: list[MemoryBusTransport] = []
        self._on_air: list[_Transmission] = []
        self._addresses = 0
        self._cut = False

    @hookimpl
    def berty_transports(self) -> Sequence[Spec]:
        """Give nodes a transport over this medium."""
        return (MemoryBusSpec(self),)

    def cut(self) -> None:
        """Take the medium away: nothing can be published, and nothing is heard."""
        self._cut = True

    def mend(self) -> None:
        """Bring the medium back."""
        self._cut = False

    def join(self, transport: MemoryBusTransport) -> int:
        """A transport is there from now on; its address."""
        self._transports.append(transport)
        self._addresses += 1
        return self._addresses

    def leave(self, transport: MemoryBusTransport) -> None:
        """A transport is gone."""
        self._transports.remove(transport)

    async def put(self, sender: MemoryBusTransport, data: bytes, topic: bytes | None) -> None:
        """Carry one datagram to everybody in range. LinkLost while the medium is cut."""
        if self.weather.half_duplex:
            await self._put_alone(sender, data, topic)
        else:
            self._carry(sender, data, topic)

    async def _put_alone(self, sender: MemoryBusTransport, data: bytes, topic: bytes | None) -> None:
        """Wait for silence and then a random moment, as a radio does that listens before it talks."""
        airtime = len(data) * 8 / self.traits.bitrate
        while (busy := self._busy_until()) > anyio.current_time():
            await anyio.sleep(busy - anyio.current_time() + self._random.uniform(0, 4) * airtime)
        transmission = _Transmission(anyio.current_time(), anyio.current_time() + airtime)
        for other in self._on_air:
            other.collided = transmission.collided = True
        self._on_air.append(transmission)
        try:
            await anyio.sleep(airtime)
        except BaseException:
            transmission.collided = True  # it was cut off
            raise
        finally:
            self._on_air.remove(transmission)
        if not transmission.collided:
            self._carry(sender, data, topic)
        else:
            self._check(sender)

    def _busy_until(self) -> float:
        noticed = anyio.current_time() - self.weather.noticed_after
        return max((one.end for one in self._on_air if one.start <= noticed), default=0.0)

    def _check(self, sender: MemoryBusTransport) -> None:
        if self._cut or sender not in self._transports:
            raise LinkLost("the medium is gone")

    def _carry(self, sender: MemoryBusTransport, data: bytes, topic: bytes | None) -> None:
        self._check(sender)
        self.heard.append(data)
        source = Endpoint(self.name, str(sender.address)) if self.source else None
        for listener in list(self._transports):
            if listener is not sender and self.hears(sender.address, listener.address):
                for delay in self._arrivals():
                    listener.hear(Datagram(data, source), topic, delay)

    def _arrivals(self) -> list[float]:
        """After how many seconds a listener hears a datagram: once, more often, or never."""
        weather, chance = self.weather, self._random.random
        if chance() < weather.loss:
            return []
        delays = [weather.delay] * (2 if chance() < weather.duplicate else 1)
        return [delay + (chance() * weather.reordered_by if chance() < weather.reorder else 0) for delay in delays]


class MemoryBus:
    """The bus of one transport."""

    def __init__(self, transport: MemoryBusTransport, network: MemoryBusNetwork) -> None:
        self.traits = network.traits
        self._transport = transport
        self._network = network

    async def publish(self, data: bytes, *, topic: bytes | None, priority: Priority, deadline: float | None) -> None:
        """Put one datagram on the air; returns once the medium has taken it."""
        await anyio.lowlevel.checkpoint()
        self._check_topic(topic)
        if not data:
            raise LocalProtocolError("an empty datagram")
        if len(data) > self.traits.mtu:
            raise MessageTooLarge(f"{len(data)} bytes, at most {self.traits.mtu} fit")
        await self._transport.publish(data, topic, deadline)

    @asynccontextmanager
    async def subscribe(self, topic: bytes | None) -> AsyncIterator[ObjectReceiveStream[Datagram]]:
        """Hear what others publish from now on."""
        self._check_topic(topic)
        await anyio.lowlevel.checkpoint()
        with self._transport.subscribed(topic) as receive:
            yield receive

    def _check_topic(self, topic: bytes | None) -> None:
        if self.traits.topics != (topic is not None):
            raise LocalProtocolError("a topic where the traits have none, or none where they have")
        if topic is not None and not 1 <= len(topic) <= MAX_TOPIC:
            raise LocalProtocolError(f"a topic has 1 to {MAX_TOPIC} bytes")


@attrs.define(eq=False)
class _Subscription:
    """What one listener has not taken yet."""

    transport: MemoryBusTransport
    topic: bytes | None
    send: MemoryObjectSendStream[Datagram]
    receive: MemoryObjectReceiveStream[Datagram]

    def __enter__(self) -> MemoryObjectReceiveStream[Datagram]:
        return self.receive

    def __exit__(self, *_: object) -> None:
        if self in self.transport.subscriptions:
            self.transport.subscriptions.remove(self)
        self.send.close()
        self.receive.close()

    def put(self, datagram: Datagram) -> None:
        """Keep a datagram, in place of the oldest if there is no room."""
        try:
            self.send.send_nowait(datagram)
        except anyio.WouldBlock:
            self.receive.receive_nowait()
            self.send.send_nowait(datagram)
        except anyio.BrokenResourceError:
            pass


class MemoryBusTransport:
    """One transport on a bus in memory; run it once."""

    def __init__(self, network: MemoryBusNetwork) -> None:
        self.address = 0
        self.subscriptions: list[_Subscription] = []
        self._network = network
        self._host: TransportHost | None = None
        self._running = False
        self._budget: AirtimeLedger | None = None
        self._bus = MemoryBus(self, network)
        self._coming: list[tuple[float, int, Datagram, bytes | None]] = []  # a heap by time of arrival
        self._count = 0
        self._more = anyio.Event()

    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Be on the medium until cancelled; LocalProtocolError when run a second time."""
        if self._host is not None:
            raise LocalProtocolError("this transport was run before: create another one")
        self._host, self._running = host, True
        self._budget = self._network.make_budget(host) if self._network.make_budget else None
        self.address = self._network.join(self)
        host.state(State.ACTIVE)
        task_status.started()
        try:
            await self._deliver_late()
        finally:
            self._running = False
            self._network.leave(self)
            for subscription in self.subscriptions:
                subscription.send.close()

    async def bus(self) -> MemoryBus:
        """The bus of this medium; LinkLost when the transport does not run."""
        await anyio.lowlevel.checkpoint()
        if not self._running:
            raise LinkLost("this transport does not run")
        return self._bus

    def budget(self) -> Budget:
        """What may be sent; LocalProtocolError where nothing limits it."""
        if self._budget is None:
            raise LocalProtocolError("this medium has no budget")
        return self._budget

    async def publish(self, data: bytes, topic: bytes | None, deadline: float | None) -> None:
        """Send one datagram, within deadline and budget."""
        host = self._host
        if host is None or not self._running:
            raise LinkLost("this transport does not run")
        if deadline is not None and host.now() > deadline:
            raise DeadlinePassed("the datagram is too old by now")
        if self._budget is not None and not self._budget.take(len(data), host.now()):
            raise BudgetSpent("the airtime of this window is used up")
        await self._network.put(self, data, topic)

    def subscribed(self, topic: bytes | None) -> _Subscription:
        """A new subscription, at its end at once where the transport does not run."""
        send, receive = anyio.create_memory_object_stream[Datagram](ROOM)
        subscription = _Subscription(self, topic, send, receive)
        if self._running:
            self.subscriptions.append(subscription)
        else:
            send.close()
        return subscription

    def hear(self, datagram: Datagram, topic: bytes | None, delay: float) -> None:
        """A datagram comes, at once or later."""
        if not delay:
            self._give(datagram, topic)
            return
        self._count += 1
        heapq.heappush(self._coming, (anyio.current_time() + delay, self._count, datagram, topic))
        self._more.set()

    def _give(self, datagram: Datagram, topic: bytes | None) -> None:
        for subscription in self.subscriptions:
            if subscription.topic == topic:
                subscription.put(datagram)

    async def _deliver_late(self) -> None:
        while True:
            self._more = anyio.Event()
            while self._coming and self._coming[0][0] <= anyio.current_time():
                _, _, datagram, topic = heapq.heappop(self._coming)
                self._give(datagram, topic)
            wait = self._coming[0][0] - anyio.current_time() if self._coming else float("inf")
            with anyio.move_on_after(wait):
                await self._more.wait()


@attrs.frozen
class MemoryBusConfig:
    """There is nothing to configure."""


class MemoryBusSpec:
    """How a node gets a transport over a bus in memory."""

    api: tuple[int, int] = (1, 0)
    config: type = MemoryBusConfig
    platforms: frozenset[str] = frozenset()
    tested_on: tuple[str, ...] = ()

    def __init__(self, network: MemoryBusNetwork) -> None:
        self.name = network.name
        self.traits = network.traits
        self._network = network

    def probe(self, config: object) -> Probe:
        """It can run everywhere."""
        return Probe(available=True)

    def create(self, config: object) -> MemoryBusTransport:
        """Make a transport that is not running yet."""
        return MemoryBusTransport(self._network)
