"""Transports that are broken on purpose: each passes everything on to a sound one, but for what its name says."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, ClassVar

import anyio
import attrs

from berty_core.contracts.transport import Beacon, Datagram, Endpoint, EndpointFound, EndpointLost, Link, State
from berty_core.errors import EndOfStream, LinkLost, MessageTooLarge


class Passed:
    """Passes everything on."""

    def __init__(self, sound: Any) -> None:
        self.sound = sound

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sound, name)


class FaultyLink(Passed):
    """A link to be broken; `peer_links` are all of this transport."""

    fault: Any

    async def send(self, data: bytes) -> None:
        await self.sound.send(data)

    async def receive(self) -> bytes:
        return bytes(await self.sound.receive())

    async def aclose(self) -> None:
        await self.sound.aclose()


class FaultyBus(Passed):
    """A bus to be broken."""

    async def publish(self, data: bytes, **rest: Any) -> None:
        await self.sound.publish(data, **rest)

    def subscribe(self, topic: bytes | None) -> Any:
        return self.sound.subscribe(topic)


class HostOf(Passed):
    """The host, for a transport whose links are wrapped."""

    def accept(self, link: Link) -> None:
        self.sound.accept(self.wrap(link))


class Faulty(Passed):
    """A transport to be broken."""

    link: ClassVar[type[FaultyLink]] = FaultyLink
    bus_of: ClassVar[type[FaultyBus] | None] = None
    links: ClassVar[bool] = True  # whether the fault is one of links

    async def run(self, host: Any, *, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
        wrapped = HostOf(host)
        wrapped.wrap = self.wrap
        await self.sound.run(wrapped, task_status=task_status)

    def wrap(self, link: Link) -> FaultyLink:
        made = self.link(link)
        made.fault = self
        return made

    async def dial(self, endpoint: Endpoint) -> Any:
        return self.wrap(await self.sound.dial(endpoint))

    async def bus(self) -> Any:
        bus = await self.sound.bus()
        if self.bus_of is None:
            return bus
        if not hasattr(self, "own_bus"):
            self.own_bus = self.bus_of(bus)
        return self.own_bus


@contextmanager
def flat() -> Iterator[None]:
    """One error in place of a group of one."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


# Of the life of a transport


class NeverStarts(Faulty):
    async def run(self, host: Any, *, task_status: Any = None) -> None:
        await super().run(host)


class ReturnsAtOnce(Faulty):
    async def run(self, host: Any, *, task_status: Any = None) -> None:
        host.state(State.ACTIVE)
        task_status.started()


class SaysNoState(Faulty):
    async def run(self, host: Any, *, task_status: Any = None) -> None:
        quiet = Passed(host)
        quiet.state = lambda state, reasons=(): None
        await super().run(quiet, task_status=task_status)


class StopsSlowly(Faulty):
    async def run(self, host: Any, *, task_status: Any = None) -> None:
        try:
            await super().run(host, task_status=task_status)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(2.5)


class IgnoresCancellation(Faulty):
    async def run(self, host: Any, *, task_status: Any = None) -> None:
        with anyio.CancelScope(shield=True) as scope:
            with anyio.move_on_after(30):
                await super().run(host, task_status=task_status)
            scope.cancel()


class RaisesAtTheEnd(Faulty):
    async def run(self, host: Any, *, task_status: Any = None) -> None:
        try:
            await super().run(host, task_status=task_status)
        finally:
            raise RuntimeError("while cleaning up")


class StartsTooEarly(Faulty):
    ready = False

    async def run(self, host: Any, *, task_status: Any = None) -> None:
        task_status.started()
        await anyio.sleep(0.02)
        self.ready = True
        await super().run(host)

    def discover(self) -> Any:
        if not self.ready:
            raise AttributeError("the radio is not open yet")
        return self.sound.discover()

    async def bus(self) -> Any:
        if not self.ready:
            raise AttributeError("the radio is not open yet")
        return await super().bus()


