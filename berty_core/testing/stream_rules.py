"""Rules 110 to 119: what a link owes that is a stream of bytes."""

from __future__ import annotations

import anyio

from ..contracts.transport import Link
from .conditions import STREAM
from .link_rules import LinkRules
from .rules import expect, rule
from .talk import Pair, difference, noise, pieces, take, take_all, volume

LARGE = 256 * 1024
PAUSE = 0.3
SIZES = (1, 2, 3, 17, 255, 256, 257, 1023, 1024, 1500, 4096, 16384, 65535, 65536, 65537)


class StreamRules(LinkRules):
    """Checks of stream links."""

    @rule(110, needs=(93,), when=(STREAM,))
    async def test_stream_whole_in_order_once(self) -> None:
        """A stream carries every byte once and in order, in pieces of any size; nothing more comes before its end."""
        async with self.pair() as pair:
            data = noise(volume(self.traits, sum(SIZES) + 100_000))
            await self._in_pieces(pair, data, SIZES)

    @rule(111, needs=(110,), when=(STREAM,))
    async def test_stream_many_small_pieces(self) -> None:
        """The same holds for a thousand pieces of a few bytes, sent without a pause."""
        async with self.pair() as pair:
            await self._in_pieces(pair, noise(volume(self.traits, 7000)), (1, 2, 5, 20))

    @rule(112, needs=(110,), when=(STREAM,))
    async def test_stream_slow_reader(self) -> None:
        """Nothing is lost where the reader is slower than the sender."""
        async with self.pair() as pair:
            data = noise(volume(self.traits, 1_000_000))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_send_and_close, pair, data, (50_000,))
                await anyio.sleep(PAUSE * max(1.0, self.patience))  # it is the pause that may lose something
                heard = await take_all(pair.far, self.patience)
            expect(heard == data, difference(data, heard))

    @rule(113, needs=(110,), when=(STREAM,))
    async def test_stream_both_at_once(self) -> None:
        """Both ends may send at the same time, more than fits on the way, as long as both receive."""
        size = volume(self.traits, 16_000_000, 2.0)
        there, back = noise(size, "there"), noise(size, "back")
        async with self.pair() as pair, anyio.create_task_group() as tasks:
            tasks.start_soon(_send_each, pair.near, there)
            tasks.start_soon(_send_each, pair.far, back)
            tasks.start_soon(self._expect, pair.far, there)
            tasks.start_soon(self._expect, pair.near, back)

    async def _expect(self, link: Link, data: bytes) -> None:
        heard = await take(link, len(data), self.patience)
        expect(heard == data, difference(data, heard))

    async def _in_pieces(self, pair: Pair, data: bytes, sizes: tuple[int, ...]) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_send_and_close, pair, data, sizes)
            heard = await take_all(pair.far, self.patience)
        expect(heard == data, difference(data, heard))


async def _send_and_close(pair: Pair, data: bytes, sizes: tuple[int, ...]) -> None:
    for piece in pieces(data, sizes):
        await pair.near.send(piece)
    await pair.near.aclose()


async def _send_each(link: Link, data: bytes) -> None:
    for piece in pieces(data, [LARGE]):
        await link.send(piece)
