"""QUIC over UDP sockets: dial one connection, or listen for many.

Invariant: what waits for a connection is bounded, and what does not fit is dropped, as any network may; nothing is sent
but to who began a connection or is dialled.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import Final

import anyio
from anyio.abc import TaskStatus

from berty_core.errors import LinkLost

from .multiaddr import Multiaddr
from .peers import PeerId
from .pump import LOOK
from .quic import QuicConnection, QuicParty, QuicServer
from .quic_engine import Address, Datagrams
from .streams import Event

MAX_DATAGRAM: Final = 2048  # bytes; nobody sends larger ones over a network of any kind
MAX_WAITING: Final = 512  # datagrams of one connection
BATCH: Final = 64  # datagrams that are read before others have their turn
BUFFER: Final = 2 * 1024 * 1024  # of the system, for each direction, if it allows so much
SHORTEST: Final = 0.001  # seconds that a wait has at least: clocks of event loops are no finer
RESOLVE_TIMEOUT: Final = 10.0

Clock = Callable[[], float]


class QuicPump:
    """Runs one QUIC connection on the socket of a `server`, or on its own."""

    def __init__(
        self, connection: QuicConnection, used: socket.socket, clock: Clock, server: QuicServer | None = None
    ) -> None:
        self.connection = connection
        self._socket = used
        self._clock = clock
        self._server = server
        self._waiting: deque[tuple[bytes, Address]] = deque()
        self._changed = anyio.Event()
        self.closed = False
        self._local: Multiaddr | None = None

    @property
    def remote(self) -> Multiaddr | None:
        """The address at which we see the peer."""
        address = self.connection.address
        return None if address is None else Multiaddr.quic(*address[:2])

    @property
    def local(self) -> Multiaddr | None:
        """Our own address on the way to the peer."""
        if self._local is None and not self.closed:
            host, port = self._socket.getsockname()[:2]
            if host in ("0.0.0.0", "::"):  # noqa: S104  nobody is bound here
                host = _way_to(self._socket.family, self.connection.address)
            self._local = Multiaddr.quic(host, port) if host else None
        return self._local

    async def run(self, take: Callable[[Event], None], taken: Callable[[], None]) -> None:
        """Run until the connection is over, which its RemoteProtocolError says, or LinkLost while it is dialled."""
        if self._server is not None:
            await self._drive(take, taken)
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._receive)
            await self._drive(take, taken)

    async def _drive(self, take: Callable[[Event], None], taken: Callable[[], None]) -> None:
        while True:
            self._changed = anyio.Event()
            now = self._clock()
            for _ in range(len(self._waiting)):
                for event in self.connection.receive(*self._waiting.popleft(), now):
                    take(event)
            for event in self.connection.wake(now):
                take(event)
            taken()
            self._transmit()
            await self._until_due()

    async def _until_due(self) -> None:
        due = self.connection.timeout()
        delay = LOOK if due is None else min(max(due - self._clock(), SHORTEST), LOOK)
        with anyio.move_on_after(delay):
            await self._changed.wait()

    async def _receive(self) -> None:
        while True:
            await anyio.wait_readable(self._socket)
            try:
                for _ in range(BATCH):
                    self.deliver(self._socket.recv(MAX_DATAGRAM), self.connection.address)
            except BlockingIOError:
                continue
            except OSError as error:  # the other machine says that nobody is there
                if self.connection.peer is None:
                    raise LinkLost(f"{self.remote} cannot be reached: {error.strerror or error}") from error
                self.connection.doubt(self._clock())
                self.flush()

    def deliver(self, data: bytes, address: Address) -> None:
        """A datagram came."""
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append((data, address))
            self._changed.set()

    def flush(self) -> None:
        """Send soon what there is to send."""
        self._changed.set()

    def _transmit(self) -> None:
        datagrams = self.connection.take(self._clock())
        if self._server is not None:
            self._server.update(self.connection)
        else:  # connected: a peer that names another address of its own is not followed there
            datagrams = [(data, None) for data, address in datagrams if address == self.connection.address]
        _send(self._socket, datagrams)

    def leave(self) -> None:
        """Say goodbye."""
        if not self.closed:
            self.closed = True
            self.connection.close()
            self._transmit()
            if self._server is not None:
                self._server.forget(self.connection)

    async def aclose(self) -> None:
        """Say goodbye, and give the socket back."""
        self.leave()
        if self._server is None:
            _close(self._socket)


def _send(through: socket.socket, datagrams: Datagrams) -> None:
    """Send what the system takes; what is lost is sent again by QUIC."""
    for data, address in datagrams:
        try:
            if address is None:
                through.send(data)
            else:
                through.sendto(data, address)
        except OSError:
            return


def _close(used: socket.socket) -> None:
    if used.fileno() >= 0:
        anyio.notify_closing(used)
        used.close()


def _make_socket(family: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.setblocking(False)
    for direction in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        try:
            made.setsockopt(socket.SOL_SOCKET, direction, BUFFER)
        except OSError:
            pass
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made


def _way_to(family: int, address: Address) -> str:
    """From which of our addresses datagrams go to this one; nothing is sent."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(address)
        except OSError:
            return ""
        return str(probe.getsockname()[0])