class NoReason(Faulty):
    async def run(self, host: Any, *, task_status: Any = None) -> None:
        async def watch() -> None:
            async with host.network_changes() as changes:
                async for network in changes:
                    host.state(State.UNAVAILABLE if network.online == "no" else State.ACTIVE)

        with flat():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch)
                await super().run(host, task_status=task_status)


class RunsTwice(Faulty):
    again: Any = None

    async def run(self, host: Any, *, task_status: Any = None) -> None:
        if self.again is not None:
            task_status.started()
            await anyio.sleep_forever()
        self.again = host
        await super().run(host, task_status=task_status)


class LeaksATask(Faulty):
    async def run(self, host: Any, *, task_status: Any = None) -> None:
        self.task = asyncio.get_running_loop().create_task(asyncio.sleep(600))
        await super().run(host, task_status=task_status)


class LeaksAThread(Faulty):
    async def run(self, host: Any, *, task_status: Any = None) -> None:
        threading.Thread(target=threading.Event().wait, args=(20,), name="pump", daemon=True).start()
        await super().run(host, task_status=task_status)


class LeaksASocket(Faulty):
    kept: ClassVar[list[Any]] = []

    async def run(self, host: Any, *, task_status: Any = None) -> None:
        self.kept.append(socket.socket())
        await super().run(host, task_status=task_status)


class LeaksAPipe(Faulty):
    kept: ClassVar[list[Any]] = []

    async def run(self, host: Any, *, task_status: Any = None) -> None:
        reading, writing = os.pipe()
        self.kept += [os.fdopen(reading), os.fdopen(writing, "w")]
        await super().run(host, task_status=task_status)


class SetsTheDefaultTimeout(Faulty):
    async def run(self, host: Any, *, task_status: Any = None) -> None:
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(7.0)
        try:
            await super().run(host, task_status=task_status)
        finally:
            socket.setdefaulttimeout(before)


class AddsALogHandler(Faulty):
    async def run(self, host: Any, *, task_status: Any = None) -> None:
        handler = logging.NullHandler()
        logging.getLogger().addHandler(handler)
        try:
            await super().run(host, task_status=task_status)
        finally:
            logging.getLogger().removeHandler(handler)


class BlocksTheLoop(Faulty):
    async def run(self, host: Any, *, task_status: Any = None) -> None:
        async def look() -> None:
            async with host.network_changes() as changes:
                async for _ in changes:
                    time.sleep(0.7)  # noqa: ASYNC251  that is the fault

        with flat():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(look)
                await super().run(host, task_status=task_status)


class LeaksWhenCancelledEarly(Faulty):
    async def run(self, host: Any, *, task_status: Any = None) -> None:
        opened = socket.socket()
        self.kept.append(opened)
        await anyio.sleep(0.001)
        try:
            await super().run(host, task_status=task_status)
        finally:
            opened.close()

    kept: ClassVar[list[Any]] = []


class DiscoveryNeverEnds(Faulty):
    @asynccontextmanager
    async def discover(self) -> AsyncIterator[Any]:
        async with self.sound.discover() as events:
            stream = Passed(events)

            async def receive() -> Any:
                try:
                    return await events.receive()
                except anyio.EndOfStream:
                    await anyio.sleep_forever()

            stream.receive = receive
            yield stream


# Of discovery


class FindsNobody(Faulty):
    @asynccontextmanager
    async def discover(self) -> AsyncIterator[Any]:
        async with events_of(self.sound, lambda event: []) as events:
            yield events


@asynccontextmanager
async def events_of(sound: Any, change: Callable[[Any], Sequence[Any]]) -> AsyncIterator[Any]:
    """The events of a sound transport, each changed into any number of others."""
    async with sound.discover() as events:
        yield Changed(events, change)


class Changed(Passed):
    """A stream whose items are changed."""

    def __init__(self, sound: Any, change: Callable[[Any], Sequence[Any]]) -> None:
        super().__init__(sound)
        self.change = change
        self.waiting: list[Any] = []

    async def receive(self) -> Any:
        while not self.waiting:
            self.waiting += self.change(await self.sound.receive())
        return self.waiting.pop(0)

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


