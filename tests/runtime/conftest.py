"""What all tests of the runtime share. None of them sees the user's own keyring."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from berty_core.config import NodeConfig
from berty_core.runtime.node import Node
from berty_core.testing.memory_transport import MemoryNetwork

from .keyrings import NoKeyring

Open = Callable[..., Any]


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a keyring, unless a test brings one."""
    monkeypatch.setattr("keyring.core._keyring_backend", NoKeyring())


@pytest.fixture(autouse=True)
def no_faults(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What is logged as a fault of the program fails the test, unless it is marked `faults`."""
    yield
    if request.node.get_closest_marker("faults") is None:
        found = [record for when in ("setup", "call") for record in caplog.get_records(when)]
        assert not [f"{record.msg} {record.exc_info}" for record in found if record.levelno >= logging.ERROR]


@pytest.fixture
def anyio_backend() -> str:
    """The backend of tests for which it makes no difference."""
    return "asyncio"


@pytest.fixture
def open_home() -> Open:
    """Open a home without a network."""

    @asynccontextmanager
    async def opened(home: Path, **options: Any) -> AsyncIterator[Node]:
        async with Node.open(home, network=False, config=options.pop("config", NodeConfig()), **options) as node:
            yield node

    return opened


@pytest.fixture
def network() -> MemoryNetwork:
    """A network of this test."""
    return MemoryNetwork()