async def dial_quic(
    party: QuicParty, host: str, port: int, clock: Clock, unix_time: float, expected: PeerId | None
) -> QuicPump:
    """Begin a connection from a port of its own; LinkLost in words where there is no way."""
    try:
        with anyio.fail_after(RESOLVE_TIMEOUT):
            family, _, _, _, address = (await anyio.getaddrinfo(host, port, type=socket.SOCK_DGRAM))[0]
    except TimeoutError as error:
        raise LinkLost(f"{host} could not be looked up in {RESOLVE_TIMEOUT:g} s") from error
    except OSError as error:
        raise LinkLost(f"{host} cannot be looked up: {error.strerror or error}") from error
    used = _make_socket(family)
    try:
        used.connect(address)
    except OSError as error:
        used.close()
        raise LinkLost(f"{host} UDP port {port} cannot be reached: {error.strerror or error}") from error
    connection = party.dial(used.getpeername(), expected, clock(), unix_time)
    return QuicPump(connection, used, clock)


class QuicListener:
    """One UDP socket on which connections begin. `accept` gets the pump of each, and owns it from then on."""

    def __init__(
        self,
        party: QuicParty,
        clock: Clock,
        unix_time: Callable[[], float],
        accept: Callable[[QuicPump], None],
        has_room: Callable[[], bool],
    ) -> None:
        self._server = QuicServer(party)
        self._clock = clock
        self._unix_time = unix_time
        self._accept = accept
        self._has_room = has_room
        self._pumps: dict[QuicConnection, QuicPump] = {}

    async def run(
        self, host: str, port: int, *, task_status: TaskStatus[tuple[str, int]] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen until cancelled; started with the address that is listened on. OSError where that cannot be."""
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        bound = _make_socket(found[0][0])
        try:
            bound.bind(found[0][4])
            name = bound.getsockname()
            task_status.started((str(name[0]), int(name[1])))
            while True:
                await anyio.wait_readable(bound)
                self._read(bound)
        finally:
            for pump in list(self._pumps.values()):
                pump.leave()
            _close(bound)

    def _read(self, bound: socket.socket) -> None:
        for _ in range(BATCH):
            try:
                data, address = bound.recvfrom(MAX_DATAGRAM)
            except OSError:  # nothing more, or what an earlier datagram of ours has met
                break
            self._take(bound, data, address)
        _send(bound, self._server.take())

    def _take(self, bound: socket.socket, data: bytes, address: Address) -> None:
        room = self._has_room()
        connection = self._server.receive(data, address, self._clock(), self._unix_time(), room=room)
        if connection is None:
            return
        pump = self._pumps.get(connection)
        if pump is not None:
            pump.deliver(data, address)
            return
        self._forget_closed()
        pump = self._pumps[connection] = QuicPump(connection, bound, self._clock, self._server)
        pump.deliver(data, address)
        self._accept(pump)

    def _forget_closed(self) -> None:
        self._pumps = {connection: pump for connection, pump in self._pumps.items() if not pump.closed}
