"""Drivers that break their contract, each in one way. All of them are transports over a network in memory otherwise."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import attrs
from anyio.abc import ObjectReceiveStream, TaskStatus

from berty_core.contracts.hookspecs import hookimpl
from berty_core.contracts.transport import Beacon, Endpoint, EndpointFound, State, TransportHost, TransportSpec
from berty_core.testing.memory_transport import (
    TRAITS,
    Discovered,
    MemoryLink,
    MemoryNetwork,
    MemorySpec,
    MemoryTransport,
)

NAME = "evil"
BEACON = Beacon(b"12345678", (b"unknown!",))


class EvilNetwork(MemoryNetwork):
    """A network whose transport is of this class."""

    def __init__(self, kind: type[EvilTransport], **traits: Any) -> None:
        super().__init__(NAME, traits=attrs.evolve(TRAITS, **traits))
        self.kind = kind
        self.made: list[EvilTransport] = []

    @hookimpl
    def berty_transports(self) -> Sequence[TransportSpec]:
        """Give nodes the hostile transport."""
        return (EvilSpec(self),)


class EvilSpec(MemorySpec):
    """How nodes get it."""

    def __init__(self, network: EvilNetwork) -> None:
        super().__init__(network)
        self._evil = network

    def create(self, config: object) -> MemoryTransport:
        """Make another one."""
        self._evil.made.append(self._evil.kind(self._evil))
        return self._evil.made[-1]


class EvilTransport(MemoryTransport):
    """What the hostile ones have in common: they run, and report what `reports` gives beside what is there."""

    reports: tuple[object, ...] = ()
    dialled: tuple[Endpoint, ...] = ()

    @asynccontextmanager
    async def discover(self) -> AsyncIterator[ObjectReceiveStream[Discovered]]:
        """What is there, and more."""
        async with super().discover() as found:
            send, receive = anyio.create_memory_object_stream[Any](float("inf"))
            for report in self.reports:
                send.send_nowait(report)
            with send, receive:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(pass_on, found, send)
                    yield receive
                    tasks.cancel_scope.cancel()


async def pass_on(found: ObjectReceiveStream[Any], send: Any) -> None:
    """Forward what is there."""
    async for event in found:
        send.send_nowait(event)


def reporting(*reports: object) -> type[EvilTransport]:
    """A transport whose discovery reports these."""
    return type("Reporting", (EvilTransport,), {"reports": reports})


# -- the life of a driver ------------------------------------------------------------------------


class ReturnsAtOnce(EvilTransport):
    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        return


class RaisesAtOnce(EvilTransport):
    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        raise KeyError("adapter")


class EndsTheProgram(EvilTransport):
    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        raise SystemExit(3)


class EndsAfterItStarted(EvilTransport):
    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        host.state(State.ACTIVE)
        task_status.started()
        await anyio.sleep(0.01)


class NeverStarts(EvilTransport):
    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        await anyio.sleep_forever()


class SwallowsCancellation(EvilTransport):
    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        host.state(State.ACTIVE)
        task_status.started()
        while True:
            try:
                await anyio.sleep(0.5)
            except anyio.get_cancelled_exc_class():  # which is the crime
                pass


class ShieldsItself(EvilTransport):
    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        host.state(State.ACTIVE)
        task_status.started()
        with anyio.CancelScope(shield=True):
            await anyio.sleep_forever()


class DiscoversNothing(EvilTransport):
    def discover(self) -> Any:
        return None


class DiscoveryEnds(EvilTransport):
    @asynccontextmanager
    async def discover(self) -> AsyncIterator[ObjectReceiveStream[Discovered]]:
        send, receive = anyio.create_memory_object_stream[Discovered](1)
        send.close()
        with receive:
            yield receive


class Floods(EvilTransport):
    @asynccontextmanager
    async def discover(self) -> AsyncIterator[ObjectReceiveStream[Discovered]]:
        class Endless:
            """Never at an end."""

            def __aiter__(self) -> Endless:
                return self

            async def __anext__(self) -> EndpointFound:
                await anyio.lowlevel.checkpoint()
                return EndpointFound(Endpoint(NAME, str(time.monotonic_ns())), BEACON)

        yield Endless()  # type: ignore[misc]


class SaysNonsense(EvilTransport):
    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        said: Any = host.state
        said("excellent")
        said(State.DISABLED)
        said(State.ACTIVE, "a text")
        said(State.ACTIVE, [1, b"2", "x" * 100_000] * 100)
        task_status.started()
        await anyio.sleep_forever()


class CannotAdvertise(EvilTransport):
    async def advertise(self, beacon: Beacon | None) -> None:
        raise ZeroDivisionError("no tags")


class BlocksTheLoop(EvilTransport):
    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await anyio.sleep(0.6)
        time.sleep(1.8)  # noqa: ASYNC251  which is the crime
        await anyio.sleep_forever()


class HandsUpTooMuch(EvilTransport):
    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        host.state(State.ACTIVE)
        task_status.started()
        while True:
            await anyio.sleep(0.001)
            for _ in range(100):
                host.accept(SilentLink())


class HandsUpNonsense(EvilTransport):
    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        host.state(State.ACTIVE)
        task_status.started()
        hand: Any = host.accept
        for nonsense in (None, object(), "link"):
            hand(nonsense)
        await anyio.sleep_forever()


# -- dials and links -----------------------------------------------------------------------------


class SilentLink:
    """A link on which nothing ever comes."""

    def __init__(self) -> None:
        self.traits = TRAITS
        self.remote = Endpoint(NAME, "nobody")
        self.initiator = False
        self._closed = anyio.Event()

    async def send(self, data: bytes) -> None:
        """Take it."""

    async def receive(self) -> bytes:
        """Wait for ever."""
        await self._closed.wait()
        raise anyio.ClosedResourceError

    async def aclose(self) -> None:
        """Let go."""
        self._closed.set()


def dialling(dial: Callable[[EvilTransport, Endpoint], Any]) -> type[EvilTransport]:
    """A transport that dials in this way."""

    async def evil_dial(self: EvilTransport, endpoint: Endpoint) -> Any:
        found = dial(self, endpoint)
        return await found if hasattr(found, "__await__") else found

    return type("Dialling", (EvilTransport,), {"dial": evil_dial})


def linking(change: Callable[[MemoryLink], Any]) -> type[EvilTransport]:
    """A transport whose dialled links are changed in this way."""

    async def dial(self: EvilTransport, endpoint: Endpoint) -> Any:
        link = await MemoryTransport.dial(self, endpoint)
        return change(link) or link

    return type("Linking", (EvilTransport,), {"dial": dial})


def without(name: str) -> Callable[[MemoryLink], Any]:
    """A link that lacks something."""

    def change(link: MemoryLink) -> Any:
        class Bare:
            """Some of what a link has."""

        bare = Bare()
        for other in ("traits", "remote", "initiator", "send", "receive", "aclose"):
            if other != name:
                setattr(bare, other, getattr(link, other))
        return bare

    return change


def with_value(name: str, value: object) -> Callable[[MemoryLink], Any]:
    """A link of which something is not what it should be."""

    def change(link: MemoryLink) -> None:
        setattr(link, name, value)

    return change


def receiving(data: object) -> Callable[[MemoryLink], Any]:
    """A link that gives this whenever it is asked."""

    async def receive() -> Any:
        await anyio.sleep(0.001)
        return data

    return with_value("receive", receive)


def raising(name: str) -> Callable[[MemoryLink], Any]:
    """A link one call of which raises what it should not."""

    async def call(*_: object) -> Any:
        raise LookupError("table")

    return with_value(name, call)