class CutsTags(Faulty):
    """Shows one tag where more were to be shown."""

    async def advertise(self, beacon: Beacon | None) -> None:
        await self.sound.advertise(beacon and Beacon(beacon.nonce, beacon.tags[:1]))


class TellsNewcomersNothing(Faulty):
    @asynccontextmanager
    async def discover(self) -> AsyncIterator[Any]:
        known = []
        async with self.sound.discover() as events:
            with anyio.move_on_after(0.01):
                while True:
                    known.append(await events.receive())
        async with events_of(self.sound, lambda event: [] if event in known else [event]) as events:
            yield events


class FoundTwice(Faulty):
    @asynccontextmanager
    async def discover(self) -> AsyncIterator[Any]:
        async with events_of(self.sound, lambda e: [e, e] if isinstance(e, EndpointFound) else [e]) as events:
            yield events


class FindsItself(Faulty):
    beacon: Beacon | None = None

    async def advertise(self, beacon: Beacon | None) -> None:
        self.beacon = beacon
        await self.sound.advertise(beacon)

    @asynccontextmanager
    async def discover(self) -> AsyncIterator[Any]:
        def change(event: Any) -> list[Any]:
            own = EndpointFound(Endpoint(event.endpoint.transport, "here"), self.beacon)
            return [event, *([own] if self.beacon else [])]

        async with events_of(self.sound, change) as events:
            yield events


class NamesAnotherTransport(Faulty):
    @asynccontextmanager
    async def discover(self) -> AsyncIterator[Any]:
        def change(event: Any) -> list[Any]:
            return [attrs.evolve(event, endpoint=Endpoint("air", event.endpoint.address))]

        async with events_of(self.sound, change) as events:
            yield events

    async def dial(self, endpoint: Endpoint) -> Any:
        return await super().dial(attrs.evolve(endpoint, transport="memory"))


class KeepsItsAddress(Faulty):
    """Shows each beacon at the same endpoint."""

    @asynccontextmanager
    async def discover(self) -> AsyncIterator[Any]:
        def change(event: Any) -> list[Any]:
            self.real = event.endpoint
            return [attrs.evolve(event, endpoint=Endpoint(event.endpoint.transport, "always"))]

        async with events_of(self.sound, change) as events:
            yield events


class NeverLost(Faulty):
    @asynccontextmanager
    async def discover(self) -> AsyncIterator[Any]:
        async with events_of(self.sound, lambda e: [] if isinstance(e, EndpointLost) else [e]) as events:
            yield events


class StaysVisible(Faulty):
    async def advertise(self, beacon: Beacon | None) -> None:
        if beacon is not None:
            await self.sound.advertise(beacon)


class ForgetsNobodyAtStop(Faulty):
    """Says goodbye when it hides, and not when it stops."""

    hidden: ClassVar[list[Any]] = []

    def place(self) -> Any:
        return getattr(self.sound, "_network", None) or self.sound.town

    async def advertise(self, beacon: Beacon | None) -> None:
        self.hidden.append((self.place(), getattr(self.sound, "shown", None) or getattr(self.sound, "endpoint", None)))
        await self.sound.advertise(beacon)

    @asynccontextmanager
    async def discover(self) -> AsyncIterator[Any]:
        def change(event: Any) -> list[Any]:
            silent = isinstance(event, EndpointLost) and (self.place(), event.endpoint) not in self.hidden
            return [] if silent else [event]

        async with events_of(self.sound, change) as events:
            yield events


class KeepsEveryEvent(Faulty):
    @asynccontextmanager
    async def discover(self) -> AsyncIterator[Any]:
        send, receive = anyio.create_memory_object_stream[Any](float("inf"))
        async with self.sound.discover() as events, anyio.create_task_group() as tasks:

            async def pump() -> None:
                async with send:
                    async for event in events:
                        send.send_nowait(event)

            tasks.start_soon(pump)
            with receive:
                yield receive
                tasks.cancel_scope.cancel()


