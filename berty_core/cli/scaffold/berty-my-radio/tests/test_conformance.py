"""The rules of the transport contract."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from berty_my_radio.config import MyRadioConfig
from berty_my_radio.plugin import MyRadioSpec

from berty_core.testing.transport_suite import TransportSuite


class TestMyRadio(TransportSuite):
    """Three devices that hear each other."""

    spec = MyRadioSpec()
    level = "simulated"

    @asynccontextmanager
    async def open_pair(self) -> AsyncIterator[tuple[MyRadioConfig, ...]]:
        """Give the settings of two or three devices that can reach each other, and of nobody else."""
        config = MyRadioConfig(channel=random.randrange(20_000, 60_000))  # noqa: S311
        yield config, config, config
