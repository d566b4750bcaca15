"""What is left in a process: tasks, threads, open files and sockets, and what else a driver must not touch."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio

from .stage import until

DESCRIPTORS = Path("/proc/self/fd") if Path("/proc/self/fd").exists() else Path("/dev/fd")
POOLED = ("AnyIO worker thread", "Trio thread", "asyncio_", "ThreadPoolExecutor", "rule ")  # the loop ends the first
SETTLE = 3.0  # seconds that something closed may take to be gone, times the patience


def tasks() -> frozenset[object]:
    """The tasks of this event loop."""
    return frozenset(task.id for task in anyio.get_running_tasks())


def threads() -> frozenset[object]:
    """The threads of this process, without those that wait in the pools of an event loop."""
    return frozenset(t for t in threading.enumerate() if not t.name.startswith(POOLED))


def descriptors() -> frozenset[object]:
    """What is open: descriptors with what they stand for, where the system tells."""
    found = set()
    for name in os.listdir(DESCRIPTORS):  # noqa: PTH208  entries that vanish meanwhile
        try:
            found.add((name, os.readlink(DESCRIPTORS / name)))  # noqa: PTH115
        except OSError:
            continue  # the one that listed them
    return frozenset(found)


def process() -> dict[str, object]:
    """What belongs to the whole process."""
    return {
        "working directory": os.getcwd(),  # noqa: PTH109
        "environment": dict(os.environ),
        "signal handlers": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)],
        "default timeout of sockets": socket.getdefaulttimeout(),
        "level of the root logger": (logging.getLogger().level, len(logging.getLogger().handlers)),
        "sys.excepthook": sys.excepthook,
        "sys.path": list(sys.path),
    }


async def gone(look: Callable[[], frozenset[object]], before: frozenset[object], patience: float) -> list[str]:
    """Wait until nothing is there that was not before; what still is, in words."""
    with anyio.move_on_after(SETTLE * patience):
        await until(lambda: not look() - before, every=0.01)
    return sorted(str(one) for one in look() - before)


EFFECTS = {
    "socket.__new__": "opened a socket",
    "socket.bind": "bound a socket",
    "socket.connect": "connected a socket",
    "subprocess.Popen": "started a process",
    "os.posix_spawn": "started a process",
    "os.system": "started a process",
    "os.mkdir": "made a directory",
    "os.remove": "removed a file",
    "os.rename": "renamed a file",
    "_thread.start_new_thread": "started a thread",
}


class _Watch:
    """An audit hook cannot be taken away: there is one, and it looks only while somebody watches, in that thread."""

    def __init__(self) -> None:
        self.installed = False
        self.seen: dict[int, list[str]] = {}

    def hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.seen or threading.get_ident() not in self.seen:
            return
        if event in EFFECTS:
            self.seen[threading.get_ident()].append(EFFECTS[event])
        elif event == "open" and _writes(arguments):
            self.seen[threading.get_ident()].append(f"wrote the file {arguments[0]}")


def _writes(arguments: tuple[object, ...]) -> bool:
    path, mode, flags = (*arguments, None, None, None)[:3]
    if "__pycache__" in str(path):
        return False
    return (isinstance(mode, str) and bool(set(mode) & set("wax+"))) or (
        isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    )


_watch = _Watch()


@contextmanager
def side_effects() -> Iterator[list[str]]:
    """Collect what this thread does to the world in the block: sockets, processes, threads, files."""
    if not _watch.installed:
        sys.addaudithook(_watch.hook)
        _watch.installed = True
    seen: list[str] = []
    _watch.seen[threading.get_ident()] = seen
    try:
        yield seen
    finally:
        del _watch.seen[threading.get_ident()]


class LoopWatch:
    """Tell when an event loop did not turn although its process had the time: another thread counts beside it.

    A thread that sleeps `TICK` seconds at a time counts its rounds since the loop last turned, so that a machine that
    is slow makes neither of them count.
    """

    TICK = 0.01

    def __init__(self) -> None:
        self.longest = 0.0
        self._rounds = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._count, name="rule watch", daemon=True)

    def _count(self) -> None:
        while not self._stop.wait(self.TICK):
            self._rounds += 1
            self.longest = max(self.longest, self._rounds * self.TICK)

    async def run(self) -> None:
        """Turn with the loop until cancelled."""
        self._thread.start()
        try:
            while True:
                self._rounds = 0
                await anyio.sleep(self.TICK / 2)
        finally:
            self._stop.set()