class AdvertisesOnce(Faulty):
    """A cancelled `advertise` leaves a lock behind."""

    locked = False

    async def advertise(self, beacon: Beacon | None) -> None:
        while self.locked:
            await anyio.sleep(0.01)
        self.locked = True
        await anyio.lowlevel.checkpoint()
        await self.sound.advertise(beacon)
        self.locked = False


# Of dialling


class NeverAccepts(Faulty):
    async def run(self, host: Any, *, task_status: Any = None) -> None:
        deaf = Passed(host)
        deaf.accept = lambda link: None
        await self.sound.run(deaf, task_status=task_status)


class BothInitiators(Faulty):
    def wrap(self, link: Link) -> FaultyLink:
        made = super().wrap(link)
        made.initiator = True
        return made


class DialHangs(Faulty):
    async def dial(self, endpoint: Endpoint) -> Any:
        try:
            return await super().dial(endpoint)
        except LinkLost:
            if endpoint.address:
                await anyio.sleep_forever()
            raise


class ForeignErrorFromDial(Faulty):
    async def dial(self, endpoint: Endpoint) -> Any:
        try:
            return await super().dial(endpoint)
        except LinkLost as error:
            raise ConnectionRefusedError(str(error)) from error


class DialsAnything(Faulty):
    found: Endpoint | None = None

    async def dial(self, endpoint: Endpoint) -> Any:
        try:
            link = await super().dial(endpoint)
        except LinkLost:
            if self.found is None or not endpoint.address.startswith("127"):
                raise
            return await super().dial(self.found)
        self.found = endpoint
        return link

    @asynccontextmanager
    async def discover(self) -> AsyncIterator[Any]:
        def change(event: Any) -> list[Any]:
            self.found = event.endpoint if isinstance(event, EndpointFound) else None
            return [event]

        async with events_of(self.sound, change) as events:
            yield events


class IgnoresTheTransportName(Faulty):
    async def dial(self, endpoint: Endpoint) -> Any:
        return await super().dial(attrs.evolve(endpoint, transport=endpoint.transport.removeprefix("other-")))


class DialLeaksWhenCancelled(Faulty):
    kept: ClassVar[list[Any]] = []

    async def dial(self, endpoint: Endpoint) -> Any:
        opened = socket.socket()
        try:
            await anyio.lowlevel.checkpoint()
        except BaseException:
            self.kept.append(opened)
            raise
        opened.close()
        return await super().dial(endpoint)


class OneDialAtATime(Faulty):
    """Who dials while being dialled waits for the other for ever."""

    dialling: ClassVar[int] = 0

    async def dial(self, endpoint: Endpoint) -> Any:
        OneDialAtATime.dialling += 1
        try:
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
            while OneDialAtATime.dialling > 1:
                await anyio.sleep(0.01)
            return await super().dial(endpoint)
        finally:
            OneDialAtATime.dialling -= 1


class MixesLinks(Faulty):
    """What is sent on any link goes out on the first."""

    first: Any = None

    class link(FaultyLink):  # noqa: N801
        async def send(self, data: bytes) -> None:
            own = self.fault
            if self.initiator and data.startswith(b"link"):
                own.first = own.first or self.sound
                await own.first.send(data)
            else:
                await self.sound.send(data)


class KeepsLinksAfterStop(Faulty):
    class link(FaultyLink):  # noqa: N801
        async def receive(self) -> bytes:
            try:
                return bytes(await self.sound.receive())
            except LinkLost:
                if self.fault.stopped:
                    await anyio.sleep_forever()
                raise

    stopped = False

    async def run(self, host: Any, *, task_status: Any = None) -> None:
        try:
            await super().run(host, task_status=task_status)
        finally:
            self.stopped = True


class LeaksAtClose(Faulty):
    kept: ClassVar[list[Any]] = []

    class link(FaultyLink):  # noqa: N801
        async def aclose(self) -> None:
            LeaksAtClose.kept.append(socket.socket())
            await self.sound.aclose()


class DialsWhenStopped(Faulty):
    ended = False

    async def run(self, host: Any, *, task_status: Any = None) -> None:
        try:
            await super().run(host, task_status=task_status)
        finally:
            self.ended = True

    async def dial(self, endpoint: Endpoint) -> Any:
        if self.ended:
            raise RuntimeError("not running")
        return await super().dial(endpoint)


