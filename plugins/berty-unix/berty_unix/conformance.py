"""How two devices can hear each other, for the suite of the transport contract."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from berty_core.testing.transport_suite import TransportSuite

from .config import UnixConfig
from .plugin import UnixSpec


class UnixSuite(TransportSuite):
    """Three devices that hear each other, tested at this level."""

    spec = UnixSpec()
    level = "emulated"

    @asynccontextmanager
    async def open_pair(self) -> AsyncIterator[tuple[UnixConfig, ...]]:
        """Give the settings of two or three devices that can reach each other, and of nobody else."""
        with tempfile.TemporaryDirectory() as directory:
            config = UnixConfig(directory=directory)
            yield config, config, config
