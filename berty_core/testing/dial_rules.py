"""Rules 70 to 89: how links come up, how many may be open, and what is no endpoint."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from ..contracts.transport import Endpoint, Link
from ..errors import EndOfStream, LinkLost
from . import residue
from .conditions import AUTOCONNECTS, DIALS, LINKS, MAX_LINKS
from .meeting import TransportChecks
from .rules import equal, expect, rule
from .stage import STOP, CancelledAt, Running
from .talk import Pair, say

SEVERAL = 8
AWAITS = 12
NONSENSE = ("", " ", "nobody", "0", "-1", "127.0.0.1:1", "[::]:0", "../..", "a" * 5000, "\x00", "ä€😀")
SILENCE = 0.3  # seconds that an unreliable link may be watched for bytes that cannot come


class DialRules(TransportChecks):
    """Checks of `dial` and `accept`."""

    @rule(70, needs=(22, 40, 50), when=(LINKS,))
    async def test_dial_opens(self) -> None:
        """A link comes up: dialled at one device, it comes out of the other's `accept`, at the latest with its first
        bytes.
        """
        async with self.pair():
            pass

    @rule(71, needs=(70,), when=(LINKS,))
    async def test_dial_one_initiator(self) -> None:
        """Of the two ends exactly one is the initiator: the one that dialled, where somebody did."""
        async with self.running() as (one, other):
            pair = await self.connect(one, other)
            equal([True, False], [pair.near.initiator, pair.far.initiator])

    @rule(72, needs=(70,), when=(DIALS,))
    async def test_dial_nobody_there(self) -> None:
        """`dial` of an endpoint that has gone is LinkLost within `dial_timeout`, or gives a link that brings nothing,
        and that is lost in that time if the medium is reliable.
        """
        async with self.stage() as stage:
            one, other = await stage.start_all()
            endpoint = await self.meet(one, other)
            await stage.stop(other)
            await self._leads_nowhere(one, endpoint)

    @rule(73, needs=(72,), when=(DIALS,))
    async def test_dial_nonsense(self) -> None:
        """`dial` of what this transport never reported, or of another transport's endpoint, is LinkLost and connects
        nobody.
        """
        async with self.running() as (one, other):
            endpoint = await self.meet(one, other)
            for address in NONSENSE:
                await self._no_link(one, Endpoint(self.spec.name, address))
            await self._no_link(one, Endpoint("other-" + self.spec.name, endpoint.address))
            equal([], other.host.links)

    @rule(74, needs=(70,), when=(DIALS,))
    async def test_dial_nothing_open(self) -> None:
        """A link that was closed at both ends leaves nothing open, however often that is done."""
        async with self.running() as (one, other):
            endpoint = await self.meet(one, other)
            await self._open_and_close(one, other, endpoint)
            before = residue.descriptors()
            for _ in range(3):
                await self._open_and_close(one, other, endpoint)
            equal([], await residue.gone(residue.descriptors, before, self.patience))

    @rule(75, needs=(70,), when=(DIALS,))
    async def test_dial_each_other(self) -> None:
        """Two that dial each other at once get links or LinkLost, and nobody hangs; which link stays is the core's
        choice.
        """
        async with self.running() as (one, other):
            there, back = await self.meet(one, other), await self.meet(other, one)
            outcomes: list[Link] = []

            async def dial(running: Running, endpoint: Endpoint) -> None:
                try:
                    outcomes.append(
                        await self.soon(running.links.dial(endpoint), "`dial` hung", self.traits.dial_timeout)
                    )
                except LinkLost:
                    return

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(dial, one, there)
                tasks.start_soon(dial, other, back)
            expect(bool(outcomes), "neither got a link")

    @rule(76, needs=(70,), when=(DIALS,))
    async def test_dial_several(self) -> None:
        """As many links as `max_links` allows (else eight) are open at once, and what is said on one stays on it."""
        async with self.running() as (one, other):
            pairs = await self._open_many(one, other, min(self.traits.max_links or SEVERAL, SEVERAL))
            for number, pair in enumerate(pairs):
                await say(pair.near, pair.far, b"link %02d" % number, self.patience)

    @rule(77, needs=(76,), when=(DIALS, MAX_LINKS))
    async def test_dial_one_too_many(self) -> None:
        """One link more than `max_links` is LinkLost, and the others go on."""
        async with self.running() as (one, other):
            most = self.traits.max_links or 0
            pairs = await self._open_many(one, other, most)
            await self._no_link(one, await self.meet(one, other))
            for pair in pairs:
                await say(pair.near, pair.far, b"still here", self.patience)

    @rule(78, needs=(70,), when=(AUTOCONNECTS,))
    async def test_dial_by_itself(self) -> None:
        """Where links come up by themselves, each end comes out of its device's `accept`, once."""
        async with self.running() as (one, other):
            await self.connect(one, other)
            equal([1, 1], [len(one.host.links), len(other.host.links)])

    @rule(79, needs=(71,), when=(LINKS,))
    async def test_dial_links_lost_at_stop(self) -> None:
        """When a transport stops, in 5 s also with links open, they are lost at its end, and over at the other."""
        async with self.stage() as stage:
            one, other = await stage.start_all()
            pair = await self.connect(one, other)
            stopped = one if pair.near.initiator and self.traits.dials else other
            here, there = (pair.near, pair.far) if stopped is one else (pair.far, pair.near)
            await stage.stop(stopped)
            await stage.within(STOP, "`receive` on a link of a stopped transport waits", lambda: self._is_lost(here))
            if self.traits.reliable:
                await stage.within(STOP, "the other end does not notice", lambda: _is_over(there))

    @rule(80, needs=(74,), when=(DIALS,))
    async def test_dial_cancelled_dial(self) -> None:
        """`dial` may be cancelled at any await and leaves nothing open: what the other side got is lost."""
        async with self.running() as (one, other):
            endpoint = await self.meet(one, other)
            await self._open_and_close(one, other, endpoint)
            before = residue.descriptors()
            for position in range(1, AWAITS):
                taken = len(other.host.links)
                operation = CancelledAt(one.links.dial(endpoint), position)
                link = await self.soon(operation.run(), "a cancelled `dial` did not return", self.traits.dial_timeout)
                await self._let_go(link, other.host.links[taken:])
                if not operation.cancelled:
                    break
            equal([], await residue.gone(residue.descriptors, before, self.patience))

    @rule(81, needs=(72,), when=(DIALS,))
    async def test_dial_stopped(self) -> None:
        """When the transport has stopped, `dial` is LinkLost."""
        async with self.stage() as stage:
            one, other = await stage.start_all()
            endpoint = await self.meet(one, other)
            await stage.stop(one)
            await self._no_link(one, endpoint)

    # What the checks do

    async def _no_link(self, running: Running, endpoint: Endpoint) -> None:
        try:
            link = await self.soon(running.links.dial(endpoint), "`dial` did not end", self.traits.dial_timeout)
        except LinkLost:
            return
        await link.aclose()
        raise AssertionError(f"`dial` gave a link to {endpoint.transport} {endpoint.address[:40]!r}, where nobody is")

    async def _leads_nowhere(self, running: Running, endpoint: Endpoint) -> None:
        try:
            link = await self.soon(running.links.dial(endpoint), "`dial` did not end", self.traits.dial_timeout)
        except LinkLost:
            return
        try:
            with anyio.move_on_after(self.patience * (self.traits.dial_timeout if self.traits.reliable else SILENCE)):
                heard = await link.receive()
                raise AssertionError(f"a link on which nobody is brought {len(heard)} bytes")
        except (LinkLost, EndOfStream):
            return
        finally:
            await link.aclose()
        expect(not self.traits.reliable, "`dial` gave a link on which nobody is, and it is not lost")

    async def _open_many(self, one: Running, other: Running, count: int) -> list[Pair]:
        endpoint = await self.meet(one, other)
        return [await self.dial(one, other, endpoint) for _ in range(count)]

    async def _open_and_close(self, one: Running, other: Running, endpoint: Endpoint) -> None:
        pair = await self.dial(one, other, endpoint)
        await pair.near.aclose()
        await pair.far.aclose()

    async def _let_go(self, link: Link | None, accepted: Sequence[Link]) -> None:
        if link is not None:
            await link.aclose()
        for other in accepted:
            if self.traits.reliable and link is None:
                await self.soon(_is_over(other), "the link of a cancelled `dial` stays open at the other side")
            await other.aclose()

    async def _is_lost(self, link: Link) -> None:
        try:
            while True:
                await link.receive()
        except LinkLost:
            return
        except EndOfStream as error:
            raise AssertionError("it was ended in good order, though this end never closed it") from error


async def _is_over(link: Link) -> None:
    try:
        while True:
            await link.receive()
    except (LinkLost, EndOfStream):
        return
