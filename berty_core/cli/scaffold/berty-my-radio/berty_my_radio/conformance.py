"""How two devices can hear each other, for the suite of the transport contract."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from berty_core.testing.transport_suite import TransportSuite

from .config import MyRadioConfig
from .plugin import MyRadioSpec


class MyRadioSuite(TransportSuite):
    """Three devices that hear each other, tested at this level."""

    spec = MyRadioSpec()
    level = "simulated"

    @asynccontextmanager
    async def open_pair(self) -> AsyncIterator[tuple[MyRadioConfig, ...]]:
        """Give the settings of two or three devices that can reach each other, and of nobody else."""
        config = MyRadioConfig(channel=random.randrange(20_000, 60_000))  # noqa: S311
        yield config, config, config
