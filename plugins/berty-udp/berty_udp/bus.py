"""The bus: what is published goes out on every interface at once, and may be heard twice where two networks meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from anyio.abc import ObjectReceiveStream

from berty_core.contracts.transport import Datagram, Priority, Traits
from berty_core.errors import LinkLost
from berty_core.media import Fanout, check_published, check_topic

from .seam import Address, Socket


class UdpBus:
    """All interfaces as one medium."""

    def __init__(
        self, traits: Traits, now: Callable[[], float], channels: Callable[[], Sequence[tuple[Socket, Address]]]
    ) -> None:
        self.traits = traits
        self._now = now
        self._channels = channels
        self._heard = Fanout[Datagram]()

    async def publish(self, data: bytes, *, topic: bytes | None, priority: Priority, deadline: float | None) -> None:
        """Send one datagram to the group on each interface; LinkLost if none took it."""
        check_published(data, self.traits, topic, deadline, self._now())
        failures = [await _try(channel, data, group) for channel, group in self._channels()]
        if not failures:
            raise LinkLost("there is no network")
        if all(failures):
            raise LinkLost(failures[0])

    def subscribe(self, topic: bytes | None) -> AbstractAsyncContextManager[ObjectReceiveStream[Datagram]]:
        """Hear what others publish from now on."""
        check_topic(self.traits, topic)
        return self._heard.subscribe()

    def heard(self, datagram: Datagram) -> None:
        """Somebody else published this."""
        self._heard.put(datagram)

    def end(self) -> None:
        """The transport stops."""
        self._heard.end()


async def _try(channel: Socket, data: bytes, group: Address) -> str:
    """Send on one interface; why that failed, or nothing."""
    try:
        await channel.send(data, group)
    except LinkLost as error:
        return str(error)
    return ""
