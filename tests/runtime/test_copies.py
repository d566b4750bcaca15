"""Homes that were copied or went back in time: whatever they do, no counter of a chain seals two messages."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from berty_core.ids import DeviceId, GroupId
from berty_core.protocol.group import LogKind
from berty_core.runtime.replica.effects import OwnEntryMet
from berty_core.testing.memory_store import MemoryStore
from berty_core.testing.simulator import Device, World

from .people import between, copy_of, renewed_copy_of, snapshot, two


def counters(world: World, group: GroupId) -> Counter[tuple[DeviceId, int]]:
    """How many different messages of a group use each counter, over all devices and what they can read."""
    seen = {}
    for device in world.devices:
        replica = device.replica.groups.get(group)
        for cid in replica.logs[LogKind.MESSAGES].cids() if replica else ():
            if (opened := replica.message(cid)) is not None:  # type: ignore[union-attr]
                seen[cid] = (opened.device, opened.counter)
    return Counter(seen.values())


def test_a_copied_home_uses_no_counter_of_the_original() -> None:
    """Also in a group that the original had left, and in one that is joined later."""
    world, ann, bob = two()
    left, kept = world.make_group(ann, bob), world.make_group(ann, bob)
    world.heal()
    invitation = ann.group(left).group
    ann.send(left, "before")
    ann.do(lambda: ann.replica.leave_group(left))
    twin = renewed_copy_of(ann)
    world.devices.append(twin)
    for device in (ann, twin):
        device.do(lambda device=device: device.replica.join_group(invitation))
        for group in (left, kept, between(ann, bob).group.id):
            device.send(group, f"by {device.name}")
    world.heal()
    assert len(bob.texts(left)) == 3
    assert len(bob.texts(kept)) == len(bob.texts(between(ann, bob).group.id)) == 2
    assert all(set(counters(world, group).values()) == {1} for group in (left, kept))


def test_a_copy_is_a_new_device_everywhere() -> None:
    """It shares no device key with the original, and all that the original could read, it reads."""
    world, ann, bob = two()
    place, group = between(ann, bob).group.id, world.make_group(ann, bob)
    world.heal()
    for number in range(3):
        ann.send(place, f"a{number}")
        bob.send(group, f"b{number}")
        world.heal()
    twin = renewed_copy_of(ann)
    for id_, replica in ann.replica.groups.items():
        assert twin.group(id_).device_id != replica.device_id
        assert twin.group(id_).member_id == replica.member_id
    assert {id_: twin.texts(id_) for id_ in (place, group)} == {id_: ann.texts(id_) for id_ in (place, group)}


def test_the_simulator_notices_a_counter_that_is_used_twice() -> None:
    """A copy that does not become a new device is caught by the world's witness."""
    _, ann, bob = two()
    group = between(ann, bob).group.id
    twin = copy_of(ann)
    ann.send(group, "by one")
    with pytest.raises(AssertionError, match="seals two messages"):
        twin.send(group, "by the other")


def test_an_own_entry_that_the_home_lost_moves_its_chain() -> None:
    """A home that went back in time moves past the counters that it meets, before it uses them, and says so."""
    world, ann, bob = two()
    group = between(ann, bob).group.id
    older = snapshot(ann)
    for number in range(30):
        ann.send(group, f"{number}")
    world.meet(ann, bob)
    ann.store = older
    ann.open()
    told: list[object] = []
    listen = ann.replica._listen
    ann.replica._listen = lambda effects: (told.extend(effects), listen(effects))  # type: ignore[func-returns-value]
    world.meet(ann, bob)
    assert {effect.counter for effect in told if isinstance(effect, OwnEntryMet)} == set(range(1, 31))
    ann.send(group, "a new one")
    world.heal()
    assert ann.texts(group) == bob.texts(group) == [*map(str, range(30)), "a new one"]


