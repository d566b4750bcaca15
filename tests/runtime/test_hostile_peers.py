"""Peers that stall, lie or send garbage, strangers and members alike: they lose their link, and nobody else a thing."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
import attrs
import pytest

from berty_core.codec.frames import encode_frame
from berty_core.codec.pb import session_pb2 as pb
from berty_core.codec.varint import encode_varint
from berty_core.contracts.transport import Link
from berty_core.crypto.keys import PrivateKey
from berty_core.errors import EndOfStream, LinkLost
from berty_core.ids import GroupId
from berty_core.protocol import session as sessions
from berty_core.protocol.entry import sign_entry
from berty_core.protocol.group import LogKind
from berty_core.protocol.session import MAGIC

from .insiders import insider, scene, tag_of
from .nodes import do, has, see

pytestmark = pytest.mark.anyio
TWO_TO_31 = encode_varint(2**31)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both."""
    return str(request.param)


async def all_that_comes(link: Link) -> bytes:
    """Every byte until the other side ends the link, which must be soon."""
    received = b""
    with anyio.fail_after(10), suppress(EndOfStream, LinkLost):
        while True:
            received += await link.receive()
    return received


# -- who lacks the key -------------------------------------------------------------------------

WORDS: dict[str, Callable[[bytes], bytes]] = {
    "another protocol": lambda tag: b"\x13/multistream/1.0.0\n",
    "garbage": lambda tag: os.urandom(300),
    "a tag that nobody shows": lambda tag: bytes([MAGIC]) + os.urandom(100),
    "garbage behind a tag": lambda tag: bytes([MAGIC]) + tag + b"\x00\x20" + os.urandom(32),
    "a message of 65,535 bytes": lambda tag: bytes([MAGIC]) + tag + b"\xff\xff" + os.urandom(100),
    "a megabyte": lambda tag: os.urandom(1 << 20),
}


@pytest.mark.parametrize("words", WORDS)
async def test_a_stranger_gets_no_byte_back(words: str, tmp_path: Path) -> None:
    """Whatever it says; and those who talk to each other notice nothing."""
    async with scene(tmp_path) as here:
        assert here.found.beacon is not None
        link = await here.dial()
        with suppress(LinkLost):
            await link.send(WORDS[words](tag_of(here.group, here.found.beacon)))
        assert await all_that_comes(link) == b""
        await here.still_talk()


