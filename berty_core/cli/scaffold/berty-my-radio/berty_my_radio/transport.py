"""The transport: what the medium is like, and how its device is opened. The core does the rest."""

from __future__ import annotations

from berty_core.contracts.transport import Traits
from berty_core.media import DeviceBus

from .config import MyRadioConfig
from .driver import Radio

TRAITS = Traits.of_bus(mtu=233, bitrate=1_000_000, latency=0.01)


class MyRadioTransport(DeviceBus):
    """One transport, which is its own bus; run it once."""

    traits = TRAITS

    def __init__(self, config: MyRadioConfig) -> None:
        super().__init__()
        self._config = config

    def open(self) -> Radio:
        """Open the device; TransportError in words for a person."""
        return Radio(self._config.channel)
