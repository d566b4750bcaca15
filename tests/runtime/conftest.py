"""What all tests of the runtime share. None of them sees the user's own keyring."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
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
