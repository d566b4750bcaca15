"""Whole conversations with a Wesh peer, which is a process of its own: our own one, and the one that is named."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from berty_core.codec.cid import Cid
from berty_core.config import NodeConfig
from berty_core.ids import DeviceId, GroupId
from berty_core.protocol.group import LogKind, encode_group
from berty_core.protocol.links import GroupLink, parse_link
from berty_core.protocol.metadata import EventType
from berty_core.protocol.payloads import Acknowledge, GroupInvitation, SetUserInfo, UserMessage
from berty_core.runtime.node import create_home
from berty_core.runtime.replica.archive import read_archive

from .conftest import Command
from .line_protocol import wesh_peer
from .ours import OURS, PEER, Ours, Theirs, our_node, until

pytestmark = pytest.mark.anyio

APART = 20  # messages that each side writes while they are not connected
WE_DIAL, THEY_DIAL = "we dial", "they dial"
# Our own peer stands for others in half of the cases: both profiles and both directions occur.
OWN = [("own_peer", "wesh", WE_DIAL), ("own_peer", "berty", THEY_DIAL)]
NAMED = [("named_peer", profile, dialler) for profile in ("wesh", "berty") for dialler in (WE_DIAL, THEY_DIAL)]
everyone = pytest.mark.parametrize(("peer", "profile", "dialler"), [*OWN, *NAMED])


@asynccontextmanager
async def met(
    request: pytest.FixtureRequest, peer: str, profile: str, dialler: str, home: Path
) -> AsyncIterator[tuple[Ours, Theirs]]:
    """Our node and a peer, connected."""
    command: Command = request.getfixturevalue(peer)
    async with wesh_peer(command(profile)) as process:
        theirs = Theirs(process)
        profile = await theirs.store_profile()
        async with our_node(home / "ours", profile) as ours:
            await meet(ours, theirs, dialler)
            yield ours, theirs


async def meet(ours: Ours, theirs: Theirs, dialler: str) -> None:
    if dialler == WE_DIAL:
        await ours.dial(theirs.peer.address)
    else:
        await theirs.peer.call("connect", addr=ours.address)
    await ours.connected(1)


async def part(ours: Ours, theirs: Theirs) -> None:
    """The connection ends, and neither side dials again."""
    node = ours.exchange.node
    await theirs.peer.call("disconnect", peer=str(node.peer_id))
    for peer in list(node.peers):
        node.close_peer(peer)
    await ours.connected(0)


async def become_contacts(ours: Ours, theirs: Theirs) -> str:
    """We ask, they accept; the group of the two."""
    await ours.do(ours.node.actions.contact_add, await theirs.link())
    await theirs.contact_event(EventType.INCOMING_RECEIVED)
    await theirs.peer.call("contact_accept", pk=ours.account)
    return await _group(ours, theirs)


async def _group(ours: Ours, theirs: Theirs) -> str:
    group = str((await ours.contact_is("added"))["group"])
    await theirs.peer.call("activate", contact=ours.account)
    await theirs.has_member(group, device_of(ours, group))
    return group


def device_of(ours: Ours, group: str) -> str:
    return ours.node.replica.groups[GroupId(bytes.fromhex(group))].device_id.hex()


async def same_logs(ours: Ours, theirs: Theirs, group: str) -> None:
    """Both sides come to hold the same entries."""
    for kind in LogKind:

        async def same(kind: LogKind = kind) -> bool:
            return await ours.see(ours.log, group, kind) == await theirs.log(group, kind)

        await until(f"the logs of {kind.name} are the same", same)


@everyone
async def test_we_ask_and_talk(
    request: pytest.FixtureRequest, peer: str, profile: str, dialler: str, tmp_path: Path
) -> None:
    """Our request with our name arrives and is accepted; texts and acknowledgements pass both ways, and names."""
    async with met(request, peer, profile, dialler, tmp_path) as (ours, theirs):
        group = await become_contacts(ours, theirs)
        cid = await ours.node.send(PEER, "hello peer")
        event = await theirs.gets(group, UserMessage("hello peer"))
        assert Cid.parse(event["cid"]) == cid
        assert DeviceId(bytes.fromhex(event["device_pk"])).hex() == device_of(ours, group)
        await theirs.send(group, Acknowledge(cid))
        await ours.becomes(PEER, cid, "acknowledged")
        answer = await theirs.send(group, UserMessage("hello you"))
        await ours.reads(PEER, "hello peer", "hello you")
        await theirs.gets(group, Acknowledge(answer))
        await theirs.is_told(group, SetUserInfo(OURS))
        await theirs.tell(group, SetUserInfo("Pia"))

        async def named() -> bool:
            return bool((await ours.contact_is("added"))["remote_name"] == "Pia")

        await until("we see their new name", named)
        await same_logs(ours, theirs, group)


@everyone
async def test_they_ask_and_talk(
    request: pytest.FixtureRequest, peer: str, profile: str, dialler: str, tmp_path: Path
) -> None:
    """Their request arrives with their name; we accept, and texts pass both ways."""
    async with met(request, peer, profile, dialler, tmp_path) as (ours, theirs):
        await theirs.ask(ours)
        assert (await ours.contact_is("received"))["name"] == PEER
        await theirs.contact_event(EventType.OUTGOING_SENT)
        await ours.do(ours.node.actions.contact_accept, PEER)
        group = await _group(ours, theirs)
        await ours.node.send(PEER, "welcome")
        await theirs.gets(group, UserMessage("welcome"))
        await theirs.send(group, UserMessage("thank you"))
        await ours.reads(PEER, "thank you")
        await same_logs(ours, theirs, group)


@everyone
async def test_a_group_of_theirs(
    request: pytest.FixtureRequest, peer: str, profile: str, dialler: str, tmp_path: Path
) -> None:
    """They make a group and invite us in a message; we join, and texts pass both ways."""
    async with met(request, peer, profile, dialler, tmp_path) as (ours, theirs):
        contact = await become_contacts(ours, theirs)
        group = str((await theirs.peer.call("group_create"))["group"])
        await theirs.send(group, UserMessage("before you came"))
        await theirs.send(contact, GroupInvitation(await theirs.invitation(group)))

        async def invited() -> bool:
            return bool(await ours.see(ours.node.actions.group_invitations))

        await until("the invitation arrives", invited)
        await ours.do(ours.node.actions.group_join, "club")
        await theirs.has_member(group, device_of(ours, group))
        await ours.node.send("club", "I am in")
        await theirs.gets(group, UserMessage("I am in"))
        await theirs.send(group, UserMessage("so you are"))
        await ours.reads("club", "so you are")
        await same_logs(ours, theirs, group)


@everyone
async def test_a_group_of_ours(
    request: pytest.FixtureRequest, peer: str, profile: str, dialler: str, tmp_path: Path
) -> None:
    """We make a group and invite them in a message; they join, and texts pass both ways."""
    async with met(request, peer, profile, dialler, tmp_path) as (ours, theirs):
        contact = await become_contacts(ours, theirs)
        view = await ours.do(ours.node.actions.group_new, "club")
        await ours.do(ours.node.actions.group_invite, "club", PEER)
        link = (await ours.see(ours.node.actions.group_invite, "club"))["link"]
        await theirs.gets(contact, GroupInvitation(link))
        invitation = parse_link(link)
        assert isinstance(invitation, GroupLink)
        group = str(
            (await theirs.peer.call("group_join", invitation=encode_group(invitation.group).SerializeToString().hex()))[
                "group"
            ]
        )
        assert group == view["id"]
        await theirs.has_member(group, device_of(ours, group))
        await theirs.send(group, UserMessage("I am in"))
        await ours.reads("club", "I am in")
        await ours.node.send("club", "so you are")
        await theirs.gets(group, UserMessage("so you are"))
        await same_logs(ours, theirs, group)


@everyone
async def test_what_was_written_apart(
    request: pytest.FixtureRequest, peer: str, profile: str, dialler: str, tmp_path: Path
) -> None:
    """Both write while they are apart; when they meet again, each reads all of it."""
    async with met(request, peer, profile, dialler, tmp_path) as (ours, theirs):
        group = await become_contacts(ours, theirs)
        await part(ours, theirs)
        for number in range(APART):
            await ours.node.send(PEER, f"ours {number}")
            await theirs.send(group, UserMessage(f"theirs {number}"))
        await meet(ours, theirs, dialler)
        await ours.reads(PEER, *(f"theirs {number}" for number in range(APART)))
        for number in range(APART):
            await theirs.gets(group, UserMessage(f"ours {number}"))
        await same_logs(ours, theirs, group)


@everyone
async def test_a_second_device_of_theirs(
    request: pytest.FixtureRequest, peer: str, profile: str, dialler: str, tmp_path: Path
) -> None:
    """From their exported account we are one more device: their group is ours, its texts, and what we write in it."""
    command: Command = request.getfixturevalue(peer)
    async with wesh_peer(command(profile)) as process:
        theirs = Theirs(process)
        profile = await theirs.store_profile()
        archive = tmp_path / "account.tar"
        await process.call("export", file=str(archive))
        group = str((await process.call("group_create"))["group"])
        await theirs.send(group, UserMessage("from the first device"))
        config = NodeConfig(keyring=False, profile=profile)
        create_home(tmp_path / "ours", "", config=config, use_keyring=False, archive=read_archive(archive))
        async with our_node(tmp_path / "ours", profile) as ours:
            await meet(ours, theirs, dialler)

            async def joined() -> bool:
                return GroupId(bytes.fromhex(group)) in ours.node.replica.groups

            await until("the account's group opens here", joined)
            await ours.reads(group, "from the first device")
            await theirs.has_member(group, device_of(ours, group))
            await ours.node.send(group, "from the second")
            await theirs.gets(group, UserMessage("from the second"))
            await same_logs(ours, theirs, group)
