"""Devices without wires: replicas over stores in memory, joined by hand, with seeded time and entropy.

Invariant: a counter of a chain that was seen with one message is never seen with another, whatever the schedule does.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import attrs

from ..codec.cid import Cid
from ..contracts.store import Store
from ..crypto.vault import Vault
from ..errors import RemoteProtocolError, StoreError
from ..ids import DeviceId, GroupId
from ..protocol.entry import decode_entry
from ..protocol.envelope import open_headers
from ..protocol.group import Group, GroupKind, LogKind
from ..protocol.payloads import UserMessage
from ..protocol.sync import entries_in
from ..runtime.replica.effects import Effect, EntryAdded, MessageArrived
from ..runtime.replica.group_replica import GroupReplica
from ..runtime.replica.records import Records
from ..runtime.replica.replica import AccountKeys, Replica
from ..runtime.replica.verification import verify_blocks
from ..runtime.sessions.sync_hub import SyncHub, SyncPartner, SyncPeer
from .memory_store import MemoryStore

T = TypeVar("T")
STEP = 0.05  # seconds that pass when nothing else happens
LONG = 400  # such steps, after which two replicas must have come to rest


class Device:
    """One device: a replica over a store, with everything that it told."""

    def __init__(self, world: World, name: str, store: Store, keys: AccountKeys | None = None) -> None:
        self.world, self.name, self.store = world, name, store
        self.key = world.entropy(32)
        self.effects: list[Effect] = []
        self.arrived: list[tuple[GroupId, Cid]] = []
        self.listeners: list[Callable[[list[Effect]], None]] = []  # told of what was committed
        Replica.create(self._records(), world.entropy, keys)
        self.open()
        with self.batch():
            self.replica.rename(name)

    def _records(self) -> Records:
        return Records(self.store, Vault(self.key, self.world.entropy))

    def open(self) -> None:
        """Open the replica over what the store holds."""
        self.effects.clear()
        self.replica = Replica(
            self._records(),
            now=lambda: self.world.now,
            entropy=self.world.entropy,
            listen=self.effects.extend,
            acknowledge=self.world.acknowledge,
        )
        self.hub = SyncHub(self.replica)
        self.settle()

    def crash(self) -> None:
        """Cut the power, and start again with what was durable."""
        assert isinstance(self.store, MemoryStore)
        self.store = self.store.crash()
        self.world.disconnect(self)
        self.open()

    @contextmanager
    def batch(self, *, durable: bool = True) -> Iterator[None]:
        """Change something in one commit, and spread it."""
        try:
            with self.replica.batch(durable=durable):
                yield
            self.hub.committed()
        except BaseException:
            self.hub.rolled_back()
            raise
        self.settle()

    def settle(self) -> None:
        """Look at what was told, and give it to whoever is connected."""
        effects = list(self.effects)
        self.effects.clear()
        for effect in effects:
            if isinstance(effect, EntryAdded) and effect.kind is LogKind.MESSAGES:
                self.world.witness(self.replica.groups[effect.group].group, effect.block)
            if isinstance(effect, MessageArrived):
                self.arrived.append((effect.group, effect.cid))
        self.hub.spread(effects)
        for listener in self.listeners:
            listener(effects)

    def do(self, function: Callable[[], T]) -> T | None:
        """Change something; None if the disk was full."""
        with suppress(StoreError), self.batch():
            return function()
        return None

    def group(self, group: GroupId) -> GroupReplica:
        """An open group of this device."""
        return self.replica.groups[group]

    def send(self, group: GroupId, text: str) -> Cid | None:
        """Send a text; None if the disk was full."""
        return self.do(lambda: self.group(group).send(UserMessage(text)))

    def texts(self, group: GroupId) -> list[str]:
        """All readable texts of a group in its order."""
        opened = [self.group(group).message(cid) for cid in self.group(group).logs[LogKind.MESSAGES].cids()]
        return [
            message.payload.content.body
            for message in opened
            if message is not None and isinstance(message.payload.content, UserMessage)
        ]


@attrs.define(eq=False)
class Wire:
    """One group on one connection: frames under way to either side, in order."""

    group: GroupId
    ends: tuple[Device, Device]
    peers: list[SyncPeer] = attrs.field(factory=list)
    under_way: tuple[deque[bytes], deque[bytes]] = attrs.field(factory=lambda: (deque(), deque()))
    bytes_sent: int = 0


class World:
    """Some devices, a clock and a source of entropy, all from one seed; `acknowledge` as in the configuration."""

    def __init__(self, seed: int = 0, *, acknowledge: str = "small") -> None:
        self.random = random.Random(seed)  # noqa: S311  a test that fails must fail again
        self.acknowledge = acknowledge
        self.now = 1_700_000_000.0
        self.devices: list[Device] = []
        self.wires: list[Wire] = []
        self._seen: dict[tuple[GroupId, DeviceId, int], bytes] = {}
        self.dropped: list[str] = []

    def entropy(self, count: int) -> bytes:
        """Random bytes, the same for the same seed."""
        return self.random.randbytes(count)

    def device(self, name: str, *, like: Device | None = None, store: Store | None = None) -> Device:
        """A new account, or a new device of the account of another one."""
        keys = like.replica.keys if like else None
        device = Device(self, name, MemoryStore() if store is None else store, keys)
        self.devices.append(device)
        return device

    def make_group(self, founder: Device, *members: Device) -> GroupId:
        """Make a group, and let others join; they know of each other once they are in step."""
        group = founder.do(lambda: founder.replica.create_group("group"))
        assert group is not None
        for member in members:
            member.do(lambda member=member: member.replica.join_group(group.group))  # type: ignore[misc]
        return group.group.id

    def witness(self, group: Group, block: bytes) -> None:
        """Hold every message that left a device against all others: one plaintext for a counter."""
        with suppress(RemoteProtocolError):
            headers = open_headers(group.secret, decode_entry(block).value)
            known = self._seen.setdefault((group.id, headers.device, headers.counter), headers.box)
            assert known == headers.box, f"counter {headers.counter} of {headers.device!r} seals two messages"

    # -- reliable wires ------------------------------------------------------------------------

    def connect(self, one: Device, other: Device) -> list[Wire]:
        """Join two devices: a sync machine on each side for every group that they share."""
        shared = [group for group in one.replica.groups if group in other.replica.groups]
        wires = [self._wire(one, other, group) for group in shared]
        self.wires += wires
        return wires

    def _wire(self, one: Device, other: Device, group: GroupId) -> Wire:
        wire = Wire(group, (one, other))
        for side, (own, peer) in enumerate([(one, other), (other, one)]):
            partner = SyncPartner(
                peer.group(group).device_id,
                "wire",
                lambda frame, more: None,
                self.dropped.append,
                bytes(32),
            )
            wire.peers.append(own.hub.attach(group, partner, side == 0, self.now))
        return wire

    def disconnect(self, *devices: Device) -> None:
        """Cut all wires of these devices, with what is under way on them."""
        for wire in [wire for wire in self.wires if any(end in devices for end in wire.ends)]:
            for end, peer in zip(wire.ends, wire.peers, strict=True):
                end.hub.detach(peer)
            self.wires.remove(wire)

    def carry(self) -> bool:
        """Let every device say what it has to say, and deliver it; False if nobody had anything."""
        found = False
        for device in self.devices:
            for outgoing in device.hub.collect(self.now)[0]:
                wire = next(wire for wire in self.wires if outgoing.peer in wire.peers)
                wire.under_way[wire.peers.index(outgoing.peer)].append(outgoing.frame)
                wire.bytes_sent += len(outgoing.frame)
                found = True
        for wire in list(self.wires):
            for side in (0, 1):
                while wire in self.wires and wire.under_way[side]:
                    self._deliver(wire, 1 - side, wire.under_way[side].popleft())
        return found

    def _deliver(self, wire: Wire, side: int, frame: bytes) -> None:
        device, peer = wire.ends[side], wire.peers[side]
        try:
            with device.batch(durable=entries_in(frame) is not None):  # as a session does it
                device.hub.receive(peer, frame, None, self.now)
        except StoreError:
            self.disconnect(*wire.ends)  # as a session ends when its node cannot store
            return
        for offender, reason in device.hub.offenders():
            offender.partner.drop(reason)

    def rest(self) -> None:
        """Let time pass until every wire is in step; an AssertionError if that takes too long."""
        for _ in range(LONG):
            while self.carry():
                pass
            if all(device.hub.idle for device in self.devices):
                return
            self.now += STEP
            for device in self.devices:
                device.hub.wake(self.now)
        raise AssertionError("the replicas do not come to rest")

    def meet(self, one: Device, other: Device) -> None:
        """Connect two devices until they are in step."""
        self.connect(one, other)
        self.rest()
        self.disconnect(one, other)

    def heal(self) -> None:
        """Bring everybody together until nothing is left to tell: groups that are learnt of join in."""
        before = -1
        while before != (before := sum(self.sizes())):
            for one in self.devices:
                for other in self.devices[self.devices.index(one) + 1 :]:
                    self.meet(one, other)

    def sizes(self) -> list[int]:
        """How many entries each device holds."""
        return [
            sum(len(log) for group in device.replica.groups.values() for log in group.logs.values())
            for device in self.devices
        ]

    # -- wires that lose, repeat and reorder ---------------------------------------------------

    def gossip(self, source: Device, target: Device, group: GroupId, *, loss: float = 0.3, repeat: float = 0.3) -> None:
        """Hand over blocks without any order: some are lost, some come twice."""
        for kind in LogKind:
            log = source.group(group).logs[kind]
            blocks = [log.read(cid).block for cid in log.cids() if self.random.random() >= loss]
            blocks += [block for block in blocks if self.random.random() < repeat]
            self.random.shuffle(blocks)
            for start in range(0, len(blocks), 8):
                self._hand_over(target, group, kind, blocks[start : start + 8])

    def _hand_over(self, target: Device, group: GroupId, kind: LogKind, blocks: list[bytes]) -> None:
        open_group = target.group(group)
        verified = verify_blocks(blocks, open_group.logs[kind].address, open_group.group.signing_public)
        target.do(lambda: open_group.receive(kind, verified.entries))

    # -- what must hold ------------------------------------------------------------------------

    def check_equal(self, group: GroupId) -> None:
        """Logs, order, heads and reduced state are the same on all devices."""
        states = [self._state(device.group(group)) for device in self.devices if group in device.replica.groups]
        for state in states[1:]:
            assert state == states[0]

    @staticmethod
    def _state(group: GroupReplica) -> object:
        kinds = ["device", "chain", "name", "group name", "name in messages", "contact", "group", "seed", "requests"]
        if group.group.kind is not GroupKind.ACCOUNT:
            kinds = kinds[:4]
        return (
            [list(log.cids()) for log in group.logs.values()],
            [dict(log.heads) for log in group.logs.values()],
            [log.index.summary() for log in group.logs.values()],
            {kind: sorted(group.registers.items(kind)) for kind in kinds},
        )

    def check_read(self, group: GroupId, device: Device) -> None:
        """A device has read every text once, and nothing waits or is missing."""
        replica = device.group(group)
        assert not replica.chains.waiting()
        assert not replica.chains.gaps()
        arrived = [cid for place, cid in device.arrived if place == group]
        assert len(arrived) == len(set(arrived))
