"""What a session profile may use of a node. Invariant: the replica is read and written on the store's thread only."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import anyio
import attrs
from anyio.streams.memory import MemoryObjectReceiveStream

from ...codec.cid import Cid
from ...contracts.session import (
    Added,
    Change,
    Changes,
    ChangesMissed,
    Log,
    LogId,
    LogsChanged,
    Meeting,
    Stored,
    Verified,
)
from ...contracts.transport import State, Transport
from ...crypto.keys import PrivateKey, Secret
from ...ids import AccountId, DeviceId, GroupId
from ...protocol.entry import Entry
from ...protocol.group import PROFILES, GroupKind, LogKind
from ...protocol.metadata import ContactState
from ...protocol.rendezvous import contact_topic, period_start
from ...protocol.shareable import ShareableContact
from ..device_settings import DeviceSettings
from ..replica.effects import DeliveryChanged, Effect, EffectsMissed, EntryAdded, GroupsChanged
from ..replica.records import PLACE
from ..replica.verification import INLINE, verify_blocks, verify_in_threads

if TYPE_CHECKING:
    from ..node import Node


@attrs.frozen
class _Learnt:
    """What a peer's words tell: that a group goes on with news, and which of our messages the peer holds."""

    live: bool
    held: list[Cid]


class NodePort:
    """One open node, as the session profile `name` sees it."""

    def __init__(
        self,
        node: Node,
        name: str,
        *,
        now: Callable[[], float] = time.time,
        said: Callable[[State, tuple[str, ...]], None] = lambda state, reasons: None,
    ) -> None:
        self.logger = logging.getLogger(f"berty.session.{name}")
        self.now = now
        self.monotonic = node.monotonic
        self.entropy = node.entropy
        self.rotation = PROFILES[node.profile_name].rotation
        self._node = node
        self._name = name
        self._settings = DeviceSettings(node.store, node.replica, name)
        self._said = said

    def state(self, state: State, reasons: Sequence[str] = ()) -> None:
        """Say what the profile is doing."""
        self._said(state, tuple(reasons))

    def transport(self, name: str) -> Transport | None:
        """A transport of this node by name."""
        running = self._node.connectivity.transports if self._node.connectivity else ()
        return next((one.transport for one in running if one.spec.name == name), None)

    def is_met_privately(self, device: DeviceId) -> bool:
        """Whether a private session with this device is open."""
        return any(session.is_open and device in session.groups.values() for session in self._node.sessions)

    async def setting(self, name: str) -> Secret | None:
        """A value that this profile keeps in the home."""
        return await self._settings.get(name)

    async def put_setting(self, name: str, value: bytes) -> None:
        """Keep a value, sealed."""
        await self._settings.put(name, value)

    @contextmanager
    def changes(self) -> Iterator[Changes]:
        """What changes from now on."""
        with self._node.listen() as effects:
            yield _Changes(effects)

    async def logs(self) -> Sequence[Log]:
        """Both logs of every open group, the account's own among them."""
        return await self._node.store.read(self._logs)

    def _logs(self) -> list[Log]:
        return [
            Log(
                LogId(group_id, kind),
                replica.logs[kind].address,
                replica.group.link_key,
                replica.group.signing_public,
                replica.device_id,
            )
            for group_id, replica in self._node.replica.groups.items()
            for kind in LogKind
        ]

    async def heads(self, log: LogId) -> Sequence[bytes]:
        """The blocks of a log's heads."""
        return await self._node.store.read(self._heads, log)

    def _heads(self, log: LogId) -> list[bytes]:
        replica = self._node.replica.groups.get(log.group)
        if replica is None:
            return []
        stored = replica.logs[log.kind]
        return [stored.read(cid).block for cid in stored.heads]

    async def unknown(self, log: LogId, cids: Sequence[Cid]) -> Sequence[Cid]:
        """Those that the log lacks."""
        return await self._node.store.read(self._unknown, log, cids) if cids else ()

    def _unknown(self, log: LogId, cids: Sequence[Cid]) -> list[Cid]:
        replica = self._node.replica.groups.get(log.group)
        return replica.logs[log.kind].lacking(cids) if replica else []

    async def verify(self, log: LogId, blocks: Sequence[bytes]) -> Verified:
        """Check blocks; many of them on threads."""
        replica = self._node.replica.groups.get(log.group)
        if replica is None or not blocks:
            return Verified(())
        address, key = replica.logs[log.kind].address, replica.group.signing_public
        if len(blocks) <= INLINE:
            return verify_blocks(blocks, address, key)
        return await verify_in_threads(blocks, address, key)

    async def store(self, log: LogId, entries: Sequence[tuple[Entry, bytes]], refused: Sequence[bytes]) -> Stored:
        """Add verified entries in one commit."""
        return await self._node.store.write(self._store, log, entries, refused)

    def _store(self, log_id: LogId, entries: Sequence[tuple[Entry, bytes]], refused: Sequence[bytes]) -> Stored:
        replica = self._node.replica.groups.get(log_id.group)
        if replica is None:
            return Stored(0)
        received = replica.receive(log_id.kind, entries)
        for block in refused:
            replica.refuse(log_id.kind, block)
        log, added = replica.logs[log_id.kind], set(received.added)
        waiting = [entry for entry, _ in entries if entry.cid not in added and entry.cid not in log]
        return Stored(len(added), tuple(log.lacking(dict.fromkeys(cid for entry in waiting for cid in entry.next))))

    async def sent(self, log: LogId, cids: Sequence[Cid]) -> None:
        """Entries were handed to a live peer of the group."""
        if log.kind is LogKind.MESSAGES and (news := await self._node.store.read(self._sent, log, cids)):
            await self._node.store.write_cheaply(self._tell_delivery, log.group, news)

    def _sent(self, log: LogId, cids: Sequence[Cid]) -> list[Cid]:
        replica = self._node.replica.groups.get(log.group)
        return [cid for cid in cids if replica.deliveries.sent(cid, self._name)] if replica else []

    def _tell_delivery(self, group: GroupId, cids: Sequence[Cid]) -> None:
        for cid in cids:
            self._node.replica.emit(DeliveryChanged(group, cid))

    async def named(self, log: LogId, cids: Sequence[Cid], device: DeviceId | None, *, heads: bool) -> None:
        """A peer holds these entries and their ancestors."""
        if log.kind is not LogKind.MESSAGES or not cids:
            return
        if await self._node.store.read(self._learn, log, cids, device, heads) is not None:
            await self._node.store.write_cheaply(self._note, log, cids, device, heads)

    def _learn(self, log: LogId, cids: Sequence[Cid], device: DeviceId | None, heads: bool) -> _Learnt | None:
        """Whether the group becomes live, and which of our messages the peer holds; None for neither.

        Only members of a contact group can speak for its devices: in a larger one a third could.
        """
        replica = self._node.replica.groups.get(log.group)
        if replica is None:
            return None
        stored = replica.logs[log.kind]
        live = heads and not replica.live and all(cid in stored for cid in cids)
        told = replica.group.kind is GroupKind.CONTACT and device in replica.devices() and device != replica.device_id
        held = stored.reached(cids, replica.deliveries.unheld()) if told else []
        return _Learnt(live, held) if live or held else None

    def _note(self, log: LogId, cids: Sequence[Cid], device: DeviceId | None, heads: bool) -> None:
        learnt, replica = self._learn(log, cids, device, heads), self._node.replica.groups.get(log.group)
        if learnt is None or replica is None:
            return
        if learnt.live:
            replica.become_live()
        if device is not None:
            self._tell_delivery(log.group, replica.deliveries.held(learnt.held, device))

    async def blocks(self, cids: Sequence[Cid]) -> Mapping[Cid, bytes]:
        """Blocks of any log."""
        return await self._node.store.read(self._blocks, cids)

    def _blocks(self, cids: Sequence[Cid]) -> dict[Cid, bytes]:
        replica = self._node.replica
        logs = {stored.key: stored for group in replica.groups.values() for stored in group.logs.values()}
        found: dict[Cid, bytes] = {}
        for cid in cids:
            place = replica.records.get(PLACE + cid.digest)
            stored = logs.get(place) if place is not None else None  # that of a group that was left is not given
            if stored is not None and (block := stored.block(cid)) is not None:
                found[cid] = block
        return found

    async def meeting(self) -> Meeting:
        """The topics of this period."""
        return await self._node.store.read(self._meeting)

    def _meeting(self) -> Meeting:
        replica = self._node.replica
        registers = replica.account.registers
        start = period_start(self.now(), self.rotation)
        seed = registers.get("seed")
        own = contact_topic(replica.account_id, seed, start) if seed and self._node.accepts_requests() else None
        wanted = {
            contact_topic(account, its_seed, start): account
            for account, state in replica.contacts().items()
            if state is ContactState.TO_REQUEST and (its_seed := registers.get("contact seed", account))
        }
        return Meeting(own, wanted)

    def account_key(self) -> PrivateKey:
        """The account's key."""
        return self._node.account_key()

    async def own_contact(self, contact: AccountId) -> ShareableContact:
        """What we tell a contact about ourselves."""
        return await self._node.own_contact(contact)

    async def request_sent(self, contact: AccountId) -> None:
        """A request was handed over."""
        await self._node.request_sent(contact)

    async def request_received(self, contact: ShareableContact) -> None:
        """Somebody asked."""
        await self._node.request_received(contact)


class _Changes:
    """The node's effects, as far as they concern a profile."""

    def __init__(self, effects: MemoryObjectReceiveStream[Effect]) -> None:
        self._effects = effects

    async def receive(self) -> Change:
        """The next one."""
        while (change := _change(await self._effects.receive())) is None:
            pass
        return change

    def receive_nowait(self) -> Change | None:
        """The next one that waits already."""
        with suppress(anyio.WouldBlock):
            while (change := _change(self._effects.receive_nowait())) is None:
                pass
            return change
        return None


def _change(effect: Effect) -> Change | None:
    match effect:
        case EntryAdded(group, kind, cid, block):
            return Added(LogId(group, kind), cid, block)
        case GroupsChanged():
            return LogsChanged()
        case EffectsMissed():
            return ChangesMissed()
    return None
