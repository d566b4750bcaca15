"""Finds Berty apps on the local network and is found by them, by the multicast DNS that berty-mdns has open."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from berty_core.contracts.session import ProfileHost
from berty_core.errors import LocalProtocolError, RemoteProtocolError, TransportError

from .announcement import PORT, SERVICE, decode_text, encode_text
from .dialler import SECOND_DIALLER, Dialler
from .host import Host
from .multiaddr import Multiaddr

if TYPE_CHECKING:
    from berty_mdns.services import LanServices, ServiceHeard

MAX_FOUND: Final = 32  # instances whose addresses are dialled
LOOKERS: Final = 4
STAGGER: Final = 0.25  # seconds between the addresses of one peer
FAREWELL: Final = 2.0
NAME_BYTES: Final = 20  # 32 characters


def lan_services(host: ProfileHost) -> LanServices | None:
    """What berty-mdns lends, where it is there."""
    return getattr(host.transport("mdns"), "services", None)


class Discovery:
    """Announces one node, and has those that are found dialled."""

    def __init__(self, services: LanServices, node: Host, dialler: Dialler, host: ProfileHost) -> None:
        self._services = services
        self._node = node
        self._dialler = dialler
        self._host = host
        self._own = base64.b32encode(host.entropy(NAME_BYTES)).decode().lower()
        self._found: dict[str, tuple[Multiaddr, ...]] = {}
        self._loopback = services.hosts == ("127.0.0.1",)

    async def run(self, *, discoverable: bool) -> None:
        """Run until cancelled; then say goodbye."""
        try:
            if discoverable:
                await self._announce()
            with self._services.browse(SERVICE) as heard:
                async with anyio.create_task_group() as tasks:
                    for _ in range(LOOKERS):
                        tasks.start_soon(self._look, heard)
        finally:
            with anyio.move_on_after(FAREWELL, shield=True):
                await self._services.withdraw(SERVICE)

    async def _announce(self) -> None:
        server = base64.b32encode(self._host.entropy(NAME_BYTES)).decode().lower()
        try:
            await self._services.announce(SERVICE, self._own, server, PORT, self._text)
        except TransportError as error:  # it comes again with the interfaces
            self._host.logger.info("%s", error)

    def _text(self, ips: Sequence[str]) -> bytes:
        """The addresses that are listened on, as this network has them."""
        shown: dict[Multiaddr, None] = {}
        for address in self._node.addresses:
            (kind, listened), *rest = address.parts
            for ip in ips if listened in ("0.0.0.0", "::") else (listened,):  # noqa: S104  nobody is bound here
                try:
                    there = Multiaddr.tcp(ip, 1).parts[0]
                except LocalProtocolError:
                    continue
                if there[0] == kind:
                    shown[Multiaddr((there, *rest)).with_peer(self._node.peer_id)] = None
        return encode_text(shown)

    async def _look(self, heard: MemoryObjectReceiveStream[ServiceHeard]) -> None:
        async for one in heard:
            if one.instance == self._own:
                continue
            text = await self._services.text(SERVICE, one.instance) if one.is_there else None
            self._take(one.instance, text or b"")

    def _take(self, instance: str, text: bytes) -> None:
        """An instance shows these addresses from now on."""
        try:
            addresses = decode_text(text, loopback=self._loopback)
        except RemoteProtocolError as error:
            self._host.logger.debug("an announcement that is none: %s", error)
            addresses = ()
        for address in self._found.pop(instance, ()):
            if address not in addresses:
                self._dialler.forget(address)
        shown, addresses = addresses, tuple(filter(self._node.can_dial, addresses))
        if shown and not addresses:
            self._host.logger.info("%s is not dialled: it listens on QUIC alone", shown[0].peer)
        if not addresses or len(self._found) >= MAX_FOUND:
            return
        self._found[instance] = addresses
        for position, address in enumerate(addresses):
            second = address.peer is not None and self._node.peer_id > address.peer
            self._dialler.want(address, wait=position * STAGGER + (SECOND_DIALLER if second else 0.0))
