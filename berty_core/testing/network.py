"""Surroundings that a test decides: register a `FakeSurroundings` as a plugin, and `tell` it what there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio
from anyio.abc import TaskStatus

from ..contracts.hookspecs import hookimpl
from ..contracts.network import NetworkWatcher
from ..contracts.traits import Network


class FakeSurroundings:
    """A watcher whose facts go before those of the machine that the test runs on."""

    name = "fake"

    def __init__(self, network: Network | None = None) -> None:
        self._network = network or Network()
        self._listeners: list[Callable[[Network], None]] = []

    @hookimpl
    def berty_network(self) -> Sequence[NetworkWatcher]:
        """Give nodes this watcher."""
        return (self,)

    def tell(self, network: Network) -> None:
        """Let the surroundings be so."""
        self._network = network
        for listener in self._listeners:
            listener(network)

    async def watch(
        self, tell: Callable[[Network], None], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Tell what the test decides."""
        self._listeners.append(tell)
        try:
            tell(self._network)
            task_status.started()
            await anyio.sleep_forever()
        finally:
            self._listeners.remove(tell)
