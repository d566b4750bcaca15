"""Both ends of the private profile without links, disks and clocks: the pure machines, joined as a node joins them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping

import attrs

from berty_core.codec.cid import DAG_CBOR, Cid
from berty_core.codec.frames import FrameReader, encode_frame
from berty_core.crypto.keys import PrivateKey, Secret, x25519_pair
from berty_core.ids import GroupId
from berty_core.protocol.group import Group, LogKind
from berty_core.protocol.log import Position
from berty_core.protocol.offers import MAX_FRAME as MAX_CONTROL
from berty_core.protocol.offers import GroupOffers, GroupProven, OfferEvent
from berty_core.protocol.range_index import RangeIndex
from berty_core.protocol.session import (
    NodeIdentity,
    Opened,
    ReplayGuard,
    Session,
    SessionEvent,
    StreamData,
    StreamStarted,
)
from berty_core.protocol.sync import MAX_FRAME as MAX_SYNC
from berty_core.protocol.sync import EntriesReceived, GroupSync, SyncEvent
from berty_core.testing.memory_store import MemoryStore

TAG = bytes.fromhex("0123456789abcdef")
SECRET = Secret(hashlib.sha256(b"a session's pre-shared key").digest())
TICK = 0.05


class Entropy:
    """Bytes that look random and are the same for the same seed."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._drawn = 0

    def __call__(self, count: int) -> bytes:
        self._drawn += 1
        return hashlib.shake_256(self._seed + b" %d" % self._drawn).digest(count)


def make_block(time: int, number: int, size: int = 40) -> bytes:
    """A block that says its own effective time: the machines under test never look into one."""
    return time.to_bytes(4, "big") + hashlib.shake_256(b"%d %d" % (time, number)).digest(size)


def position(block: bytes) -> Position:
    """Where a block of `make_block` stands."""
    return Position.of(int.from_bytes(block[:4], "big"), Cid.of(block))


