"""What lies on the disk says nothing but what the reference page of the home lists: every byte is searched."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from berty_core.codec.dagcbor import decode_dagcbor
from berty_core.crypto.kdf import argon2id
from berty_core.protocol.group import GroupKind, LogKind
from berty_core.protocol.payloads import UserMessage
from berty_core.runtime.home import SALT_FILE, STORE_PREFIX
from berty_core.runtime.node import Node, create_home
from berty_core.runtime.replica.group_replica import GroupReplica
from berty_core.runtime.replica.replica import Replica
from berty_core.testing.memory_store import MemoryStore
from berty_core.testing.memory_transport import MemoryNetwork

from .conftest import Open
from .homes import contents
from .nodes import befriend, do, group_of, has, nodes_on, see
from .people import between, two

PASSPHRASE = "correct horse"  # noqa: S105
WORDS = ["a very secret text", "Annabella", "Bobadilla", "a hidden group", "an alias of mine", "a secret cursor"]


def private_keys(replica: Replica) -> Iterator[bytes]:
    """Everything that only this device or account may have."""
    registers = replica.account.registers
    yield from (bytes(key.seed) for key in (replica.keys.account, replica.keys.proof, replica.device))
    yield from (seed for seed in [registers.get("seed")] if seed)
    yield from (value for _, value in registers.items("contact seed"))
    for group in replica.groups.values():
        yield bytes(group.device.seed)
        yield bytes(group.member.seed)
        yield bytes(group.group.secret)
        if group.group.kind is GroupKind.MULTI_MEMBER:
            yield bytes(group.group.link_key)
        yield from (bytes(chain.key) for chain in group.chains._chains.values())
        yield from message_keys(group)


def message_keys(group: GroupReplica) -> Iterator[bytes]:
    """The keys of all messages that were opened, as they are kept."""
    log = group.logs[LogKind.MESSAGES]
    for cid in log.cids():
        note = group._records.unseal(b"n" + log.key + cid.digest)
        if note is not None:
            yield decode_dagcbor(bytes(note))[0]


def who_is_there(replica: Replica, others: list[Replica]) -> Iterator[bytes]:
    """Ids of accounts, members and devices. That of the own account is the id of its own group, which is in clear."""
    yield from (bytes(other.account_id) for other in others if other is not replica)
    for group in replica.groups.values():
        yield from map(bytes, group.devices())
        yield from (bytes(member) for member in group.members() if member != replica.account_id)


def forms(needle: bytes) -> list[bytes]:
    """A value as bytes, hexadecimal, and base64 at any alignment."""
    coded = [base64.b64encode(bytes(shift) + needle)[4 * (shift > 0) + 2 : -4] for shift in range(3)]
    return [needle, needle.hex().encode(), *coded, *(code.replace(b"+", b"-").replace(b"/", b"_") for code in coded)]


def found_in(everything: bytes, needles: list[bytes]) -> list[bytes]:
    """Which of these can be seen, in any form; a text also as UTF-16."""
    seen = [needle for needle in needles if any(form in everything for form in forms(needle))]
    return seen + [word.encode() for word in WORDS if word.encode("utf-16-le") in everything]


def searched_for(replica: Replica, others: list[Replica]) -> list[bytes]:
    """All that must not be seen."""
    needles = [*private_keys(replica), *who_is_there(replica, others), *(word.encode() for word in WORDS)]
    assert len(needles) > 30
    assert min(map(len, needles)) >= 9
    return needles


async def converse(ann: Node, bob: Node) -> None:
    """Contacts, a group, an invitation, names, aliases, cursors, and texts both ways."""
    await befriend(ann, bob)
    group = await group_of(ann, bob, name="a hidden group")
    await do(ann, ann.actions.contact_rename, "Bobadilla", "an alias of mine")
    for number in range(3):
        await ann.send("an alias of mine", f"a very secret text {number}")
        await bob.send(group, f"a very secret text of Bob {number}")
    await do(ann, ann.actions.group_new, "another")
    await do(ann, ann.actions.group_invite, "another", "an alias of mine")
    await do(ann, ann.replica.move_cursor, "a secret cursor", 2)
    await has(ann, "a hidden group", "a very secret text of Bob 2")
    await has(bob, "Annabella", "a very secret text 2")


@pytest.mark.anyio
async def test_no_byte_of_a_home_tells_what_was_said(tmp_path: Path) -> None:
    """Neither while the homes are open nor afterwards is there a text, name, key, link, account, member or device."""
    async with nodes_on(MemoryNetwork(), tmp_path, "Annabella", "Bobadilla") as (ann, bob):
        await converse(ann, bob)
        replicas = [ann.replica, bob.replica]
        needles = [await see(node, searched_for, node.replica, replicas) for node in (ann, bob)]
        visible = [await see(node, lambda node=node: list(node.replica.groups)) for node in (ann, bob)]
        opened = [read(node.home) for node in (ann, bob)]
        homes = [node.home for node in (ann, bob)]
    for everything in (opened, [read(home) for home in homes]):
        for data, secret, groups in zip(everything, needles, visible, strict=True):
            assert found_in(data, secret) == []
            assert len(found_in(data, [bytes(group) for group in groups])) == len(groups), (
                "the search finds what is there"
            )


def read(home: Path) -> bytes:
    """All bytes of all files but the key's, with their names."""
    files = {name: data for name, (_, data) in contents(home).items() if name != "key"}
    assert any(name.startswith(STORE_PREFIX) for name in files)
    return b"\0".join(part for name, data in files.items() for part in (name.encode(), data))


