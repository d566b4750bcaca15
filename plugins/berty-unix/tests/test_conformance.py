"""The rules of the transport contract."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from berty_unix.config import UnixConfig
from berty_unix.plugin import UnixSpec

from berty_core.testing.transport_suite import TransportSuite


class TestUnix(TransportSuite):
    """Three devices that hear each other."""

    spec = UnixSpec()
    level = "hardware"

    @asynccontextmanager
    async def open_pair(self) -> AsyncIterator[tuple[UnixConfig, ...]]:
        """Give the settings of two or three devices that can reach each other, and of nobody else."""
        with tempfile.TemporaryDirectory() as directory:
            config = UnixConfig(directory=directory)
            yield config, config, config
