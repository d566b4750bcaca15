"""Asking on a link who is at its other end, and answering that. Invariant: an answer is given once on a link."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from ...contracts.transport import Beacon, Link
from ...errors import LinkLost
from ...protocol.link_beacon import MAGIC, REQUEST, AnswerReader, LinkBeacon, encode_answer
from ..sessions.first_byte import BegunLink

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


async def leave_to_peer(link: Link, beacon: Beacon) -> None:
    """Show our own beacon, after an answer in which we know nothing: the other end begins, or closes. LinkLost."""
    await link.send(encode_answer(LinkBeacon(beacon.nonce, beacon.tags)))


class AskedLink:
    """A link that somebody else began: a question who is here is answered before anything else is read.

    If the asker knows nobody of it and shows its own beacon, `turn` gets the link: it is on us to begin.
    """

    def __init__(self, link: Link, beacon: Callable[[], Beacon | None], turn: Callable[[Link, Beacon], None]) -> None:
        self.traits, self.remote, self.initiator = link.traits, link.remote, link.initiator
        self._link = link
        self._beacon = beacon
        self._turn = turn
        self._has_begun = self._is_given_away = False

    async def send(self, data: bytes) -> None:
        """Hand over bytes; LinkLost."""
        await self._link.send(data)

    async def receive(self) -> bytes:
        """The next bytes that are no question; EndOfStream, LinkLost, RemoteProtocolError."""
        data = await self._link.receive()
        if self._has_begun:
            return data
        self._has_begun = True
        beacon = self._beacon()
        if data[0] != MAGIC or beacon is None:
            return data
        await self._link.send(encode_answer(LinkBeacon(beacon.nonce, beacon.tags)))
        data = data[1:] or await self._link.receive()
        if data[0] == MAGIC:
            await self._give_away(data)
        return data

    async def _give_away(self, data: bytes) -> None:
        reader = AnswerReader()
        while (shown := reader.feed(data)) is None:
            data = await self._link.receive()
        beacon, rest = shown
        self._is_given_away = True
        self._turn(BegunLink(self._link, rest), Beacon(beacon.nonce, beacon.tags))
        raise LinkLost("the peer leaves it to us to begin")

    async def aclose(self) -> None:
        """Close at once, unless it goes on the other way round."""
        if not self._is_given_away:
            await self._link.aclose()
