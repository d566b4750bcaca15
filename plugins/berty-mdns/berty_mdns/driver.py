"""The platform under the LAN transport: zeroconf, interface addresses and TCP sockets. It decides nothing.

Invariant: what fails here fails as TransportError, and nothing that was opened stays open.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import anyio
import ifaddr
import zeroconf
from anyio.abc import ByteStream
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from berty_core.errors import LinkLost, TransportError

from .seam import OWN_SERVICE, Accepted, Announcement, Heard, Listener, LocalAddress, Resolved, Responder
from .stream import TcpStream

if sys.platform != "win32":
    import fcntl

SERVICE = f"{OWN_SERVICE}.local."
MDNS_PORT = 5353
HOST_TTL = 120  # RFC 6762, section 10: what an address changes with
ASK_SECONDS = 3.0
START_SECONDS = 2.0
PORT_ATTEMPTS = 16
MAX_ARRIVALS = 64
IPV6_NAME = 4
TYPE_SRV, CLASS_IN = 33, 1
IFF_UP, IFF_LOOPBACK, IFF_POINTOPOINT, IFF_RUNNING = 0x1, 0x8, 0x10, 0x40
SIOCGIFFLAGS = 0x8913 if sys.platform == "linux" else 0xC0206911


class ZeroconfDriver:
    """The calls of the operating system and of zeroconf."""

    def addresses(self) -> Sequence[LocalAddress]:
        """List the addresses of interfaces that are up and that can be bound, in a stable order."""
        found = []
        for adapter in ifaddr.get_adapters():
            flags = _flags(adapter.name)
            if flags & (IFF_UP | IFF_RUNNING) != IFF_UP | IFF_RUNNING:
                continue
            for entry in adapter.ips:
                ip = _text(entry.ip, adapter.index)
                if not _bindable(ip):  # an IPv6 address that is still tentative, or was just removed
                    continue
                found.append(
                    LocalAddress(
                        adapter.name,
                        adapter.index or 0,
                        ip,
                        entry.network_prefix,
                        loopback=bool(flags & IFF_LOOPBACK),
                        point_to_point=bool(flags & IFF_POINTOPOINT),
                    )
                )
        return sorted(found, key=lambda address: (address.interface, address.ip))

    async def open(self, addresses: Sequence[LocalAddress], heard: Heard) -> Responder:
        """Open multicast DNS: one socket for each interface and family among `addresses`."""
        try:
            _try_port(addresses)
            opened = AsyncZeroconf(interfaces=_interfaces(addresses))
        except (OSError, RuntimeError, zeroconf.Error) as error:
            raise TransportError(f"cannot open a multicast DNS socket: {error}") from error
        try:
            # Cancelled in the middle of this, zeroconf could not be closed any more; it takes milliseconds.
            with anyio.fail_after(START_SECONDS, shield=True):
                await opened.zeroconf.async_wait_for_start()
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await opened.async_close()
            if isinstance(error, (OSError, zeroconf.Error)):
                raise TransportError(f"cannot start multicast DNS: {error!r}") from error
            raise
        return ZeroconfResponder(opened, heard)

    async def listen(self, hosts: Sequence[str], port: int) -> Listener:
        """Open one TCP port on all of `hosts`; a host whose address family is missing here is left out."""
        for _ in range(PORT_ATTEMPTS):
            try:
                return await TcpListener.open(_bind_all(hosts, port))
            except OSError as error:
                if port or error.errno != errno.EADDRINUSE:
                    raise TransportError(f"cannot listen on TCP port {port or '(any)'}: {error}") from error
        raise TransportError("cannot find a TCP port that is free for both IPv4 and IPv6")

    async def connect(self, ip: str, port: int) -> ByteStream:
        """Open a TCP connection."""
        loop = asyncio.get_running_loop()
        family, address = _socket_address(ip, port)
        raw = socket.socket(family, socket.SOCK_STREAM)
        try:
            raw.setblocking(False)
            await loop.sock_connect(raw, address)
            _, stream = await loop.create_connection(TcpStream, sock=raw)
        except BaseException as error:
            raw.close()
            if isinstance(error, OSError):
                raise LinkLost(f"cannot connect to {ip} port {port}: {error}") from error
            raise
        return stream


class ZeroconfResponder:
    """One AsyncZeroconf with a browser for our service type."""

    def __init__(self, opened: AsyncZeroconf, heard: Heard) -> None:
        self._zeroconf = opened
        self._shown: dict[str, AsyncServiceInfo] = {}
        self._sending: set[asyncio.Future[object]] = set()
        self._browsers: list[AsyncServiceBrowser] = []
        self.browse(OWN_SERVICE, heard)

    def browse(self, service: str, heard: Heard) -> None:
        """Look for instances of a service."""
        kind = f"{service}.local."

        def changed(zeroconf: object, service_type: str, name: str, state_change: zeroconf.ServiceStateChange) -> None:
            """Pass on a change; the parameter names are zeroconf's."""
            heard(name.removesuffix(f".{kind}"), state_change.name != "Removed")

        # Multicast questions only: with several processes on one machine a unicast answer reaches just one of them.
        self._browsers.append(
            AsyncServiceBrowser(
                self._zeroconf.zeroconf, kind, handlers=[changed], question_type=zeroconf.DNSQuestionType.QM
            )
        )

    async def announce(self, announcement: Announcement, service: str = OWN_SERVICE) -> None:
        """Announce at once; names are random, so the probe for their being unique (750 ms) is left out."""
        kind = f"{service}.local."
        info = AsyncServiceInfo(
            kind,
            f"{announcement.instance}.{kind}",
            port=announcement.port,
            properties=announcement.text,
            server=f"{announcement.host}.local.",
            parsed_addresses=list(announcement.addresses),
            host_ttl=HOST_TTL,
        )
        try:
            self._send(await self._zeroconf.async_register_service(info, cooperating_responders=True))
        except (OSError, zeroconf.Error) as error:
            raise TransportError(f"cannot announce: {error!r}") from error
        self._shown[announcement.instance] = info

    def repeat(self, instance: str) -> None:
        """Send the announcement again, once."""
        engine = self._zeroconf.zeroconf
        info = self._shown.get(instance)
        if info is not None and not engine.done:
            engine.async_send(engine.generate_service_broadcast(info, None))

    async def withdraw(self, instance: str) -> None:
        """Say goodbye, three times over the next quarter of a second."""
        info = self._shown.pop(instance, None)
        if info is not None:
            self._send(await self._zeroconf.async_unregister_service(info))

    async def resolve(self, instance: str, service: str = OWN_SERVICE) -> Resolved | None:
        """Read the cache, else ask for three seconds; None for no answer or a name that is none."""
        engine = self._zeroconf.zeroconf
        try:
            info = AsyncServiceInfo(f"{service}.local.", f"{instance}.{service}.local.")
            known = info.load_from_cache(engine) or await info.async_request(
                engine, ASK_SECONDS * 1000, question_type=zeroconf.DNSQuestionType.QM
            )
        except zeroconf.Error:
            return None
        if not known:
            return None
        record = engine.cache.get_by_details(info.name, TYPE_SRV, CLASS_IN)
        ttl = HOST_TTL if record is None else record.get_remaining_ttl(zeroconf.current_time_millis())
        return Resolved(info.port or 0, info.text, tuple(info.parsed_scoped_addresses()), float(ttl))

    async def aclose(self, *, goodbye: bool) -> None:
        """Close all sockets. Without goodbye the announcements are meant to go on from other sockets."""
        for browser in self._browsers:
            await browser.async_cancel()
        if not goodbye:
            self._zeroconf.zeroconf.registry.async_remove(list(self._shown.values()))
        self._shown.clear()
        for sending in self._sending:
            sending.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self._zeroconf.async_close()

    def _send(self, broadcast: Awaitable[object]) -> None:
        """Keep hold of a broadcast that zeroconf repeats in a task of its own."""
        sending = asyncio.ensure_future(broadcast)
        self._sending.add(sending)
        sending.add_done_callback(self._sent)

    def _sent(self, sending: asyncio.Future[object]) -> None:
        self._sending.discard(sending)
        if not sending.cancelled():
            sending.exception()  # a broken socket shows in the set of interfaces; here it only has to be read


