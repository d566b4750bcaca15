"""The private socket of a home: what a client does ends its own connection and nothing else."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from berty_core.runtime import control
from berty_core.runtime.control_socket import Connection, NodeEnded
from berty_core.runtime.methods import STATES
from berty_core.runtime.node import Node
from berty_core.testing.memory_transport import MemoryNetwork

from .nodes import befriend, node_on

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both."""
    return str(request.param)


@asynccontextmanager
async def served(network: MemoryNetwork, path: Path) -> AsyncIterator[Node]:
    """A node whose home has its socket."""
    async with node_on(network, path) as node, control.serve(node):
        yield node


async def connected(node: Node) -> Connection:
    """A client, greeted."""
    connection = await anyio.to_thread.run_sync(Connection.open, node.home)
    assert connection is not None
    return connection


async def ask(connection: Connection, method: str, **params: Any) -> Any:
    """Ask as a command does, on a thread."""
    return await anyio.to_thread.run_sync(lambda: connection.call(method, **params))


async def still_answers(node: Node) -> None:
    """Another client is served."""
    with anyio.fail_after(15):
        with await connected(node) as other:
            assert (await ask(other, "status"))["home"] == str(node.home)


async def test_a_client_that_no_longer_reads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It hangs up while events are sent to it: the node goes on, and has nothing to report."""
    network = MemoryNetwork()
    async with served(network, tmp_path / "Ann") as ann, node_on(network, tmp_path / "Bob") as bob:
        await befriend(bob, ann)
        for _ in range(5):
            client = await connected(ann)
            client._send("arrivals", {"to": ""})
            await ann.send("Bob", "first")
            client._socket.shutdown(socket.SHUT_RD)  # writing to it fails, though it is still there
            await bob.send("Ann", "second")
            await ann.send("Bob", "third")
            await still_answers(ann)
            client.close()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_client_that_goes_while_it_listens(tmp_path: Path) -> None:
    """Its stream ends, and its place is free again."""
    async with served(MemoryNetwork(), tmp_path / "Ann") as ann:
        for _ in range(control.MAX_CONNECTIONS + 5):
            client = await connected(ann)
            client._send("arrivals", {"to": ""})
            client.close()
            await still_answers(ann)


async def test_requests_in_a_row(tmp_path: Path) -> None:
    """Several that are sent at once are answered in order, and a line that is none ends the connection in words."""
    async with served(MemoryNetwork(), tmp_path / "Ann") as ann:
        client = await connected(ann)
        for _ in range(3):
            client._send("status", {})
        client._socket.sendall(b"nonsense\n")
        answers = [await anyio.to_thread.run_sync(client._read) for _ in range(4)]
        assert [next(iter(answer)) for answer in answers] == ["result"] * 3 + ["error"]
        with pytest.raises(NodeEnded):
            await anyio.to_thread.run_sync(client._read)
        client.close()


async def test_waiting_for_a_state(tmp_path: Path) -> None:
    """Who waits for what is so already has the answer at once, and nothing of it stays behind."""
    network = MemoryNetwork()
    async with served(network, tmp_path / "Ann") as ann, node_on(network, tmp_path / "Bob") as bob:
        await befriend(bob, ann)
        cid = await ann.send("Bob", "hello")
        before = len(ann._listeners)
        with await connected(ann) as client:
            view = await ask(client, "wait", to="Bob", id=str(cid), state="stored", timeout=10.0)
        assert view["state"] in STATES
        assert len(ann._listeners) == before


@pytest.mark.faults
async def test_a_fault_on_one_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody thought of ends one connection, is logged, and the node goes on."""
    async with served(MemoryNetwork(), tmp_path / "Ann") as ann:
        with monkeypatch.context() as patch:
            patch.setattr(control, "_next_request", lambda reader: 1 / 0)
            client = await connected(ann)
            with pytest.raises(NodeEnded):
                await anyio.to_thread.run_sync(client._read)
            client.close()
        await still_answers(ann)
    assert "a connection failed" in caplog.text


@pytest.mark.faults
async def test_a_fault_in_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told like one in a request, and the connection goes on."""
    async with served(MemoryNetwork(), tmp_path / "Ann") as ann:
        client = await connected(ann)
        with monkeypatch.context() as patch:
            patch.setattr(ann, "listen", lambda: 1 / 0)
            client._send("arrivals", {"to": ""})
            answer = await anyio.to_thread.run_sync(client._read)
        assert "the node failed at this (ZeroDivisionError" in answer["error"]["message"]
        assert (await ask(client, "status"))["home"] == str(ann.home)
        client.close()


async def test_who_waits_is_told_that_the_node_ends(tmp_path: Path) -> None:
    """A client between two requests, and one that listens, read `closing`."""
    async with served(MemoryNetwork(), tmp_path / "Ann") as ann:
        idle, listening = await connected(ann), await connected(ann)
        listening._send("arrivals", {"to": ""})
        await still_answers(ann)
    for client in (idle, listening):
        lines = client._file.read().splitlines()
        assert json.loads(lines[-1]) == {"closing": True}
        client.close()
