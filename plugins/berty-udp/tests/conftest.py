"""Transports on the loopback interface, with hosts that record."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import attrs
import pytest
from berty_udp.config import UdpConfig
from berty_udp.driver import SystemDriver
from berty_udp.transport import UdpTransport

from berty_core.contracts.transport import Link, Network, State
from berty_core.crypto.keys import Secret
from berty_core.runtime.surroundings.surroundings import Surroundings


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The transport runs on both."""
    return str(request.param)


class RecordingHost:
    """A node that keeps what the transport tells it."""

    def __init__(self) -> None:
        self.logger = logging.getLogger("berty.udp.test")
        self.now: Callable[[], float] = time.time
        self.monotonic: Callable[[], float] = time.monotonic
        self.entropy: Callable[[int], bytes] = os.urandom
        self.links: list[Link] = []
        self.states: list[tuple[State, tuple[str, ...]]] = []
        self.network_changes = Surroundings().changes

    def accept(self, link: Link) -> None:
        self.links.append(link)

    def state(self, state: State, reasons: Sequence[str] = ()) -> None:
        self.states.append((state, tuple(reasons)))

    def network(self) -> Network:
        return Network()

    async def setting(self, name: str) -> Secret | None:
        return None

    async def put_setting(self, name: str, value: bytes) -> None:
        raise AssertionError("this transport keeps nothing")


@attrs.frozen
class Running:
    """A transport that runs, and its host."""

    transport: UdpTransport
    host: RecordingHost


@asynccontextmanager
async def running(config: UdpConfig) -> AsyncIterator[Running]:
    """Run a transport while the block does."""
    made = Running(UdpTransport(config, SystemDriver()), RecordingHost())
    async with anyio.create_task_group() as tasks:
        await tasks.start(made.transport.run, made.host)
        yield made
        tasks.cancel_scope.cancel()


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition, for ten seconds at most."""
    with anyio.fail_after(10):
        while not condition():
            await anyio.sleep(0.005)


async def lost_in(call: Callable[[], Awaitable[object]]) -> None:
    """Wait for a call, for ten seconds at most."""
    with anyio.fail_after(10):
        await call()