def test_a_home_that_lost_more_than_the_window_moves_past_all_of_it() -> None:
    """Also over more lost messages than a chain looks ahead, and when they come in any order."""
    world, ann, bob = two()
    group = between(ann, bob).group.id
    older = snapshot(ann)
    for number in range(250):
        ann.send(group, f"{number}")
    world.meet(ann, bob)
    ann.store = older
    ann.open()
    world.meet(ann, bob)
    ann.send(group, "a new one")
    world.heal()
    assert bob.texts(group)[-1] == ann.texts(group)[-1] == "a new one"
    assert set(counters(world, group).values()) == {1}


# -- any life ----------------------------------------------------------------------------------

OPERATIONS = ("send", "send", "send", "send", "meet", "gossip", "crash", "full", "copy", "restore", "leave", "join")
MOST = 6  # devices


class Life:
    """Some devices with a group, and what any of them confirmed and never went back behind."""

    def __init__(self, seed: int) -> None:
        self.world, self.ann, _ = two(seed=seed)
        self.group = self.world.make_group(*self.world.devices)
        self.world.heal()
        self.invitation = self.ann.group(self.group).group
        self.sent: dict[Device, list[str]] = {}
        self.backups: dict[Device, MemoryStore] = {}
        self.number = 0

    def act(self, operation: str) -> None:
        """Let something happen to some device."""
        device, other = self.world.random.sample(self.world.devices, 2)
        getattr(self, operation)(device, other)
        self.world.now += self.world.random.choice([0.1, 5, 86400])

    def send(self, device: Device, _: Device) -> None:
        self.number += 1
        if self.group in device.replica.groups and device.send(self.group, f"{self.number}") is not None:
            self.sent.setdefault(device, []).append(f"{self.number}")

    def meet(self, device: Device, other: Device) -> None:
        self.world.meet(device, other)

    def gossip(self, device: Device, other: Device) -> None:
        if self.group in device.replica.groups and self.group in other.replica.groups:
            self.world.gossip(device, other, self.group)

    def crash(self, device: Device, _: Device) -> None:
        device.crash()

    def full(self, device: Device, _: Device) -> None:
        assert isinstance(device.store, MemoryStore)
        device.store.fail_after(self.world.random.randrange(1, 4))

    def copy(self, device: Device, _: Device) -> None:
        """Both go on from here; and this is also a backup that may be put back."""
        self.backups[device] = snapshot(device)
        if len(self.world.devices) < MOST:
            self.world.devices.append(renewed_copy_of(device))

    def restore(self, device: Device, _: Device) -> None:
        """Go back to the last backup, and notice it: what was not told to others since is lost."""
        if device in self.backups:
            self.sent.pop(device, None)
            device.store = MemoryStore(dict(self.backups[device].scan(b"", b"\xff" * 64)))
            device.open()
            device.replica.renew_devices()
            device.settle()

    def leave(self, device: Device, _: Device) -> None:
        if self.group in device.replica.groups:
            device.do(lambda: device.replica.leave_group(self.group))

    def join(self, device: Device, _: Device) -> None:
        if self.group not in device.replica.groups:
            device.do(lambda: device.replica.join_group(self.invitation))

    def end(self) -> None:
        """Bring all together: everybody holds what was confirmed, and each counter was used once."""
        for device in self.world.devices:
            assert isinstance(device.store, MemoryStore)
            device.store._failures.clear()
        self.world.heal()
        for device in self.world.devices:
            self.join(device, device)
        self.world.heal()
        self.world.check_equal(self.group)
        for device, texts in self.sent.items():
            assert Counter(texts) <= Counter(device.texts(self.group))
        assert set(counters(self.world, self.group).values()) <= {1}


def live(seed: int, operations: list[str]) -> None:
    """Let these things happen, and look at the end."""
    life = Life(seed)
    for operation in operations:
        life.act(operation)
    life.end()


@pytest.mark.parametrize("seed", range(12))
def test_no_counter_is_used_twice_in_a_long_life(seed: int) -> None:
    """Copies that go on, backups that are put back, crashes and full disks, in any order."""
    live(seed, random.Random(seed).choices(OPERATIONS, k=40))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.lists(st.sampled_from(OPERATIONS), max_size=30))
def test_no_counter_is_used_twice_in_any_life(seed: int, operations: list[str]) -> None:
    """The same, with lives that shrink to what fails."""
    live(seed, operations)
