"""The session profile: an exchange under a peer id of its own time, the port it listens on, and whom it dials."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskStatus

from berty_core.contracts.session import PeerView, ProfileHost
from berty_core.contracts.transport import Link, State
from berty_core.errors import RemoteProtocolError, TransportError, UserError

from .config import QUIC_IS_MISSING, QUIC_IS_OFF, Libp2pConfig, has_quic
from .dialler import LOOK, Dialler
from .discovery import Discovery, lan_services
from .exchange import Exchange
from .host import Peer
from .identity import Identity, identity
from .multiaddr import Multiaddr
from .peers import PeerId

EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104  a node is there to be met
MAX_SHOWN: Final = 16  # addresses of this machine


class Libp2pProfile:
    """One node of libp2p for the time of the node that it belongs to."""

    def __init__(self, config: Libp2pConfig) -> None:
        self._config = config
        self._exchange: Exchange | None = None
        self._dialler: Dialler | None = None
        self._asked_for: list[Multiaddr] = []  # by `connect`: they outlive a peer id

    async def run(self, host: ProfileHost, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, each period under another peer id."""
        kept = [self._dialled(text) for text in self._config.peers]
        while True:
            own = await identity(host, self._config.rotate_hours)
            with anyio.move_on_after(own.left):
                await self._period(host, own, kept, task_status)
            task_status = anyio.TASK_STATUS_IGNORED

    async def _period(
        self, host: ProfileHost, own: Identity, kept: Sequence[Multiaddr], task_status: TaskStatus[None]
    ) -> None:
        exchange = Exchange(own.key, host, host.monotonic, contacts_only=self._config.contacts_only)
        exchange.node.quic = self._config.quic and has_quic()
        try:
            async with anyio.create_task_group() as tasks:
                await tasks.start(exchange.run)
                services = lan_services(host)
                hosts = (self._config.host,) if self._config.host else services.hosts if services else EVERYWHERE
                reasons = await self._listen(exchange, hosts)
                if services is None:
                    reasons = (*reasons, "it finds nobody by itself: that needs berty-mdns")
                dialler = Dialler(exchange.node, exchange.is_met_privately, tasks, host.logger)
                self._exchange, self._dialler = exchange, dialler
                for address in (*kept, *self._asked_for):
                    dialler.want(address)
                tasks.start_soon(_look_after, exchange, host, reasons)
                if services is not None:
                    discovery = Discovery(services, exchange.node, dialler, host)
                    tasks.start_soon(partial(discovery.run, discoverable=self._config.discoverable))
                host.state(State.ACTIVE, reasons)
                task_status.started()
        finally:
            self._exchange = self._dialler = None

    async def _listen(self, exchange: Exchange, hosts: Sequence[str]) -> tuple[str, ...]:
        """Listen on these hosts, of which the second may be missing here; what does not work though it may."""
        first, *more = hosts
        try:
            address = await exchange.node.listen(first, self._config.port)
        except OSError as error:
            port = self._config.port or "(any)"
            raise TransportError(f"cannot listen on {first} port {port}: {error.strerror or error}") from error
        port = address.target.port
        for host in more:
            with suppress(OSError):  # no IPv6 here, or somebody else has this port of it
                await exchange.node.listen(host, port)
        if not self._config.quic:
            return ()
        return await self._listen_quic(exchange, hosts, port)

    async def _listen_quic(self, exchange: Exchange, hosts: Sequence[str], port: int) -> tuple[str, ...]:
        """Listen for QUIC on the same port, or on a fresh one where it is taken and none was asked for."""
        if not exchange.node.quic:
            return (f"phones, which listen on QUIC, cannot be dialled: {QUIC_IS_MISSING}",)
        first, *more = hosts
        try:
            address = await _listen_near(exchange, first, port, exact=bool(self._config.port))
        except TransportError as error:
            exchange.node.quic = False
            return (str(error),)
        except OSError as error:
            return (f"cannot listen on {first} UDP port {port}: {error.strerror or error}",)
        for host in more:
            with suppress(OSError):
                await exchange.node.listen_quic(host, address.target.port)
        return ()

    # -- the contract --------------------------------------------------------------------------

    def accept(self, link: Link) -> None:
        """Speak libp2p on a link that another transport brought."""
        assert self._exchange is not None  # noqa: S101  only a profile that has started is given links
        self._exchange.node.accept(link)

    async def connect(self, address: str) -> str:
        """Dial a multiaddr, and go on dialling it while this runs; the peer's id. UserError, LinkLost."""
        exchange, dialler = self._exchange, self._dialler
        target = self._dialled(address)
        if exchange is None or dialler is None:
            raise UserError("libp2p is starting anew: try again")
        if target.peer == exchange.node.peer_id:
            raise UserError("that is the address of this node itself")
        if target.peer is None or target.peer not in exchange.node.peers:
            target = _named(target, await exchange.node.dial(target))
        if target not in self._asked_for:
            self._asked_for.append(target)
        dialler.want(target)
        return str(target.peer)

    def _dialled(self, text: str) -> Multiaddr:
        """A multiaddr that can be reached; UserError in words."""
        try:
            address = Multiaddr.parse(text)
            if address.target.transport == "quic-v1" and not (self._config.quic and has_quic()):
                raise UserError(f"{text}: {QUIC_IS_OFF if has_quic() else QUIC_IS_MISSING}")
        except RemoteProtocolError as error:
            raise UserError(f"{text}: {error}") from error
        return address

    def peers(self) -> Sequence[PeerView]:
        """Who is connected."""
        if self._exchange is None:
            return ()
        return [_view(self._exchange, name, peer) for name, peer in self._exchange.node.peers.items()]

    def addresses(self) -> Sequence[str]:
        """Where we listen, with our peer id; for "everywhere", the addresses of this machine."""
        if self._exchange is None:
            return ()
        node = self._exchange.node
        found = [str(shown.with_peer(node.peer_id)) for address in node.addresses for shown in _spelled_out(address)]
        return found[:MAX_SHOWN]


