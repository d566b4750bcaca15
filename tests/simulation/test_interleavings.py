"""Any interleaving ends alike: equal logs, equal order, equal state, every message read once by everybody."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from berty_core.codec.pb import wesh_pb2 as pb
from berty_core.ids import GroupId
from berty_core.protocol.entry import sign_entry
from berty_core.protocol.group import LogKind
from berty_core.protocol.metadata import EventType, seal_metadata
from berty_core.protocol.payloads import SetGroupInfo, SetUserInfo, encode_payload
from berty_core.testing.memory_store import MemoryStore
from berty_core.testing.simulator import Device, World

FOREVER = 2**63 - 1
OPERATIONS = ("send", "send", "send", "name", "rename", "lie", "gossip", "gossip", "meet", "crash", "full", "time")


def lie_about_time(device: Device, group_id: GroupId, time: int) -> None:
    """Write an event whose clock is the largest (or smallest) there is, signed as it must be."""
    group, world = device.group(group_id), device.world
    payload = pb.GroupMetadataPayloadSent(
        device_pk=bytes(group.device_id), message=encode_payload(SetUserInfo(f"liar {time}"))
    )
    value = seal_metadata(group.group, EventType.PAYLOAD_SENT, payload, group.device, world.entropy(24))
    log = group.logs[LogKind.METADATA]
    parents, refs, _ = log.next_links()
    pair = sign_entry(group._identity, log.address, value, parents, refs, time)
    device.do(lambda: group.receive(LogKind.METADATA, [pair]))


def act(world: World, group: GroupId, operation: str) -> None:
    """Let something happen to some device."""
    device, other = world.random.sample(world.devices, 2)
    number = world.random.randrange(10**6)
    if operation == "send":
        for count in range(world.random.randrange(1, 4)):
            device.send(group, f"{device.name} {number} {count}")
    elif operation == "name":
        device.do(lambda: device.replica.rename(f"{device.name} {number}"))
    elif operation == "rename":
        device.do(lambda: device.group(group).write_payload(SetGroupInfo(f"group {number}")))
    elif operation == "lie":
        lie_about_time(device, group, world.random.choice([FOREVER, -(2**63), 0, 10**9]))
    elif operation == "gossip":
        world.gossip(device, other, group, loss=world.random.choice([0, 0.3, 0.8]))
    elif operation == "meet":
        world.meet(device, other)
    elif operation == "crash":
        device.crash()
    elif operation == "full":
        assert isinstance(device.store, MemoryStore)
        device.store.fail_after(world.random.randrange(1, 4))
    world.now += world.random.choice([0.1, 5, 86400, -3600])


def begin(seed: int, members: int = 3) -> tuple[World, GroupId]:
    """A group whose members know of each other."""
    world = World(seed)
    first, *others = [world.device(name) for name in "abcdef"[:members]]
    group = world.make_group(first, *others)
    world.heal()
    return world, group


def end(world: World, group: GroupId) -> None:
    """Let all of them come together, and hold them against each other."""
    for device in world.devices:
        assert isinstance(device.store, MemoryStore)
        device.store._failures.clear()
    world.heal()
    world.check_equal(group)
    for device in world.devices:
        world.check_read(group, device)
        assert device.texts(group) == world.devices[0].texts(group)
        device.crash()  # what is in memory is what is in the store
    world.check_equal(group)
    assert not world.dropped


@pytest.mark.parametrize("seed", range(25))
def test_any_schedule_ends_alike(seed: int) -> None:
    """Sends, names, lies about time, losses, crashes and full disks in any order end in equal replicas."""
    world, group = begin(seed)
    for _ in range(20):
        act(world, group, world.random.choice(OPERATIONS))
    end(world, group)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.lists(st.sampled_from(OPERATIONS), max_size=25))
def test_any_schedule_that_is_looked_for_ends_alike(seed: int, operations: list[str]) -> None:
    """The same, with schedules that shrink to what fails."""
    world, group = begin(seed)
    for operation in operations:
        act(world, group, operation)
    end(world, group)


def test_a_thousand_partitions_merge() -> None:
    """Two halves that write apart and meet again, a thousand times, stay equal."""
    world, group = begin(7, members=2)
    one, other = world.devices
    for number in range(1000):
        device = world.random.choice(world.devices)
        device.do(lambda number=number, device=device: device.group(group).write_payload(SetGroupInfo(f"{number}")))
        if number % 4 == 0:
            world.meet(one, other)
    end(world, group)


def test_every_text_is_read_in_one_order() -> None:
    """Texts that were written apart stand in the same order everywhere, and each one is there."""
    world, group = begin(3)
    sent = [cid for device in world.devices for n in range(10) if (cid := device.send(group, f"{device.name}{n}"))]
    world.heal()
    assert len(world.devices[0].texts(group)) == len(sent) == 30
    end(world, group)


def test_a_gap_is_told_by_device_and_counter() -> None:
    """A message that is held back is named by its device and counter, and goes missing no longer once it comes."""
    world, group = begin(5, members=2)
    one, other = world.devices
    for number in range(3):
        one.send(group, f"{number}")
    writer, reader = one.group(group), other.group(group)
    log = writer.logs[LogKind.MESSAGES]
    last = max(log.cids(), key=lambda cid: writer.message(cid).counter)  # type: ignore[union-attr]
    # an entry needs its parents, so the gap is made by one that stands beside them
    pair = sign_entry(writer._identity, log.address, log.read(last).entry.value, (), (), 1)
    other.do(lambda: reader.receive(LogKind.MESSAGES, [pair]))
    assert reader.chains.gaps() == {writer.device_id: (1, 2)}
    world.meet(one, other)
    assert reader.chains.gaps() == {}
