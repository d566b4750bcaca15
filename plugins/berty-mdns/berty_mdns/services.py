"""Service types of other plugins, on the multicast DNS that the LAN transport has open.

Take it from the transport's `services`. What is announced and browsed here outlives changes of the interfaces.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import anyio
import attrs
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from berty_core.errors import LocalProtocolError

from .seam import Announcement, Heard, Responder

MAX_HEARD = 256  # names that wait to be looked at; a flood loses names, never memory
TextFor = Callable[[Sequence[str]], bytes]


@attrs.frozen
class ServiceHeard:
    """An instance of a service is there, or changed, or said goodbye. All of it is a stranger's claim."""

    instance: str
    is_there: bool


@attrs.frozen
class _Offer:
    instance: str
    host: str
    port: int
    text: TextFor


class LanServices:
    """What this device announces and looks for beside its own adverts."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self.hosts = tuple(hosts)  # where the transport listens
        self._responder: Responder | None = None
        self._addresses: tuple[str, ...] = ()
        self._offers: dict[str, _Offer] = {}
        self._listeners: dict[str, MemoryObjectSendStream[ServiceHeard]] = {}
        self._lock = anyio.Lock()

    async def announce(self, service: str, instance: str, host: str, port: int, text: TextFor) -> None:
        """Announce an instance of a service such as `_p2p._udp`, in place of the one before.

        `text` makes the raw TXT data out of the IP addresses that are shown; it is asked again when they change.
        TransportError.
        """
        async with self._lock:
            await self._withdraw(service)
            self._offers[service] = _Offer(instance, host, port, text)
            await self._show(service)

    async def withdraw(self, service: str) -> None:
        """Say goodbye."""
        async with self._lock:
            await self._withdraw(service)

    @contextlib.contextmanager
    def browse(self, service: str) -> Iterator[MemoryObjectReceiveStream[ServiceHeard]]:
        """Lend a stream of the instances of a service: what is known, then each change. One at a time for a service."""
        if service in self._listeners:
            raise LocalProtocolError(f"{service} is looked for already")
        send, receive = anyio.create_memory_object_stream[ServiceHeard](MAX_HEARD)
        self._listeners[service] = send
        if self._responder is not None:
            self._responder.browse(service, self._heard(service))
        with send, receive:
            try:
                yield receive
            finally:
                del self._listeners[service]

    async def text(self, service: str, instance: str) -> bytes | None:
        """The raw TXT data of an instance; None if it does not answer within some seconds."""
        found = await self._responder.resolve(instance, service) if self._responder is not None else None
        return found.text if found is not None else None

    async def use(self, responder: Responder | None, shown: Sequence[str]) -> None:
        """Go on with another responder, or wait for one; for the transport alone. TransportError."""
        async with self._lock:
            self._responder, self._addresses = responder, tuple(shown)
            if responder is None:
                return
            for service in self._listeners:
                responder.browse(service, self._heard(service))
            for service in self._offers:
                await self._show(service)

    async def _show(self, service: str) -> None:
        if self._responder is None:
            return
        offer = self._offers[service]
        text = offer.text(self._addresses)
        shown = Announcement(offer.instance, offer.host, offer.port, text, self._addresses)
        await self._responder.announce(shown, service)

    async def _withdraw(self, service: str) -> None:
        offer = self._offers.pop(service, None)
        if offer is not None and self._responder is not None:
            await self._responder.withdraw(offer.instance)

    def _heard(self, service: str) -> Heard:
        def heard(instance: str, is_there: bool) -> None:
            listener = self._listeners.get(service)
            if listener is not None:
                with contextlib.suppress(anyio.WouldBlock):
                    listener.send_nowait(ServiceHeard(instance, is_there))

        return heard
