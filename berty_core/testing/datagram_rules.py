"""Rules 120 to 129: what a link owes that carries datagrams."""

from __future__ import annotations

from itertools import pairwise

import anyio

from ..contracts.transport import Link
from ..errors import LocalProtocolError, MessageTooLarge
from .conditions import DATAGRAMS, ORDERED, RELIABLE
from .link_rules import LinkRules
from .rules import equal, expect, rule
from .talk import GREETING, allowance, noise, say, say_until

COUNT = 200


class DatagramRules(LinkRules):
    """Checks of datagram links."""

    @rule(120, needs=(90,), when=(DATAGRAMS,))
    async def test_datagram_boundaries(self) -> None:
        """A datagram of any size from 1 byte to the mtu arrives whole, alone and unchanged."""
        async with self.pair() as pair:
            mtu = pair.near.traits.mtu
            for size in sorted({1, 2, 19, 20, mtu // 2, mtu - 2, mtu - 1, mtu}):
                await say(pair.near, pair.far, noise(size), self.patience)
                await say(pair.far, pair.near, noise(size, "back"), self.patience)

    @rule(121, needs=(120,), when=(DATAGRAMS,))
    async def test_datagram_too_large(self) -> None:
        """A datagram above the mtu is MessageTooLarge, nothing of it is sent, and the link goes on."""
        async with self.pair() as pair:
            mtu = pair.near.traits.mtu
            for size in (mtu + 1, 2 * mtu, mtu + 70_000):
                await _refused(pair.near, size)
            heard = await say_until(pair.near, pair.far, noise(min(mtu, 30), "after"), self.patience)
            equal([], [len(data) for data in heard if data != GREETING])

    @rule(122, needs=(120,), when=(DATAGRAMS,))
    async def test_datagram_nothing_invented(self) -> None:
        """What arrives is a datagram that was sent, whatever was lost, repeated or reordered."""
        async with self.pair() as pair:
            sent = self._numbered(pair.near)
            heard = await self._send_all(pair.near, pair.far, sent)
            expect(set(heard) <= set(sent), "a datagram arrived that nobody sent: two joined, or one in part")

    @rule(123, needs=(122,), when=(DATAGRAMS, RELIABLE))
    async def test_datagram_reliable(self) -> None:
        """On a reliable link every datagram arrives once, however many are sent without a pause."""
        async with self.pair() as pair:
            sent = self._numbered(pair.near)
            heard = await self._send_all(pair.near, pair.far, sent)
            missing, repeated = len(set(sent) - set(heard)), len(heard) - len(set(heard))
            expect(not missing and not repeated, f"of {len(sent)} datagrams {missing} are missing, {repeated} repeated")

    @rule(124, needs=(122,), when=(DATAGRAMS, ORDERED))
    async def test_datagram_ordered(self) -> None:
        """On an ordered link datagrams arrive in the order in which they were sent."""
        async with self.pair() as pair:
            sent = self._numbered(pair.near)
            heard = await self._send_all(pair.near, pair.far, sent)
            order = [sent.index(data) for data in heard]
            equal([], _out_of_order(order))

    @rule(125, needs=(120,), when=(DATAGRAMS,))
    async def test_datagram_empty(self) -> None:
        """An empty datagram is a LocalProtocolError, and nothing is sent."""
        async with self.pair() as pair:
            try:
                await pair.near.send(b"")
            except LocalProtocolError:
                pass
            else:
                raise AssertionError("`send` took an empty datagram")
            await say(pair.near, pair.far, b"after", self.patience)

    def _numbered(self, link: Link) -> list[bytes]:
        size = min(link.traits.mtu, 100)
        count = max(20, min(COUNT, int(link.traits.bitrate / 8 * 4 / size)))
        return [n.to_bytes(4, "big") + noise(16 + n % (size - 19), n) for n in range(count)]

    async def _send_all(self, near: Link, far: Link, sent: list[bytes]) -> list[bytes]:
        """Send all, then a last one until it is heard; returns what came before it, greetings aside."""
        size = sum(len(data) for data in sent)
        heard: list[bytes] = []
        async with anyio.create_task_group() as tasks:

            async def listen() -> None:
                while True:
                    heard.append(await far.receive())

            tasks.start_soon(listen)
            for data in sent:
                await near.send(data)
            last = noise(20, "last")
            with anyio.move_on_after(allowance(near.traits, size, self.patience)) as limit:
                await near.send(last)
                while last not in heard or (near.traits.reliable and len(set(heard) & set(sent)) < len(sent)):
                    await anyio.sleep(0.02)
                    if not near.traits.reliable:
                        await near.send(last)
            tasks.cancel_scope.cancel()
        expect(not limit.cancelled_caught or bool(heard), "nothing arrived at all")
        return [data for data in heard if data not in (last, GREETING)]


async def _refused(link: Link, size: int) -> None:
    try:
        await link.send(noise(size))
    except MessageTooLarge:
        return
    raise AssertionError(f"`send` took {size} bytes where the mtu is {link.traits.mtu}")


def _out_of_order(order: list[int]) -> list[int]:
    """The numbers that came after a greater one."""
    return [after for before, after in pairwise(order) if after < before]
