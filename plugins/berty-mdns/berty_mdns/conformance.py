"""The suite that holds this transport to the contract, over the loopback interface of one machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from berty_core.testing.transport_suite import TransportSuite

from .config import MdnsConfig
from .plugin import MdnsSpec


class MdnsSuite(TransportSuite):
    """Several devices on one machine."""

    spec = MdnsSpec()
    level = "emulated"

    @asynccontextmanager
    async def open_pair(self) -> AsyncIterator[tuple[MdnsConfig, ...]]:
        """All that is on the loopback interface finds each other."""
        config = MdnsConfig(loopback=True)
        yield config, config, config
