"""What drivers share, so that none has to write it again. Everything here is public, and used by this project's own.

Invariant: who hands something in never waits here, and memory is bounded.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Generic, Protocol, TypeVar

import anyio
from anyio.abc import ObjectReceiveStream, TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from .contracts.transport import Datagram, Priority, State, Traits, TransportHost
from .errors import DeadlinePassed, LinkLost, LocalProtocolError, MessageTooLarge, TransportError

MAX_TOPIC = 64  # bytes
T = TypeVar("T")


def check_datagram(data: bytes, traits: Traits) -> None:
    """Refuse what a datagram link with these traits must not send: LocalProtocolError, MessageTooLarge."""
    if not data:
        raise LocalProtocolError("an empty datagram says nothing")
    if len(data) > traits.mtu:
        raise MessageTooLarge(f"a datagram here has at most {traits.mtu} bytes, not {len(data)}")


def check_published(data: bytes, traits: Traits, topic: bytes | None, deadline: float | None, now: float) -> None:
    """Refuse what a bus with these traits must not publish; DeadlinePassed besides those of a link."""
    check_topic(traits, topic)
    check_datagram(data, traits)
    if deadline is not None and now > deadline:
        raise DeadlinePassed("it is too late for this datagram")


def check_topic(traits: Traits, topic: bytes | None) -> None:
    """Refuse a topic where there are none, and none where there are: LocalProtocolError."""
    if (topic is not None) != traits.topics:
        raise LocalProtocolError("this bus wants a topic" if traits.topics else "this bus has no topics")
    if topic is not None and not 0 < len(topic) <= MAX_TOPIC:
        raise LocalProtocolError(f"a topic has 1 to {MAX_TOPIC} bytes, not {len(topic)}")


class Fanout(Generic[T]):
    """What is put in comes out at every subscription that is open; `room` items wait at each."""

    def __init__(self, room: int = 1024) -> None:
        self._room = room
        self._ended = False
        self._open: list[tuple[MemoryObjectSendStream[T], MemoryObjectReceiveStream[T]]] = []

    def put(self, item: T) -> None:
        """Give an item to everybody who listens; who has taken too little loses the oldest."""
        for send, receive in self._open:
            try:
                send.send_nowait(item)
            except anyio.WouldBlock:
                receive.receive_nowait()
                send.send_nowait(item)
            except anyio.BrokenResourceError:  # it has closed its end, and will leave the block soon
                continue

    def end(self) -> None:
        """Let everybody have what waits, and then the end; later subscriptions end at once."""
        self._ended = True
        for send, _ in self._open:
            send.close()

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[ObjectReceiveStream[T]]:
        """Listen from now on."""
        pair = anyio.create_memory_object_stream[T](self._room)
        if self._ended:
            pair[0].close()
        self._open.append(pair)
        try:
            yield pair[1]
        finally:
            self._open.remove(pair)
            pair[0].close()
            pair[1].close()


class Device(Protocol):
    """The platform's calls for a broadcast medium: what fails is a TransportError in words for a person."""

    async def send(self, data: bytes) -> None:
        """Put one datagram on the air; it may get lost there."""

    async def receive(self) -> bytes:
        """The next datagram of somebody else."""

    def close(self) -> None:
        """Give the device back."""


class DeviceBus:
    """A transport that is a bus over one device. Subclass it with `traits` and `open`; run it once.

    The device is open only while `run` runs. One that is absent is a state, and is tried again after `pause` seconds.
    """

    traits: Traits
    pause = 5.0

    def __init__(self) -> None:
        self._host: TransportHost | None = None
        self._device: Device | None = None
        self._heard = Fanout[Datagram]()

    def open(self) -> Device:
        """Open the device; TransportError in words for a person."""
        raise NotImplementedError

    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Have the device open until cancelled; LocalProtocolError when run a second time."""
        if self._host is not None:
            raise LocalProtocolError("this transport was run before: create another one")
        self._host = host
        task_status.started()
        try:
            while True:
                try:
                    await self._listen(host)
                except TransportError as error:
                    host.state(State.UNAVAILABLE, [str(error)])
                await anyio.sleep(self.pause)
        finally:
            self._heard.end()

    async def _listen(self, host: TransportHost) -> None:
        self._device = device = self.open()
        try:
            host.state(State.ACTIVE)
            while True:
                data = await device.receive()
                if 0 < len(data) <= self.traits.mtu:
                    self._heard.put(Datagram(data))
        finally:
            self._device = None
            device.close()

    async def bus(self) -> DeviceBus:
        """This transport; LinkLost while the device is not there."""
        if self._device is None:
            raise LinkLost("the device is not there")
        return self

    async def publish(self, data: bytes, *, topic: bytes | None, priority: Priority, deadline: float | None) -> None:
        """Put one datagram on the air."""
        if self._device is None or self._host is None:
            raise LinkLost("the device is not there")
        check_published(data, self.traits, topic, deadline, self._host.now())
        await self._device.send(data)

    def subscribe(self, topic: bytes | None) -> AbstractAsyncContextManager[ObjectReceiveStream[Datagram]]:
        """Hear what others publish from now on."""
        check_topic(self.traits, topic)
        return self._heard.subscribe()