async def _look_after(exchange: Exchange, host: ProfileHost, words: tuple[str, ...]) -> None:
    """A private session that opened later makes a link superfluous; peers that cannot take part are told of."""
    told: tuple[str, ...] = ()
    while True:
        await anyio.sleep(LOOK)
        for peer in list(exchange.node.peers):
            if exchange.is_met_privately(peer):
                exchange.node.close_peer(peer)
        if (found := exchange.misfits()) != told:
            told = found
            host.state(State.ACTIVE, (*words, *told))


async def _listen_near(exchange: Exchange, host: str, port: int, *, exact: bool) -> Multiaddr:
    try:
        return await exchange.node.listen_quic(host, port)
    except OSError:
        if exact:
            raise
        return await exchange.node.listen_quic(host)


def _named(address: Multiaddr, peer: PeerId) -> Multiaddr:
    return address if address.peer else address.with_peer(peer)


def _view(exchange: Exchange, name: PeerId, peer: Peer) -> PeerView:
    link = peer.links[0]
    addresses = dict.fromkeys(map(str, filter(None, (link.observed, *peer.description.addresses))))
    return PeerView(
        id=str(name),
        addresses=tuple(addresses),
        agent=peer.description.agent,
        dialled_by_us=link.initiator,
        since=link.opened_at,
        logs=tuple(exchange.shared_with(name)),
    )


def _spelled_out(address: Multiaddr) -> Iterator[Multiaddr]:
    """The addresses behind "any interface", without those that only this machine or this segment can use."""
    host = address.target.host
    if host not in EVERYWHERE:
        yield address
        return
    import ifaddr  # noqa: PLC0415  slow: it looks for a C library, by a process of its own

    for adapter in ifaddr.get_adapters():
        for entry in adapter.ips:
            text = entry.ip if isinstance(entry.ip, str) else entry.ip[0]
            ip = ipaddress.ip_address(text.partition("%")[0])
            if ip.version == ipaddress.ip_address(host).version and not (ip.is_loopback or ip.is_link_local):
                yield Multiaddr(((f"ip{ip.version}", str(ip)), *address.parts[1:]))
