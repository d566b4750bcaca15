"""What a full disk and a power cut do to a life with contacts, groups and texts: nothing that was told is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import pytest

from berty_core.errors import StoreFull
from berty_core.ids import GroupId
from berty_core.protocol.group import LogKind
from berty_core.protocol.metadata import ContactState
from berty_core.protocol.payloads import UserMessage
from berty_core.runtime.replica.group_replica import GroupReplica
from berty_core.testing.memory_store import MemoryStore
from berty_core.testing.simulator import Device, World

from .people import accept, ask, between, copy_of, snapshot, state, two

Sent = dict[GroupId, list[str]]


def story(world: World, step: Callable[[], None], sent: Sent) -> None:
    """A life with contacts, groups and texts, whose every step may fail; `sent` becomes what was confirmed of it."""
    ann, bob, *_ = world.devices
    for _ in range(2):  # the first attempt may fail
        if state(bob, ann) in (ContactState.UNDEFINED, ContactState.TO_REQUEST):
            ask(bob, ann)
        step()
        if state(ann, bob) is ContactState.RECEIVED:
            accept(ann, bob)
        step()
    for device, other in ((ann, bob), (bob, ann)):
        if (group := device.replica.contact_group(other.replica.account_id)) is not None:
            write(sent, device, group.group.id)
        step()
    world.heal()
    made = ann.do(lambda: ann.replica.create_group("g"))
    step()
    if made is not None:
        bob.do(lambda: bob.replica.join_group(made.group))
        world.heal()  # who writes before it knows of a member writes nothing for it
        step()
        write(sent, ann, made.group.id)
        step()
        ann.do(lambda: ann.replica.leave_group(made.group.id))
        step()
        if made.group.id not in ann.replica.groups:
            ann.do(lambda: ann.replica.join_group(made.group))
        step()
    world.heal()


def nothing() -> None:
    """Between the steps of a story."""


def write(sent: Sent, device: Device, group: GroupId) -> None:
    """Send a text, and note it if that was confirmed."""
    text = f"from {device.name}"
    if device.send(group, text) is not None:
        sent.setdefault(group, []).append(text)


def memory_is_store(device: Device) -> None:
    """What a replica has in memory is what a fresh one reads from its store."""
    fresh = copy_of(device).replica.groups
    assert {id_: inside(group) for id_, group in device.replica.groups.items()} == {
        id_: inside(group) for id_, group in fresh.items()
    }


def inside(group: GroupReplica) -> object:
    """All that a group keeps in memory."""
    index = [log.index.children("") for log in group.logs.values()]
    newest = [log.next_links() for log in group.logs.values()]
    return World._state(group), index, newest, group.chains._chains, group.chains._order, group.unread(), group.live


@pytest.mark.parametrize("failing", range(1, 40, 2))
def test_a_full_disk_at_any_commit_changes_nothing(failing: int) -> None:
    """Whichever commit fails: memory equals store, no counter is used twice, and all ends well."""
    world = World(failing)
    devices = [world.device("Ann"), world.device("Bob")]
    for device in devices:
        assert isinstance(device.store, MemoryStore)
        device.store.fail_after(failing)
    sent: Sent = {}
    story(world, lambda: [memory_is_store(device) for device in devices] and None, sent)
    for device in devices:
        assert isinstance(device.store, MemoryStore)
        device.store._failures.clear()
    world.heal()
    check_end(world, sent)


# -- power cuts --------------------------------------------------------------------------------


class PowerCut(BaseException):
    """The machine is off: no code of it runs any more, not even what catches errors."""


class CutStore(MemoryStore):
    """A store whose machine loses power at one commit: before it is written, or right after that."""

    def __init__(self, records: Mapping[bytes, bytes], cut: int, *, written: bool) -> None:
        super().__init__(records)
        self.cut, self.written, self.count = cut, written, 0

    def commit(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes] = (), *, durable: bool) -> None:
        """Write, unless the power fails first."""
        self.count += 1
        if self.count == self.cut and not self.written:
            raise PowerCut
        super().commit(puts, deletes, durable=durable)
        if self.count == self.cut:
            raise PowerCut


def life_with_cut(seed: int, victim: int, cut: int, *, written: bool) -> bool:
    """Live the story, cut the power of one device at one of its commits, and go on; whether it came so far."""
    world = World(seed)
    devices = [world.device("Ann"), world.device("Bob")]
    device = devices[victim]
    device.store = CutStore(dict(snapshot(device).scan(b"", b"\xff" * 64)), cut, written=written)
    device.open()
    was_cut = False
    sent: Sent = {}
    try:
        story(world, nothing, sent)
    except PowerCut:
        was_cut = True
        device.crash()
        story(world, nothing, sent)  # people try again; a second request changes nothing
    world.heal()
    check_end(world, sent)
    return was_cut


def check_end(world: World, sent: Sent) -> None:
    """Everybody has what was confirmed, alike, and what any store holds uses each counter once."""
    for device in world.devices:
        memory_is_store(device)
        for group in [*device.replica.groups.values(), *device.replica._closed.values()]:
            log = group.logs[LogKind.MESSAGES]
            for cid in log.cids():
                world.witness(group.group, log.read(cid).block)
        for group_id in device.replica.groups:
            world.check_equal(group_id)
    for group_id, texts in sent.items():
        if all(group_id in device.replica.groups for device in world.devices):  # else a disk was full at joining
            for device in world.devices:
                assert Counter(texts) <= Counter(device.texts(group_id))


@pytest.mark.parametrize("written", [False, True], ids=["before it is written", "after it is written"])
@pytest.mark.parametrize("victim", [0, 1], ids=["Ann", "Bob"])
def test_a_power_cut_at_every_commit(victim: int, written: bool) -> None:
    """At whichever commit the power fails, also one that was not synchronised: nothing that was told is lost."""
    cut = 1
    while life_with_cut(cut, victim, cut, written=written):
        cut += 1
    assert cut > 10, "the story has many commits, and each of them was reached"


@pytest.mark.parametrize("crashing", range(1, 12))
def test_a_power_cut_after_any_step_loses_nothing(crashing: int) -> None:
    """Whatever was told survives; and no counter is used twice."""
    world = World(crashing)
    ann, bob = devices = [world.device("Ann"), world.device("Bob")]
    steps = iter(range(1, 100))

    def step() -> None:
        if next(steps) == crashing:
            for device in devices:
                sizes = world.sizes()
                device.crash()
                assert world.sizes() == sizes

    story(world, step, {})
    group = between(ann, bob).group.id
    assert sorted(ann.texts(group)) == sorted(bob.texts(group)) == ["from Ann", "from Bob"]


# -- what is told ------------------------------------------------------------------------------


def test_nothing_is_told_before_it_is_stored() -> None:
    """Listeners hear of a text once its commit is done, and of a failed one never."""
    _, ann, bob = two()
    group = between(ann, bob).group.id
    told: list[tuple[int, bool]] = []
    store = ann.store
    assert isinstance(store, MemoryStore)
    listen = ann.replica._listen

    def hear(effects: list) -> None:  # type: ignore[type-arg]
        told.append((store._commits, ann.replica.records._open is None))
        listen(effects)

    ann.replica._listen = hear
    before = store._commits
    ann.send(group, "one")
    assert told == [(before + 1, True)]
    store.fail_after(1)
    with pytest.raises(StoreFull), ann.batch():
        ann.group(group).send(UserMessage("lost"))
    assert len(told) == 1
    assert not ann.effects
    assert ann.texts(group) == ["one"]


def test_a_confirmation_is_not_sent_for_what_could_not_be_stored() -> None:
    """A device whose disk is full says nothing about the message that it could not keep."""
    world, ann, bob = two()
    group = between(ann, bob).group.id
    world.connect(ann, bob)
    world.rest()
    assert isinstance(bob.store, MemoryStore)
    cid = ann.send(group, "held by nobody")
    assert cid is not None
    (pushed,) = ann.hub.collect(world.now)[0]
    wire = next(wire for wire in world.wires if pushed.peer in wire.peers)
    peer = wire.peers[1 - wire.peers.index(pushed.peer)]
    bob.store.fail_after(1)
    with pytest.raises(StoreFull), bob.batch():
        bob.hub.receive(peer, pushed.frame, None, world.now)
        assert peer.sync.waiting, "a confirmation is ready to be sent once it is true"
    assert not bob.hub.collect(world.now)[0]
    world.disconnect(ann, bob)
    world.heal()
    assert ann.group(group).deliveries.get(cid).held == (bob.group(group).device_id,)


def test_a_confirmation_that_the_power_took_comes_again() -> None:
    """What is committed without synchronisation may be lost, and is told anew at the next meeting."""
    world, ann, bob = two(acknowledge="never")
    group = between(ann, bob).group.id
    world.connect(ann, bob)
    world.rest()
    cid = ann.send(group, "held by Bob")
    assert cid is not None
    while world.carry():
        pass
    held = (bob.group(group).device_id,)
    assert ann.group(group).deliveries.get(cid).held == held
    ann.crash()
    assert ann.group(group).deliveries.get(cid).held == ()
    world.heal()
    assert ann.group(group).deliveries.get(cid).held == held
