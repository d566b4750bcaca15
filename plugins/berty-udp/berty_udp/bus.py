"""The bus: what is published goes out on every interface at once, and may be heard twice where two networks meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from anyio.abc import ObjectReceiveStream

from berty_core.contracts.transport import Datagram, Priority, Traits
from berty_core.errors import DeadlinePassed, LinkLost, LocalProtocolError, MessageTooLarge
from berty_core.fanout import Fanout

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
        if topic is not None:
            raise LocalProtocolError("this bus has no topics")
        if not data:
            raise LocalProtocolError("an empty datagram")
        if len(data) > self.traits.mtu:
            raise MessageTooLarge(f"a datagram here has at most {self.traits.mtu} bytes, not {len(data)}")
        if deadline is not None and self._now() > deadline:
            raise DeadlinePassed("it is too late for this datagram")
        failures = [await _try(channel, data, group) for channel, group in self._channels()]
        if not failures:
            raise LinkLost("there is no network")
        if all(failures):
            raise LinkLost(failures[0])

    def subscribe(self, topic: bytes | None) -> AbstractAsyncContextManager[ObjectReceiveStream[Datagram]]:
        """Hear what others publish from now on."""
        if topic is not None:
            raise LocalProtocolError("this bus has no topics")
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
