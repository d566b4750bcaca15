"""The LAN transport: what to show where, whom to believe, whom to let in. All platform calls are the driver's.

Invariant: everything that is opened here is closed when `run` ends, however it ends.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from ipaddress import ip_address

import anyio
import attrs
from anyio.abc import ObjectReceiveStream, TaskGroup, TaskStatus

from berty_core.contracts.transport import Beacon, Endpoint, EndpointFound, EndpointLost, State, TransportHost
from berty_core.errors import LinkLost, LocalProtocolError, TransportError

from .config import MdnsConfig, allowed
from .directory import Directory
from .finding import Finder
from .link import TcpLink
from .links import Links, race
from .seam import MAX_ACCEPTED, NAME, Accepted, Announcement, Driver, Listener, LocalAddress, Responder, Timing
from .services import LanServices
from .txt import encode_txt

NAME_BYTES = 20  # 160 random bits make 32 characters of base32
MAX_SHOWN_PER_FAMILY = 4  # with a full beacon the announcement still fits one packet of 1460 bytes
RESOLVERS = 8
OWN_NAMES = 64


@attrs.frozen
class Presence:
    """How we are to be found at present. `serving` ends the accept loop."""

    announcement: Announcement
    listener: Listener
    serving: anyio.CancelScope


class MdnsTransport:
    """One LAN transport; run it once."""

    def __init__(self, config: MdnsConfig, driver: Driver, timing: Timing | None = None) -> None:
        self._config = config
        self._driver = driver
        self._timing = timing or Timing()
        self._directory = Directory(NAME)
        self.services = LanServices(self._hosts())
        self._host: TransportHost | None = None
        self._tasks: TaskGroup | None = None
        self._lock = anyio.Lock()
        self._beacon: Beacon | None = None
        self._presence: Presence | None = None
        self._responder: Responder | None = None
        self._addresses: tuple[LocalAddress, ...] = ()
        self._own: deque[str] = deque(maxlen=OWN_NAMES)
        self._links = Links(MAX_ACCEPTED) if config.loopback else Links()
        self._finder: Finder | None = None
        self._state: tuple[State, tuple[str, ...]] | None = None
        self._failures = 0
        self._retry_at: float | None = None
        self._said_at = float("-inf")
        self._greeting = False

    # The contract

    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Own every task of the transport until cancelled; LocalProtocolError when run a second time."""
        if self._host is not None:
            raise LocalProtocolError("this transport was run before: create another one")
        self._host = host
        self._say(State.STARTING)
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                self._finder = Finder(self._directory, self._timing, host.logger, self._meet)
                self._finder.own = self._own
                await self._reopen(self._usable())
                for _ in range(RESOLVERS):
                    tasks.start_soon(self._finder.run)
                tasks.start_soon(self._watch)
                tasks.start_soon(self._tick)
                task_status.started()
        finally:
            self._tasks = None
            with anyio.move_on_after(self._timing.farewell, shield=True):
                await self._stop()

    def discover(self) -> AbstractAsyncContextManager[ObjectReceiveStream[EndpointFound | EndpointLost]]:
        """Stream what is there: first what is known already, then each change; ends when the transport stops."""
        return self._directory.subscribe()

    async def advertise(self, beacon: Beacon | None) -> None:
        """Show this beacon under a new name, host name and port (None: say goodbye and close the port)."""
        if beacon is not None:
            encode_txt(beacon)
        async with self._lock:
            await self._retire()
            self._beacon = beacon
            try:
                await self._publish()
            except TransportError as error:
                self._failed(error)

    async def dial(self, endpoint: Endpoint) -> TcpLink:
        """Open a link to an endpoint that `discover` gave, or LinkLost within ten seconds."""
        targets = self._directory.targets(endpoint.address) if endpoint.transport == NAME else ()
        if self._tasks is None or not targets:
            raise LinkLost(f"{endpoint.address!r} is not to be found on this network (any more)")
        self._links.check_room()
        with anyio.move_on_after(self._timing.dial):
            stream = await race(targets, self._driver.connect, self._timing.stagger)
            link = self._links.dialled(stream, endpoint)
            if self._tasks is None:
                await link.aclose()
                raise LinkLost("the transport has stopped")
            return link
        raise LinkLost(f"{endpoint.address} did not answer within {self._timing.dial:g} s")

    # Interfaces

    def _usable(self) -> tuple[LocalAddress, ...]:
        """The addresses that the configuration allows."""
        try:
            return tuple(address for address in self._driver.addresses() if allowed(self._config, address))
        except (OSError, TransportError) as error:
            self._debug("cannot list the network interfaces: %s", error)
            return ()

    def _missing(self) -> tuple[str, ...]:
        """What is configured and not there, in words."""
        return tuple(
            f"the configured interface {entry} is not there or not up"
            for entry in self._config.interfaces
            if not any(MdnsConfig(interfaces=(entry,)).names(a.interface, a.ip) for a in self._addresses)
        )

    async def _watch(self) -> None:
        """Follow interfaces that come and go, and try again what failed."""
        while True:
            await anyio.sleep(self._timing.poll if self._retry_at is None else min(self._timing.poll, 0.5))
            usable = self._usable()
            if usable != self._addresses or (self._retry_at is not None and anyio.current_time() >= self._retry_at):
                await self._reopen(usable)

    async def _reopen(self, addresses: tuple[LocalAddress, ...]) -> None:
        """Start multicast DNS anew on these addresses; names stay, since only the beacon's change renews them."""
        async with self._lock:
            await self._close_responder()
            if self._state and self._state[0] is State.ACTIVE:
                self._say(State.STARTING, ("the network interfaces changed",))  # links may be dead without knowing
            self._addresses = addresses
            self._retry_at = None
            if not addresses:
                self._directory.drop_all()
                self._say(State.UNAVAILABLE, self._missing() or ("no network interface that is up",))
                return
            self._directory.doubt_all(anyio.current_time() + self._timing.settle)
            try:
                await self._open_responder()
                await self._publish()
            except TransportError as error:
                self._failed(error)
            else:
                self._succeeded()

    async def _open_responder(self) -> None:
        assert self._finder is not None  # noqa: S101 - set before the first call
        self._responder = await self._driver.open(self._addresses, self._finder.heard)
        self._finder.use(self._responder, self._addresses)
        await self.services.use(self._responder, self._shown())

    async def _close_responder(self) -> None:
        responder, self._responder = self._responder, None
        if self._finder is not None:
            self._finder.use(None, ())
        await self.services.use(None, ())
        if responder is not None:
            with anyio.move_on_after(self._timing.farewell, shield=True):
                await responder.aclose(goodbye=False)

    def _failed(self, error: TransportError) -> None:
        """Say what is wrong, and try again later: 1 s, 2 s, 4 s up to a minute, each with up to a quarter more."""
        timing = self._timing
        delay = min(timing.backoff_first * 2**self._failures, timing.backoff_most) * (1 + self._random() / 4)
        self._failures += 1
        self._retry_at = anyio.current_time() + delay
        self._say(State.UNAVAILABLE, (str(error),))

    def _succeeded(self) -> None:
        self._failures = 0
        self._retry_at = None
        self._say(State.ACTIVE, self._missing())

    # Being found

    async def _publish(self) -> None:
        """Announce the beacon, under fresh names and a fresh port unless it is announced already."""
        if self._beacon is None or self._responder is None or self._tasks is None:
            return
        if self._presence is None:
            listener = await self._driver.listen(self._hosts(), self._config.port)
            names = Announcement(self._name(), self._name(), listener.port, encode_txt(self._beacon), ())
            self._own.append(names.instance)
            self._presence = Presence(names, listener, anyio.CancelScope())
            self._tasks.start_soon(self._serve, self._presence)
        announcement = attrs.evolve(self._presence.announcement, addresses=self._shown())
        await self._responder.announce(announcement)
        self._said_at = anyio.current_time()

    async def _retire(self) -> None:
        """Say goodbye and close the port; accepted links stay open."""
        presence, self._presence = self._presence, None
        if presence is None:
            return
        presence.serving.cancel()
        with anyio.CancelScope(shield=True):
            await presence.listener.aclose()
            if self._responder is not None:
                await self._responder.withdraw(presence.announcement.instance)

    async def _serve(self, presence: Presence) -> None:
        with presence.serving:
            await presence.listener.serve(self._taken)

    def _hosts(self) -> Sequence[str]:
        """The wildcard addresses, since interfaces come and go; what arrives elsewhere is refused in `_taken`."""
        if self._config.loopback:
            return ("127.0.0.1",)
        return {"4": ("0.0.0.0",), "6": ("::",), "both": ("0.0.0.0", "::")}[self._config.ip]  # noqa: S104 - as above

    def _shown(self) -> tuple[str, ...]:
        """A few addresses of each family, the link-local ones first: they work without a router."""
        plain = [address.ip.partition("%")[0] for address in self._addresses]
        families = {version: [ip for ip in plain if ip_address(ip).version == version] for version in (4, 6)}
        for ips in families.values():
            ips.sort(key=lambda ip: not ip_address(ip).is_link_local)
        return tuple(ip for ips in families.values() for ip in ips[:MAX_SHOWN_PER_FAMILY])

    def _name(self) -> str:
        assert self._host is not None  # noqa: S101 - only asked while running
        return base64.b32encode(self._host.entropy(NAME_BYTES)).decode().lower()

    def _meet(self) -> None:
        """Greet a newcomer if it may have missed us."""
        recent = anyio.current_time() - self._said_at < self._timing.greet_window
        if recent and not self._greeting and self._tasks is not None:
            self._greeting = True
            self._tasks.start_soon(self._greet)

    def _repeat(self) -> None:
        if self._presence is not None and self._responder is not None:
            self._responder.repeat(self._presence.announcement.instance)
            self._said_at = anyio.current_time()

    async def _greet(self) -> None:
        """Announce again for a newcomer, which may have missed what was said in the last second.

        A responder must not answer within a second of its last answer (RFC 6762, section 6), so whoever starts then
        would not find us for that long.
        """
        try:
            await anyio.sleep(0.005 + self._random() * 0.035)
            await anyio.sleep(max(0.0, self._said_at + self._timing.greet_apart - anyio.current_time()))
            self._repeat()
        finally:
            self._greeting = False

    async def _tick(self) -> None:
        """Look after endpoints whose time has run out, and be heard now and then."""
        assert self._finder is not None  # noqa: S101 - set before this task starts
        apart = self._timing.heartbeat
        while True:
            await anyio.sleep(self._timing.tick)
            now = anyio.current_time()
            self._finder.review(now)
            if now - self._said_at >= apart:
                self._repeat()
                apart = self._timing.heartbeat * (1 - self._random() / 5)

    async def _taken(self, accepted: Accepted) -> None:
        """Let a connection in, unless it came by an interface that is not ours to use or there are too many."""
        objection = self._links.objection(accepted)
        if all(accepted.local_ip != address.ip for address in self._addresses):
            objection = "it came by an interface that is not in use"
        if objection or self._host is None:
            self._debug("refusing a connection from %s: %s", accepted.remote_ip, objection)
            await anyio.aclose_forcefully(accepted.stream)
            return
        self._host.accept(self._links.accepted(accepted))

    # The end, and small things

    async def _stop(self) -> None:
        """Close links and port at once, then say goodbye."""
        self._directory.close()
        await self._links.aclose()
        presence, self._presence = self._presence, None
        if presence is not None:
            await presence.listener.aclose()
        responder, self._responder = self._responder, None
        await self.services.use(None, ())
        if responder is not None:
            await responder.aclose(goodbye=True)

    def _say(self, state: State, reasons: tuple[str, ...] = ()) -> None:
        """Tell the host what is going on, if it is new."""
        if self._host is not None and self._state != (state, reasons):
            self._state = (state, reasons)
            self._host.state(state, reasons)

    def _random(self) -> float:
        """A number in [0, 1) for jitter."""
        assert self._host is not None  # noqa: S101 - only asked while running
        return int.from_bytes(self._host.entropy(4)) / 2**32

    def _debug(self, text: str, *values: object) -> None:
        if self._host is not None:
            self._host.logger.debug(text, *values)
