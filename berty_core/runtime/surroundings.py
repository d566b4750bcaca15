"""What is known of the device's surroundings. Invariant: who takes changes slowly gets the newest only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ObjectReceiveStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from ..contracts.traits import Network


class Surroundings:
    """The present `Network`, and whoever wants to hear of another."""

    def __init__(self, network: Network | None = None) -> None:
        self.network = network or Network()
        self._watchers: list[tuple[MemoryObjectSendStream[Network], MemoryObjectReceiveStream[Network]]] = []

    def change(self, network: Network) -> None:
        """Tell everybody, if it is another one."""
        if network == self.network:
            return
        self.network = network
        for send, receive in self._watchers:
            try:
                send.send_nowait(network)
            except anyio.WouldBlock:
                receive.receive_nowait()
                send.send_nowait(network)

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[ObjectReceiveStream[Network]]:
        """Each change from now on."""
        watcher = anyio.create_memory_object_stream[Network](1)
        self._watchers.append(watcher)
        try:
            with watcher[0], watcher[1]:
                yield watcher[1]
        finally:
            self._watchers.remove(watcher)
