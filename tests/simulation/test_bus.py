"""Devices that share nothing but a bus, in simulated time: whole replicas, and air that loses, repeats and reorders."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berty_core.contracts.bus import Priority
from berty_core.ids import GroupId
from berty_core.protocol.group import LogKind
from berty_core.runtime.bus.hub import BusHub
from berty_core.testing.air import Air, Station
from berty_core.testing.memory_store import MemoryStore
from berty_core.testing.simulator import Device, World


def members(count: int, seed: int = 1, *, acknowledge: str = "never") -> tuple[World, list[Device], GroupId]:
    """So many devices in one group, who know of each other."""
    world = World(seed, acknowledge=acknowledge)
    devices = [world.device(f"member {number}") for number in range(count)]
    group = world.make_group(*devices)
    world.heal()
    for device in devices:
        device.do(device.group(group).become_live)
    return world, devices, group


def states(device: Device, group: GroupId) -> Counter[str]:
    """How many own messages are in which state."""
    replica = device.group(group)
    opened = [replica.message(cid) for cid in replica.logs[LogKind.MESSAGES].cids()]
    own = [message.cid for message in opened if message is not None and message.device == replica.device_id]
    return Counter(replica.deliveries.get(cid).state for cid in own)


@pytest.mark.parametrize("seed", range(12))
def test_strangers_become_a_group(seed: int) -> None:
    """Devices that never met otherwise join, write, crash and come back; all end with the same, shown once."""
    chance = random.Random(seed)
    world = World(seed, acknowledge=chance.choice(["never", "small"]))
    devices = [world.device(f"member {number}") for number in range(3)]
    air = Air(world, loss=0.2, repeat=0.1, delay=2, mtu=chance.choice([180, 233, 1200]))
    stations = air.join(*devices)
    group = world.make_group(*devices)
    air.until(lambda: air.agree(group) and all(len(device.group(group).devices()) == 3 for device in devices))
    sent = []
    for number in range(6):
        device = chance.choice(devices)
        sent.append(f"{number} by {device.name}")
        device.send(group, sent[-1])
        station = chance.choice(stations)
        station.on = not station.on
        for _ in range(chance.randint(0, 12)):
            air.step()
    for station in stations:
        station.on = True
    air.until(lambda: air.agree(group) and all(sorted(device.texts(group)) == sorted(sent) for device in devices))
    world.check_equal(group)
    for device in devices:
        world.check_read(group, device)


def test_who_was_away_for_a_thousand_messages() -> None:
    """It catches up with little more than one datagram for each, and reads all in order."""
    world, (ann, bob), group = members(2)
    air = Air(world, loss=0.1)
    air.join(ann, bob)
    air.stations[1].on = False
    for number in range(1000):
        ann.send(group, str(number))
    air.speak()
    air.stations[1].on = True
    before = air.stations[0].datagrams_sent
    air.until(lambda: air.agree(group), steps=20000)
    assert bob.texts(group) == [str(number) for number in range(1000)]
    assert air.stations[0].datagrams_sent - before < 1400
    assert air.stations[1].datagrams_sent < 200


def test_held_only_when_it_is_so() -> None:
    """A message is sent once it is on the air, and held once a device signed that it stored it."""
    world, (ann, bob), group = members(2)
    air = Air(world)
    air.join(ann, bob)
    ann.send(group, "hello")
    assert states(ann, group) == {"stored": 1}
    air.speak()
    assert states(ann, group) == {"sent": 1}
    air.until(lambda: states(ann, group) == {"held": 1})
    assert bob.texts(group) == ["hello"]


def test_a_confirmation_that_was_lost_is_asked_for() -> None:
    """Who is not told asks, and is told."""
    world, (ann, bob), group = members(2)
    air = Air(world)
    air.join(ann, bob)
    ann.send(group, "hello")
    air.until(lambda: bool(bob.texts(group)))
    air.until(lambda: any(sender is air.stations[1] for sender, _ in air.log))
    air._under_way.clear()  # the confirmation is lost
    air.until(lambda: states(ann, group) == {"held": 1})


def test_what_could_not_be_stored_is_not_confirmed() -> None:
    """On a full disk nothing is confirmed; once there is room the same datagram is taken."""
    world, (ann, bob), group = members(2)
    air = Air(world)
    air.join(ann, bob)
    assert isinstance(bob.store, MemoryStore)
    ann.send(group, "hello")
    air.speak()
    bob.store.fail_after(1)
    for data in list(air.spoken):
        air.hear(air.stations[1], data)
    assert not bob.texts(group) and air.stations[1].hub._groups[group].machine.confirmations.timeout() == math.inf
    for data in list(air.spoken):
        air.hear(air.stations[1], data)
    assert bob.texts(group) == ["hello"]


def test_a_false_confirmation_says_nothing() -> None:
    """A member cannot confirm in the name of another device."""
    from berty_core.protocol.groupcast.frames import HeldFrame, confirm_held, encode_groupcast

    world, (ann, bob, eve), group = members(3)
    air = Air(world)
    (station,) = air.join(ann)
    cid = ann.send(group, "hello")
    assert cid is not None
    key = station.hub._groups[group].key
    replica = bob.group(group)
    honest = confirm_held(group, replica.device, (cid,))
    by_eve = confirm_held(group, eve.group(group).device, (cid,))
    for number, frame in enumerate([HeldFrame(honest.device, honest.names, by_eve.signature), honest]):
        assert states(ann, group) == {"stored": 1}
        air.hear(station, key.seal(b"evil", number, encode_groupcast(frame)))
    assert states(ann, group) == {"held": 1}


def test_a_replay_does_nothing() -> None:
    """All that was ever said, said again, brings no datagram and no change."""
    world, devices, group = members(3)
    air = Air(world, loss=0.2)
    air.join(*devices)
    for device in devices:
        device.send(group, "hello")
    air.until(lambda: air.agree(group))
    recorded, before = list(air.spoken), world.sizes()
    for station in air.stations:
        station.hub.collect(world.now)
        for turn in range(2):
            for data in recorded:
                air.hear(station, data)
            if not turn:
                repeated = station.hub.repeated
        assert station.hub.repeated - repeated == len(recorded) - _of_others(station, recorded)
        assert not [said for said in station.hub.collect(world.now) if said.priority is Priority.INTERACTIVE]
    assert world.sizes() == before


def test_nobody_is_silenced_by_name() -> None:
    """A member who speaks under another device's name with a number far ahead does not make it unheard."""
    world, (ann, bob, _), group = members(3)
    air = Air(world)
    station = air.join(ann, bob)[0]
    ann.send(group, "one")
    air.until(lambda: bob.texts(group) == ["one"])
    known = station.hub._groups[group]
    by_eve = known.key.seal(known.sender.id, (1 << 28) - 1, b"\x07")
    for each in air.stations:
        air.hear(each, by_eve)
    ann.send(group, "two")
    air.until(lambda: bob.texts(group) == ["one", "two"], steps=200)


