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
from contextlib import asynccontextmanager, suppress
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
                await self._converse(stream)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, anyio.IncompleteRead):
                return
            finally:
                self._connections -= 1

    def _is_this_user(self, stream: SocketStream) -> bool:
        raw: socket.socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610  anyio's, not a database's
        return peer_is_this_user(raw)

    async def _converse(self, stream: SocketStream) -> None:
        node = self._node
        await _write(
            stream,
            {
                "berty": GREETING,
                "pid": os.getpid(),
                "home": str(node.home.resolve()),
                "network": node.connectivity is not None,
                "brief": node.is_brief,
            },
        )
        reader = BufferedByteReceiveStream(stream)
        try:
            while True:
                request = await _next_request(reader)
                if request is None:
                    await _write(stream, _error(UserError("a request is one line of JSON")))
                    return
                await self._answer(stream, *request)
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(LAST_WORDS, shield=True), suppress(anyio.BrokenResourceError):
                await _write(stream, {"closing": True})
            raise

    async def _answer(self, stream: SocketStream, name: str, params: Json) -> None:
        if name in STREAMS:
            await self._stream(stream, name, params)
            return
        try:
            result = {"result": await self._methods.call(name, params)}
        except BertyError as error:
            result = _error(error)
        except Exception as error:  # a fault in one command's request must not end the node
            logger.exception("the request %s failed", name)
            result = _error(UserError(f"the node failed at this ({type(error).__name__}: {error}); its log has more"))
        with anyio.move_on_after(LAST_WORDS, shield=True):
            await _write(stream, result)
        if name == "stop" and "result" in result:
            self._node.stop()

    async def _stream(self, stream: SocketStream, name: str, params: Json) -> None:
        """Send events until there are no more, or the other side hangs up (it says nothing while it listens)."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_until_hung_up, stream, tasks.cancel_scope)
            try:
                async for event in self._methods.stream(name, params):
                    await _write(stream, {"event": event})
                await _write(stream, {"result": None})
            except BertyError as error:
                await _write(stream, _error(error))
            tasks.cancel_scope.cancel()


async def _until_hung_up(stream: SocketStream, scope: anyio.CancelScope) -> None:
    try:
        await stream.receive(1)
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass
    scope.cancel()


async def _next_request(reader: BufferedByteReceiveStream) -> tuple[str, Json] | None:
    """The next line as method and parameters; None if it is none."""
    try:
        request = json.loads(await reader.receive_until(b"\n", MAX_REQUEST))
        name, params = request["method"], request["params"]
    except (ValueError, TypeError, KeyError, RecursionError, anyio.DelimiterNotFound):
        return None
    return (name, params) if isinstance(name, str) and isinstance(params, dict) else None


def _error(error: BertyError) -> Json:
    if isinstance(error, NodeEnded):
        return {"closing": True}
    return {"error": {"kind": error_kind(error), "message": str(error)}}


async def _write(stream: SocketStream, value: Json) -> None:
    await stream.send(json.dumps(value).encode() + b"\n")
