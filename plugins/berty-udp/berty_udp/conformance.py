"""How two devices can hear each other, for the suite of the transport contract."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs

from berty_core.testing.transport_suite import TransportSuite

from .config import UdpConfig
from .plugin import UdpSpec


class UdpSuite(TransportSuite):
    """Several devices on one machine."""

    spec = UdpSpec()
    level = "emulated"

    @asynccontextmanager
    async def open_pair(self) -> AsyncIterator[tuple[UdpConfig, ...]]:
        """A group that no other test uses at this time."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            config = UdpConfig(loopback=True, port=free.getsockname()[1])
        yield config, attrs.evolve(config), attrs.evolve(config)
