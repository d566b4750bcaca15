"""A link is doubted when what was sent stays without any answer, and never otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import attrs
import pytest

from berty_core.runtime.sessions import sign_of_life
from berty_core.runtime.sessions.sign_of_life import SignOfLife
from berty_core.testing.memory_transport import TRAITS

from .nodes import until

pytestmark = pytest.mark.anyio


@attrs.define
class Watched:
    """One watch, and what it did: how often it asked, and what it thought of the link each time that changed."""

    life: SignOfLife
    asked: int = 0
    thought: list[bool] = attrs.field(factory=list)


@asynccontextmanager
async def watched(latency: float = 0.0) -> AsyncIterator[Watched]:
    """A watch that runs."""

    def ask() -> None:
        shown.asked += 1

    def changed() -> None:
        shown.thought.append(shown.life.doubted_since is not None)

    traits = attrs.evolve(TRAITS, latency=latency)
    shown = Watched(SignOfLife(traits, anyio.current_time, ask, changed))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shown.life.watch)
        yield shown
        tasks.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the patience."""
    monkeypatch.setattr(sign_of_life, "ANSWER_LIMIT", 0.09)


async def test_silence_is_doubted_and_an_answer_ends_that() -> None:
    """A sign is asked for first; the doubt comes once, and goes with the first byte; and so again."""
    async with watched() as the:
        for round_ in range(2):
            the.life.sends(100)
            await until(lambda n=round_: thinks(the, [True, False] * n + [True]), "it is doubted")
            assert the.asked == round_ + 1
            the.life.heard()
            assert the.thought == [True, False] * (round_ + 1)


async def thinks(the: Watched, wanted: list[bool]) -> bool:
    """Whether this is what was thought."""
    return the.thought == wanted


async def test_a_link_on_which_nothing_is_said_is_never_doubted() -> None:
    """Also if something came, and if an answer to an earlier word came in time."""
    async with watched() as the:
        the.life.heard()
        await anyio.sleep(0.3)  # three times the patience
        the.life.sends(100)
        the.life.heard()
        await anyio.sleep(0.3)
        assert the.thought == []
        assert the.asked == 0


async def test_a_slow_medium_gets_more_time() -> None:
    """Four latencies, and what the bytes take."""
    async with watched(latency=0.5) as the:
        assert the.life.patience == pytest.approx(0.09 + 2.0)
        the.life.sends(10**9 // 8)
        assert the.life.patience == pytest.approx(0.09 + 2.0 + 2.0)
