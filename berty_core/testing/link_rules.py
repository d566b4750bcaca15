"""Rules 90 to 109: what a link owes whoever holds one of its ends, stream or datagrams."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio

from ..contracts.transport import MIN_MTU, Link, Traits
from ..errors import EndOfStream, LinkLost
from .conditions import LINKS, RELIABLE, STREAM
from .conformance import Verdict
from .rules import Suite, equal, expect, rule
from .stage import CancelledAt, settle
from .talk import (
    WAIT,
    Pair,
    allowance,
    difference,
    hear,
    lost,
    noise,
    pieces,
    say,
    take_all,
    volume,
)

LOOKS_LIKE_FRAMING = (
    bytes(range(256)),
    b"\xc0\xdb\xdc\xdd\xc0" * 4,
    b"\x7e\x7d\x5e\x5d\x7e" * 4,
    b"EOD",
    b"\r\n.\r\n",
    b"\x94\xc3\x00\x05",
    b"\x00\x00\x00\x04\xff\xff\xff\xff",
    b"\x00" * 20,
    b"\xff" * 20,
)
MOST_WAITING = 32 * 1024 * 1024  # bytes that `send` may take while nobody reads at the other end
AWAITS = 12  # at so many awaits an operation is cancelled in turn


class LinkRules(Suite):
    """Checks of links; `pair` gives the two ends of one."""

    verdict: Verdict

    @property
    def traits(self) -> Traits:
        """What a link promises."""
        raise NotImplementedError

    def pair(self) -> AbstractAsyncContextManager[Pair]:
        """Open a link."""
        raise NotImplementedError

    @rule(90, needs=(70,), when=(LINKS,))
    async def test_link_both_ways(self) -> None:
        """What is sent at one end of a link arrives at the other, in both directions."""
        async with self.pair() as pair:
            await say(pair.near, pair.far, b"there", self.patience)
            await say(pair.far, pair.near, b"and back", self.patience)

    @rule(91, needs=(90,), when=(LINKS,))
    async def test_link_any_bytes(self) -> None:
        """Every value of a byte passes unchanged, also where it looks like framing, an escape or an end."""
        async with self.pair() as pair:
            for data in LOOKS_LIKE_FRAMING:
                sizes = [len(data) if pair.near.traits.stream else MIN_MTU]
                for piece in pieces(data, sizes):
                    await say(pair.near, pair.far, piece, self.patience)
                    await say(pair.far, pair.near, piece, self.patience)

    @rule(92, needs=(90,), when=(LINKS,))
    async def test_link_never_empty(self) -> None:
        """`receive` waits until there is something: it never gives an empty string."""
        async with self.pair() as pair:
            data = noise(16)
            with anyio.move_on_after(0.05 * self.patience):
                early = await pair.far.receive()
                expect(early != b"", "`receive` gave nothing before anything was sent")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(say_repeatedly, pair.near, data)
                with anyio.move_on_after(WAIT * self.patience):
                    heard = b""
                    while data not in heard:
                        piece = await pair.far.receive()
                        expect(piece != b"", "`receive` gave an empty string")
                        heard = heard[-64:] + piece
                tasks.cancel_scope.cancel()

    @rule(93, needs=(90,), when=(LINKS,))
    async def test_link_close_is_seen(self) -> None:
        """After `aclose` the other end receives what was sent before, if the link is reliable, and then EndOfStream,
        where the medium tells; LinkLost where it only notices.
        """
        async with self.pair() as pair:
            if pair.near.traits.stream:
                data = noise(volume(self.traits, 5000))
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_send_and_close, pair.near, data)
                    heard = await take_all(pair.far, self.patience)
                expect(heard == data, difference(data, heard))
            elif pair.near.traits.reliable:
                await pair.near.send(b"last words")
                await pair.near.aclose()
                await hear(pair.far, b"last words", self.patience)
                await self._ended(pair.far)
            else:
                await pair.near.aclose()

    @rule(94, needs=(90,), when=(LINKS,))
    async def test_link_close_unblocks(self) -> None:
        """`aclose` gives LinkLost to whoever waits in `receive` at this end, and may be called again."""
        for end in ("near", "far"):
            async with self.pair() as pair:
                link: Link = getattr(pair, end)
                await self._closed_while(link, link.receive)
                await self._soon(link.aclose(), "a second `aclose` did not return")

    @rule(95, needs=(94,), when=(LINKS,))
    async def test_link_closed(self) -> None:
        """After `aclose`, `send` and `receive` at this end give LinkLost."""
        async with self.pair() as pair:
            await self._soon(pair.near.aclose(), "`aclose` did not return")
            await lost(lambda: pair.near.send(b"late"), "sending on a link that was closed here", self.patience)
            await lost(pair.near.receive, "receiving on a link that was closed here", self.patience)

    @rule(96, needs=(93, 94), when=(LINKS, RELIABLE))
    async def test_link_other_end_gone(self) -> None:
        """Once the other end has closed, `send` gives LinkLost sooner or later, and nothing else."""
        async with self.pair() as pair:
            await pair.far.aclose()
            with anyio.move_on_after(WAIT * self.patience):
                try:
                    while True:
                        await pair.near.send(b"is anybody there?")
                        await anyio.sleep(0.01)
                except LinkLost:
                    return
            raise AssertionError(f"{WAIT:g} s after the other end had closed, `send` still took what it was given")

    @rule(97, needs=(90,), when=(LINKS, RELIABLE))
    async def test_link_cancelled_receive(self) -> None:
        """A `receive` that is cancelled, at whichever await, loses nothing."""
        async with self.pair() as pair:
            for position in range(1, AWAITS):
                data = noise(64 if pair.near.traits.stream else min(64, pair.near.traits.mtu), position)
                heard = await self._interrupted_receive(pair, data, position)
                expect(heard == data, difference(data, heard))

    @rule(98, needs=(93,), when=(LINKS, RELIABLE))
    async def test_link_cancelled_send(self) -> None:
        """Of a `send` that is cancelled a beginning may arrive, or all, and nothing that was not sent; the link can be
        closed after it.
        """
        for position in range(1, 5):
            async with self.pair() as pair:
                size = volume(self.traits, 3000) if pair.near.traits.stream else MIN_MTU
                data = noise(size, position)
                await CancelledAt(pair.near.send(data), position).run()
                await self._soon(pair.near.aclose(), "`aclose` did not return after a cancelled `send`")
                heard = await self._rest(pair.far)
                whole = not pair.near.traits.stream
                expect(heard in (b"", data) if whole else data.startswith(heard), "something arrived that was not sent")

    @rule(99, needs=(90, 93), when=(LINKS, RELIABLE, STREAM))
    async def test_link_back_pressure(self) -> None:
        """Where nobody reads at the other end, `send` waits before 32 MiB have piled up, and goes on once somebody
        reads.
        """
        async with self.pair() as pair:
            chunk = noise(65536)
            count = 0
            async with anyio.create_task_group() as tasks:
                while count * len(chunk) < MOST_WAITING:
                    with anyio.move_on_after(0.3 * self.patience) as waited:
                        await pair.near.send(chunk)
                    if waited.cancelled_caught:
                        break
                    count += 1
                expect(count * len(chunk) < MOST_WAITING, f"`send` took {MOST_WAITING >> 20} MiB that nobody read")
                tasks.start_soon(pair.near.aclose)
                heard = await self._read_on(pair.far, (count + 1) * len(chunk))
            expect(heard >= count * len(chunk), "what `send` had taken did not arrive")

    @rule(100, needs=(90,), when=(LINKS,))
    async def test_link_traits_of_links(self) -> None:
        """The traits of a link are those of its transport, or better: a smaller mtu only where it says so itself."""
        async with self.pair() as pair:
            for link in (pair.near, pair.far):
                equal(self.traits.stream, link.traits.stream)
                expect(link.traits.reliable >= self.traits.reliable, "the link is less reliable than its transport")
                expect(link.traits.ordered >= self.traits.ordered, "the link is less ordered than its transport")
                expect(isinstance(link.initiator, bool), "`initiator` is neither True nor False")

    # What the checks do

    async def _soon(self, operation: Any, words: str) -> Any:
        with anyio.move_on_after(WAIT * self.patience):
            return await operation
        raise self.verdict.broken(AssertionError(words))

    async def _ended(self, link: Link) -> None:
        with anyio.move_on_after(WAIT * self.patience):
            try:
                while True:
                    await link.receive()
            except (EndOfStream, LinkLost):
                return
        raise AssertionError("the other end closed the link, and this end heard neither EndOfStream nor LinkLost")

    async def _closed_while(self, link: Link, wait: Callable[[], Any]) -> None:
        outcome: list[BaseException | bytes] = []

        async def waiting() -> None:
            try:
                outcome.append(await wait())
            except (LinkLost, EndOfStream) as error:
                outcome.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waiting)
            await settle()
            await self._soon(link.aclose(), "`aclose` did not return")
            with anyio.move_on_after(WAIT * self.patience):
                while not outcome:
                    await anyio.sleep(0.002)
            tasks.cancel_scope.cancel()
        expect(bool(outcome), "`receive` still waits although this end is closed")
        expect(isinstance(outcome[0], LinkLost), f"`receive` ended with {outcome[0]!r}, not with LinkLost")

    async def _interrupted_receive(self, pair: Pair, data: bytes, position: int) -> bytes:
        """Send, and interrupt the `receive` at one of its awaits, with the bytes there or on their way."""
        heard = b""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pair.near.send, data)
            if position % 2:
                await settle()
            result = await self._soon(CancelledAt(pair.far.receive(), position).run(), "a cancelled `receive` went on")
            heard += result or b""
        if len(heard) < len(data):
            with anyio.move_on_after(allowance(self.traits, len(data), self.patience)):
                while len(heard) < len(data):
                    heard += await pair.far.receive()
        return heard

    async def _rest(self, link: Link) -> bytes:
        heard = b""
        with anyio.move_on_after(WAIT * self.patience):
            while True:
                try:
                    heard += await link.receive()
                except (EndOfStream, LinkLost):
                    return heard
        raise AssertionError("the link was closed, and the other end heard of no end")

    async def _read_on(self, link: Link, size: int) -> int:
        heard = 0
        with anyio.move_on_after(allowance(self.traits, size, self.patience)):
            try:
                while True:
                    heard += len(await link.receive())
            except (EndOfStream, LinkLost):
                pass
        return heard


async def say_repeatedly(link: Link, data: bytes) -> None:
    """Send once, or again and again where the medium loses things."""
    await link.send(data)
    while not link.traits.reliable:
        await anyio.sleep(0.02)
        await link.send(data)


async def _send_and_close(link: Link, data: bytes) -> None:
    await link.send(data)
    await link.aclose()
