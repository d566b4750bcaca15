"""Accounts, contacts and groups on several devices, without wires."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from berty_sqlite.plugin import SqliteSpec

from berty_core.codec.cid import Cid
from berty_core.contracts.store import Store
from berty_core.errors import UserError
from berty_core.protocol.group import LogKind
from berty_core.protocol.metadata import ContactState
from berty_core.protocol.payloads import UserMessage
from berty_core.runtime.actions import Actions
from berty_core.testing.memory_store import MemoryStore
from berty_core.testing.simulator import World

from .people import MakeStore, accept, ask, between, link_of, state, two


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeStore]:
    """Stores in memory, and in files."""
    opened: list[Store] = []

    def make() -> Store:
        path = tmp_path / str(len(opened))
        path.mkdir()
        store: Store = MemoryStore() if request.param == "memory" else SqliteSpec().open(path)
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


def test_contacts_write_to_each_other(make_store: MakeStore) -> None:
    """A request, its acceptance, and texts both ways."""
    world, ann, bob = two(make_store)
    group = between(ann, bob).group.id
    ann.send(group, "hello")
    bob.send(group, "hi")
    world.heal()
    assert sorted(ann.texts(group)) == sorted(bob.texts(group)) == ["hello", "hi"]
    world.check_equal(group)


def test_the_first_message_after_the_request_is_readable(make_store: MakeStore) -> None:
    """Who asked may write before the other has announced itself: the chain key goes ahead (sections 4.5, 14.8)."""
    world = World(2)
    ann, bob = world.device("Ann", store=make_store()), world.device("Bob", store=make_store())
    ask(bob, ann)
    group = between(bob, ann).group.id
    bob.send(group, "before you accepted")
    accept(ann, bob)
    world.heal()
    assert ann.texts(group) == ["before you accepted"]


def test_a_known_contact_may_ask_again(make_store: MakeStore) -> None:
    """It changes nothing (section 14.2)."""
    world, ann, bob = two(make_store)
    before = world.sizes()
    contact = Actions(bob.replica).own_contact(ann.replica.account_id)
    ann.do(lambda: Actions(ann.replica).request_received(contact))
    ann.do(lambda: Actions(ann.replica).request_received(contact))
    assert (state(ann, bob), world.sizes()) == (ContactState.ADDED, before)


def test_mutual_requests_leave_nothing_to_accept(make_store: MakeStore) -> None:
    """Each asked the other: both are contacts (section 14.11)."""
    world = World(3)
    ann, bob = world.device("Ann", store=make_store()), world.device("Bob", store=make_store())
    for device, link in ((ann, link_of(bob)), (bob, link_of(ann))):
        device.do(lambda device=device, link=link: Actions(device.replica).contact_add(link))
    contact = Actions(bob.replica).own_contact(ann.replica.account_id)
    ann.do(lambda: Actions(ann.replica).request_received(contact))
    bob.do(lambda: Actions(bob.replica).request_sent(ann.replica.account_id))
    assert state(ann, bob) is state(bob, ann) is ContactState.ADDED
    world.heal()
    ann.send(between(ann, bob).group.id, "hello")
    world.heal()
    assert bob.texts(between(bob, ann).group.id) == ["hello"]


def test_discard_block_and_unblock(make_store: MakeStore) -> None:
    """A discarded one may ask again; a blocked one may not; an unblocked one is a stranger, whose past is kept."""
    world = World(4)
    ann, bob = world.device("Ann", store=make_store()), world.device("Bob", store=make_store())
    ask(bob, ann)
    ann.do(lambda: Actions(ann.replica).contact_discard("Bob"))
    assert state(ann, bob) is ContactState.DISCARDED
    contact = Actions(bob.replica).own_contact(ann.replica.account_id)
    ann.do(lambda: Actions(ann.replica).request_received(contact))
    accept(ann, bob)
    group = between(ann, bob).group.id
    ann.send(group, "kept")
    ann.do(lambda: Actions(ann.replica).contact_block("Bob"))
    assert group not in ann.replica.groups
    with pytest.raises(UserError), ann.batch():
        Actions(ann.replica).request_received(contact)
    ann.do(lambda: Actions(ann.replica).contact_unblock("Bob"))
    assert (state(ann, bob), group in ann.replica.groups) == (ContactState.REMOVED, False)
    link = link_of(bob)
    ann.do(lambda: Actions(ann.replica).contact_add(link))
    ann.send(group, "again")
    world.heal()
    assert bob.texts(group) == ["kept", "again"]


def test_a_second_device_sees_and_reads_it_all(make_store: MakeStore) -> None:
    """Contacts, groups, states and every old text come with the account (section 14.7)."""
    world, ann, bob = two(make_store)
    contact = between(ann, bob).group.id
    group = world.make_group(ann, bob)
    for number in range(5):
        ann.send(contact, f"a{number}")
        bob.send(group, f"b{number}")
        world.heal()
    texts = {place: ann.texts(place) for place in (contact, group)}
    other = world.device("Ann", like=ann, store=make_store())
    world.heal()
    assert {place: other.texts(place) for place in (contact, group)} == texts
    assert state(other, bob) is ContactState.ADDED
    other.send(contact, "from my other device")
    world.heal()
    assert bob.texts(contact)[-1] == ann.texts(contact)[-1] == "from my other device"
    bob.do(lambda: Actions(bob.replica).group_leave("group"))
    world.heal()
    ann.do(lambda: Actions(ann.replica).contact_block("Bob"))
    world.heal()
    assert state(other, bob) is ContactState.BLOCKED
    assert contact not in other.replica.groups
    world.check_equal(ann.replica.account.group.id)


def test_a_new_member_reads_what_follows(make_store: MakeStore) -> None:
    """Who has met a member before it writes reads all of that; what was written earlier stays closed, silently."""
    world, ann, bob = two(make_store)
    group = world.make_group(ann, bob)
    world.heal()
    ann.send(group, "early")
    carol = world.device("Carol", store=make_store())
    carol.do(lambda: carol.replica.join_group(ann.group(group).group))
    world.heal()
    ann.send(group, "now")
    bob.send(group, "too")
    world.heal()
    assert sorted(carol.texts(group)) == ["now", "too"]
    world.check_read(group, carol)


def test_a_group_that_is_left_and_joined_again_goes_on(make_store: MakeStore) -> None:
    """Within one process and over a restart, its chain moves on: no counter is used twice."""
    world, ann, bob = two(make_store)
    group = world.make_group(ann, bob)
    world.heal()
    invitation = ann.group(group).group
    before = bob.group(group)
    bob.send(group, "one")
    bob.do(lambda: bob.replica.leave_group(group))
    assert group not in bob.replica.groups
    bob.do(lambda: bob.replica.join_group(invitation))
    assert bob.group(group) is before  # a second object would have a chain of its own
    bob.send(group, "two")
    bob.do(lambda: bob.replica.leave_group(group))
    bob.open()
    bob.do(lambda: bob.replica.join_group(invitation))
    bob.send(group, "three")
    world.heal()
    assert ann.texts(group) == ["one", "two", "three"]


def test_a_wire_does_not_write_into_a_group_that_was_closed() -> None:
    """What comes in after a group was left is not stored: nobody would index it."""
    world, ann, bob = two()
    group = world.make_group(ann, bob)
    world.heal()
    world.connect(ann, bob)
    world.rest()
    bob.do(lambda: bob.replica.leave_group(group))
    count = len(bob.replica._closed[group].logs[LogKind.MESSAGES])
    ann.send(group, "unheard")
    while world.carry():
        pass
    assert len(bob.replica._closed[group].logs[LogKind.MESSAGES]) == count
    bob.do(lambda: bob.replica.join_group(ann.group(group).group))
    world.disconnect(ann, bob)
    world.heal()
    assert bob.texts(group) == ["unheard"]
    world.check_equal(group)


def test_a_message_is_found_by_its_id() -> None:
    """A text's own CID opens it, and one of nobody opens nothing."""
    world, ann, bob = two()
    group = between(ann, bob).group.id
    cid = ann.send(group, "found")
    assert cid is not None
    world.heal()
    opened = bob.group(group).message(cid)
    assert opened is not None
    assert opened.payload.content == UserMessage("found")
    assert bob.group(group).message(Cid.of(b"nothing")) is None