class Log:
    """What sync reads of a log, over a store; counts each read in `reads`, each written node in `written`."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.index = RangeIndex(self._get_node, self._put_node)
        self.reads: Counter[str] = Counter()
        self.written = 0
        self._puts: dict[bytes, bytes] = {}

    def _get_node(self, path: str) -> bytes | None:
        self.reads["index"] += 1
        key = b"i" + path.encode()
        return self._puts.get(key) or self.store.get(key)

    def _put_node(self, path: str, value: bytes) -> None:
        self.written += 1
        self._puts[b"i" + path.encode()] = value

    def add(self, blocks: Iterable[bytes]) -> list[Cid]:
        """Add blocks that are not there yet, in one commit; which ones were new."""
        new = {cid: block for block in blocks if (cid := Cid.of(block)) not in self}
        self._puts = {b"e" + cid.digest: block for cid, block in new.items()}
        self.index.insert(map(position, new.values()))
        self.store.commit(self._puts, durable=True)
        self._puts = {}
        return list(new)

    def block(self, cid: Cid) -> bytes | None:
        """The block of an entry."""
        self.reads["block"] += 1
        return self.store.get(b"e" + cid.digest)

    def find(self, digest: bytes) -> Cid | None:
        """The entry whose digest starts so."""
        self.reads["find"] += 1
        found = self.store.scan(b"e" + digest, b"e" + digest + b"\xff" * 33, limit=1)
        return Cid(DAG_CBOR + found[0][0][1:]) if found else None

    def __contains__(self, cid: Cid) -> bool:
        return self.store.get(b"e" + cid.digest) is not None

    def blocks(self) -> set[bytes]:
        """Everything that it holds."""
        return {value for _, value in self.store.scan(b"e", b"f")}


Logs = dict[LogKind, Log]


def make_logs(metadata: Iterable[bytes] = (), messages: Iterable[bytes] = ()) -> Logs:
    """Both logs of a group."""
    logs = {LogKind.METADATA: Log(), LogKind.MESSAGES: Log()}
    logs[LogKind.METADATA].add(metadata)
    logs[LogKind.MESSAGES].add(messages)
    return logs


# -- two replicas and the frames between them ------------------------------------------------------


@attrs.define
class Course:
    """How two replicas came together: frames in turn, and what they cost."""

    turns: list[tuple[int, list[bytes]]] = attrs.field(factory=list)
    events: list[tuple[int, SyncEvent]] = attrs.field(factory=list)
    seconds: float = 0.0

    @property
    def size(self) -> int:
        """Bytes of all frames, each with its length in front."""
        return sum(len(encode_frame(frame, MAX_SYNC)) for _, frames in self.turns for frame in frames)

    @property
    def round_trips(self) -> float:
        """There is one for each two changes of who speaks."""
        return len(self.turns) / 2


def reconcile(one: Logs, other: Logs, *, session: bytes = bytes(32), opener: int = 0, limit: int = 400) -> Course:
    """Let two replicas talk until both say that they are in step."""
    ends = (one, other)
    machines = [GroupSync(logs, opener=side == opener, now=0.0, session=session) for side, logs in enumerate(ends)]
    course, side, silent, now = Course(), opener, 0, 0.0
    while not all(machine.idle for machine in machines):
        frames = say(machines[side], now)
        if frames:
            course.turns.append((side, frames))
            silent = 0
            for frame in frames:
                hear(machines[1 - side], ends[1 - side], frame, now, course.events, 1 - side)
        elif (silent := silent + 1) > 1:
            now += TICK
            for machine in machines:
                machine.wake(now)
            assert silent < limit, "the replicas do not come to rest"
        side = 1 - side
    course.seconds = now
    return course


def say(machine: GroupSync, now: float) -> list[bytes]:
    """Everything that a machine has to say now."""
    frames = machine.take()
    while (entries := machine.next_entries(now)) is not None:
        frames.append(entries[0])
    return frames


def hear(
    machine: GroupSync, logs: Logs, frame: bytes, now: float, events: list[tuple[int, SyncEvent]], side: int = 0
) -> None:
    """Take in a frame, and store and confirm what it brings, as a replica does."""
    for event in machine.receive(frame):
        events.append((side, event))
        if isinstance(event, EntriesReceived):
            new = logs[event.kind].add(event.blocks)
            machine.stored(event.kind, (), now)
            machine.confirm(event.kind, new)


# -- two nodes and the bytes between them -----------------------------------------------------------


def identity(name: str, **fields: object) -> NodeIdentity:
    """A node's identity in one period, made from its name."""
    seed = Secret(hashlib.sha256(f"{name}'s node key".encode()).digest())
    return NodeIdentity(seed, x25519_pair(seed)[1], hashlib.sha256(name.encode()).digest()[:8], **fields)  # type: ignore[arg-type]


def ephemeral(name: str) -> Secret:
    """A node's ephemeral key for one session."""
    return Secret(hashlib.sha256(f"{name}'s ephemeral key".encode()).digest())


def dial(name: str = "Ann", tag: bytes = TAG, secret: Secret = SECRET, **fields: object) -> Session:
    """The dialling end of a session."""
    return Session.dial(identity(name, **fields), tag, secret, ephemeral(name), 0.0)


def accept(name: str = "Bob", guard: ReplayGuard | None = None, now: float = 0.0, **fields: object) -> Session:
    """The accepting end; it shows `TAG`."""
    shown = {TAG: SECRET}
    return Session.accept(identity(name, **fields), shown.get, guard or ReplayGuard(), ephemeral(name), now)


def open_pair(one: Session | None = None, other: Session | None = None) -> tuple[Session, Session]:
    """Two ends with the handshake behind them."""
    one, other = one or dial(), other or accept()
    other.receive(one.take(), 0.0)
    one.receive(other.take(), 0.0)
    other.receive(one.take(), 0.0)
    return one, other


@attrs.define(eq=False)
class _Group:
    group: GroupId
    sync: GroupSync
    reader: FrameReader = attrs.field(factory=lambda: FrameReader(MAX_SYNC))


