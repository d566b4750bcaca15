"""The UDP transport: where to listen, whom to let in, what belongs to which link. All platform calls are the driver's.

Every interface has one socket with a port of its own: what is published leaves from it, and whoever heard that can
open a link by sending there. A link that we open has a socket of its own, so that no two links share both ends.
Invariant: everything that is opened here is closed when `run` ends, however it ends.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine

import anyio
import attrs
from anyio.abc import ObjectReceiveStream, TaskGroup, TaskStatus

from berty_core.contracts.transport import Datagram, Endpoint, Link, State, TransportHost
from berty_core.errors import LinkLost, LocalProtocolError, TransportError

from .addresses import dialable, endpoint
from .bus import UdpBus
from .config import UdpConfig
from .link import UdpLink
from .seam import MAX_ACCEPTED, MAX_LINKS, Address, Driver, LocalAddress, Socket, traits

LOOK = 2.0  # seconds between two looks at the addresses of this machine
HEARD = 1024  # addresses of whom we remember that they were heard: nobody else is dialled
FORGOTTEN = 256  # links that were closed here: what comes late from their other ends opens no new ones


@attrs.frozen
class Channel:
    """One interface and family: the socket that speaks there, and the group that it speaks to."""

    address: LocalAddress
    socket: Socket
    group: Address
    reading: anyio.CancelScope = attrs.field(factory=anyio.CancelScope, eq=False)


class UdpTransport:
    """One UDP transport; run it once."""

    def __init__(self, config: UdpConfig, driver: Driver) -> None:
        self._config = config
        self._driver = driver
        self._traits = traits(config)
        self._host: TransportHost | None = None
        self._tasks: TaskGroup | None = None
        self._bus: UdpBus | None = None
        self._channels: dict[LocalAddress, Channel] = {}
        self._ears: list[tuple[Socket, anyio.CancelScope]] = []
        self._accepted: dict[tuple[Address, Address], UdpLink] = {}  # by our address and theirs
        self._dialled: set[UdpLink] = set()
        self._dialling = 0
        self._heard: OrderedDict[Address, None] = OrderedDict()
        self._closed: deque[tuple[Address, Address]] = deque(maxlen=FORGOTTEN)
        self._said: tuple[State, tuple[str, ...]] | None = None

    # -- the contract --------------------------------------------------------------------------

    async def run(self, host: TransportHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Own every task of the transport until cancelled; LocalProtocolError when run a second time."""
        if self._host is not None:
            raise LocalProtocolError("this transport was run before: create another one")
        self._host = host
        self._bus = UdpBus(self._traits, host.now, lambda: [(c.socket, c.group) for c in self._channels.values()])
        self._say(State.STARTING)
        try:
            async with anyio.create_task_group() as tasks, host.network_changes() as changes:
                self._tasks = tasks
                await self._look()
                task_status.started()
                await self._keep_looking(changes)
        finally:
            self._tasks = None
            with anyio.CancelScope(shield=True):
                await self._stop()

    async def dial(self, endpoint: Endpoint) -> Link:
        """Open a link to where a datagram of the bus came from; LinkLost at once if that cannot be."""
        to = dialable(endpoint, frozenset(channel.socket.local for channel in self._channels.values()))
        if self._tasks is None or not self._channels:
            raise LinkLost("there is no network")
        if to not in self._heard:
            raise LinkLost(f"{endpoint.address!r} was not heard on this network")
        if self._links() >= MAX_LINKS:
            raise LinkLost(f"there are {MAX_LINKS} links already, which is the most")
        self._dialling += 1
        try:
            channel = await self._driver.connect(to, self._config.hops)
        except TransportError as error:
            raise LinkLost(str(error)) from error
        finally:
            self._dialling -= 1
        link = UdpLink(self._traits, endpoint, channel, to, initiator=True, at_close=self._dialled.discard)
        self._dialled.add(link)
        self._tasks.start_soon(self._read_link, link)
        return link

    async def bus(self) -> UdpBus:
        """The bus over all interfaces; LinkLost before and after the transport runs."""
        if self._bus is None or self._tasks is None:
            raise LinkLost("the transport does not run")
        return self._bus

    # -- interfaces ----------------------------------------------------------------------------

    async def _keep_looking(self, changes: ObjectReceiveStream[object]) -> None:
        while True:
            with anyio.move_on_after(LOOK):
                await changes.receive()
            await self._look()

    async def _look(self) -> None:
        """Listen and speak where there are addresses now."""
        try:
            usable = self._usable()
            if self._is_settled(usable):
                return
            for gone in set(self._channels) - set(usable):
                await self._close_channel(gone)
            for address in usable:
                if address not in self._channels:
                    await self._open_channel(address)
            await self._open_ears()
        except TransportError as error:
            self._say(State.UNAVAILABLE, str(error))
            return
        if self._channels:
            self._say(State.ACTIVE)
        else:
            self._say(State.UNAVAILABLE, self._nothing_usable())

    def _is_settled(self, usable: list[LocalAddress]) -> bool:
        return self._said is not None and self._said[0] is State.ACTIVE and set(usable) == set(self._channels)

    def _usable(self) -> list[LocalAddress]:
        config = self._config
        return [
            address
            for address in self._driver.addresses()
            if address.loopback == config.loopback
            and (config.ipv4 if address.version == 4 else config.ipv6)
            and (not config.interfaces or address.interface in config.interfaces or address.ip in config.interfaces)
        ]

    def _nothing_usable(self) -> str:
        if self._config.interfaces:
            return (
                f"none of the interfaces {', '.join(self._config.interfaces)} has an address (plugins.udp.interfaces)"
            )
        return "no network interface has an address"

    async def _open_channel(self, address: LocalAddress) -> None:
        group = self._config.group4 if address.version == 4 else f"{self._config.group6}%{address.index}"
        opened = await self._driver.speak(address, self._config.hops)
        channel = Channel(address, opened, (group, self._config.port))
        self._channels[address] = channel
        self._start(self._read_channel, channel)

    async def _close_channel(self, address: LocalAddress) -> None:
        channel = self._channels.pop(address)
        channel.reading.cancel()
        for link in [*self._accepted.values(), *self._dialled]:
            if link.channel.local[0] == address.ip:
                link.lose("the network that it went over is gone")
        await channel.socket.aclose()

    async def _open_ears(self) -> None:
        """Hear the groups on all interfaces: one socket for each family, opened anew when the interfaces change."""
        await self._close_ears()
        for version, group in ((4, self._config.group4), (6, self._config.group6)):
            addresses = [address for address in self._channels if address.version == version]
            if addresses:
                ear = await self._driver.hear(group, self._config.port, addresses), anyio.CancelScope()
                self._ears.append(ear)
                self._start(self._read_group, *ear)

    async def _close_ears(self) -> None:
        while self._ears:
            opened, reading = self._ears.pop()
            reading.cancel()
            await opened.aclose()

    # -- what arrives --------------------------------------------------------------------------

    async def _read_group(self, ear: Socket, reading: anyio.CancelScope) -> None:
        with reading:
            while self._bus is not None:
                data, source = await ear.receive()
                if self._fits(data) and source not in {channel.socket.local for channel in self._channels.values()}:
                    self._remember(source)
                    self._bus.heard(Datagram(data, endpoint(source)))

    def _remember(self, source: Address) -> None:
        self._heard[source] = None
        self._heard.move_to_end(source)
        if len(self._heard) > HEARD:
            self._heard.popitem(last=False)

    async def _read_channel(self, channel: Channel) -> None:
        with channel.reading:
            while True:
                try:
                    data, source = await channel.socket.receive()
                except LinkLost:  # somebody to whom we sent is gone; others may come
                    await anyio.sleep(0.01)
                    continue
                if self._fits(data) and (link := self._link_from(channel, source)) is not None:
                    link.put(data)

    def _fits(self, data: bytes) -> bool:
        return 0 < len(data) <= self._config.mtu

    def _link_from(self, channel: Channel, source: Address) -> UdpLink | None:
        """The link on which somebody sends; a new one where there is room, and none where it was closed here."""
        key = channel.socket.local, source
        if key in self._accepted:
            return self._accepted[key]
        if self._host is None or key in self._closed or not self._takes_another():
            return None
        link = UdpLink(
            self._traits,
            endpoint(source),
            channel.socket,
            source,
            initiator=False,
            at_close=lambda _: self._forget(key),
        )
        self._accepted[key] = link
        self._host.accept(link)
        return link

    def _forget(self, key: tuple[Address, Address]) -> None:
        self._accepted.pop(key, None)
        self._closed.append(key)

    def _takes_another(self) -> bool:
        return len(self._accepted) < MAX_ACCEPTED and self._links() < MAX_LINKS

    def _links(self) -> int:
        return len(self._accepted) + len(self._dialled) + self._dialling

    async def _read_link(self, link: UdpLink) -> None:
        try:
            while not link.lost_because:
                data, _ = await link.channel.receive()
                if self._fits(data):
                    link.put(data)
        except LinkLost as error:
            link.lose(str(error))
        finally:
            with anyio.CancelScope(shield=True):
                await link.channel.aclose()

    # -- the rest ------------------------------------------------------------------------------

    def _start(self, run: Callable[..., Coroutine[object, object, None]], *arguments: object) -> None:
        if self._tasks is not None:
            self._tasks.start_soon(run, *arguments)

    async def _stop(self) -> None:
        if self._bus is not None:
            self._bus.end()
        for link in [*self._accepted.values(), *self._dialled]:
            link.lose("the transport stopped")
        for address in list(self._channels):
            await self._close_channel(address)
        await self._close_ears()

    def _say(self, state: State, *reasons: str) -> None:
        if self._host is not None and self._said != (state, reasons):
            self._said = state, reasons
            self._host.state(state, reasons)
