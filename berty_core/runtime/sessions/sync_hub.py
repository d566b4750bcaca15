"""The sync machines of all live sessions, beside the replica they serve. Everything here runs on the store's thread."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from ...codec.cid import Cid
from ...contracts.session import Verified
from ...errors import RemoteProtocolError
from ...ids import DeviceId, GroupId
from ...protocol.group import LogKind
from ...protocol.sync import EntriesReceived, GroupSync, HeldByPeer, InSync, SyncEvent
from ..bus.hub import BusHub
from ..bus.hub import Outgoing as Datagram
from ..replica.effects import DeliveryChanged, Effect, EntryAdded
from ..replica.group_replica import GroupReplica
from ..replica.replica import Replica
from ..replica.verification import verify_blocks


@attrs.frozen(eq=False)
class SyncPartner:
    """Who is at the other end: the device it proved (None for a replica), over what, and how a frame reaches it.

    `session` is the handshake hash of the session.
    """

    device: DeviceId | None
    transport: str
    deliver: Callable[[bytes, bool], None]
    drop: Callable[[str], None]
    session: bytes = attrs.field(repr=False)


@attrs.define(eq=False)
class SyncPeer:
    """One group on one session. `ready` is False while the session has no room for more entries."""

    sync: GroupSync
    group: GroupReplica
    partner: SyncPartner
    ready: bool = True
    gone: bool = False
    draining: bool = False  # another session with this device has the news


@attrs.frozen
class Outgoing:
    """A frame for one peer's stream."""

    peer: SyncPeer
    frame: bytes = attrs.field(repr=False)
    more: bool = False  # entries wait until there is room


