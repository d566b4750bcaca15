"""Buses that break their contract, each in one way. All of them are the bus in memory otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import ObjectReceiveStream, TaskStatus

from berty_core.contracts.bus import Bus, Datagram
from berty_core.contracts.hookspecs import hookimpl
from berty_core.contracts.transport import State, TransportHost, TransportSpec
from berty_core.errors import BudgetSpent, LinkLost, MessageTooLarge
from berty_core.testing.memory_bus import MemoryBusNetwork, MemoryBusSpec, MemoryBusTransport

NAME = "evil"


class EvilBusNetwork(MemoryBusNetwork):
    """A medium whose transport is of this class."""

    def __init__(self, kind: type[EvilBusTransport], **settings: Any) -> None:
        super().__init__(NAME, **settings)
        self.kind = kind
        self.made: list[EvilBusTransport] = []

    @hookimpl
    def berty_transports(self) -> Sequence[TransportSpec]:
        """Give nodes the hostile transport."""
        return (EvilBusSpec(self),)


class EvilBusSpec(MemoryBusSpec):
    """How nodes get it."""

    def __init__(self, network: EvilBusNetwork) -> None:
        super().__init__(network)
        self._evil = network

    def create(self, config: object) -> MemoryBusTransport:
        """Make another one."""
        self._evil.made.append(self._evil.kind(self._evil))
        return self._evil.made[-1]


class EvilBusTransport(MemoryBusTransport):
    """What the hostile ones have in common: they run, and their bus is `bad`'s."""

    async def bus(self) -> Any:
        """The bus, as bad as this one makes it."""
        return self.bad(await super().bus())

    def bad(self, bus: Bus) -> Any:
        """A bus in place of the sound one."""
        return bus


class Wrapped:
    """A bus that passes everything on."""

    def __init__(self, bus: Bus) -> None:
        self.traits = bus.traits
        self.sound = bus

    async def publish(self, data: bytes, **others: Any) -> None:
        """Put it on the air."""
        await self.sound.publish(data, **others)

    def subscribe(self, topic: bytes | None) -> Any:
        """Hear what others say."""
        return self.sound.subscribe(topic)


def with_bus(kind: type[Wrapped]) -> type[EvilBusTransport]:
    """A transport whose bus is wrapped so."""
    return type("WithBus", (EvilBusTransport,), {"bad": lambda _, bus: kind(bus)})


def handing_up(*handed: object, endlessly: bool = False) -> type[EvilBusTransport]:
    """A transport on whose bus these are heard first."""

    class HandsUp(Wrapped):
        @asynccontextmanager
        async def subscribe(self, topic: bytes | None) -> AsyncIterator[Any]:
            async with self.sound.subscribe(topic) as heard:
                yield First(handed, heard, endlessly)

    return with_bus(HandsUp)


class First:
    """A stream that gives some values, once or for ever and without ever waiting, and then another one's."""

    def __init__(self, values: Sequence[object], rest: ObjectReceiveStream[Datagram], endlessly: bool) -> None:
        self._values, self._rest, self._endlessly = list(values), rest, endlessly

    def __aiter__(self) -> First:
        return self

    async def __anext__(self) -> Any:
        if not self._values:
            return await self._rest.receive()
        return self._values[0] if self._endlessly else self._values.pop(0)


# -- the bus itself ------------------------------------------------------------------------------


class NeverGivesABus(EvilBusTransport):
    async def bus(self) -> Any:
        await anyio.sleep_forever()


class RaisesForABus(EvilBusTransport):
    async def bus(self) -> Any:
        raise KeyError("radio")


class GivesNoBus(EvilBusTransport):
    async def bus(self) -> Any:
        return None


class GivesAStream(EvilBusTransport):
    def bad(self, bus: Bus) -> Any:
        wrapped = Wrapped(bus)
        wrapped.traits = {"mtu": 7}  # type: ignore[assignment]
        return wrapped


class IsThereLater(EvilBusTransport):
    """Sound: the medium is gone when the transport begins."""

    asked = 0

    async def bus(self) -> Any:
        self.asked += 1
        if self.asked == 1:
            raise LinkLost("no antenna")
        return await super().bus()


class HasABadBudget(EvilBusTransport):
    def budget(self) -> Any:
        return self

    def allowed_at(self, size: int, now: float) -> float:
        raise ZeroDivisionError(size)


class SwallowsCancellation(EvilBusTransport):
    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        self._host, self._running = host, True
        self.address = self._network.join(self)
        host.state(State.ACTIVE)
        task_status.started()
        while True:
            try:
                await anyio.sleep(0.5)
            except anyio.get_cancelled_exc_class():  # which is the crime
                pass


# -- publish -------------------------------------------------------------------------------------


class NeverPublishes(Wrapped):
    async def publish(self, data: bytes, **others: Any) -> None:
        await anyio.sleep_forever()


class PublishesForEver(Wrapped):
    async def publish(self, data: bytes, **others: Any) -> None:
        while True:
            try:
                await anyio.sleep(0.5)
            except anyio.get_cancelled_exc_class():  # which is the crime
                pass


class RaisesAtPublish(Wrapped):
    async def publish(self, data: bytes, **others: Any) -> None:
        raise LookupError("frequency")


class LiesAboutItsMtu(Wrapped):
    async def publish(self, data: bytes, **others: Any) -> None:
        raise MessageTooLarge("so long")


class LiesAboutABudget(Wrapped):
    async def publish(self, data: bytes, **others: Any) -> None:
        raise BudgetSpent("all of it")


class PublishesWithoutAwait(Wrapped):
    def publish(self, data: bytes, **others: Any) -> Any:
        return None


# -- subscribe -----------------------------------------------------------------------------------


class NeverSubscribes(Wrapped):
    @asynccontextmanager
    async def subscribe(self, topic: bytes | None) -> AsyncIterator[Any]:
        await anyio.sleep_forever()
        yield


class RaisesAtSubscribe(Wrapped):
    def subscribe(self, topic: bytes | None) -> Any:
        raise OSError("no socket")


class SubscribesToNothing(Wrapped):
    def subscribe(self, topic: bytes | None) -> Any:
        return None


class EndsItsSubscription(Wrapped):
    @asynccontextmanager
    async def subscribe(self, topic: bytes | None) -> AsyncIterator[Any]:
        send, receive = anyio.create_memory_object_stream[Datagram](1)
        send.close()
        with receive:
            yield receive
