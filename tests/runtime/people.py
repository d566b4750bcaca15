"""Ann, Bob and what they do to each other, as steps that may be tried again when a disk was full."""

from __future__ import annotations

from collections.abc import Callable

from berty_core.contracts.store import Store
from berty_core.protocol.metadata import ContactState
from berty_core.runtime.actions import Actions
from berty_core.runtime.replica.group_replica import GroupReplica
from berty_core.testing.memory_store import MemoryStore
from berty_core.testing.simulator import Device, World

MakeStore = Callable[[], Store]


def link_of(device: Device) -> str:
    """The link that makes a contact of whoever has it."""
    while (view := device.do(lambda: Actions(device.replica).contact_link())) is None:
        pass  # the disk was full
    return str(view["link"])


def ask(device: Device, other: Device) -> None:
    """Add the other's link, and hand the request over."""
    link = link_of(other)
    device.do(lambda: Actions(device.replica).contact_add(link))
    if state(device, other) is ContactState.TO_REQUEST:  # else the disk was full
        contact = Actions(device.replica).own_contact(other.replica.account_id)
        other.do(lambda: Actions(other.replica).request_received(contact))
        device.do(lambda: Actions(device.replica).request_sent(other.replica.account_id))


def accept(device: Device, other: Device) -> None:
    """Accept the other's request."""
    device.do(lambda: Actions(device.replica).contact_accept(other.name))


def state(device: Device, other: Device) -> ContactState:
    """What the other is to a device."""
    return device.replica.contacts().get(other.replica.account_id, ContactState.UNDEFINED)


def between(device: Device, other: Device) -> GroupReplica:
    """The group of two contacts."""
    found = device.replica.contact_group(other.replica.account_id)
    assert found is not None
    return found


def two(make_store: MakeStore = MemoryStore, seed: int = 1, acknowledge: str = "small") -> tuple[World, Device, Device]:
    """Ann and Bob, who are contacts."""
    world = World(seed, acknowledge=acknowledge)
    ann, bob = world.device("Ann", store=make_store()), world.device("Bob", store=make_store())
    ask(bob, ann)
    accept(ann, bob)
    world.heal()
    return world, ann, bob


def snapshot(device: Device) -> MemoryStore:
    """What a device's store holds now, as a store of its own."""
    assert isinstance(device.store, MemoryStore)
    return MemoryStore(dict(device.store.scan(b"", b"\xff" * 64)))


def copy_of(device: Device) -> Device:
    """The same home a second time, opened as if it were the only one."""
    twin = object.__new__(Device)
    twin.world, twin.name, twin.key = device.world, f"{device.name}'s copy", device.key
    twin.store = snapshot(device)
    twin.effects, twin.arrived, twin.listeners = [], [], []
    twin.open()
    return twin


def renewed_copy_of(device: Device) -> Device:
    """The same home a second time, which noticed that it is a copy."""
    twin = copy_of(device)
    twin.replica.renew_devices()
    twin.settle()
    return twin
