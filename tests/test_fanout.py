"""One source, any number of listeners."""

from __future__ import annotations

import anyio
import pytest

from berty_core.fanout import Fanout

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops."""
    return str(request.param)


async def test_everybody_hears_from_then_on() -> None:
    """Each subscription has what came since it was opened, in order."""
    source = Fanout[int]()
    source.put(0)
    async with source.subscribe() as one:
        source.put(1)
        async with source.subscribe() as two:
            source.put(2)
            assert [await one.receive(), await one.receive(), await two.receive()] == [1, 2, 2]
        source.put(3)
        assert await one.receive() == 3


async def test_the_oldest_is_missed() -> None:
    """A listener that takes nothing keeps the newest, and nobody else is disturbed."""
    source = Fanout[int](room=2)
    async with source.subscribe() as slow, source.subscribe() as quick:
        for number in range(5):
            source.put(number)
            assert await quick.receive() == number
        assert [await slow.receive(), await slow.receive()] == [3, 4]


async def test_end() -> None:
    """What waits can be taken, then comes the end; a later subscription ends at once."""
    source = Fanout[int]()
    async with source.subscribe() as one:
        source.put(1)
        source.end()
        assert await one.receive() == 1
        with pytest.raises(anyio.EndOfStream):
            await one.receive()
    async with source.subscribe() as late:
        with pytest.raises(anyio.EndOfStream):
            await late.receive()


async def test_closed_by_the_listener() -> None:
    """A listener that closed its stream early disturbs nobody."""
    source = Fanout[int]()
    async with source.subscribe() as one, source.subscribe() as two:
        await one.aclose()
        source.put(1)
        assert await two.receive() == 1