class TcpListener:
    """One TCP port, open on one socket for each address family."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._servers: list[asyncio.Server] = []
        self._arrived, self._arrivals = anyio.create_memory_object_stream[TcpStream](MAX_ARRIVALS)

    @classmethod
    async def open(cls, sockets: Sequence[socket.socket]) -> TcpListener:
        """Listen on sockets that are bound."""
        listener = cls(sockets[0].getsockname()[1])
        loop = asyncio.get_running_loop()
        with anyio.CancelScope(shield=True):
            for bound in sockets:
                listener._servers.append(await loop.create_server(lambda: TcpStream(listener._arrive), sock=bound))
        return listener

    async def serve(self, taken: Callable[[Accepted], Awaitable[None]]) -> None:
        """Hand over connections until `aclose`."""
        while True:
            try:
                stream = await self._arrivals.receive()
            except (anyio.EndOfStream, anyio.ClosedResourceError):
                return
            accepted = _describe(stream)
            if accepted is None:
                await anyio.aclose_forcefully(stream)
            else:
                await taken(accepted)

    async def aclose(self) -> None:
        """Close the port, and connections that nobody has taken."""
        for server in self._servers:
            server.close()
        self._arrived.close()
        while self._arrivals.statistics().current_buffer_used:
            await anyio.aclose_forcefully(self._arrivals.receive_nowait())
        self._arrivals.close()

    def _arrive(self, stream: TcpStream) -> None:
        try:
            self._arrived.send_nowait(stream)
        except (anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError):
            stream.transport.abort()


def _describe(stream: TcpStream) -> Accepted | None:
    """Say who connected to which of our addresses; None if the connection is gone already."""
    local = stream.transport.get_extra_info("sockname")
    remote = stream.transport.get_extra_info("peername")
    if not local or not remote:
        return None
    return Accepted(stream, _with_scope(local), _with_scope(remote), int(remote[1]))


def _with_scope(name: tuple[Any, ...]) -> str:
    """The address of a socket's name; a link-local IPv6 one with the index of its interface."""
    return f"{name[0]}%{name[3]}" if len(name) == IPV6_NAME and name[3] else str(name[0])


