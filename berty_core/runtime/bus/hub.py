"""The groupcast machines of one bus, beside the replica they serve. Everything here runs on the store's thread.

Invariant: what was heard is verified and stored by the same path as what a session brings, and a message is confirmed
only once it is durable.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping

import attrs

from ...codec.cid import Cid
from ...contracts.bus import Priority
from ...errors import RemoteProtocolError, UserError
from ...ids import DeviceId, GroupId
from ...protocol.compact_entries import EntryCompactor
from ...protocol.envelope import open_headers
from ...protocol.group import LogKind
from ...protocol.groupcast.frames import HeldFrame, confirm_held, decode_groupcast, is_held
from ...protocol.groupcast.machine import (
    Agreed,
    ConfirmationAsked,
    EntryHeard,
    Groupcast,
    GroupcastEvent,
    GroupcastPart,
    HeldClaimed,
    Said,
)
from ...protocol.groupcast.seal import OVERHEAD, GroupcastKey, Opened, ReplayWindow, Sender
from ...protocol.payloads import Acknowledge
from ..replica.effects import DeliveryChanged, Effect, EntryAdded
from ..replica.group_replica import GroupReplica
from ..replica.replica import Replica
from ..replica.verification import verify_blocks

MIN_ROOM = 80  # bytes: a confirmation of one message
GRACE = 3.0  # seconds in which sessions have to bring an entry to all, where a bus is to be spared
MAX_HELD_BACK = 256  # own entries of a group that wait so
LATELY = 3600.0  # seconds: digests come at least that often
MAX_SENDERS = 256  # of a group, whose time is remembered
MAX_SAID = 256  # own messages of a group whose time is remembered
MAX_UNHELD = 64  # own messages from before this start that are asked about


@attrs.frozen
class Outgoing:
    """A datagram to put on the air, with its topic where there are any; `message` is an own one that is out with it."""

    data: bytes = attrs.field(repr=False)
    priority: Priority
    topic: bytes
    message: tuple[GroupId, Cid] | None = None


@attrs.frozen
class HeardLately:
    """How many senders of a group were heard within `LATELY`, and when devices last proved that they are there.

    A sender is a name that a member chose when it started. Times are of the monotonic clock.
    """

    senders: int
    devices: Mapping[DeviceId, float]


@attrs.frozen
class ToldOf:
    """What became of an own message on a bus: when it was said, and what is asked about it. Times as above."""

    said: float | None
    questions: int
    next_question: float | None
    is_unheld: bool


@attrs.define(eq=False)
class _Group:
    """One group on the bus."""

    replica: GroupReplica
    key: GroupcastKey
    machine: Groupcast
    sender: Sender
    window: ReplayWindow = attrs.field(factory=ReplayWindow)
    senders: dict[bytes, float] = attrs.field(factory=dict)
    devices: dict[DeviceId, float] = attrs.field(factory=dict)
    said: OrderedDict[Cid, float] = attrs.field(factory=OrderedDict)  # own messages
    held_back: dict[tuple[LogKind, Cid], float] = attrs.field(factory=dict)  # own entries, and until when


class BusHub:
    """All groups of this device on one bus. `unit` (seconds) is what a full datagram takes on it.

    `met` is given for a bus that is to be spared: the devices of a group that have a session over another transport.
    """

    def __init__(
        self,
        replica: Replica,
        transport: str,
        *,
        mtu: int,
        unit: float,
        entropy: Callable[[int], bytes],
        ready: Callable[[list[Outgoing]], None],
        met: Callable[[GroupId, str], Collection[DeviceId]] | None = None,
    ) -> None:
        if mtu - OVERHEAD < MIN_ROOM:
            raise UserError(
                f"datagrams of {mtu} bytes are too short to speak to a group, {OVERHEAD + MIN_ROOM} are needed"
            )
        self.transport = transport
        self.ready = ready  # called on the node's loop with what `collect` gave
        self.heard = self.foreign = self.repeated = self.refused = 0
        self._replica = replica
        self._room = mtu - OVERHEAD
        self._unit = unit
        self._entropy = entropy
        self._groups: dict[GroupId, _Group] = {}
        self.spared = 0  # own entries that were not said, since all had them by their sessions
        self._met = met
        self._taken: list[tuple[_Group, Opened]] = []  # in the open batch
        self.topics: frozenset[bytes] = frozenset()  # of the groups that are open
        self.topics_changed = False

    def adjust(self, now: float) -> None:
        """Speak for the groups that are open, and for no others."""
        for group_id, known in list(self._groups.items()):
            if self._replica.groups.get(group_id) is not known.replica:
                del self._groups[group_id]
        for group_id, replica in self._replica.groups.items():
            if group_id not in self._groups:
                self._groups[group_id] = self._open(replica, now)
        topics = frozenset(group.key.topic for group in self._groups.values())
        self.topics_changed = self.topics_changed or topics != self.topics
        self.topics = topics

    def _open(self, replica: GroupReplica, now: float) -> _Group:
        parts = {
            kind: GroupcastPart(log, EntryCompactor(replica.group, log.address, log, replica.devices))
            for kind, log in replica.logs.items()
        }
        machine = Groupcast(parts, room=self._room, unit=self._unit, entropy=self._entropy, now=now)
        machine.confirmations.await_holder(replica.deliveries.unheld()[-MAX_UNHELD:], now)
        return _Group(replica, GroupcastKey(replica.group), machine, Sender(self._entropy))

    # -- what the others say -------------------------------------------------------------------

    def receive(self, datagrams: Iterable[bytes], now: float) -> None:
        """Take in what was heard, within a batch."""
        self.adjust(now)
        for datagram in datagrams:
            self._receive(datagram, now)

    def _receive(self, datagram: bytes, now: float) -> None:
        self.heard += 1
        found = next(((g, opened) for g in self._groups.values() if (opened := g.key.open(datagram))), None)
        if found is None:
            self.foreign += 1
            return
        group, opened = found
        if not self._is_news(group, opened, now):
            self.repeated += 1
            return
        self._taken.append((group, opened))
        group.senders.pop(opened.sender, None)
        group.senders[opened.sender] = now
        if len(group.senders) > MAX_SENDERS:
            del group.senders[next(iter(group.senders))]
        try:
            frame = decode_groupcast(opened.body)
            if frame is not None:
                self._take(group, group.machine.receive(frame, now), now)
        except RemoteProtocolError:
            self.refused += 1

    def _is_news(self, group: _Group, opened: Opened, now: float) -> bool:
        if group.sender.is_ours(opened):
            return False
        if not group.window.knows(opened.sender):
            group.machine.confirmations.ask_again(now)
        return group.window.is_new(opened.sender, opened.counter)

    def _take(self, group: _Group, events: list[GroupcastEvent], now: float) -> None:
        while events:
            event = events.pop(0)
            match event:
                case EntryHeard(kind, block):
                    events += self._store(group, kind, block, now)
                case HeldClaimed(claim):
                    self._held(group, claim, now)
                case ConfirmationAsked(names):
                    self._asked(group, names, now)
                case Agreed():
                    group.replica.become_live()

    def _store(self, group: _Group, kind: LogKind, block: bytes, now: float) -> list[EntryHeard]:
        """Add an entry; those that waited for it follow."""
        replica = group.replica
        verified = verify_blocks([block], replica.logs[kind].address, replica.group.signing_public)
        received = replica.receive(kind, verified.entries)
        for refused in verified.refused:
            self.refused += 1
            replica.refuse(kind, refused)
        if kind is LogKind.MESSAGES:
            group.machine.confirmations.add(filter(lambda cid: self._may_confirm(replica, cid), received.added), now)
        return group.machine.stored(kind, received.missing, now)

    @staticmethod
    def _may_confirm(replica: GroupReplica, cid: Cid) -> bool:
        """Messages of others, but no receipts: nobody waits for those."""
        try:
            headers = open_headers(replica.group.secret, replica.logs[LogKind.MESSAGES].read(cid).entry.value)
        except RemoteProtocolError:
            return False
        opened = replica.message(cid)
        is_receipt = opened is not None and isinstance(opened.payload.content, Acknowledge)
        return headers.device != replica.device_id and not is_receipt

    def _asked(self, group: _Group, names: tuple[bytes, ...], now: float) -> None:
        log = group.replica.logs[LogKind.MESSAGES]
        cids = [cid for name in names for cid in log.starting_with(name)]
        group.machine.confirmations.add([cid for cid in cids if self._may_confirm(group.replica, cid)], now)

    def _held(self, group: _Group, claim: HeldFrame, now: float) -> None:
        """A device holds messages, of which some may be ours."""
        replica = group.replica
        log = replica.logs[LogKind.MESSAGES]
        cids = [cid for name in claim.names for cid in log.starting_with(name)]
        for device in filter(lambda device: device.startswith(claim.device), replica.devices()):
            if not replica.is_mine(device) and is_held(replica.group.id, DeviceId(device), claim):
                group.devices[DeviceId(device)] = now
                for cid in replica.deliveries.held(cids, device):
                    self._replica.emit(DeliveryChanged(replica.group.id, cid))

    # -- our side ------------------------------------------------------------------------------

    def spread(self, effects: Iterable[Effect], now: float) -> None:
        """Say own entries at once (called once they are committed)."""
        self.adjust(now)
        for effect in effects:
            group = self._groups.get(effect.group) if isinstance(effect, EntryAdded | DeliveryChanged) else None
            if group is None:
                continue
            if isinstance(effect, DeliveryChanged):
                if not group.replica.deliveries.is_unheld(effect.cid):
                    group.machine.confirmations.held(effect.cid)
            elif isinstance(effect, EntryAdded) and effect.own:
                self._say_own(group, effect.kind, effect.cid, now)
            elif self._are_all_met(group):
                group.machine.settled()
            else:
                group.machine.changed(now)

    def _say_own(self, group: _Group, kind: LogKind, cid: Cid, now: float) -> None:
        """At once, unless the bus is to be spared and sessions bring it to all that are known."""
        if len(group.held_back) < MAX_HELD_BACK and self._are_all_met(group):
            group.held_back[kind, cid] = now + GRACE
        else:
            self._push(group, kind, cid, now)

    def _push(self, group: _Group, kind: LogKind, cid: Cid, now: float) -> None:
        group.machine.push(kind, cid, now)
        if group.replica.deliveries.is_unheld(cid):
            group.machine.confirmations.await_holder([cid], now)

    @staticmethod
    def _others(group: _Group) -> set[DeviceId]:
        return set(group.replica.devices()) - {group.replica.device_id}

    def _are_all_met(self, group: _Group) -> bool:
        """Whether the bus is to be spared, and every other device that is known has a session elsewhere."""
        if self._met is None:
            return False
        others = self._others(group)
        return bool(others) and others.issubset(self._met(group.replica.group.id, self.transport))

    def _have_all(self, group: _Group, cid: Cid) -> bool:
        """Whether all others have an own entry: of texts they say so, of all else it is enough that they are met."""
        deliveries = group.replica.deliveries
        if deliveries.is_unheld(cid):
            return False
        held = deliveries.get(cid).held
        return self._others(group).issubset(held) if held else self._are_all_met(group)

    def _say_held_back(self, group: _Group, now: float) -> None:
        """What did not come to all by sessions within `GRACE` is said."""
        for (kind, cid), until in list(group.held_back.items()):
            if until > now:
                continue
            del group.held_back[kind, cid]
            if self._have_all(group, cid):
                self.spared += 1
            else:
                self._push(group, kind, cid, now)

    def committed(self) -> None:
        """The open batch is durable."""
        self._taken.clear()

    def rolled_back(self) -> None:
        """The open batch never happened: nothing that it stored may be confirmed, and what it took may come again."""
        for group, opened in self._taken:
            group.window.forget(opened.sender, opened.counter)
        self._taken.clear()
        for group in self._groups.values():
            group.machine.confirmations.forget()

    def sent(self, group_id: GroupId, cid: Cid, now: float) -> None:
        """An own message went on the air, for all devices of its group, within a batch."""
        group, known = self._replica.groups.get(group_id), self._groups.get(group_id)
        if known is not None:
            known.said[cid] = now
            if len(known.said) > MAX_SAID:
                known.said.popitem(last=False)
        if group is None:
            return
        for device in group.devices():
            if not group.is_mine(device):
                group.deliveries.handed_over(cid, device, self.transport)
        if group.deliveries.sent(cid, self.transport):
            self._replica.emit(DeliveryChanged(group_id, cid))

    def wake(self, now: float) -> None:
        """Let machines say what is due."""
        for group in self._groups.values():
            self._say_held_back(group, now)
            if group.machine.timeout() <= now:
                group.machine.wake(now)

    def timeout(self) -> float | None:
        """When `wake` wants to be called."""
        times = [group.machine.timeout() for group in self._groups.values()]
        times += [until for group in self._groups.values() for until in group.held_back.values()]
        return min(times, default=None)

    def collect(self, now: float) -> list[Outgoing]:
        """What is to be said now, after a commit, sealed."""
        out = []
        for group in self._groups.values():
            if cids := group.machine.confirmations.take(now):
                group.machine.confirm(confirm_held(group.replica.group.id, group.replica.device, cids))
            out += [self._seal(group, said) for said in group.machine.take()]
        return out

    @staticmethod
    def _seal(group: _Group, said: Said) -> Outgoing:
        data = group.key.seal(*group.sender.next(), said.frame)
        message = None
        if said.completes is not None and said.completes[0] is LogKind.MESSAGES:
            message = (group.replica.group.id, said.completes[1])
        return Outgoing(data, Priority(said.urgency), group.key.topic, message)

    # -- what is told of it --------------------------------------------------------------------

    def groups(self) -> list[GroupId]:
        """The groups that are spoken to here."""
        return list(self._groups)

    def heard_lately(self, group_id: GroupId, now: float) -> HeardLately | None:
        """Who of a group was heard; None if it is not spoken to here."""
        group = self._groups.get(group_id)
        if group is None:
            return None
        recent = [at for at in group.senders.values() if now - at < LATELY]
        return HeardLately(len(recent), {one: at for one, at in group.devices.items() if now - at < LATELY})

    def told_of(self, group_id: GroupId, cid: Cid) -> ToldOf | None:
        """What became of an own message; None if its group is not spoken to here."""
        group = self._groups.get(group_id)
        if group is None:
            return None
        tries, at = group.machine.confirmations.asked_about(cid)
        is_unheld = group.replica.deliveries.is_unheld(cid)
        return ToldOf(group.said.get(cid), tries, None if at == math.inf else at, is_unheld)
