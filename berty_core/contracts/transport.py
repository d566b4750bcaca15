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

from ..crypto.keys import Secret
from .bus import Budget, Bus, Datagram, Endpoint, Priority
from .traits import MIN_MTU, Energy, Network, Traits

__all__ = [
    "API",
    "MIN_MTU",
    "NONCE_LENGTH",
    "TAG_LENGTH",
    "Beacon",
    "Budget",
    "BudgetedTransport",
    "Bus",
    "BusTransport",
    "Datagram",
    "Endpoint",
    "EndpointFound",
    "EndpointLost",
    "Energy",
    "Link",
    "LinkTransport",
    "Network",
    "Priority",
    "Probe",
    "State",
    "Traits",
    "Transport",
    "TransportHost",
    "TransportSpec",
]

API = (1, 0)  # of this contract: an addition raises the second number, anything else the first
TAG_LENGTH = 8
NONCE_LENGTH = 8


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

    On a stream, boundaries mean nothing; a datagram is one message of 1 to `traits.mtu` bytes.
    Errors: EndOfStream when the other end closed in good order, LinkLost when the path broke or never was: where a
    medium cannot tell whether anybody is at the other end, the link is proven by the first bytes that come.
    Of the two ends exactly one is the `initiator`. There is no half-close.
    """

    traits: Traits
    remote: Endpoint
    initiator: bool

    async def send(self, data: bytes) -> None:
        """Hand over `data`; returns when there is room for more.

        LinkLost; on a datagram link MessageTooLarge, for an empty one LocalProtocolError, and where the transport is
        budgeted BudgetSpent, each with nothing sent and the link as it was.
        """

    async def receive(self) -> bytes:
        """The next bytes, at least one. EndOfStream, LinkLost."""

    async def aclose(self) -> None:
        """Close at once; idempotent; whoever waits in `send` or `receive` gets LinkLost."""


class State(enum.Enum):
    """What a transport is doing. The last two are said by the core, never by a transport."""

    STARTING = "starting"
    ACTIVE = "active"
    UNAVAILABLE = "unavailable"  # it runs, and waits for what it lacks
    FAILED = "failed"
    PAUSED = "paused"  # the core stopped it for now
    DISABLED = "disabled"  # a person, or its configuration, keeps it from running


class TransportHost(Protocol):
    """All that a transport may use of the node: no globals, no private keys, no plaintext."""

    logger: logging.Logger
    now: Callable[[], float]  # Unix seconds; may be set back
    monotonic: Callable[[], float]
    entropy: Callable[[int], bytes]

    def accept(self, link: Link) -> None:
        """Hand over a link that the other side opened, or that came up by itself; never blocks."""

    def state(self, state: State, reasons: Sequence[str] = ()) -> None:
        """Say what the transport is doing, and why, in words for a person."""

    def network(self) -> Network:
        """What is known of the device's surroundings now."""

    def network_changes(self) -> AbstractAsyncContextManager[ObjectReceiveStream[Network]]:
        """Each change of it from now on; the newest alone where they come faster than they are taken."""

    async def setting(self, name: str) -> Secret | None:
        """A value that this transport keeps in the home for this device; a copied home has none."""

    async def put_setting(self, name: str, value: bytes) -> None:
        """Keep a value of at most 64 KiB, sealed; durable when this returns."""


class Transport(Protocol):
    """One transport, run once: to start again, the core makes another one.

    What else it has, its traits say: it is a `LinkTransport` if it `dials`, `listens` or `autoconnects`, a
    `BusTransport` if it is a `broadcast` medium, a `BudgetedTransport` if it is `budgeted`.
    """

    async def run(self, host: TransportHost, *, task_status: TaskStatus[None]) -> None:
        """Own every task of the transport; `started()` once its other calls may be made; cancelled to stop.

        It ends within five seconds of that, with every link lost and nothing left open. A network that is absent is a
        state and no error; an error means that this transport is broken, and the core makes another one after a while.
        """


class LinkTransport(Transport, Protocol):
    """A transport with links between two devices; `discover` and `advertise` only if its traits say so."""

    def discover(self) -> AbstractAsyncContextManager[ObjectReceiveStream[EndpointFound | EndpointLost]]:
        """Stream what is there: first what is known already, then each change; ends when the transport stops."""

    async def advertise(self, beacon: Beacon | None) -> None:
        """Show this beacon from now on (None: be invisible). Address, names and port change with each new nonce."""

    async def dial(self, endpoint: Endpoint) -> Link:
        """Open a link, or LinkLost within `traits.dial_timeout`; cancelled, it leaves nothing behind."""


class BusTransport(Transport, Protocol):
    """A transport with a bus."""

    async def bus(self) -> Bus:
        """The bus of this medium; the same one each time. LinkLost when the medium is gone."""


class BudgetedTransport(Transport, Protocol):
    """A transport whose airtime is limited."""

    def budget(self) -> Budget:
        """What may be sent, by links and bus together."""


@attrs.frozen
class Probe:
    """Whether a transport can run here; if not, why, and what to type."""

    available: bool
    reason: str = ""
    remedy: str = ""


class TransportSpec(Protocol):
    """How a transport plugin is found, judged and made, without importing its library.

    `name` is the plugin's. `platforms` are values of `sys.platform`; empty: all. `tested_on` says on what, each entry
    beginning with its level: simulated, emulated, independent software or hardware.
    """

    name: str
    api: tuple[int, int]  # the `API` that it was written for
    traits: Traits
    config: type
    platforms: frozenset[str]
    tested_on: tuple[str, ...]

    def probe(self, config: object) -> Probe:
        """Tell whether it can run, without side effects; its library may be absent."""

    def create(self, config: object) -> Transport:
        """Make a transport that is not running yet."""
