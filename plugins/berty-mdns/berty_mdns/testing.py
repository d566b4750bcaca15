"""A platform in memory for tests of the decisions, and a host that records. Nothing in the product imports it."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Sequence

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream

from berty_core.contracts.transport import Link, State
from berty_core.errors import LinkLost, TransportError

from .seam import OWN_SERVICE, Accepted, Announcement, Heard, Listener, LocalAddress, Resolved, Responder


class RecordingHost:
    """A node that keeps what the transport tells it."""

    def __init__(self) -> None:
        self.logger = logging.getLogger("berty.mdns.test")
        self.entropy: Callable[[int], bytes] = os.urandom
        self.links: list[Link] = []
        self.states: list[tuple[State, tuple[str, ...]]] = []

    def accept(self, link: Link) -> None:
        """Keep the link."""
        self.links.append(link)

    def state(self, state: State, reasons: Sequence[str] = ()) -> None:
        """Keep the state."""
        self.states.append((state, tuple(reasons)))


class FakeStream(ByteStream):
    """A connection on which nothing ever comes."""

    def __init__(self) -> None:
        self.closed = anyio.Event()
        self.sent = b""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Wait until closed."""
        await self.closed.wait()
        raise anyio.ClosedResourceError

    async def send(self, item: bytes) -> None:
        """Keep what is sent."""
        await anyio.lowlevel.checkpoint()
        self.sent += item

    async def send_eof(self) -> None:
        """Do nothing."""

    async def aclose(self) -> None:
        """Remember that it was closed."""
        self.closed.set()
        await anyio.lowlevel.checkpoint()


class FakeListener:
    """A port; `connect` plays somebody who dials it."""

    def __init__(self, hosts: Sequence[str], port: int) -> None:
        self.hosts = tuple(hosts)
        self.port = port
        self.closed = anyio.Event()
        self._taken: Callable[[Accepted], Awaitable[None]] | None = None

    async def serve(self, taken: Callable[[Accepted], Awaitable[None]]) -> None:
        """Wait until closed."""
        self._taken = taken
        await self.closed.wait()

    async def aclose(self) -> None:
        """Remember that it was closed."""
        self.closed.set()

    async def connect(self, remote_ip: str, local_ip: str) -> FakeStream:
        """Open a connection to this port."""
        stream = FakeStream()
        assert self._taken is not None, "nobody serves this port"  # noqa: S101 - a test asked too early
        await self._taken(Accepted(stream, local_ip, remote_ip, 40000))
        return stream


class FakeResponder:
    """Multicast DNS that says what the test wants."""

    def __init__(self, addresses: Sequence[LocalAddress], heard: Heard) -> None:
        self.addresses = tuple(addresses)
        self.heard = heard
        self.answers: dict[str, Resolved] = {}
        self.asked: list[str] = []
        self.browsed: dict[str, Heard] = {}
        self.delay = 0.0
        self.shown: dict[str, Announcement] = {}
        self.withdrawn: list[str] = []
        self.repeated: list[str] = []
        self.goodbye: bool | None = None

    async def announce(self, announcement: Announcement, service: str = OWN_SERVICE) -> None:
        """Keep the announcement."""
        self.shown[announcement.instance] = announcement
        if service == OWN_SERVICE:
            self.heard(announcement.instance, True)  # multicast comes back to its sender

    def browse(self, service: str, heard: Heard) -> None:
        """Keep who looks for what."""
        self.browsed[service] = heard

    def repeat(self, instance: str) -> None:
        """Keep what was repeated."""
        self.repeated.append(instance)

    async def withdraw(self, instance: str) -> None:
        """Keep what said goodbye."""
        self.withdrawn.append(instance)
        del self.shown[instance]

    async def resolve(self, instance: str, service: str = OWN_SERVICE) -> Resolved | None:
        """Answer from `answers` after `delay`."""
        self.asked.append(instance)
        await anyio.sleep(self.delay)
        return self.answers.get(instance)

    async def aclose(self, *, goodbye: bool) -> None:
        """Keep how it was closed."""
        self.goodbye = goodbye


class FakeDriver:
    """A machine with the interfaces, the network and the failures that the test wants."""

    def __init__(self, *interfaces: LocalAddress) -> None:
        self.interfaces = list(interfaces)
        self.open_error = ""
        self.listen_error = ""
        self.opens = 0
        self.responders: list[FakeResponder] = []
        self.listeners: list[FakeListener] = []
        self.connects: list[tuple[str, int, float]] = []
        self.answer_after: dict[str, float] = {}
        self.streams: list[FakeStream] = []

    def addresses(self) -> Sequence[LocalAddress]:
        """The interfaces that are up."""
        return tuple(self.interfaces)

    async def open(self, addresses: Sequence[LocalAddress], heard: Heard) -> Responder:
        """Open a responder, or fail."""
        self.opens += 1
        await anyio.lowlevel.checkpoint()
        if self.open_error:
            raise TransportError(self.open_error)
        self.responders.append(FakeResponder(addresses, heard))
        return self.responders[-1]

    async def listen(self, hosts: Sequence[str], port: int) -> Listener:
        """Open a port, or fail."""
        await anyio.lowlevel.checkpoint()
        if self.listen_error:
            raise TransportError(self.listen_error)
        self.listeners.append(FakeListener(hosts, port or 50000 + len(self.listeners)))
        return self.listeners[-1]

    async def connect(self, ip: str, port: int) -> ByteStream:
        """Connect after `answer_after` seconds, or fail at once."""
        self.connects.append((ip, port, anyio.current_time()))
        if ip not in self.answer_after:
            await anyio.lowlevel.checkpoint()
            raise LinkLost(f"nobody answers at {ip}")
        await anyio.sleep(self.answer_after[ip])
        self.streams.append(FakeStream())
        return self.streams[-1]
