"""The directory belongs to others too: what is no socket of a device stays, and gets nothing."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from berty_unix.driver import Sockets

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """One is enough: nothing here depends on it."""
    return "asyncio"


async def test_only_sockets_that_nobody_serves_are_removed(tmp_path: Path) -> None:
    """A file or link with such a name is left alone; what a killed device left behind goes."""
    (tmp_path / "letters.berty").write_text("keep me")
    (tmp_path / "elsewhere").write_text("keep me")
    (tmp_path / "link.berty").symlink_to(tmp_path / "elsewhere")
    killed = tmp_path / "0011223344556677.berty"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
        left.bind(str(killed))
    one, two = Sockets(str(tmp_path)), Sockets(str(tmp_path))
    try:
        await one.send(b"hello")
        assert await two.receive() == b"hello"
    finally:
        one.close()
        two.close()
    assert {path.name for path in tmp_path.iterdir()} == {"letters.berty", "elsewhere", "link.berty"}
