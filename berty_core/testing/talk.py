"""Sending and hearing in checks: each wait has a limit, and says what was still missing when it passed."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import attrs

from ..contracts.transport import Link, Traits
from ..errors import EndOfStream, LinkLost
from .rules import expect

WAIT = 10.0  # seconds for something to arrive, times the patience of the suite, beside what its bits take
AGAIN = 0.05  # seconds after which an unreliable medium is tried again, times the patience
GREETING = b"berty conformance."  # it fits the smallest mtu


@attrs.frozen
class Pair:
    """The two ends of a link; `near` is the initiator's."""

    near: Link
    far: Link


def noise(size: int, seed: object = 0) -> bytes:
    """Bytes that nothing compresses, the same each time."""
    return random.Random(f"{seed} {size}").randbytes(size)  # noqa: S311


def volume(traits: Traits, most: int, seconds: float = 4.0) -> int:
    """At most so many bytes, and no more than a medium of this bitrate carries in so many seconds."""
    return max(64, min(most, int(traits.bitrate / 8 * seconds)))


def allowance(traits: Traits, size: int, patience: float) -> float:
    """Seconds that so many bytes may take: three times what the bitrate says, and a while besides."""
    return (WAIT + traits.latency) * patience + 3 * size * 8 / traits.bitrate


async def take(link: Link, size: int, patience: float) -> bytes:
    """Receive from a stream until there are so many bytes; what matters is that it goes on, not how fast."""
    heard = bytearray()
    while len(heard) < size:
        with anyio.move_on_after(allowance(link.traits, 0, patience)) as limit:
            heard += await link.receive()
        expect(not limit.cancelled_caught, f"only {len(heard)} of {size} bytes arrived, and then nothing for a while")
    return bytes(heard)


async def take_all(link: Link, patience: float) -> bytes:
    """Receive from a stream until its end in good order."""
    heard = bytearray()
    while True:
        with anyio.move_on_after(allowance(link.traits, 0, patience)) as limit:
            try:
                heard += await link.receive()
            except EndOfStream:
                break
        expect(not limit.cancelled_caught, f"no EndOfStream came after {len(heard)} bytes, though the link was closed")
    return bytes(heard)


async def carry(near: Link, far: Link, data: bytes, patience: float) -> bytes:
    """Send over a stream and receive as many bytes at the same time."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(near.send, data)
        heard = [await take(far, len(data), patience)]
    return heard[0]


async def hear(link: Link, wanted: bytes, patience: float) -> None:
    """Receive datagrams until this one comes."""
    heard: list[bytes] = []
    with anyio.move_on_after(allowance(link.traits, len(wanted), patience)):
        while wanted not in heard:
            heard = [*heard[-4:], await link.receive()]
        return
    lengths = ", ".join(str(len(data)) for data in heard) or "none"
    raise AssertionError(f"a datagram of {len(wanted)} bytes did not arrive; lengths of the last that did: {lengths}")


@asynccontextmanager
async def repeating(send: Callable[[], Awaitable[object]], patience: float, *, reliable: bool) -> AsyncIterator[None]:
    """Do something once, or again and again where a medium loses things, until the block ends."""

    async def again() -> None:
        while True:
            await send()
            await anyio.sleep(AGAIN * patience)

    if reliable:
        await send()
        yield
        return
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(again)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()


async def say(near: Link, far: Link, data: bytes, patience: float) -> None:
    """Bring one message to the other end: bytes of a stream, or a datagram that is repeated until it is heard."""
    if near.traits.stream:
        heard = await carry(near, far, data, patience)
        expect(heard == data, difference(data, heard))
        return
    async with repeating(lambda: near.send(data), patience, reliable=near.traits.reliable):
        await hear(far, data, patience)


async def greet(near: Link, accepted: Callable[[], Awaitable[Link]], patience: float) -> Link:
    """Prove a link: send its first bytes, and give the other end, which may come up with them only."""
    if near.traits.stream:
        await near.send(GREETING)
        far = await accepted()
        expect(await take(far, len(GREETING), patience) == GREETING, "other bytes came first than were sent first")
        return far
    async with repeating(lambda: near.send(GREETING), patience, reliable=near.traits.reliable):
        far = await accepted()
        await hear(far, GREETING, patience)
    return far


async def lost(operation: Callable[[], Awaitable[object]], words: str, patience: float) -> None:
    """Expect LinkLost, soon."""
    with anyio.move_on_after(WAIT * patience):
        try:
            await operation()
        except LinkLost:
            return
        raise AssertionError(f"{words}: it was done")
    raise AssertionError(f"{words}: it neither failed nor ended")


def difference(sent: bytes, heard: bytes) -> str:
    """Words for where two strings of bytes part."""
    if len(heard) < len(sent) and sent.startswith(heard):
        return f"the last {len(sent) - len(heard)} of {len(sent)} bytes are missing"
    if heard.startswith(sent):
        return f"{len(heard) - len(sent)} bytes came that nobody sent"
    place = next(n for n, (one, other) in enumerate(zip(sent, heard, strict=False)) if one != other)
    return f"byte {place} of {len(sent)} is {heard[place]:#04x}, and {sent[place]:#04x} was sent"


def pieces(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """Cut bytes into pieces of these sizes, again and again."""
    cut: list[bytes] = []
    start = 0
    while start < len(data):
        size = sizes[len(cut) % len(sizes)]
        cut.append(data[start : start + size])
        start += size
    return cut


async def say_until(near: Link, far: Link, data: bytes, patience: float) -> list[bytes]:
    """Bring one datagram to the other end; returns what came before it."""
    before: list[bytes] = []
    async with repeating(lambda: near.send(data), patience, reliable=near.traits.reliable):
        with anyio.move_on_after(allowance(near.traits, len(data), patience)):
            while (heard := await far.receive()) != data:
                before.append(heard)
            return before
    raise AssertionError(f"a datagram of {len(data)} bytes did not arrive")