class End:
    """A node in one session: what it shows, what it learns, and what it sends and gets inside."""

    def __init__(
        self,
        session: Session,
        groups: Iterable[tuple[Group, PrivateKey]] = (),
        logs: Mapping[GroupId, Logs] | None = None,
        entropy: Entropy | None = None,
    ) -> None:
        self.session = session
        self.groups = list(groups)
        self.logs = logs or {group.id: make_logs() for group, _ in self.groups}
        self.entropy = entropy or Entropy("padding")
        self.opened: Opened | None = None
        self.offers: GroupOffers | None = None
        self.learnt: list[OfferEvent] = []
        self.synced: list[tuple[int, SyncEvent]] = []
        self.control: list[bytes] = []  # frames that came in
        self.streams: list[StreamStarted] = []
        self._control_stream: int | None = None
        self._reader = FrameReader(MAX_CONTROL)
        self._open: dict[int, _Group] = {}

    @property
    def proven(self) -> list[GroupProven]:
        """The groups that the other end has proven."""
        return [event for event in self.learnt if isinstance(event, GroupProven)]

    def receive(self, data: bytes, now: float = 0.0) -> None:
        """Take in bytes of the link."""
        for event in self.session.receive(data, now):
            self._take(event, now)

    def take(self, now: float = 0.0) -> bytes:
        """The bytes for the link."""
        for number, group in self._open.items():
            for frame in say(group.sync, now):
                self.session.send(number, encode_frame(frame, MAX_SYNC))
        return self.session.take()

    def wake(self, now: float) -> None:
        """Let time pass."""
        self.session.wake(now)
        for group in self._open.values():
            group.sync.wake(now)

    @property
    def idle(self) -> bool:
        """Every group that was proven is in step."""
        return all(group.sync.idle for group in self._open.values())

    def _take(self, event: SessionEvent, now: float) -> None:
        if isinstance(event, Opened):
            self.opened = event
            self.offers = GroupOffers(event.handshake_hash, initiator=self.session.initiator, entropy=self.entropy)
            if self.session.initiator:
                self._control_stream = self.session.open_stream("control")
            self.offers.offer(self.groups)
            self.send_control()
        elif isinstance(event, StreamStarted):
            self.streams.append(event)
            self._started(event, now)
        elif isinstance(event, StreamData):
            self.session.consumed(event.stream, len(event.data))
            self._data(event.stream, event.data, now)

    def _started(self, event: StreamStarted, now: float) -> None:
        assert self.offers is not None
        if event.type == "control" and self._control_stream is None:
            self._control_stream = event.stream
            self.send_control()
        elif event.type == "group" and (group := self.offers.group_of(event.tag)) is not None:
            self._open_group(event.stream, group, now, opener=False)
        else:
            self.session.reset(event.stream)

    def _data(self, number: int, data: bytes, now: float) -> None:
        if number == self._control_stream:
            for frame in self._reader.feed(data):
                self.receive_control(frame, now)
        elif (group := self._open.get(number)) is not None:
            for frame in group.reader.feed(data):
                hear(group.sync, self.logs[group.group], frame, now, self.synced)

    def receive_control(self, frame: bytes, now: float = 0.0) -> None:
        """Take in one control frame."""
        assert self.offers is not None
        self.control.append(frame)
        self.offers.receive(frame)
        self.send_control()
        for event in self.offers.events():
            self.learnt.append(event)
            if isinstance(event, GroupProven) and self.session.initiator:
                number = self.session.open_stream("group", self.offers.own_tag(event.group))
                self._open_group(number, event.group, now, opener=True)

    def send_control(self) -> None:
        """Send what the offers have to say."""
        if self.offers is not None and self._control_stream is not None:
            for frame in self.offers.take():
                self.session.send(self._control_stream, encode_frame(frame, MAX_CONTROL))

    def _open_group(self, number: int, group: GroupId, now: float, *, opener: bool) -> None:
        assert self.opened is not None
        machine = GroupSync(self.logs[group], opener=opener, now=now, session=self.opened.handshake_hash)
        self._open[number] = _Group(group, machine)


def converse(one: End, other: End, *, until: float = 10.0) -> list[tuple[int, bytes]]:
    """Carry bytes to and fro until both are silent and in step; who sent what."""
    wire: list[tuple[int, bytes]] = []
    now, ends = 0.0, (one, other)
    while now < until:
        quiet = True
        for side in (0, 1):
            if data := ends[side].take(now):
                wire.append((side, data))
                ends[1 - side].receive(data, now)
                quiet = False
        if quiet:
            if one.opened and other.opened and one.idle and other.idle:
                return wire
            now += TICK
            for end in ends:
                end.wake(now)
    return wire