@pytest.mark.anyio
async def test_no_byte_of_a_home_tells_its_passphrase_or_key(tmp_path: Path, open_home: Open) -> None:
    """A home with a passphrase holds a salt, and neither the passphrase nor what is made of it."""
    create_home(tmp_path, "Annabella", passphrase=PASSPHRASE)
    async with open_home(tmp_path, passphrase=lambda: PASSPHRASE) as node:
        await do(node, node.actions.group_new, "a hidden group")
        await do(node, node.actions.send, "a hidden group", UserMessage("a very secret text"))
        needles = [*await see(node, lambda: list(private_keys(node.replica))), *(word.encode() for word in WORDS)]
    key = argon2id(PASSPHRASE.encode(), (tmp_path / SALT_FILE).read_bytes())
    assert found_in(read(tmp_path), [PASSPHRASE.encode(), bytes(key), *needles]) == []


def test_a_store_of_somebody_else_sees_no_more() -> None:
    """The same for keys and values as any store is given them, without a file around them."""
    world, ann, bob = two()
    group = world.make_group(ann, bob)
    world.heal()
    for number in range(3):
        ann.send(between(ann, bob).group.id, f"a very secret text {number}")
        bob.send(group, "a very secret text")
    world.heal()
    for device in (ann, bob):
        assert isinstance(device.store, MemoryStore)
        everything = b"\0".join(part for pair in device.store.scan(b"", b"\xff" * 64) for part in pair)
        needles = searched_for(device.replica, [ann.replica, bob.replica])
        assert found_in(everything, [*needles, bytes(device.key)]) == []


@pytest.mark.parametrize("form", ["plain", "hex", "base64", "url", "utf-16"])
def test_the_search_would_find_it(form: str) -> None:
    """In whatever form, and wherever in a line of base64 it begins."""
    secret = bytes(range(190, 222))
    hidden = {
        "plain": secret,
        "hex": secret.hex().encode(),
        "base64": base64.b64encode(b"before" + secret + b"after"),
        "url": base64.urlsafe_b64encode(b"befor" + secret + b"after"),
        "utf-16": WORDS[0].encode("utf-16-le"),
    }[form]
    assert found_in(b"xx" + hidden + b"yy", [secret])
