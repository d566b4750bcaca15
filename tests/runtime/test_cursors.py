"""Durable cursors: a program that reads messages neither skips one nor answers twice, whenever it is stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest

from berty_core.protocol.payloads import UserMessage
from berty_core.runtime.node import EVENT_BUFFER, Message, Node
from berty_core.runtime.replica.effects import EffectsMissed, GroupsChanged
from berty_core.testing.memory_transport import MemoryNetwork

from .nodes import befriend, do, group_of, has, node_on, nodes_on, texts

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both."""
    return str(request.param)


async def take(messages: AsyncIterator[Message], count: int) -> list[Message]:
    """The next messages."""
    with anyio.fail_after(10):
        return [await anext(messages) for _ in range(count)]


async def write(node: Node, *wanted: str) -> None:
    """Send some texts to Ann."""
    for text in wanted:
        await node.send("Ann", text)


async def test_each_text_comes_once_in_order_also_those_that_come_meanwhile(
    network: MemoryNetwork, tmp_path: Path
) -> None:
    """First what is there, then what arrives; each says who wrote it."""
    async with nodes_on(network, tmp_path, "Ann", "Bob") as (ann, bob):
        await befriend(bob, ann)
        await write(bob, "one", "two")
        await has(ann, "Bob", "one", "two")
        await ann.send("Bob", "my own")
        async with aclosing(ann.messages("bot")) as messages:
            found = await take(messages, 2)
            await write(bob, "three")
            found += await take(messages, 1)
        assert [(message.text, message.sender, message.mine) for message in found] == [
            (text, "Bob", False) for text in ("one", "two", "three")
        ]
        async with aclosing(ann.messages("another", own=True)) as messages:
            assert [message.text for message in await take(messages, 4)] == ["one", "two", "my own", "three"]


async def test_what_was_not_dealt_with_comes_again(network: MemoryNetwork, tmp_path: Path) -> None:
    """The message at which a program was stopped comes again after a restart, and no earlier one."""
    async with node_on(network, tmp_path / "Bob") as bob:
        async with node_on(network, tmp_path / "Ann") as ann:
            await befriend(bob, ann)
            await write(bob, "one", "two", "three")
            await has(ann, "Bob", "three")
            async with aclosing(ann.messages("bot")) as messages:
                await take(messages, 2)  # asking for the second one says that the first is done
        await write(bob, "four")
        async with node_on(network, tmp_path / "Ann") as ann:
            async with aclosing(ann.messages("bot")) as messages:
                assert [message.text for message in await take(messages, 3)] == ["two", "three", "four"]


@pytest.mark.parametrize("stopped", ["after the answer", "before the answer"])
async def test_no_message_is_answered_twice_or_never(stopped: str, network: MemoryNetwork, tmp_path: Path) -> None:
    """An answer moves the cursor in its own commit, so it is known after a restart whether it was given."""
    async with node_on(network, tmp_path / "Bob") as bob:
        async with node_on(network, tmp_path / "Ann") as ann:
            await befriend(bob, ann)
            await write(bob, "one", "two")
            await has(ann, "Bob", "two")
            async with aclosing(ann.messages("bot")) as messages:
                (first,) = await take(messages, 1)
                if stopped == "after the answer":
                    assert await first.answer("to one") is not None
                    assert await first.answer("to one, again") is None
        async with node_on(network, tmp_path / "Ann") as ann:
            async with aclosing(ann.messages("bot")) as messages:
                while (message := (await take(messages, 1))[0]).text != "two":
                    await message.answer(f"to {message.text}")
                await message.answer("to two")
            await has(bob, "Ann", "to one", "to two")
            answers = [text for text in await texts(bob, "Ann") if text.startswith("to")]
            assert answers == ["to one", "to two"]


async def test_a_bot_that_is_stopped_anywhere_answers_each_once(network: MemoryNetwork, tmp_path: Path) -> None:
    """Restarted again and again in the middle of its work."""
    async with node_on(network, tmp_path / "Bob") as bob:
        async with node_on(network, tmp_path / "Ann") as ann:
            await befriend(bob, ann)
        await write(bob, *(f"{number}" for number in range(12)))
        for pause in (0.05, 0.07, 0.1, 0.15):
            async with node_on(network, tmp_path / "Ann") as ann:
                with anyio.move_on_after(pause):
                    await answer_all(ann)
        wanted = [f"to {number}" for number in range(12)]
        async with node_on(network, tmp_path / "Ann") as ann, anyio.create_task_group() as tasks:
            tasks.start_soon(answer_all, ann)
            await has(bob, "Ann", *wanted)
            assert [text for text in await texts(bob, "Ann") if text.startswith("to")] == wanted
            tasks.cancel_scope.cancel()


async def answer_all(node: Node) -> None:
    """A bot."""
    async with aclosing(node.messages("bot")) as messages:
        async for message in messages:
            await message.answer(f"to {message.text}")


async def test_messages_of_a_group_that_was_left_are_passed_over(network: MemoryNetwork, tmp_path: Path) -> None:
    """They cannot be read any more, and do not stand in the way of the others."""
    async with nodes_on(network, tmp_path, "Ann", "Bob") as (ann, bob):
        await befriend(bob, ann)
        await group_of(ann, bob)
        await bob.send("group", "in the group")
        await has(ann, "group", "in the group")
        await write(bob, "to you")
        await has(ann, "Bob", "to you")
        await do(ann, ann.actions.group_leave, "group")
        async with aclosing(ann.messages("bot")) as messages:
            assert [message.text for message in await take(messages, 1)] == ["to you"]


async def test_who_is_too_slow_is_told_so_and_misses_no_message(network: MemoryNetwork, tmp_path: Path) -> None:
    """A flood of other events between two messages does not hide the second one."""
    async with node_on(network, tmp_path / "Ann") as ann:
        await do(ann, ann.actions.group_new, "g")
        async with aclosing(ann.messages("bot", own=True)) as messages:
            await do(ann, ann.actions.send, "g", UserMessage("one"))
            assert [message.text for message in await take(messages, 1)] == ["one"]
            with ann.listen() as events:
                found: list[Message] = []

                async def read() -> None:
                    found.extend(await take(messages, 1))

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(read)
                    await anyio.wait_all_tasks_blocked()
                    for _ in range(EVENT_BUFFER):
                        ann._tell(GroupsChanged())
                    await do(ann, ann.actions.send, "g", UserMessage("two"))
                assert [message.text for message in found] == ["two"]
                assert isinstance(await events.receive(), EffectsMissed)


async def test_cursors_do_not_go_back(network: MemoryNetwork, tmp_path: Path) -> None:
    """Two programs with one cursor do not undo what the other has done, and other cursors stand by themselves."""
    async with node_on(network, tmp_path / "Ann") as ann:
        assert await do(ann, ann.replica.move_cursor, "bot", 5)
        assert not await do(ann, ann.replica.move_cursor, "bot", 3)
        assert not await do(ann, ann.replica.move_cursor, "bot", 5)
    async with node_on(network, tmp_path / "Ann") as ann:
        assert (ann.replica.cursor("bot"), ann.replica.cursor("other")) == (5, 0)
        assert await do(ann, ann.replica.move_cursor, "bot", 6)
