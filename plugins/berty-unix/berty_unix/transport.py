"""The transport: what the medium is like, and how its device is opened. The core does the rest."""

from __future__ import annotations

from berty_core.contracts.transport import Traits
from berty_core.media import DeviceBus

from .config import UnixConfig
from .driver import Sockets

TRAITS = Traits.of_bus(mtu=4096, ordered=True, bitrate=100_000_000, latency=0.001)


class UnixTransport(DeviceBus):
    """One transport, which is its own bus; run it once."""

    traits = TRAITS

    def __init__(self, config: UnixConfig) -> None:
        super().__init__()
        self._config = config

    def open(self) -> Sockets:
        """Open the device; TransportError in words for a person."""
        return Sockets(self._config.directory)
