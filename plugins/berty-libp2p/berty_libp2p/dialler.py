"""Keeps dialling the peers that are wanted: with pauses that grow, and not those that a private session reaches.

Invariant: an address is dialled by one task at a time, and the number of addresses is bounded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import anyio
from anyio.abc import TaskGroup

from berty_core.errors import BertyError

from .host import Host
from .multiaddr import Multiaddr
from .peers import PeerId

MAX_ADDRESSES: Final = 256
LOOK: Final = 2.0  # seconds after which a peer that is connected, or met privately, is looked at again
MAX_PAUSE: Final = 60.0
SECOND_DIALLER: Final = 1.0  # of two who find each other the larger id leaves the other so much time to dial first


class Dialler:
    """The addresses that are wanted."""

    def __init__(self, node: Host, is_met: Callable[[PeerId], bool], tasks: TaskGroup, logger: logging.Logger) -> None:
        self._node = node
        self._is_met = is_met
        self._tasks = tasks
        self._logger = logger
        self._scopes: dict[Multiaddr, anyio.CancelScope] = {}

    def want(self, address: Multiaddr, *, wait: float = 0.0) -> None:
        """Dial an address from now on, first after `wait` seconds. Not our own, and none where there is no room."""
        if address.peer == self._node.peer_id or address in self._scopes or len(self._scopes) >= MAX_ADDRESSES:
            return
        scope = self._scopes[address] = anyio.CancelScope()
        self._tasks.start_soon(self._keep, address, scope, wait)

    def forget(self, address: Multiaddr) -> None:
        """Dial an address no longer; a link that is open stays."""
        scope = self._scopes.pop(address, None)
        if scope is not None:
            scope.cancel()

    async def _keep(self, address: Multiaddr, scope: anyio.CancelScope, wait: float) -> None:
        with scope:
            await anyio.sleep(wait)
            peer, failures = address.peer, 0
            while True:
                if peer is not None and (peer in self._node.peers or self._is_met(peer)):
                    failures = 0
                    await anyio.sleep(LOOK)
                    continue
                try:
                    peer = await self._node.dial(address)
                    failures = 0
                except BertyError as error:
                    failures += 1
                    self._logger.info("could not reach %s: %s", address, error)
                await anyio.sleep(min(MAX_PAUSE, 2.0**failures))
