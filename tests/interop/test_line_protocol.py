"""The driver is no rubber stamp: a peer that breaks a promise of the line protocol or of Wesh fails a conversation."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from berty_core.protocol.payloads import UserMessage

from . import line_protocol, ours
from .conftest import Command
from .line_protocol import PeerFailed, wesh_peer
from .ours import PEER, Theirs, our_node
from .test_wesh_peer import WE_DIAL, become_contacts, meet

pytestmark = pytest.mark.anyio


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on what never comes is waited for a moment only."""

    def shorten() -> None:
        for module in (ours, line_protocol):
            monkeypatch.setattr(module, "PATIENCE", 2.0)

    return shorten


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("deaf", "an answer to `info` did not come"),
        ("babble", "no line of the protocol"),
        ("ends", "it ended"),
        ("refuses", "`info` was refused: UserError: not today"),
    ],
)
async def test_a_broken_line(own_peer: Command, impatient: Callable[[], None], fault: str, words: str) -> None:
    """Each fault of the lines is told apart in words."""
    async with wesh_peer(own_peer(fault=fault)) as peer:
        impatient()
        with pytest.raises(PeerFailed, match=words):
            await peer.call("info")


@pytest.mark.parametrize("fault", ["mute", "other texts", "no contacts"])
async def test_a_peer_that_says_something_else(
    own_peer: Command, impatient: Callable[[], None], fault: str, tmp_path: Path
) -> None:
    """A conversation fails if a message is not told, is another one, or the request was not accepted."""
    async with wesh_peer(own_peer(fault=fault)) as peer, our_node(tmp_path / "ours", "wesh") as us:
        theirs = Theirs(peer)
        await meet(us, theirs, WE_DIAL)
        if fault == "no contacts":
            impatient()
            with pytest.raises(AssertionError, match="no group with this contact"):
                await become_contacts(us, theirs)
            return
        group = await become_contacts(us, theirs)
        impatient()
        await us.node.send(PEER, "hello")
        with pytest.raises(PeerFailed, match="an event `message` did not come"):
            await theirs.gets(group, UserMessage("hello"))


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ('print(\'{"event": "ready"}\', flush=True); input()', "lacks account_group_pk"),
        ('print(\'{"event": "fatal", "error": "no disk"}\', flush=True); input()', "no disk"),
        ("pass", "it ended"),
        ("print(5, flush=True); input()", "no line of the protocol"),
    ],
)
async def test_a_peer_that_never_begins(program: str, words: str) -> None:
    """A program that does not come up is told from one that ends."""
    with pytest.raises(PeerFailed, match=words):
        async with wesh_peer([sys.executable, "-c", program]):
            pass


async def test_an_unknown_command(own_peer: Command) -> None:
    """A refusal names the command, and the peer goes on."""
    async with wesh_peer(own_peer()) as peer:
        with pytest.raises(PeerFailed, match="`oos_seal` was refused"):
            await peer.call("oos_seal", group="00", cid="")
        assert (await peer.call("info"))["peer_id"] == peer.ready["peer_id"]


async def test_the_program_ends_with_the_block(own_peer: Command) -> None:
    """No process is left behind, also when a conversation fails."""
    with pytest.raises(RuntimeError, match="enough"):
        async with wesh_peer(own_peer()) as peer:
            pid = peer.ready["pid"]
            raise RuntimeError("enough")
    await anyio.lowlevel.checkpoint()
    assert not Path(f"/proc/{pid}").exists() or sys.platform != "linux"
