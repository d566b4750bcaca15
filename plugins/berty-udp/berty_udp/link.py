"""A link of datagrams to one address. Invariant: nothing longer than the mtu leaves or is handed up."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import anyio
import anyio.lowlevel

from berty_core.contracts.transport import Endpoint, Traits
from berty_core.errors import LinkLost
from berty_core.media import check_datagram

from .seam import Address, Socket

ROOM = 512  # datagrams that wait to be taken; what comes above that is lost, as on any such medium


class UdpLink:
    """One end. The transport reads the socket and puts here what came from `to`."""

    def __init__(
        self,
        traits: Traits,
        remote: Endpoint,
        channel: Socket,
        to: Address,
        *,
        initiator: bool,
        at_close: Callable[[UdpLink], None],
    ) -> None:
        self.traits = traits
        self.remote = remote
        self.initiator = initiator
        self.to = to
        self.channel = channel
        self.lost_because = ""
        self._arrived: deque[bytes] = deque(maxlen=ROOM)
        self._news = anyio.Event()
        self._at_close = at_close

    async def send(self, data: bytes) -> None:
        """Send one datagram, which may get lost. LinkLost; MessageTooLarge before anything is sent."""
        check_datagram(data, self.traits)
        if self.lost_because:
            raise LinkLost(self.lost_because)
        await self.channel.send(data, None if self.initiator else self.to)

    async def receive(self) -> bytes:
        """The next datagram. LinkLost."""
        await anyio.lowlevel.checkpoint()
        while not self._arrived:
            if self.lost_because:
                raise LinkLost(self.lost_because)
            await self._news.wait()
        return self._arrived.popleft()

    async def aclose(self) -> None:
        """Close at once; the other end is not told, since nothing on this medium could."""
        self.lose("the link was closed here")
        self._arrived.clear()
        if self.initiator:
            await self.channel.aclose()
        await anyio.lowlevel.checkpoint()

    def put(self, data: bytes) -> None:
        """A datagram came."""
        self._arrived.append(data)
        self._tell()

    def lose(self, reason: str) -> None:
        """The path is gone: what came can still be taken."""
        if not self.lost_because:
            self.lost_because = reason
            self._tell()
            self._at_close(self)

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()
