"""The contract of a transport: find endpoints, open links, and decide nothing about trust.

The core does framing, encryption, authentication, keep-alive and backoff for every transport alike.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import attrs
from anyio.abc import ObjectReceiveStream, TaskStatus

TAG_LENGTH = 8
NONCE_LENGTH = 8


class Energy(enum.IntEnum):
    """What using the medium costs a battery."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3


@attrs.frozen(kw_only=True)
class Traits:
    """What a link of this transport promises. `mtu` in bytes (0: stream), `bitrate` in bit/s, `latency` in s."""

    stream: bool
    mtu: int = 0
    reliable: bool = True
    ordered: bool = True
    half_duplex: bool = False
    broadcast: bool = False
    bitrate: int = 1_000_000
    latency: float = 0.05
    energy: Energy = Energy.LOW
    metered: bool = False
    infrastructure: bool = False
    budgeted: bool = False
    dials: bool = True
    listens: bool = True
    autoconnects: bool = False
    max_links: int | None = None
    half_close: bool = True
    beacon_bytes: int = 0
    backends: frozenset[str] = frozenset({"asyncio"})


@attrs.frozen
class Endpoint:
    """Where a peer may be reached on one transport. The address means something to that transport only."""

    transport: str
    address: str


@attrs.frozen
class Beacon:
    """What a device shows of itself: a nonce and tags (8 bytes each) that only sharers of a secret recognise."""

    nonce: bytes
    tags: tuple[bytes, ...]


@attrs.frozen
class EndpointFound:
    """An endpoint is there, or shows another beacon than before (None: the medium carries none)."""

    endpoint: Endpoint
    beacon: Beacon | None


@attrs.frozen
class EndpointLost:
    """An endpoint said goodbye or was not seen for too long."""

    endpoint: Endpoint


class Link(Protocol):
    """One live path to one endpoint.

    On a stream, boundaries mean nothing; a datagram is one message of at most `traits.mtu` bytes.
    Errors: EndOfStream when the other end closed in good order, LinkLost when the path broke.
    """

    traits: Traits
    remote: Endpoint
    initiator: bool

    async def send(self, data: bytes) -> None:
        """Hand over `data`; returns when there is room for more. LinkLost."""

    async def receive(self) -> bytes:
        """The next bytes, at least one. EndOfStream, LinkLost."""

    async def aclose(self) -> None:
        """Close at once; idempotent; whoever waits in `send` or `receive` gets LinkLost."""


class State(enum.Enum):
    """What a transport is doing."""

    STARTING = "starting"
    ACTIVE = "active"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"


class TransportHost(Protocol):
    """All that a transport may use of the node: no globals, no private keys, no plaintext."""

    logger: logging.Logger
    entropy: Callable[[int], bytes]

    def accept(self, link: Link) -> None:
        """Hand over a link that the other side opened; never blocks."""

    def state(self, state: State, reasons: Sequence[str] = ()) -> None:
        """Say what the transport is doing, and why, in words for a person."""


class Transport(Protocol):
    """One running transport."""

    async def run(self, host: TransportHost, *, task_status: TaskStatus[None]) -> None:
        """Own every task of the transport; `started()` once dial and advertise may be called; cancelled to stop."""

    def discover(self) -> AbstractAsyncContextManager[ObjectReceiveStream[EndpointFound | EndpointLost]]:
        """Stream what is there: first what is known already, then each change."""

    async def advertise(self, beacon: Beacon | None) -> None:
        """Show this beacon from now on (None: be invisible). Address, names and port change with each new beacon."""

    async def dial(self, endpoint: Endpoint) -> Link:
        """Open a link, or LinkLost within ten seconds."""


@attrs.frozen
class Probe:
    """Whether a transport can run here; if not, why, and what to type."""

    available: bool
    reason: str = ""
    remedy: str = ""


class TransportSpec(Protocol):
    """How a transport plugin is found, judged and made, without importing its library."""

    name: str
    traits: Traits
    config: type
    tested_on: tuple[str, ...]

    def probe(self, config: object) -> Probe:
        """Tell whether it can run, without side effects; its library may be absent."""

    def create(self, config: object) -> Transport:
        """Make a transport that is not running yet."""
