"""Links between two devices over a bus that has none: datagrams from address to address, ignored by all others.

Such a link carries a contact request and then ends: groups speak by groupcast. Invariant: links, what waits on them and
how long they live are bounded, and a link that was closed is not opened again by a late datagram.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import attrs

from ...contracts.traits import Traits
from ...contracts.transport import Endpoint, Link
from ...errors import LinkLost, LocalProtocolError, MessageTooLarge
from ...protocol.bus_beacons import ADDRESS_LENGTH, LINK_HEAD, LinkDatagram, encode_clear

MAX_LINKS = 8
MAX_CLOSED = 64
WAITING = 64  # datagrams that one link keeps
LIFE, SHORTEST_LIFE = 600.0, 30.0  # units, and seconds, after which a link ends

Ends = tuple[bytes, bytes]  # ours, theirs


def link_traits(bus: Traits) -> Traits:
    """What a link over such a bus promises."""
    return attrs.evolve(bus, mtu=bus.mtu - LINK_HEAD, reliable=False, dials=True, listens=True, max_links=MAX_LINKS)


class BusLink:
    """One end of a link over a bus."""

    def __init__(self, links: BusLinks, ends: Ends, *, initiator: bool) -> None:
        self.traits = links.traits
        self.remote = Endpoint(links.transport, ends[1].hex())
        self.initiator = initiator
        self._links = links
        self._ends = ends
        self._send, self._receive = anyio.create_memory_object_stream[bytes](WAITING)
        self._lost = ""

    async def send(self, data: bytes) -> None:
        """Put one datagram on the air."""
        await anyio.lowlevel.checkpoint()
        if not data:
            raise LocalProtocolError("an empty datagram")
        if len(data) > self.traits.mtu:
            raise MessageTooLarge(f"{len(data)} bytes, at most {self.traits.mtu} fit")
        if self._lost:
            raise LinkLost(self._lost)
        await self._links.say(encode_clear(LinkDatagram(self._ends[1], self._ends[0], data)))

    async def receive(self) -> bytes:
        """The next datagram."""
        try:
            return await self._receive.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            raise LinkLost(self._lost or "the link was closed here") from None

    async def aclose(self) -> None:
        """Close at once."""
        self.lose("the link was closed here")
        await anyio.lowlevel.checkpoint()

    def hear(self, data: bytes) -> None:
        """A datagram came; where too many wait it is lost, as on the air."""
        try:
            self._send.send_nowait(data)
        except (anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError):
            return

    def lose(self, reason: str) -> None:
        """The link is over."""
        self._lost = self._lost or reason
        self._links.forget(self._ends)
        self._send.close()
        self._receive.close()


class BusLinks:
    """All links of one device over one bus. `say` puts a datagram on the air; `accept` takes links of others."""

    def __init__(
        self,
        transport: str,
        traits: Traits,
        *,
        say: Callable[[bytes], Awaitable[None]],
        accept: Callable[[Link], None],
        entropy: Callable[[int], bytes],
        monotonic: Callable[[], float],
        life: float,
    ) -> None:
        self.transport = transport
        self.traits = traits
        self.say = say
        self.addresses: tuple[bytes, ...] = ()  # that others may open links to
        self._accept = accept
        self._entropy = entropy
        self._monotonic = monotonic
        self._life = life
        self._links: dict[Ends, tuple[BusLink, float]] = {}
        self._closed: OrderedDict[Ends, None] = OrderedDict()

    def dial(self, endpoint: Endpoint) -> BusLink:
        """A link to an address, under one of our own that is used for it alone; proven by the first bytes."""
        self.end_old()
        try:
            target = bytes.fromhex(endpoint.address)
        except ValueError:
            target = b""
        if len(target) != ADDRESS_LENGTH:
            raise LinkLost(f"{endpoint.address!r} is no address of this bus")
        if len(self._links) >= MAX_LINKS and not self._lose_a_strangers():
            raise LinkLost("there are as many links over this bus as there may be")
        return self._open((self._entropy(ADDRESS_LENGTH), target), initiator=True)

    def _lose_a_strangers(self) -> bool:
        """End the oldest link that somebody else opened: anybody can open as many as there may be."""
        oldest = next((link for link, _ in self._links.values() if not link.initiator), None)
        if oldest is not None:
            oldest.lose("its place was needed for a link of our own")
        return oldest is not None

    def _open(self, ends: Ends, *, initiator: bool) -> BusLink:
        link = BusLink(self, ends, initiator=initiator)
        self._links[ends] = (link, self._monotonic() + self._life)
        return link

    def hear(self, datagram: LinkDatagram) -> None:
        """A datagram between two addresses, which may be ours."""
        self.end_old()
        ends = (datagram.target, datagram.source)
        if ends in self._links:
            self._links[ends][0].hear(datagram.data)
        elif datagram.target in self.addresses and ends not in self._closed and len(self._links) < MAX_LINKS:
            link = self._open(ends, initiator=False)
            link.hear(datagram.data)
            self._accept(link)

    def forget(self, ends: Ends) -> None:
        """A link is over."""
        if self._links.pop(ends, None) is not None:
            self._closed[ends] = None
            if len(self._closed) > MAX_CLOSED:
                self._closed.popitem(last=False)

    def end_old(self) -> None:
        """End links that have lived long enough."""
        for link, end in list(self._links.values()):
            if end <= self._monotonic():
                link.lose("a link over a bus ends after a while")

    def end_all(self, reason: str) -> None:
        """The bus is gone."""
        for link, _ in list(self._links.values()):
            link.lose(reason)
