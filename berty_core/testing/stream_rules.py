"""Rules 100 to 109: what a link owes that is a stream of bytes."""

from __future__ import annotations

import anyio

from .conditions import STREAM
from .link_rules import LinkRules
from .rules import expect, rule
from .talk import Pair, difference, noise, pieces, take_all, volume

SIZES = (1, 2, 3, 17, 255, 256, 257, 1023, 1024, 1500, 4096, 16384, 65535, 65536, 65537)


class StreamRules(LinkRules):
    """Checks of stream links."""

    @rule(100, needs=(83,), when=(STREAM,))
    async def test_stream_whole_in_order_once(self) -> None:
        """A stream carries every byte once and in order, in pieces of any size; nothing more comes before its end."""
        async with self.pair() as pair:
            data = noise(volume(self.traits, sum(SIZES) + 100_000))
            await self._in_pieces(pair, data, SIZES)

    @rule(101, needs=(100,), when=(STREAM,))
    async def test_stream_many_small_pieces(self) -> None:
        """The same holds for a thousand pieces of a few bytes, sent without a pause."""
        async with self.pair() as pair:
            await self._in_pieces(pair, noise(volume(self.traits, 7000)), (1, 2, 5, 20))

    @rule(102, needs=(100,), when=(STREAM,))
    async def test_stream_slow_reader(self) -> None:
        """Nothing is lost where the reader is slower than the sender."""
        async with self.pair() as pair:
            data = noise(volume(self.traits, 1_000_000))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_send_and_close, pair, data, (50_000,))
                await anyio.sleep(0.05 * self.patience)  # it is the pause itself that may lose something
                heard = await take_all(pair.far, self.patience)
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