# Of links


class OneWay(Faulty):
    class link(FaultyLink):  # noqa: N801
        async def send(self, data: bytes) -> None:
            if self.initiator:
                await self.sound.send(data)


class CorruptsABit(Faulty):
    """Loses the highest bit, as a line of seven bits does."""

    class link(FaultyLink):  # noqa: N801
        async def send(self, data: bytes) -> None:
            await self.sound.send(bytes(b & 0x7F for b in data) if b"\xff" in data and len(data) < 300 else data)


class StripsZeros(Faulty):
    class link(FaultyLink):  # noqa: N801
        async def send(self, data: bytes) -> None:
            await self.sound.send(data.lstrip(b"\x00") or data)


class EmptyReceive(Faulty):
    class link(FaultyLink):  # noqa: N801
        async def receive(self) -> bytes:
            with anyio.move_on_after(0.005):
                return bytes(await self.sound.receive())
            return b""


class SwallowsTheEnd(Faulty):
    """That the other end has closed never comes out."""

    class link(FaultyLink):  # noqa: N801
        count = 0

        async def receive(self) -> bytes:
            try:
                data = bytes(await self.sound.receive())
            except EndOfStream:
                if self.count > 1000:
                    await anyio.sleep_forever()
                raise
            self.count += len(data)
            return data


class DropsTheRestAtClose(Faulty):
    """The last piece that was sent goes out with the next, and `aclose` forgets it."""

    class link(FaultyLink):  # noqa: N801
        kept = b""

        async def send(self, data: bytes) -> None:
            data = self.kept + data
            self.kept = data[-100:] if len(data) > 3000 else b""
            await self.sound.send(data[: len(data) - len(self.kept)])


class CloseLeavesReaders(Faulty):
    class link(FaultyLink):  # noqa: N801
        closed = False

        async def receive(self) -> bytes:
            if self.closed:
                raise LinkLost("closed here")
            try:
                return bytes(await self.sound.receive())
            except LinkLost:
                if self.closed:
                    await anyio.sleep_forever()
                raise

        async def aclose(self) -> None:
            self.closed = True
            await self.sound.aclose()


class ClosesOnce(Faulty):
    class link(FaultyLink):  # noqa: N801
        closed = False

        async def aclose(self) -> None:
            if self.closed:
                raise RuntimeError("it is closed already")
            self.closed = True
            await self.sound.aclose()


class SendsAfterClose(Faulty):
    class link(FaultyLink):  # noqa: N801
        async def send(self, data: bytes) -> None:
            try:
                await self.sound.send(data)
            except LinkLost:
                if data != b"late":
                    raise


class ForeignErrorFromLinks(Faulty):
    class link(FaultyLink):  # noqa: N801
        closed = False

        async def aclose(self) -> None:
            self.closed = True
            await self.sound.aclose()

        async def send(self, data: bytes) -> None:
            try:
                await self.sound.send(data)
            except LinkLost as error:
                raise (error if self.closed else BrokenPipeError("32")) from error


class NeverNoticesTheEnd(Faulty):
    class link(FaultyLink):  # noqa: N801
        closed = False

        async def aclose(self) -> None:
            self.closed = True
            await self.sound.aclose()

        async def send(self, data: bytes) -> None:
            try:
                await self.sound.send(data)
            except LinkLost:
                if self.closed:
                    raise


class LosesOnCancel(Faulty):
    """Takes the bytes, and waits once more before it hands them over."""

    class link(FaultyLink):  # noqa: N801
        async def receive(self) -> bytes:
            data = bytes(await self.sound.receive())
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            return data


class RepeatsOnCancel(Faulty):
    """A `send` that is cancelled is sent once more, with what it had sent."""

    class link(FaultyLink):  # noqa: N801
        async def send(self, data: bytes) -> None:
            with suppress(LinkLost):
                await self.half(data)
                return
            raise LinkLost("lost")

        async def half(self, data: bytes) -> None:
            try:
                await anyio.lowlevel.checkpoint()
                await self.sound.send(data)
            except anyio.get_cancelled_exc_class():
                with anyio.CancelScope(shield=True):
                    await self.sound.send(b"\x00" + data)
                raise


