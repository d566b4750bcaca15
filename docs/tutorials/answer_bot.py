"""Answer every message: python answer_bot.py HOME."""

import sys

import anyio

from berty_core import Node


async def main(home: str) -> None:
    async with Node.open(home) as node:
        async for message in node.messages("bot"):
            print(f"{message.sender}: {message.text}", flush=True)
            await message.answer(f"You said: {message.text}")


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
