"""Asking on a link who is at its other end, and answering that. Invariant: an answer is given once on a link."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from ..contracts.transport import Beacon, Link
from ..errors import LinkLost
from ..protocol.link_beacon import MAGIC, REQUEST, AnswerReader, LinkBeacon, encode_answer
from .first_byte import BegunLink

ANSWER_TIME = 10.0  # seconds in which an answer has to come, on a link without latency of its own
SLOW = 10  # latencies of the medium that it may take besides


async def ask_for_beacon(link: Link) -> tuple[Beacon, Link]:
    """Ask, and give the answer with the link as it goes on behind it. RemoteProtocolError, LinkLost, EndOfStream."""
    limit = ANSWER_TIME + SLOW * link.traits.latency
    with anyio.move_on_after(limit):
        await link.send(REQUEST)
        reader = AnswerReader()
        while (answer := reader.feed(await link.receive())) is None:
            pass
        beacon, rest = answer
        return Beacon(beacon.nonce, beacon.tags), BegunLink(link, rest)
    raise LinkLost(f"no answer within {limit:g} s")


class AskedLink:
    """A link that somebody else began: a question who is here is answered before anything else is read."""

    def __init__(self, link: Link, beacon: Callable[[], Beacon | None]) -> None:
        self.traits, self.remote, self.initiator = link.traits, link.remote, link.initiator
        self._link = link
        self._beacon = beacon
        self._has_begun = False

    async def send(self, data: bytes) -> None:
        """Hand over bytes; LinkLost."""
        await self._link.send(data)

    async def receive(self) -> bytes:
        """The next bytes that are no question; EndOfStream, LinkLost."""
        data = await self._link.receive()
        if self._has_begun:
            return data
        self._has_begun = True
        beacon = self._beacon()
        if data[0] != MAGIC or beacon is None:
            return data
        await self._link.send(encode_answer(LinkBeacon(beacon.nonce, beacon.tags)))
        return data[1:] or await self._link.receive()

    async def aclose(self) -> None:
        """Close at once."""
        await self._link.aclose()
