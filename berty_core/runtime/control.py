"""The private socket of an open home: JSON lines for the commands of the same user.

Each connection is greeted, then answered one request at a time; a request that was taken is answered before the node
ends, and one that was not is told so (`closing`). The home's lock decides who serves: what a killed process left behind
is replaced.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from ..errors import BertyError, UserError
from . import control_socket
from .control_socket import MAX_REQUEST, PLACE_FILE, NodeEnded, error_kind, peer_is_this_user
from .methods import STREAMS, Methods

if TYPE_CHECKING:
    from .node import Node

MAX_CONNECTIONS = 64
LAST_WORDS = 2.0  # seconds that an answer may take to leave once the node ends
GREETING = 1  # version of these lines
HUNG_UP = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, anyio.IncompleteRead)

logger = logging.getLogger("berty.control")
Json = dict[str, Any]


@asynccontextmanager
async def serve(node: Node) -> AsyncIterator[None]:
    """Serve the node's home to this user's other processes while the block runs. The home's lock must be held."""
    if not control_socket.HAVE_UNIX_SOCKETS:
        yield
        return
    path = control_socket.socket_path(node.home)
    try:
        listener = await anyio.create_unix_listener(path, mode=0o600)
        _write_place(node.home / PLACE_FILE, path)
    except OSError as error:
        raise UserError(f"the socket {path} cannot be made: {error.strerror}") from error
    server = _Server(node)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, server.serve)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()
    finally:
        for left in (node.home / PLACE_FILE, path):
            with suppress(OSError):
                left.unlink()
        with anyio.CancelScope(shield=True):
            await listener.aclose()


def _write_place(file: Path, path: Path) -> None:
    temporary = file.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as written:
        written.write(str(path))
    temporary.replace(file)


class _Client:
    """One connection: a task reads it all the time, so that hanging up is noticed; requests wait for their turn."""

    def __init__(self, stream: SocketStream) -> None:
        self.hung_up = anyio.Event()
        self._stream = stream
        self._send, self.requests = anyio.create_memory_object_stream[tuple[str, Json] | None](0)

    async def read(self) -> None:
        """Hand on each request, and None for a line that is none, until the other side hangs up."""
        reader = BufferedByteReceiveStream(self._stream)
        with self._send, suppress(*HUNG_UP):
            while True:
                await self._send.send(await _next_request(reader))
        self.hung_up.set()

    async def write(self, value: Json) -> None:
        """Send a line; one of HUNG_UP."""
        await self._stream.send(json.dumps(value).encode() + b"\n")


class _Server:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._methods = Methods(node)
        self._connections = 0

    async def serve(self, stream: SocketStream) -> None:
        """Serve one connection; whatever goes wrong on it ends it alone."""
        async with stream:
            if self._connections >= MAX_CONNECTIONS or not self._is_this_user(stream):
                return
            self._connections += 1
            try:
                await self._converse(_Client(stream))
            except Exception:  # nothing that happens on one connection may end the node
                logger.exception("a connection failed")
            finally:
                self._connections -= 1

    def _is_this_user(self, stream: SocketStream) -> bool:
        raw: socket.socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610  anyio's, not a database's
        return peer_is_this_user(raw)

    async def _converse(self, client: _Client) -> None:
        async with anyio.create_task_group() as tasks, client.requests:
            tasks.start_soon(client.read)
            try:
                with suppress(*HUNG_UP):
                    await client.write(self._greeting())
                    await self._answer_all(client)
            except anyio.get_cancelled_exc_class():
                with anyio.move_on_after(LAST_WORDS, shield=True), suppress(*HUNG_UP):
                    await client.write({"closing": True})
                raise
            tasks.cancel_scope.cancel()

    def _greeting(self) -> Json:
        return {
            "berty": GREETING,
            "pid": os.getpid(),
            "home": str(self._node.home.resolve()),
            "network": self._node.connectivity is not None,
            "brief": self._node.is_brief,
        }

    async def _answer_all(self, client: _Client) -> None:
        async for request in client.requests:
            if request is None:
                await client.write(_error(UserError("a request is one line of JSON")))
                return
            await self._answer(client, *request)

    async def _answer(self, client: _Client, name: str, params: Json) -> None:
        if name in STREAMS:
            await self._stream(client, name, params)
            return
        try:
            result = {"result": await self._methods.call(name, params)}
        except Exception as error:  # a fault in one command's request must not end the node
            result = _failure(name, error)
        with anyio.move_on_after(LAST_WORDS, shield=True):
            await client.write(result)
        if name == "stop" and "result" in result:
            self._node.stop()

    async def _stream(self, client: _Client, name: str, params: Json) -> None:
        """Send events until there are no more, or the other side hangs up."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_at, client.hung_up, tasks.cancel_scope)
            with suppress(*HUNG_UP):
                try:
                    async with aclosing(self._methods.stream(name, params)) as events:
                        async for event in events:
                            await client.write({"event": event})
                    await client.write({"result": None})
                except HUNG_UP:
                    raise
                except Exception as error:  # a fault in one command's request must not end the node
                    await client.write(_failure(name, error))
            tasks.cancel_scope.cancel()


async def _cancel_at(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def _next_request(reader: BufferedByteReceiveStream) -> tuple[str, Json] | None:
    """The next line as method and parameters; None if it is none."""
    try:
        request = json.loads(await reader.receive_until(b"\n", MAX_REQUEST))
        name, params = request["method"], request["params"]
    except (ValueError, TypeError, KeyError, RecursionError, anyio.DelimiterNotFound):
        return None
    return (name, params) if isinstance(name, str) and isinstance(params, dict) else None


def _failure(name: str, error: Exception) -> Json:
    """What the client is told; what is a fault of the program is in the log too."""
    if isinstance(error, BertyError):
        return _error(error)
    logger.error("the request %s failed", name, exc_info=error)
    return _error(UserError(f"the node failed at this ({type(error).__name__}: {error}); its log has more"))


def _error(error: BertyError) -> Json:
    if isinstance(error, NodeEnded):
        return {"closing": True}
    return {"error": {"kind": error_kind(error), "message": str(error)}}