class IgnoresBackPressure(Faulty):
    """`send` puts into a queue without a limit."""

    class link(FaultyLink):  # noqa: N801
        def __init__(self, sound: Any) -> None:
            super().__init__(sound)
            self.queue: list[bytes] = []
            self.error: LinkLost | None = None
            self.busy = False

        async def send(self, data: bytes) -> None:
            await anyio.lowlevel.checkpoint()
            if self.error:
                raise self.error
            self.queue.append(data)
            if not self.busy:
                self.busy = True
                self.fault.tasks.start_soon(self.pump)

        async def pump(self) -> None:
            try:
                while self.queue:
                    await self.sound.send(self.queue[0])
                    self.queue.pop(0)
            except LinkLost as error:
                self.error = error
            self.busy = False

        async def aclose(self) -> None:
            with anyio.move_on_after(0.2):
                while self.busy and not self.error and len(self.queue) < 50:
                    await anyio.sleep(0.001)
            self.queue.clear()
            self.error = LinkLost("closed here")
            await self.sound.aclose()

    async def run(self, host: Any, *, task_status: Any = None) -> None:
        with flat():
            async with anyio.create_task_group() as self.tasks:
                await super().run(host, task_status=task_status)
                self.tasks.cancel_scope.cancel()


class OneDirectionAtATime(Faulty):
    """Does not read while it writes."""

    class link(FaultyLink):  # noqa: N801
        writing = 0

        async def send(self, data: bytes) -> None:
            self.writing += 1
            try:
                await self.sound.send(data)
            finally:
                self.writing -= 1

        async def receive(self) -> bytes:
            while self.writing:
                await anyio.sleep(0.005)
            return bytes(await self.sound.receive())


class CutsFrames(Faulty):
    """Sends no more than 16,000 bytes of what it is given at once."""

    class link(FaultyLink):  # noqa: N801
        async def send(self, data: bytes) -> None:
            await self.sound.send(data[:16_000] if (len(data) < 66_000 and len(data) != 65_536) or 0 else data)


class Duplicates(Faulty):
    """Every tenth piece goes out twice."""

    every = 10

    class link(FaultyLink):  # noqa: N801
        count = 0

        async def send(self, data: bytes) -> None:
            self.count += len(data) > 200
            await self.sound.send(data)
            if len(data) > 200 and self.count % self.fault.every == 0:
                await self.sound.send(data)


class Reorders(Faulty):
    """A piece of 257 bytes goes out after the one that follows it."""

    class link(FaultyLink):  # noqa: N801
        late = b""

        async def send(self, data: bytes) -> None:
            if len(data) == 257:
                self.late = data
                return
            await self.sound.send(data)
            late, self.late = self.late, b""
            if late:
                await self.sound.send(late)


class LosesWhenSlow(Faulty):
    """Loses something when nobody has read for a quarter of a second."""

    class link(FaultyLink):  # noqa: N801
        read_at = 0.0

        async def receive(self) -> bytes:
            slow = self.read_at and time.monotonic() - self.read_at > 0.25
            data = bytes(await self.sound.receive())
            self.read_at = time.monotonic()
            return data[:-1] if slow and len(data) > 10_000 else data


# Of datagrams


class JoinsDatagrams(Faulty):
    class link(FaultyLink):  # noqa: N801
        async def send(self, data: bytes) -> None:
            await self.sound.send(data + data[:1] if len(data) == self.traits.mtu - 2 else data)


class RefusesLess(Faulty):
    """Its mtu is less than it says."""

    class link(FaultyLink):  # noqa: N801
        async def send(self, data: bytes) -> None:
            if len(data) > self.traits.mtu - 10:
                raise MessageTooLarge("too large")
            await self.sound.send(data)


class TruncatesSilently(Faulty):
    class link(FaultyLink):  # noqa: N801
        async def send(self, data: bytes) -> None:
            await self.sound.send(data[: self.traits.mtu])


