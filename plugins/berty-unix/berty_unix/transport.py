"""The transport: what to do with the device, and when. Invariant: the device is open only while `run` runs."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import anyio
from anyio.abc import ObjectReceiveStream, TaskStatus

from berty_core.contracts.transport import Datagram, Priority, State, Traits, TransportHost
from berty_core.errors import LinkLost, LocalProtocolError, TransportError
from berty_core.media import Fanout, check_published, check_topic

from .config import UnixConfig
from .driver import Sockets

TRAITS = Traits.of_bus(mtu=4096, ordered=True, bitrate=100_000_000, latency=0.001)
PAUSE = 5.0  # seconds until a device that could not be opened is tried again


class UnixTransport:
    """One transport, which is its own bus; run it once."""

    traits = TRAITS

    def __init__(self, config: UnixConfig) -> None:
        self._config = config
        self._host: TransportHost | None = None
        self._sockets: Sockets | None = None
        self._heard = Fanout[Datagram]()

    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Have the device open until cancelled; a device that is absent is a state, and is tried again."""
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
                await anyio.sleep(PAUSE)
        finally:
            self._heard.end()

    async def _listen(self, host: TransportHost) -> None:
        self._sockets = Sockets(self._config.directory)
        try:
            host.state(State.ACTIVE)
            while True:
                data = await self._sockets.receive()
                if 0 < len(data) <= TRAITS.mtu:
                    self._heard.put(Datagram(data))
        finally:
            self._sockets.close()
            self._sockets = None

    async def bus(self) -> UnixTransport:
        """This transport."""
        if self._sockets is None:
            raise LinkLost("the directory cannot be used")
        return self

    async def publish(self, data: bytes, *, topic: bytes | None, priority: Priority, deadline: float | None) -> None:
        """Put one datagram on the air."""
        if self._sockets is None or self._host is None:
            raise LinkLost("the directory cannot be used")
        check_published(data, TRAITS, topic, deadline, self._host.now())
        await self._sockets.send(data)

    def subscribe(self, topic: bytes | None) -> AbstractAsyncContextManager[ObjectReceiveStream[Datagram]]:
        """Hear what others publish from now on."""
        check_topic(TRAITS, topic)
        return self._heard.subscribe()
