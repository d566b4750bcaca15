"""The Go program of this directory as a child process: commands out, answers and events in."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process, TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream


class GoPeer:
    """One running program."""

    def __init__(self, process: Process) -> None:
        self.peer_id = ""
        self.address = ""  # of TCP
        self.addresses: list[str] = []
        self.events: list[dict[str, Any]] = []
        self._process = process
        self._answers: dict[int, dict[str, Any]] = {}
        self._changed = anyio.Event()
        self._next = 0

    def at(self, transport: str) -> str:
        """Its address of one transport, "tcp" or "quic-v1"."""
        return next(address for address in self.addresses if f"/{transport}/" in address)

    async def read(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        assert self._process.stdout is not None
        lines = BufferedByteReceiveStream(self._process.stdout)
        while True:
            try:
                line = json.loads(await lines.receive_until(b"\n", 64 << 20))
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.ClosedResourceError):
                return
            if "id" in line:
                self._answers[line["id"]] = line
            else:
                self.events.append(line)
            if line.get("event") == "ready":
                self.peer_id, self.addresses = line["peer"], line["addrs"]
                self.address = self.at("tcp")
                task_status.started()
            self._changed.set()
            self._changed = anyio.Event()

    async def call(self, command: str, **fields: Any) -> dict[str, Any]:
        """Do something; AssertionError with the program's words if it fails."""
        self._next += 1
        number = self._next
        assert self._process.stdin is not None
        await self._process.stdin.send(json.dumps({"id": number, "cmd": command, **fields}).encode() + b"\n")
        with anyio.fail_after(fields.get("seconds", 10) + 5):
            while number not in self._answers:
                await self._changed.wait()
        answer = self._answers.pop(number)
        assert "error" not in answer, answer["error"]
        result: dict[str, Any] = answer["result"]
        return result

    async def event(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Wait for the next event of a kind with these fields, and take it out."""
        with anyio.fail_after(10):
            while True:
                for event in self.events:
                    if event["event"] == kind and all(event.get(key) == value for key, value in fields.items()):
                        self.events.remove(event)
                        return event
                await self._changed.wait()


@asynccontextmanager
async def go_peer(path: Path, *arguments: str) -> AsyncIterator[GoPeer]:
    """Run the program for the length of the block."""
    command: Sequence[str] = [str(path), *arguments]
    async with await anyio.open_process(command, stderr=subprocess.DEVNULL) as process:
        peer = GoPeer(process)
        async with anyio.create_task_group() as tasks:
            await tasks.start(peer.read)
            try:
                yield peer
            finally:
                process.kill()
                tasks.cancel_scope.cancel()