class TruncatesAndComplains(Faulty):
    """Raises MessageTooLarge when a part is out already."""

    class link(FaultyLink):  # noqa: N801
        async def send(self, data: bytes) -> None:
            await self.sound.send(data[: self.traits.mtu])
            if len(data) > self.traits.mtu:
                raise MessageTooLarge("too large")


class InventsDatagrams(Faulty):
    """Hands over an earlier datagram once more, cut short."""

    class link(FaultyLink):  # noqa: N801
        count, kept = 0, b""

        async def receive(self) -> bytes:
            self.count += 1
            if self.count > 30 and len(self.kept) > 15:
                kept, self.kept = self.kept, b""
                return kept[:-3]
            data = bytes(await self.sound.receive())
            self.kept = data
            return data


class TakesEmptyDatagrams(Faulty):
    class link(FaultyLink):  # noqa: N801
        async def send(self, data: bytes) -> None:
            if data:
                await self.sound.send(data)


# Of a bus


class SilentBus(Faulty):
    class bus_of(FaultyBus):  # noqa: N801
        async def publish(self, data: bytes, **rest: Any) -> None:
            await anyio.lowlevel.checkpoint()


class OneListener(Faulty):
    """Only the newest subscription hears."""

    class bus_of(FaultyBus):  # noqa: N801
        newest: Any = None

        @asynccontextmanager
        async def subscribe(self, topic: bytes | None) -> AsyncIterator[Any]:
            async with self.sound.subscribe(topic) as stream:
                self.newest = stream
                yield Changed(stream, lambda item: [item] if self.newest is stream else [])


class BusOfText(Faulty):
    """Ends what it hears where it takes something for an end."""

    class bus_of(FaultyBus):  # noqa: N801
        @asynccontextmanager
        async def subscribe(self, topic: bytes | None) -> AsyncIterator[Any]:
            async with self.sound.subscribe(topic) as stream:
                yield Changed(stream, lambda d: [attrs.evolve(d, data=d.data.split(b"\x5e\x5d")[0] or d.data)])


class BusTruncates(Faulty):
    class bus_of(FaultyBus):  # noqa: N801
        async def publish(self, data: bytes, **rest: Any) -> None:
            await self.sound.publish(data[: self.traits.mtu], **rest)


class Echoes(Faulty):
    class bus_of(FaultyBus):  # noqa: N801
        def __init__(self, sound: Any) -> None:
            super().__init__(sound)
            self.own: list[bytes] = []

        async def publish(self, data: bytes, **rest: Any) -> None:
            await self.sound.publish(data, **rest)
            self.own.append(data)

        @asynccontextmanager
        async def subscribe(self, topic: bytes | None) -> AsyncIterator[Any]:
            def change(item: Any) -> list[Any]:
                own, self.own = self.own, []
                return [*(Datagram(data) for data in own), item]

            async with self.sound.subscribe(topic) as stream:
                yield Changed(stream, change)


class BusInvents(Faulty):
    """Two that come close together are joined."""

    class bus_of(FaultyBus):  # noqa: N801
        count = 0

        @asynccontextmanager
        async def subscribe(self, topic: bytes | None) -> AsyncIterator[Any]:
            def change(item: Any) -> list[Any]:
                self.count += 1
                return [attrs.evolve(item, data=item.data[:2] + item.data) if self.count == 40 else item]

            async with self.sound.subscribe(topic) as stream:
                yield Changed(stream, change)


class MixesTopics(Faulty):
    """Tells topics apart by what stands before the first zero."""

    class bus_of(FaultyBus):  # noqa: N801
        async def publish(self, data: bytes, *, topic: bytes | None, **rest: Any) -> None:
            await self.sound.publish(data, topic=self.short(topic), **rest)

        def subscribe(self, topic: bytes | None) -> Any:
            return self.sound.subscribe(self.short(topic))

        def short(self, topic: bytes | None) -> bytes | None:
            return topic and (topic.split(b"\x00")[0] or topic)