def _of_others(station: Station, datagrams: list[bytes]) -> int:
    """How many datagrams are of groups that this device is not in."""
    keys = [group.key for group in station.hub._groups.values()]
    return sum(not any(key.open(data) for key in keys) for data in datagrams)


def test_a_stranger_learns_nothing() -> None:
    """Without the group's secret nothing opens, and no bytes repeat that would tie two datagrams together."""
    world, devices, group = members(3)
    stranger = world.device("stranger")
    world.make_group(stranger)
    air = Air(world)
    air.join(*devices, stranger)
    for number in range(30):
        devices[number % 3].send(group, "the same text")
        air.until(lambda: air.agree(group, devices))
    hub = air.stations[3].hub
    assert hub.heard == hub.foreign > 40
    assert not any(bytes(part) in datagram for datagram in air.spoken for part in (group[:6], b"the same"))
    pieces = Counter(data[start : start + 4] for data in air.spoken for start in range(len(data) - 3))
    assert sum(count - 1 for count in pieces.values()) < 5


def test_a_member_that_floods() -> None:
    """Whoever asks without end is answered at the pace of one device, and memory stays bounded."""
    from berty_core.protocol.groupcast.frames import SinceFrame, UnheldFrame, encode_groupcast

    world, (ann, eve), group = members(2)
    air = Air(world)
    (station,) = air.join(ann)
    for number in range(100):
        ann.send(group, str(number))
    air.speak()
    key, sent, start = station.hub._groups[group].key, len(air.spoken), world.now
    names = tuple(cid.digest[:6] for cid in ann.group(group).logs[LogKind.MESSAGES].cids())[:30]
    for number in range(300):
        sender = (number % 300).to_bytes(4, "big")
        for kind, frame in enumerate((SinceFrame(LogKind.MESSAGES, (), ()), UnheldFrame(names))):
            air.hear(station, key.seal(sender, 2 * number + kind, encode_groupcast(frame)))
        world.now += 0.1
        station.hub.wake(world.now)
        air.speak()
    assert len(air.spoken) - sent <= (world.now - start) / 1.5 + 8 + (world.now - start) / 4
    assert eve.texts(group) == []