def _socket_address(ip: str, port: int) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    plain, _, scope = ip.partition("%")
    if ":" in plain:
        return socket.AF_INET6, (plain, port, 0, int(scope or 0))
    return socket.AF_INET, (plain, port)


def _bind_all(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Bind all or nothing, but for families that this machine lacks."""
    bound: list[socket.socket] = []
    for host in hosts:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            bound.append(socket.create_server((host, port), family=family, backlog=MAX_ARRIVALS))
        except OSError as error:
            if error.errno == errno.EADDRINUSE or (host == hosts[-1] and not bound):
                for opened in bound:
                    opened.close()
                raise
            continue
        port = bound[-1].getsockname()[1]
    return bound


def _interfaces(addresses: Iterable[LocalAddress]) -> list[str | int]:
    """Name each interface to zeroconf once per family: by address for IPv4, by index for IPv6."""
    chosen: dict[tuple[str, bool], str | int] = {}
    for address in addresses:
        is_v6 = ":" in address.ip
        chosen.setdefault((address.interface, is_v6), address.index if is_v6 else address.ip)
    return list(chosen.values())


def _try_port(addresses: Iterable[LocalAddress]) -> None:
    """Bind the multicast DNS port once and let it go, since zeroconf would leak a socket if it were taken."""
    for family in {socket.AF_INET6 if ":" in address.ip else socket.AF_INET for address in addresses}:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if hasattr(socket, "SO_REUSEPORT"):
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            probe.bind(("", MDNS_PORT))


def _flags(interface: str) -> int:
    """The flags of an interface; where they cannot be read, it counts as up."""
    if sys.platform == "win32":
        return IFF_UP | IFF_RUNNING
    request = struct.pack("16sH14x", interface.encode()[:15], 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), SIOCGIFFLAGS, request)
        except OSError:
            return 0 if sys.platform == "linux" else IFF_UP | IFF_RUNNING
    return int(struct.unpack_from("H", answer, 16)[0])


def _text(ip: str | tuple[str, int, int], index: int | None) -> str:
    """An address as text; a link-local IPv6 one with the index of its interface."""
    if isinstance(ip, str):
        return ip
    plain = ip[0].partition("%")[0]
    return f"{plain}%{index}" if plain.lower().startswith("fe80:") else plain


def _bindable(ip: str) -> bool:
    family, address = _socket_address(ip, 0)
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True
