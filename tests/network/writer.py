"""A process that forks: for each line on standard input a child that opens a home and sends until it is killed.

The fork saves loading the program sixty times; each child opens the home, or makes it, like any other process.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from pathlib import Path

import anyio

from berty_core.config import NodeConfig
from berty_core.plugins import load_plugins
from berty_core.runtime.node import Node

CONFIG = NodeConfig(keyring=False, disabled=("mdns", "libp2p", "udp"))
PLUGINS = load_plugins(CONFIG.disabled)


def say(**fields: object) -> None:
    os.write(1, json.dumps(fields).encode() + b"\n")


async def write(home: Path) -> None:
    """Send one by one and in bursts, and tell what is confirmed."""
    async with Node.open(home, name="Ann", config=CONFIG, plugins=PLUGINS, network=False) as node:
        say(notices=node.notices)
        if not any(group["name"] == "notes" for group in await node.store.read(node.actions.group_list)):
            await node.store.write(node.actions.group_new, "notes")
        while True:
            await one(node)
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(one, node)


async def one(node: Node) -> None:
    say(sent=str(await node.send("notes", "x" * 300)))


async def load(home: Path) -> None:
    """Open some home, so that everything is loaded."""
    async with Node.open(home, name="Nobody", config=CONFIG, plugins=PLUGINS, network=False):
        pass


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        anyio.run(load, Path(directory) / "home")
    assert threading.active_count() == 1, "a process with threads must not fork"
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            anyio.run(write, Path(sys.argv[1]))
            os._exit(1)
        os.write(1, b"%d\n" % child)
        os.waitpid(child, 0)
        os.write(1, b"killed\n")


if __name__ == "__main__":
    main()
