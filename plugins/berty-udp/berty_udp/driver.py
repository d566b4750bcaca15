"""The platform under the UDP transport: interface addresses and sockets. It decides nothing.

Invariant: what fails here fails as TransportError, and nothing that was opened stays open.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import anyio
import anyio.lowlevel
import ifaddr

from berty_core.errors import LinkLost, TransportError

from .seam import Address, LocalAddress, Socket

if sys.platform != "win32":
    import fcntl

UP, LOOPBACK, POINT_TO_POINT = 0x1, 0x8, 0x10
SIOCGIFFLAGS = 0x8913 if sys.platform == "linux" else 0xC0206911
FULL = {errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS}  # the machine has no room: a datagram may be lost
LARGEST = 65_536  # bytes; no datagram has more
ROOM = 1024 * 1024  # bytes that the system keeps for us; a burst that is larger loses some


class SystemDriver:
    """The calls of the operating system."""

    def addresses(self) -> Sequence[LocalAddress]:
        """List IPv4 addresses and link-local IPv6 addresses that can be bound, in a stable order."""
        found = []
        for adapter in ifaddr.get_adapters():
            flags = _flags(adapter.name)
            if flags & POINT_TO_POINT or not flags & UP:
                continue
            for entry in adapter.ips:
                address = _local(adapter.name, adapter.index or 0, entry.ip, bool(flags & LOOPBACK))
                if address is not None and _bindable(address):
                    found.append(address)
        return sorted(found, key=lambda address: (address.interface, address.version, address.ip))

    async def speak(self, address: LocalAddress, hops: int) -> Socket:
        """Open a socket on one address, whose multicast goes out there and is heard by others on this machine too."""
        with _opening(address.version, f"on {address.ip}") as raw:
            raw.bind(_resolve(address.ip, 0))
            _limit(raw, hops)
            if address.version == 4:
                raw.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address.ip))
                raw.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            else:
                raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, address.index)
                raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
            return UdpSocket(raw)

    async def hear(self, group: str, port: int, addresses: Sequence[LocalAddress]) -> Socket:
        """Open a socket for a multicast group that other programs on this machine may hear too."""
        version = addresses[0].version
        with _opening(version, f"for the group {group} on port {port}") as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sys.platform == "darwin":
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            elsewhere = "" if sys.platform == "win32" else group  # there a group's address cannot be bound
            raw.bind((elsewhere, port) if version == 4 else ("::" if sys.platform == "win32" else group, port))
            for address in addresses:
                with suppress(OSError):  # the interface has just gone; the others count
                    _join(raw, group, address)
            return UdpSocket(raw)

    async def connect(self, to: Address, hops: int) -> Socket:
        """Open a socket to one address."""
        with _opening(6 if ":" in to[0] else 4, f"to {to[0]}") as raw:
            _limit(raw, hops)
            raw.connect(_resolve(*to))
            return UdpSocket(raw)


class UdpSocket:
    """A socket that the system buffers for; nothing waits in this process."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self.local = _address(raw.getsockname())

    async def send(self, data: bytes, to: Address | None = None) -> None:
        """Send one datagram; where the system has no room for it, it is lost."""
        await anyio.lowlevel.checkpoint()
        try:
            if to is None:
                self._raw.send(data)
            else:
                self._raw.sendto(data, _resolve(*to))
        except OSError as error:
            if error.errno not in FULL:
                raise LinkLost(_words(error)) from error

    async def receive(self) -> tuple[bytes, Address]:
        """The next datagram and where it came from."""
        while True:
            await anyio.lowlevel.checkpoint()
            try:
                data, source = self._raw.recvfrom(LARGEST)
                return data, _address(source)
            except BlockingIOError:
                await self._wait()
            except OSError as error:
                raise LinkLost(_words(error)) from error

    async def _wait(self) -> None:
        try:
            await anyio.wait_readable(self._raw)
        except (anyio.ClosedResourceError, ValueError) as error:
            raise LinkLost("the socket was closed here") from error

    async def aclose(self) -> None:
        """Close; whoever waits finds out."""
        if self._raw.fileno() >= 0:
            anyio.notify_closing(self._raw)
            self._raw.close()
        await anyio.lowlevel.checkpoint()


@contextmanager
def _opening(version: int, where: str) -> Iterator[socket.socket]:
    """A socket that is closed again if anything goes wrong before it is given away."""
    try:
        raw = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    except OSError as error:
        raise TransportError(f"cannot open a UDP socket of IPv{version}: {error}") from error
    try:
        raw.setblocking(False)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        yield raw
    except BaseException as error:
        raw.close()
        if isinstance(error, OSError):
            raise TransportError(f"cannot open a UDP socket {where}: {error}") from error
        raise


def _words(error: OSError) -> str:
    if error.errno == errno.EBADF:
        return "the socket was closed here"
    if error.errno == errno.ECONNREFUSED:
        return "nobody listens there (any more)"
    if error.errno == errno.EMSGSIZE:
        return "the network does not take datagrams of this size: set a smaller plugins.udp.mtu"
    return error.strerror or str(error)


def _limit(raw: socket.socket, hops: int) -> None:
    """Keep what is sent within so many routers, multicast and links alike."""
    if raw.family == socket.AF_INET:
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, hops)
    else:
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, hops)


def _join(raw: socket.socket, group: str, address: LocalAddress) -> None:
    if address.version == 4:
        request = socket.inet_aton(group) + socket.inet_aton(address.ip)
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    else:
        request = socket.inet_pton(socket.AF_INET6, group) + struct.pack("@I", address.index)
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)


def _flags(interface: str) -> int:
    """The interface's flags; where they cannot be had it counts as up, and sending tells."""
    if sys.platform == "win32":
        return UP
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
        answer = fcntl.ioctl(raw, SIOCGIFFLAGS, struct.pack("16sH14x", interface.encode()[:15], 0))
        return int(struct.unpack("16xH14x", answer)[0])
    return 0


def _local(interface: str, index: int, ip: str | tuple[str, int, int], loopback: bool) -> LocalAddress | None:
    """An address as we use it: IPv4, or link-local IPv6, which every interface with IPv6 has."""
    if isinstance(ip, str):
        return LocalAddress(interface, index, ip, 4, loopback)
    return LocalAddress(interface, index, f"{ip[0]}%{index}", 6, loopback) if ip[0].startswith("fe80:") else None


def _bindable(address: LocalAddress) -> bool:
    """An interface that is down keeps its addresses, and an IPv6 address may still be tentative."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as raw:
        raw.bind(_resolve(address.ip, 0))
        return True
    return False


def _resolve(ip: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    host, _, scope = ip.partition("%")
    return (host, port, 0, int(scope or 0)) if ":" in host else (host, port)


def _address(name: tuple[object, ...]) -> Address:
    """A socket's name, with the scope of an IPv6 address where it has one."""
    host, port = str(name[0]).partition("%")[0], int(str(name[1]))
    return (f"{host}%{name[3]}" if len(name) == 4 and name[3] else host), port