def test_ten_in_a_group() -> None:
    """With nine listeners a text is still one datagram, and each of them confirms it with one more."""
    world, devices, group = members(10)
    air = Air(world)
    air.join(*devices)
    devices[0].send(group, "exactly twenty bytes")
    air.until(lambda: states(devices[0], group) == {"held": 1})
    air.until(lambda: len(_holders(devices[0], group)) == 9)
    assert all(device.texts(group) == ["exactly twenty bytes"] for device in devices)


WORLD, (TARGET, OTHER), GROUP_ID = members(2)
AIR = Air(WORLD)
(STATION,) = AIR.join(TARGET)
TARGET.send(GROUP_ID, "hello")
NAMES = [cid.digest[:6] for log in TARGET.group(GROUP_ID).logs.values() for cid in log.cids()]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans(), st.sampled_from([b"", *NAMES]), st.binary(max_size=150))))
def test_whatever_a_member_says(said: list[tuple[int, bool, bytes, bytes]]) -> None:
    """Any bytes under the group's seal, and any without it, change nothing and end nothing."""
    key, before, sender = STATION.hub._groups[GROUP_ID].key, WORLD.sizes(), WORLD.entropy(4)
    for number, (kind, messages, name, data) in enumerate(said):
        body = bytes((kind | 0x80 * messages,)) + name + data
        AIR.hear(STATION, key.seal(sender, number, body))
        AIR.hear(STATION, data)
    WORLD.now += 30
    STATION.hub.wake(WORLD.now)
    assert all(len(outgoing.data) <= 233 for outgoing in STATION.hub.collect(WORLD.now))
    assert WORLD.sizes() == before and TARGET.texts(GROUP_ID) == ["hello"]


def _holders(device: Device, group: GroupId) -> tuple[object, ...]:
    replica = device.group(group)
    (cid,) = list(replica.logs[LogKind.MESSAGES].cids())
    return replica.deliveries.get(cid).held


def test_a_restart_goes_on() -> None:
    """A device that starts again speaks under another name and asks about what nobody confirmed."""
    world, (ann, bob), group = members(2)
    air = Air(world)
    air.join(ann)
    ann.send(group, "hello")
    air.speak()
    air.stations.clear()
    ann.listeners.clear()
    ann.open()
    stations: list[Station] = air.join(ann, bob)
    assert isinstance(stations[0].hub, BusHub)
    air.until(lambda: states(ann, group) == {"held": 1})
