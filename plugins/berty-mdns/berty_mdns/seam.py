"""What passes between the decisions (transport) and the platform calls (driver): types without behaviour.

Neither side imports the other, and this module imports no platform library.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import attrs
from anyio.abc import ByteStream

from berty_core.contracts.transport import Energy, Traits

NAME = "mdns"
OWN_SERVICE = "_berty._tcp"
MAX_DIALED = 128
MAX_ACCEPTED = 128
TRAITS = Traits(
    stream=True,
    bitrate=50_000_000,
    latency=0.005,
    energy=Energy.MEDIUM,
    max_links=MAX_DIALED + MAX_ACCEPTED,
    beacon_bytes=1000,
    backends=frozenset({"asyncio"}),
)


@attrs.frozen(kw_only=True)
class Timing:
    """All durations of the decisions, in seconds."""

    poll: float = 1.0
    tick: float = 1.0
    stagger: float = 0.25
    dial: float = 10.0
    believe_least: float = 5.0
    believe_most: float = 150.0
    settle: float = 2.0
    heartbeat: float = 50.0
    greet_window: float = 2.0
    greet_apart: float = 0.1
    backoff_first: float = 1.0
    backoff_most: float = 60.0
    farewell: float = 3.0


@attrs.frozen
class LocalAddress:
    """One address of this machine that can be bound now; a link-local IPv6 one carries `%index`."""

    interface: str
    index: int
    ip: str
    prefix: int
    loopback: bool = False
    point_to_point: bool = False


@attrs.frozen
class Announcement:
    """What one announcement says. `instance` and `host` are single labels, `text` is raw TXT data."""

    instance: str
    host: str
    port: int
    text: bytes
    addresses: tuple[str, ...]


@attrs.frozen
class Resolved:
    """What the network says of an instance; all of it is a stranger's claim. `ttl` in seconds."""

    port: int
    text: bytes
    addresses: tuple[str, ...]
    ttl: float


@attrs.frozen
class Accepted:
    """A TCP connection that somebody opened to us."""

    stream: ByteStream
    local_ip: str
    remote_ip: str
    remote_port: int


Heard = Callable[[str, bool], None]
"""Called with an instance label and whether it is there (or changed) or said goodbye."""


class Listener(Protocol):
    """An open TCP port."""

    port: int

    async def serve(self, taken: Callable[[Accepted], Awaitable[None]]) -> None:
        """Hand over connections until `aclose`."""

    async def aclose(self) -> None:
        """Close the port; accepted connections stay open."""


class Responder(Protocol):
    """An open multicast DNS responder and browser."""

    async def announce(self, announcement: Announcement, service: str = OWN_SERVICE) -> None:
        """Show an announcement from now on."""

    def repeat(self, instance: str) -> None:
        """Send an announcement again, once."""

    async def withdraw(self, instance: str) -> None:
        """Say goodbye for an announcement."""

    async def resolve(self, instance: str, service: str = OWN_SERVICE) -> Resolved | None:
        """Tell where an instance is, from the cache or by asking for three seconds."""

    def browse(self, service: str, heard: Heard) -> None:
        """Look for instances of another service too, until this is closed."""

    async def aclose(self, *, goodbye: bool) -> None:
        """Close all sockets, with or without a goodbye for what is still shown."""


class Driver(Protocol):
    """The platform. Every failure is a TransportError that says what and why."""

    def addresses(self) -> Sequence[LocalAddress]:
        """List the addresses of interfaces that are up."""

    async def open(self, addresses: Sequence[LocalAddress], heard: Heard) -> Responder:
        """Open multicast DNS on the interfaces that own these addresses."""

    async def listen(self, hosts: Sequence[str], port: int) -> Listener:
        """Open one TCP port (0: any free one) on all of `hosts`."""

    async def connect(self, ip: str, port: int) -> ByteStream:
        """Open a TCP connection."""