class SyncHub:
    """Joins the replica's changes to the peers' machines and the other way round."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self._peers: dict[GroupId, list[SyncPeer]] = {}
        self._offenders: list[tuple[SyncPeer, str]] = []
        self._marks: dict[SyncPeer, int] = {}  # how much waited to be sent before the open batch
        self.buses: list[BusHub] = []

    def attach(self, group_id: GroupId, partner: SyncPartner, opener: bool, now: float) -> SyncPeer:
        """Begin to keep a peer in step; RemoteProtocolError if we are not in that group (any longer)."""
        group = self.replica.groups.get(group_id)
        if group is None:
            raise RemoteProtocolError("a stream for a group that is not shared")
        peer = SyncPeer(GroupSync(group.logs, opener=opener, now=now, session=partner.session), group, partner)
        self._peers.setdefault(group_id, []).append(peer)
        return peer

    def detach(self, peer: SyncPeer) -> None:
        """The session or the group is gone."""
        peer.gone = True
        peers = self._peers.get(peer.group.group.id, [])
        if peer in peers:
            peers.remove(peer)

    def spread(self, effects: list[Effect]) -> None:
        """Push new entries to every peer of their group (called once they are committed)."""
        for effect in effects:
            if isinstance(effect, EntryAdded):
                for peer in self._peers.get(effect.group, []):
                    if not peer.draining:
                        peer.sync.push(effect.kind, effect.cid)

    def _is_live(self, peer: SyncPeer) -> bool:
        """Whether the group is still open: a closed one takes nothing in, or its entries would miss their index."""
        return not peer.gone and self.replica.groups.get(peer.group.group.id) is peer.group

    def committed(self) -> None:
        """The open batch is durable: what it has to say may be sent."""
        self._marks.clear()
        for bus in self.buses:
            bus.committed()

    def rolled_back(self) -> None:
        """The open batch never happened: nothing that it confirmed may be sent."""
        for peer, mark in self._marks.items():
            peer.sync.take_back(mark)
        self._marks.clear()
        self._offenders.clear()
        for bus in self.buses:
            bus.rolled_back()

    def receive(self, peer: SyncPeer, frame: bytes, verified: Verified | None, now: float) -> None:
        """Take in one frame of a peer's stream, within a batch; entries of large frames come verified."""
        if not self._is_live(peer):
            return
        self._marks.setdefault(peer, peer.sync.waiting)
        try:
            for event in peer.sync.receive(frame):
                self._take_event(peer, event, verified, now)
        except RemoteProtocolError as error:
            self._offenders.append((peer, str(error)))

    def _take_event(self, peer: SyncPeer, event: SyncEvent, verified: Verified | None, now: float) -> None:
        match event:
            case EntriesReceived(kind, _) if verified is not None:
                self.store(peer, kind, verified, now)
            case EntriesReceived(kind, blocks):
                log = peer.group.logs[kind]
                self.store(peer, kind, verify_blocks(blocks, log.address, peer.group.group.signing_public), now)
            case HeldByPeer(LogKind.MESSAGES, cids):
                self._held(peer, cids)
            case InSync(kind):
                self._in_step(peer, kind)

    def _in_step(self, peer: SyncPeer, kind: LogKind) -> None:
        """The peer holds exactly what we hold."""
        group, device = peer.group, peer.partner.device
        if device is not None and group.registers.get("device", device) is not None:
            group.peers.in_step(device, kind, group.logs[kind].heads)
        if kind is LogKind.MESSAGES:  # what comes after this is news
            group.become_live()
            self._held(peer, tuple(group.deliveries.unheld()))

    def store(self, peer: SyncPeer, kind: LogKind, verified: Verified, now: float) -> None:
        """Add verified entries, within a batch; who sent others among them is an offender, the good ones are kept."""
        received = peer.group.receive(kind, verified.entries)
        wanted = [peer.group.refuse(kind, block) for block in verified.refused]
        peer.sync.stored(kind, received.missing, now)
        if kind is LogKind.MESSAGES:
            peer.sync.confirm(kind, self._authored(peer, verified, received.added))
        if not all(wanted):
            self._offenders.append((peer, verified.reason))

    def _authored(self, peer: SyncPeer, verified: Verified, added: tuple[Cid, ...]) -> list[Cid]:
        """Messages of the peer's own member that are in the log by now: it waits for a confirmation.

        Those that still wait for a parent are not among them, and those that had waited until now are.
        """
        if peer.partner.device is None:
            return []
        log, device = peer.group.logs[LogKind.MESSAGES], peer.partner.device
        sent = {entry.cid: entry for entry, _ in verified.entries}
        entries = [entry for entry in sent.values() if entry.cid in log]
        entries += [log.read(cid).entry for cid in added if cid not in sent]
        return [entry.cid for entry in entries if peer.group.may_confirm(entry, device)]

    def _held(self, peer: SyncPeer, cids: tuple[Cid, ...]) -> None:
        if peer.partner.device is None:
            return
        for cid in peer.group.deliveries.held(cids, peer.partner.device):
            self.replica.emit(DeliveryChanged(peer.group.group.id, cid))

    def offenders(self) -> list[tuple[SyncPeer, str]]:
        """Peers that broke the rules since the last call, and how: they lose the link, and nothing else."""
        offenders, self._offenders = self._offenders, []
        return offenders

    def collect(self, now: float) -> tuple[list[Outgoing], list[Effect]]:
        """What is to be sent now, after a commit: answers, then entries for those that have room."""
        out: list[Outgoing] = []
        effects: list[Effect] = []
        for peers in self._peers.values():
            for peer in filter(self._is_live, peers):
                out += [Outgoing(peer, frame) for frame in peer.sync.take()]
                if peer.ready and (entries := peer.sync.next_entries(now)) is not None:
                    frame, kind, cids = entries
                    out.append(Outgoing(peer, frame, peer.sync.has_entries))
                    effects += self._sent(peer, kind, cids)
        return out, effects

    def _sent(self, peer: SyncPeer, kind: LogKind, cids: tuple[Cid, ...]) -> list[Effect]:
        if kind is not LogKind.MESSAGES or peer.partner.device is None:
            return []
        for cid in cids:
            peer.group.deliveries.handed_over(cid, peer.partner.device, peer.partner.transport)
        news = [cid for cid in cids if peer.group.deliveries.sent(cid, peer.partner.transport)]
        return [DeliveryChanged(peer.group.group.id, cid) for cid in news]

    def met_elsewhere(self, group_id: GroupId, transport: str) -> set[DeviceId]:
        """Devices of a group that get its news by a session over another transport than this."""
        peers = [peer for peer in self._peers.get(group_id, []) if self._is_live(peer) and not peer.draining]
        return {p.partner.device for p in peers if p.partner.device is not None and p.partner.transport != transport}

    def speak(self, effects: list[Effect], now: float) -> list[tuple[BusHub, list[Datagram]]]:
        """What is to be said on each bus, after a commit and what it changed."""
        for bus in self.buses:
            bus.spread(effects, now)
        said = [(bus, bus.collect(now)) for bus in self.buses]
        return [(bus, datagrams) for bus, datagrams in said if datagrams or bus.topics_changed]

    def wake(self, now: float) -> None:
        """Let machines do what is due."""
        for bus in self.buses:
            bus.wake(now)
        for peers in self._peers.values():
            for peer in filter(self._is_live, peers):
                peer.sync.wake(now)

    def timeout(self) -> float | None:
        """When `wake` wants to be called."""
        times = [peer.sync.timeout() for peers in self._peers.values() for peer in filter(self._is_live, peers)]
        times += [bus.timeout() for bus in self.buses]
        return min((time for time in times if time is not None), default=None)

    def peers(self, group_id: GroupId) -> list[SyncPeer]:
        """The live peers of a group."""
        return list(self._peers.get(group_id, []))

    @property
    def idle(self) -> bool:
        """Every peer has been found to have exactly what we have."""
        return all(peer.sync.idle for peers in self._peers.values() for peer in filter(self._is_live, peers))