@pytest.mark.parametrize("words", [b"", bytes([MAGIC]), bytes([MAGIC]) + b"1234"])
async def test_a_stranger_who_stalls_is_let_go(words: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says nothing more in the middle of the first message loses the link when the handshake's time is over."""
    async with scene(tmp_path) as here:
        monkeypatch.setattr(sessions, "HANDSHAKE_TIMEOUT", 0.2)
        link = await here.dial()
        await link.send(words)
        assert await all_that_comes(link) == b""
        await here.said("no session within")
        await here.still_talk()


async def test_who_repeats_an_advert_keeps_nobody_from_meeting(tmp_path: Path) -> None:
    """Bob dials the impostor as well, gets nothing of it, and talks with Ann all the same."""
    async with scene(tmp_path) as here:
        here.network.cut()
        await here.stranger.advertise(here.found.beacon)
        here.network.mend()
        await here.still_talk()
        await do(here.ann, here.ann.actions.group_new, "a new group changes what she shows")
        await here.still_talk()


# -- who has the key ---------------------------------------------------------------------------

FRAMES = {
    "a length of 2^31": TWO_TO_31,
    "a length of 2^70": b"\xff" * 10,
    "garbage": encode_frame(b"\xff" * 100, 1000),
}


@pytest.mark.parametrize("frame", FRAMES)
async def test_a_control_frame_that_breaks_the_rules(frame: str, tmp_path: Path) -> None:
    """It costs its sender the link; the reason is told here."""
    async with insider(tmp_path) as (here, other):
        await other.say(other.session.open_stream("control"), FRAMES[frame])
        await other.until_lost()
        await here.said("session over memory ended: ")
        await here.still_talk()


@pytest.mark.parametrize("frame", FRAMES)
async def test_a_sync_frame_that_breaks_the_rules(frame: str, tmp_path: Path) -> None:
    """The same from a member who proved the group's secret."""
    async with insider(tmp_path) as (here, other):
        _, stream = await other.prove(here.group)
        await other.say(stream, FRAMES[frame])
        await other.until_lost()
        await here.still_talk()


async def test_an_entry_that_is_not_signed_by_the_group(tmp_path: Path) -> None:
    """The sender loses the link, and the log stays as it was."""
    async with insider(tmp_path) as (here, other):
        _, stream = await other.prove(here.group)
        group = await see(here.ann, lambda: here.ann.replica.groups[GroupId(here.group.public_key)])
        log = group.logs[LogKind.MESSAGES]
        before = await see(here.ann, len, log)
        stranger = attrs.evolve(group._identity, key=PrivateKey(os.urandom(32)))
        _, block = sign_entry(stranger, log.address, b"nonsense", (), (), 1)
        frame = pb.SyncFrame(log=1, entries=pb.Entries(blocks=[block]))
        await other.say(stream, encode_frame(frame.SerializeToString(), 1 << 20))
        await other.until_lost()
        await here.said("it sent an entry that breaks the rules")
        assert await see(here.ann, len, log) == before
        await here.still_talk()


async def test_a_member_who_stalls_in_the_middle_of_a_frame(tmp_path: Path) -> None:
    """The others are served as before; its own session stays, as it answers pings."""
    async with insider(tmp_path) as (here, other):
        _, stream = await other.prove(here.group)
        await other.say(stream, encode_varint(4 * 1024 * 1024) + b"x" * 100)
        await here.still_talk()
        with anyio.move_on_after(0.3):
            while True:
                await other.step()  # it goes on answering pings
        assert len(here.ann.sessions) == 2
        await here.still_talk()


async def test_a_member_who_takes_nothing(tmp_path: Path) -> None:
    """What waits for it is bounded, and the others get what is written meanwhile."""
    async with insider(tmp_path) as (here, other):
        _, stream = await other.prove(here.group)
        await here.ann.send("group", "the first one")
        while stream not in other.received:
            await other.step()
        other.link.remote_end.stall()
        sent = [f"{number} " + "x" * 20_000 for number in range(60)]
        for text in sent:
            await here.ann.send("group", text)
        await has(here.bob, "group", *sent)
        session = next(s for s in here.ann.sessions if len(s.groups) == 1 and not s.session.initiator)
        waiting = sum(session.session.backlog(number) for number in session._streams)
        assert 128 * 1024 < waiting < 512 * 1024


async def test_an_unknown_stream_is_reset_alone(tmp_path: Path) -> None:
    """So are a group's stream with a tag that was not shown, a second control stream, and a header that is none."""
    async with insider(tmp_path) as (here, other):
        _, stream = await other.prove(here.group)
        refused = [
            other.session.open_stream("of the future"),
            other.session.open_stream("group", os.urandom(16)),
            other.session.open_stream("control"),
        ]
        await other.flush()
        while set(refused) - other.ended:
            await other.step()
        assert stream not in other.ended
        assert len(here.ann.sessions) == 2


async def test_who_has_the_link_key_alone_learns_no_device(tmp_path: Path) -> None:
    """A replica is served with entries; it is told nobody's device, and proves none."""
    async with insider(tmp_path) as (here, other):
        proven, stream = await other.prove(here.group.reduced())
        assert proven.device is None
        while stream not in other.received:
            await other.step()
        session = next(s for s in here.ann.sessions if None in s.groups.values())
        assert session.groups == {GroupId(here.group.public_key): None}
        assert b"berty" not in other.received[stream]
