"""A bus over one device: what the driver of any broadcast radio would write again."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

import anyio
from anyio.abc import ObjectReceiveStream, TaskStatus

from ..contracts.transport import Datagram, Priority, State, Traits, TransportHost
from ..errors import LinkLost, LocalProtocolError, TransportError
from .checks import check_published, check_topic
from .fanout import Fanout


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