class PublishesTooLate(Faulty):
    class bus_of(FaultyBus):  # noqa: N801
        async def publish(self, data: bytes, *, deadline: float | None, **rest: Any) -> None:
            await self.sound.publish(data, deadline=None, **rest)


class KeepsEveryDatagram(Faulty):
    """A subscription has a queue without a limit."""

    class bus_of(FaultyBus):  # noqa: N801
        @asynccontextmanager
        async def subscribe(self, topic: bytes | None) -> AsyncIterator[Any]:
            send, receive = anyio.create_memory_object_stream[Any](float("inf"))
            async with self.sound.subscribe(topic) as stream, anyio.create_task_group() as tasks:

                async def pump() -> None:
                    async with send:
                        async for item in stream:
                            send.send_nowait(item)

                tasks.start_soon(pump)
                with receive:
                    yield receive
                    tasks.cancel_scope.cancel()


class PublishesOnce(Faulty):
    """A cancelled `publish` leaves the radio taken."""

    class bus_of(FaultyBus):  # noqa: N801
        taken = False

        async def publish(self, data: bytes, **rest: Any) -> None:
            if self.taken:
                return
            self.taken = True
            await anyio.lowlevel.checkpoint()
            try:
                await self.sound.publish(data, **rest)
            except Exception:
                self.taken = False
                raise
            self.taken = False


class TakesNothing(Faulty):
    class bus_of(FaultyBus):  # noqa: N801
        async def publish(self, data: bytes, **rest: Any) -> None:
            if data:
                await self.sound.publish(data, **rest)


class AnotherBusEachTime(Faulty):
    async def bus(self) -> Any:
        return FaultyBus(await self.sound.bus())


class BusOutlivesItsTransport(Faulty):
    async def bus(self) -> Any:
        try:
            self.last = await self.sound.bus()
        except LinkLost:
            return self.last
        return self.last


# Of a budget


class NoLimit(Faulty):
    """Books nothing."""

    async def run(self, host: Any, *, task_status: Any = None) -> None:
        await super().run(host, task_status=task_status)

    async def bus(self) -> Any:
        self.budget().sent.clear()
        self.budget().spend = lambda size, now: b"[]"
        return await super().bus()


class SpentForEver(Faulty):
    def budget(self) -> Any:
        ledger = Passed(self.sound.budget())
        ledger.allowed_at = lambda size, now: now + 10 * ledger.window
        return ledger


class ForgetsItsBudget(Faulty):
    async def run(self, host: Any, *, task_status: Any = None) -> None:
        forgetful = Passed(host)

        async def put_setting(name: str, value: bytes) -> None:
            await anyio.lowlevel.checkpoint()

        forgetful.put_setting = put_setting
        forgetful._device = Passed(host._device)
        forgetful._device.settings = {}
        await super().run(forgetful, task_status=task_status)


class BelievesTheClock(Faulty):
    async def bus(self) -> Any:
        self.budget().trusting = True
        return await super().bus()


# Of interruptions


class EndsTheOthers(Faulty):
    """The end of one transport ends all in this process."""

    alive: ClassVar[list[Any]] = []

    async def run(self, host: Any, *, task_status: Any = None) -> None:
        with anyio.CancelScope() as scope:
            self.alive.append(scope)
            try:
                await super().run(host, task_status=task_status)
            except anyio.get_cancelled_exc_class():
                for other in self.alive:
                    other.cancel()
                self.alive.clear()
                raise


class StartsTwice(Faulty):
    """The third life on a device finds its port taken."""

    async def run(self, host: Any, *, task_status: Any = None) -> None:
        host._device.lives = getattr(host._device, "lives", 0) + 1
        if host._device.lives > 2 and host._device.name == "device 1":
            raise OSError(98, "Address already in use")
        await super().run(host, task_status=task_status)


class DiesOffline(Faulty):
    async def run(self, host: Any, *, task_status: Any = None) -> None:
        async def watch() -> None:
            async with host.network_changes() as changes:
                async for network in changes:
                    if network.kind == "cellular":
                        raise OSError(101, "Network is unreachable")

        with flat():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch)
                await super().run(host, task_status=task_status)
