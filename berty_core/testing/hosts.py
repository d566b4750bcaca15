"""A device as a transport sees it: a host that keeps what it is given, and settings that outlive the transport."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import anyio
from anyio.abc import ObjectReceiveStream

from ..contracts.transport import Link, Network, State
from ..crypto.keys import Secret
from ..runtime.surroundings.surroundings import Surroundings

ONLINE = Network(online="yes", bluetooth="yes")
OFFLINE = Network(online="no", kind="none", bluetooth="no")


class Device:
    """What of a device lasts from one transport to the next: its settings, its surroundings and its clock."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.settings: dict[str, bytes] = {}
        self.surroundings = Surroundings(ONLINE)
        self.passed = 0.0  # seconds that a check let pass at once
        self.clock_moved = 0.0  # seconds that somebody has set the clock forward by, or back

    def now(self) -> float:
        """Unix seconds by the clock of this device."""
        return time.time() + self.passed + self.clock_moved

    def monotonic(self) -> float:
        """Seconds that nobody sets."""
        return time.monotonic() + self.passed


class SuiteHost:
    """The `TransportHost` of a transport that is being checked. `heard` is set anew with each thing that it is told."""

    def __init__(self, device: Device) -> None:
        self.logger = logging.getLogger(f"berty.conformance.{device.name}")
        self.now = device.now
        self.monotonic = device.monotonic
        self.entropy = os.urandom
        self.links: list[Link] = []  # accepted, the oldest first
        self.states: list[tuple[State, tuple[str, ...]]] = []
        self._device = device
        self._changed = anyio.Event()

    def accept(self, link: Link) -> None:
        """Keep a link."""
        self.links.append(link)
        self._tell()

    def state(self, state: State, reasons: Sequence[str] = ()) -> None:
        """Keep what the transport says of itself."""
        self.states.append((state, tuple(reasons)))
        self._tell()

    def network(self) -> Network:
        """What is known of the device's surroundings now."""
        return self._device.surroundings.network

    def network_changes(self) -> AbstractAsyncContextManager[ObjectReceiveStream[Network]]:
        """Each change of it from now on."""
        return self._device.surroundings.changes()

    async def setting(self, name: str) -> Secret | None:
        """A value that the device keeps."""
        await anyio.lowlevel.checkpoint()
        value = self._device.settings.get(name)
        return None if value is None else Secret(value)

    async def put_setting(self, name: str, value: bytes) -> None:
        """Keep a value."""
        await anyio.lowlevel.checkpoint()
        self._device.settings[name] = bytes(value)

    def wake(self) -> None:
        """Let those look again who wait for something: the transport has ended."""
        self._tell()

    async def changed(self) -> None:
        """Wait until the transport says something."""
        await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
