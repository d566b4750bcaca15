"""What one start of a transport may use of the node. Invariant: once that start is over, nothing it hands up counts."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from anyio.abc import ObjectReceiveStream

from ...contracts.traits import Network
from ...contracts.transport import Link, State
from ...crypto.keys import Secret
from ..device_settings import DeviceSettings
from ..surroundings.surroundings import Surroundings
from .guarded_link import link_fault
from .running import RunningTransport

MAX_PENDING = 64  # links of one transport on which there is no session yet
MAX_REFUSED, REFUSED_TIME = 1000, 10.0  # links above that within so many seconds, for which it is started again


class Receiving(Protocol):
    """The connectivity, as far as transports reach it."""

    surroundings: Surroundings

    def accept_from(self, running: RunningTransport, link: Link) -> None:
        """Take a link."""

    def drop(self, running: RunningTransport, link: Link) -> None:
        """Close a link that is not taken."""

    def transport_active(self, running: RunningTransport) -> None:
        """It can be used (again)."""


class NodeTransportHost:
    """The node, as one start of a transport sees it."""

    def __init__(
        self,
        receiving: Receiving,
        running: RunningTransport,
        settings: DeviceSettings,
        monotonic: Callable[[], float],
        entropy: Callable[[int], bytes],
        now: Callable[[], float],
    ) -> None:
        self.logger = logging.getLogger(f"berty.transport.{running.name}")
        self.now, self.monotonic, self.entropy = now, monotonic, entropy
        self._receiving = receiving
        self._running = running
        self._scope = running.scope  # another one for each start
        self._settings = settings
        self._refused: deque[float] = deque(maxlen=MAX_REFUSED)

    @property
    def _is_over(self) -> bool:
        return self._running.scope is not self._scope or self._scope.cancel_called

    def network(self) -> Network:
        """What is known of the device's surroundings now."""
        return self._receiving.surroundings.network

    def network_changes(self) -> AbstractAsyncContextManager[ObjectReceiveStream[Network]]:
        """Each change of it from now on."""
        return self._receiving.surroundings.changes()

    async def setting(self, name: str) -> Secret | None:
        """A value that this transport keeps."""
        return await self._settings.get(name)

    async def put_setting(self, name: str, value: bytes) -> None:
        """Keep a value."""
        await self._settings.put(name, value)

    def state(self, state: State, reasons: Sequence[str] = ()) -> None:
        """Take what the transport says of itself, as far as it makes sense."""
        if self._is_over:
            return
        was_active = self._running.state is State.ACTIVE
        if self._running.said(state, reasons) and state is State.ACTIVE and not was_active:
            self._receiving.transport_active(self._running)

    def accept(self, link: Link) -> None:
        """Take a link that the other side opened, or that came up by itself; drop it where there are too many."""
        running = self._running
        if words := link_fault(link, running.name, dialled=False):
            running.fault(words)
        elif self._is_over or running.pending >= MAX_PENDING or running.may_pass():
            self._refuse(link)
        else:
            self._receiving.accept_from(running, link)

    def _refuse(self, link: Link) -> None:
        now = self.monotonic()
        self._refused.append(now)
        if len(self._refused) == MAX_REFUSED and now - self._refused[0] < REFUSED_TIME and not self._is_over:
            self._running.broken = f"it hands up more than {MAX_REFUSED} links too many in {REFUSED_TIME:g} s"
            self._scope.cancel()
        self._receiving.drop(self._running, link)
