"""The driver of a Wesh peer: any program that speaks the line protocol (docs/reference/line-protocol.md) as a child.

Invariant: what the program says is kept until a test takes it, and every wait for it ends in an error that shows what
it said last.
"""

from __future__ import annotations

import json
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import Process, TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream

PATIENCE = 20.0  # seconds that something may take on a busy machine
MAX_LINE = 64 << 20
SHOWN = 12  # lines in the words of an error
Json = dict[str, Any]


class PeerFailed(AssertionError):
    """The program refused a command, said something that is no line of the protocol, ended, or was silent too long."""


class WeshPeer:
    """One running peer."""

    def __init__(self, process: Process) -> None:
        self.ready: Json = {}
        self.events: list[Json] = []
        self._process = process
        self._answers: dict[int, Json] = {}
        self._said: deque[str] = deque(maxlen=SHOWN)
        self._changed = anyio.Event()
        self._failed = ""
        self._next = 0

    # -- what a test asks ----------------------------------------------------------------------

    @property
    def address(self) -> str:
        """Where it can be dialled, with its peer id."""
        address = str(self.ready["addrs"][0])
        return address if "/p2p/" in address else f"{address}/p2p/{self.ready['peer_id']}"

    async def call(self, command: str, **fields: Any) -> Json:
        """Do something; PeerFailed with the program's words if it refuses."""
        self._next += 1
        number = self._next
        await self._write({"id": number, "cmd": command, **fields})
        await self._until(lambda: number in self._answers, f"an answer to `{command}`")
        answer = self._answers.pop(number)
        if not answer["ok"]:
            raise PeerFailed(f"`{command}` was refused: {answer.get('error')}")
        return dict(answer.get("result") or {})

    async def event(self, kind: str, **fields: Any) -> Json:
        """Wait for an event of a kind with these fields; it stays, so that several waits may see it."""
        return await self.find(kind, lambda event: all(event.get(key) == value for key, value in fields.items()))

    async def find(self, kind: str, fits: Callable[[Json], object]) -> Json:
        """Wait for an event of a kind that fits."""
        found: list[Json] = []

        def look() -> bool:
            found[:] = [event for event in self.events if event["event"] == kind and fits(event)]
            return bool(found)

        await self._until(look, f"an event `{kind}`")
        return found[0]

    # -- the program's lines -------------------------------------------------------------------

    async def read(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Take in what it says, until it ends."""
        assert self._process.stdout is not None
        lines = BufferedByteReceiveStream(self._process.stdout)
        task_status.started()
        while not self._failed:
            try:
                self._take(await lines.receive_until(b"\n", MAX_LINE))
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.ClosedResourceError, anyio.BrokenResourceError):
                self._fail("it ended")
            except anyio.DelimiterNotFound:
                self._fail(f"it said a line of more than {MAX_LINE} bytes")

    async def begin(self) -> None:
        """Wait until it is ready."""
        self.ready = await self.event("ready")
        lacking = {"peer_id", "addrs", "account_pk", "device_pk", "account_group_pk"} - self.ready.keys()
        if lacking or not self.ready["addrs"]:
            raise PeerFailed(f"`ready` lacks {', '.join(sorted(lacking)) or 'an address'}")

    def _take(self, line: bytes) -> None:
        self._said.append(line[:300].decode(errors="replace"))
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if isinstance(found, dict) and isinstance(found.get("id"), int) and isinstance(found.get("ok"), bool):
            self._answers[found["id"]] = found
        elif isinstance(found, dict) and isinstance(found.get("event"), str):
            self._take_event(found)
        else:
            self._fail("it said what is no line of the protocol")
        self._wake()

    def _take_event(self, event: Json) -> None:
        self.events.append(event)
        if event["event"] == "fatal":
            self._fail(f"it gave up: {event}")

    def _fail(self, why: str) -> None:
        self._failed = self._failed or why
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _write(self, line: Json) -> None:
        assert self._process.stdin is not None
        try:
            await self._process.stdin.send(json.dumps(line).encode() + b"\n")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._fail("it ended")

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        with anyio.move_on_after(PATIENCE):
            while not condition():
                if self._failed:
                    raise PeerFailed(self._words(f"while waiting for {what}: {self._failed}"))
                await self._changed.wait()
            return
        raise PeerFailed(self._words(f"{what} did not come within {PATIENCE:g} s"))

    def _words(self, what: str) -> str:
        return "\n  ".join([f"{what}; its last lines:", *self._said])


@asynccontextmanager
async def plain_errors() -> AsyncIterator[None]:
    """Let a single error leave a task group as itself, so that a test fails with its words."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from error.__cause__


@asynccontextmanager
async def wesh_peer(command: Sequence[str]) -> AsyncIterator[WeshPeer]:
    """Run a program as a peer for the length of the block."""
    async with await anyio.open_process(list(command), stderr=subprocess.DEVNULL) as process:
        peer = WeshPeer(process)
        try:
            async with plain_errors(), anyio.create_task_group() as tasks:
                await tasks.start(peer.read)
                try:
                    await peer.begin()
                    yield peer
                finally:
                    tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                await process.wait()
