"""What drivers share: one source with any number of listeners, and what must not be sent."""

from __future__ import annotations

import anyio
import pytest

from berty_core.contracts.transport import Traits
from berty_core.errors import BertyError, DeadlinePassed, LocalProtocolError, MessageTooLarge
from berty_core.media import Fanout, check_published


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops."""
    return str(request.param)


@pytest.mark.anyio
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


@pytest.mark.anyio
async def test_the_oldest_is_missed() -> None:
    """A listener that takes nothing keeps the newest, and nobody else is disturbed."""
    source = Fanout[int](room=2)
    async with source.subscribe() as slow, source.subscribe() as quick:
        for number in range(5):
            source.put(number)
            assert await quick.receive() == number
        assert [await slow.receive(), await slow.receive()] == [3, 4]


@pytest.mark.anyio
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


@pytest.mark.anyio
async def test_closed_by_the_listener() -> None:
    """A listener that closed its stream early disturbs nobody."""
    source = Fanout[int]()
    async with source.subscribe() as one, source.subscribe() as two:
        await one.aclose()
        source.put(1)
        assert await two.receive() == 1


PLAIN = Traits(stream=False, mtu=20, broadcast=True)
WITH_TOPICS = Traits(stream=False, mtu=20, broadcast=True, topics=True)


@pytest.mark.parametrize(
    ("traits", "data", "topic", "deadline", "error"),
    [
        (PLAIN, b"", None, None, LocalProtocolError),
        (PLAIN, bytes(21), None, None, MessageTooLarge),
        (PLAIN, b"a", b"topic", None, LocalProtocolError),
        (PLAIN, b"a", None, 99.0, DeadlinePassed),
        (WITH_TOPICS, b"a", None, None, LocalProtocolError),
        (WITH_TOPICS, b"a", b"", None, LocalProtocolError),
        (WITH_TOPICS, b"a", bytes(65), None, LocalProtocolError),
    ],
)
def test_refused(
    traits: Traits, data: bytes, topic: bytes | None, deadline: float | None, error: type[BertyError]
) -> None:
    """What a bus must not publish is refused before anything is sent."""
    with pytest.raises(error):
        check_published(data, traits, topic, deadline, 100.0)


def test_not_refused() -> None:
    """The largest datagram, the longest topic and the last moment are fine."""
    check_published(bytes(20), PLAIN, None, 100.0, 100.0)
    check_published(b"a", WITH_TOPICS, bytes(64), None, 100.0)
