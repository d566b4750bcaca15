"""What passes between the decisions (transport) and the platform calls (driver): types without behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from berty_core.contracts.transport import Energy, Traits

from .config import UdpConfig

NAME = "udp"
MAX_LINKS = 64
MAX_ACCEPTED = 48  # of these, by strangers: anybody can forge addresses, and we want to dial too
Address = tuple[str, int]  # as the socket module prints it: a link-local IPv6 host carries %index


def traits(config: UdpConfig) -> Traits:
    """What links and bus of this transport promise."""
    return Traits(
        stream=False,
        mtu=config.mtu,
        reliable=False,
        ordered=False,
        broadcast=True,
        discovers=False,
        bitrate=10_000_000,
        latency=0.005,
        energy=Energy.MEDIUM,
        max_links=MAX_LINKS,
        backends=frozenset({"asyncio", "trio"}),
    )


@attrs.frozen
class LocalAddress:
    """An address of this machine that can be bound now."""

    interface: str
    index: int
    ip: str
    version: int
    loopback: bool = False


class Socket(Protocol):
    """One UDP socket. Errors: LinkLost once it is closed, or where the network refuses."""

    local: Address

    async def send(self, data: bytes, to: Address | None = None) -> None:
        """Send one datagram (`to` is None on a connected socket); what the machine has no room for is lost."""

    async def receive(self) -> tuple[bytes, Address]:
        """The next datagram and where it came from."""

    async def aclose(self) -> None:
        """Close; whoever waits gets LinkLost."""


class Driver(Protocol):
    """The calls of the operating system. Everything that fails here is a TransportError."""

    def addresses(self) -> Sequence[LocalAddress]:
        """Addresses of interfaces that are up, in a stable order."""

    async def speak(self, address: LocalAddress, hops: int) -> Socket:
        """A socket on one address, with a port of its own, whose multicast goes out there."""

    async def hear(self, group: str, port: int, addresses: Sequence[LocalAddress]) -> Socket:
        """A socket that hears a multicast group on the interfaces of these addresses, which are of one family."""

    async def connect(self, to: Address, hops: int) -> Socket:
        """A socket that sends to one address and hears that alone."""
