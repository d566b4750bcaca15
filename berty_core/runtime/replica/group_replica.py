"""One open group on this device: its two logs, what they reduce to, its chains, and the rules of taking part.

Invariant: whatever is written here becomes one commit with the entry that caused it, or never happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import attrs
from google.protobuf.message import Message

from ...codec.cid import Cid
from ...codec.dagcbor import decode_dagcbor, encode_dagcbor
from ...codec.pb import wesh_pb2 as pb
from ...crypto.keys import PrivateKey, Secret
from ...errors import RemoteProtocolError, StoreCorrupt
from ...ids import AccountId, DeviceId, MemberId
from ...protocol.entry import Entry, LogIdentity, sign_entry
from ...protocol.envelope import SealedMessage, open_headers, open_message, seal_message
from ...protocol.group import Group, GroupKind, LogKind, Profile
from ...protocol.log import Position
from ...protocol.metadata import (
    EventType,
    MetadataEvent,
    Register,
    announce_device,
    open_metadata,
    reduce,
    seal_metadata,
)
from ...protocol.payloads import (
    Acknowledge,
    AppPayload,
    Content,
    GroupInvitation,
    SetGroupInfo,
    SetUserInfo,
    UserMessage,
    decode_payload,
    encode_payload,
)
from ...protocol.range_index import path_of
from ...protocol.ratchet import (
    Chain,
    Readability,
    open_shared_chain,
    readability,
    share_chain,
    take_key,
)
from .arrivals import Arrivals
from .chains import StoredChains
from .deliveries import Deliveries
from .effects import DeliveryChanged, Effect, EntryAdded, MessageArrived, OwnEntryMet, StateChanged
from .orphans import Orphans
from .peer_heads import PeerHeads
from .records import NOTE, SETTING, UNREAD, Records
from .registers import StoredRegisters
from .stored_log import StoredLog

LARGE_GROUP = 8  # members; above it nothing is acknowledged unless configured
MAX_NAME = 256


@attrs.frozen
class Surroundings:
    """What a group is given by its node: records, time in Unix seconds, entropy, and who is told of changes."""

    records: Records
    now: Callable[[], float]
    entropy: Callable[[int], bytes]
    emit: Callable[[Effect], None]
    arrivals: Arrivals
    own_name: Callable[[], str]
    may_write: Callable[[], bool]
    acknowledge: str = "small"  # "never", "small" (groups of at most LARGE_GROUP members) or "always"


@attrs.frozen
class OpenedMessage:
    """A readable message: who wrote it, what it says, and when it came (Unix milliseconds)."""

    cid: Cid
    device: DeviceId
    counter: int
    payload: AppPayload
    received: int


@attrs.frozen
class Received:
    """What became of entries that were offered: how many are new, and which ancestors are missing."""

    added: tuple[Cid, ...]
    missing: tuple[Cid, ...]


class GroupReplica:
    """A group as this device holds it. Methods that change anything run within a transaction of the records."""

    def __init__(
        self, around: Surroundings, group: Group, profile: Profile, member: PrivateKey, device: PrivateKey
    ) -> None:
        self._around = around
        self._records = around.records
        self.group = group
        self.member = member
        self.device = device
        self.device_id = DeviceId(device.public)
        self.member_id = MemberId(member.public)
        self.logs = {kind: StoredLog(around.records, group.address(profile, kind).text) for kind in LogKind}
        self.registers = StoredRegisters(around.records, group.id)
        self.chains = StoredChains(around.records, group.id)
        self.deliveries = Deliveries(around.records, self.logs[LogKind.MESSAGES].key)
        self.peers = PeerHeads(around.records, group.id)
        self._identity = LogIdentity.of(group.signing_key)
        self._orphans = {kind: Orphans() for kind in LogKind}
        self._newest = {kind: "" for kind in LogKind}  # path of the newest entry that was dealt with in this batch
        self._contact: AccountId | None = None
        self._to_acknowledge: list[Cid] = []
        self.live = self._setting("live") is not None
        self._unread: int | None = None
        self._unread_changed = False

    def reload(self) -> None:
        """Forget what is in memory, after a commit that failed."""
        for log in self.logs.values():
            log.reload()
        self.registers.reload()
        self.chains.reload()
        self._to_acknowledge.clear()
        self._unread, self._unread_changed = None, False
        self.live = self._setting("live") is not None

    def flush(self) -> None:
        """Write what was kept together until the end of the open transaction."""
        for log in self.logs.values():
            log.flush()
        self.chains.flush()
        if self._unread_changed:
            self._unread_changed = False
            self._seal(UNREAD + self.group.id, self.unread().to_bytes(8, "big"))

    # -- what is known -------------------------------------------------------------------------

    def devices(self) -> dict[DeviceId, MemberId]:
        """Every device that announced itself, and its member."""
        return {DeviceId(keys[0]): MemberId(value) for keys, value in self.registers.items("device")}

    def members(self) -> dict[MemberId, list[DeviceId]]:
        """Every member with its devices."""
        found: dict[MemberId, list[DeviceId]] = {}
        for device, member in self.devices().items():
            found.setdefault(member, []).append(device)
        return found

    def name_of(self, device: DeviceId) -> str:
        """The name that the member behind a device gave itself last, or an empty text."""
        member = self.devices().get(device)
        named = [
            (self.registers.position("name", own), value)
            for own in (self.members().get(member, [device]) if member else [device])
            if (value := self.registers.get("name", own)) is not None
        ]
        if named:
            return max(named, key=lambda pair: pair[0] or Position(0, b""))[1].decode(errors="replace")
        return (self.registers.get("name in messages", device) or b"").decode(errors="replace")

    def group_name(self) -> str:
        """The name that the members gave the group, or an empty text."""
        return (self.registers.get("group name") or b"").decode(errors="replace")

    def is_mine(self, device: DeviceId) -> bool:
        """Whether a device is one of our own account's."""
        return device == self.device_id or self.registers.get("device", device) == self.member_id

    def may_confirm(self, entry: Entry, device: DeviceId) -> bool:
        """Whether a message was written by the member behind a device, which is told that it is held here."""
        try:
            author = open_headers(self.group.secret, entry.value).device
        except RemoteProtocolError:
            return False
        member = self.registers.get("device", device)
        return author == device or (member is not None and self.registers.get("device", author) == member)

    def unread(self) -> int:
        """Messages of others that nobody has read on this device."""
        if self._unread is None:
            value = self._records.unseal(UNREAD + self.group.id)
            self._unread = int.from_bytes(value, "big") if value else 0
        return self._unread

    def mark_read(self) -> None:
        """Everything that has arrived counts as read."""
        self._unread, self._unread_changed = 0, True

    # -- taking part ---------------------------------------------------------------------------

    def settle(self) -> None:
        """Write what the rules of taking part ask for: our device, our chain for each member, our name, receipts.

        (Wesh protocol, sections 4.5 and 14.8: a member gets our chain key before the first message that follows.)
        """
        if not self._around.may_write():
            return
        if self.chains.get(self.device_id) is None:
            self.chains.put(self.device_id, Chain(Secret(self._around.entropy(32)), 0))
        if self.registers.get("device", self.device_id) is None:
            self.write_event(EventType.MEMBER_DEVICE_ADDED, announce_device(self.member, self.device))
        for member in self._members_to_serve():
            if self.registers.get("chain", self.device_id, member) is None:
                with suppress(RemoteProtocolError):  # a key that signs but cannot be sealed to reads nothing
                    self._share_chain(member)
        self._tell_name()
        self._acknowledge()

    def _members_to_serve(self) -> list[MemberId]:
        """Ourselves first, so that our other devices read everything from counter 0 (section 14.7)."""
        others = [member for member in self.members() if member != self.member_id]
        if not others and self.contact:
            others = [MemberId(self.contact)]
        return [self.member_id, *others]

    @property
    def contact(self) -> AccountId | None:
        """The other side of a contact group."""
        if self._contact is None and self.group.kind is GroupKind.CONTACT and (stored := self._setting("contact")):
            self._contact = AccountId(stored)
        return self._contact

    def expect_contact(self, account: AccountId) -> None:
        """Name the other side of a contact group, which is served before it announced itself (section 4.5)."""
        if self.contact != account:
            self._put_setting("contact", bytes(account))
            self._contact = account

    def _share_chain(self, member: MemberId) -> None:
        chain = self._own_chain()
        payload = share_chain(chain, self.group.id, self.device, member)
        self.write_event(
            EventType.DEVICE_CHAIN_KEY_ADDED,
            pb.GroupDeviceChainKeyAdded(device_pk=bytes(self.device_id), dest_member_pk=bytes(member), payload=payload),
        )

    def _tell_name(self) -> None:
        name = self._around.own_name()
        if name and self.registers.get("name", self.device_id) != name.encode():
            self.write_payload(SetUserInfo(name))

    def become_live(self) -> None:
        """From now on what arrives is news, not history: it may be acknowledged."""
        if not self.live:
            self.live = True
            self._put_setting("live", b"\1")

    def _acknowledge(self) -> None:
        targets, self._to_acknowledge = self._to_acknowledge, []
        small = len(self.members()) <= LARGE_GROUP
        if self._around.acknowledge == "never" or (self._around.acknowledge == "small" and not small):
            return
        for target in targets:
            self.send(Acknowledge(target), sent_date=0)

    # -- writing -------------------------------------------------------------------------------

    def write_event(self, event_type: EventType, payload: Message, signer: PrivateKey | None = None) -> Cid:
        """Append a metadata event, signed by our device unless another key must sign it."""
        signer = signer or self.device
        value = seal_metadata(self.group, event_type, payload, signer, self._around.entropy(24))
        entry, position = self._append(LogKind.METADATA, value)
        self._take_event(entry.cid, position, MetadataEvent(event_type, payload, self.device_id))
        return entry.cid

    def write_payload(self, content: Content) -> Cid:
        """Append an application payload to the metadata log (event 1001)."""
        message = encode_payload(content, self._milliseconds())
        return self.write_event(
            EventType.PAYLOAD_SENT, pb.GroupMetadataPayloadSent(device_pk=bytes(self.device_id), message=message)
        )

    def send(self, content: Content, *, sent_date: int | None = None) -> Cid:
        """Append a message under the next counter of our chain; it must be committed before it leaves."""
        payload = AppPayload(content, self._milliseconds() if sent_date is None else sent_date)
        text = encode_payload(payload.content, payload.sent_date)
        chain = self._own_chain()
        counter = chain.counter + 1
        message_key, chain = take_key(chain, self.group.id, counter)
        value = seal_message(self.group.secret, message_key, counter, self.device, text, self._around.entropy(24))
        self.chains.put(self.device_id, chain)
        entry, position = self._append(LogKind.MESSAGES, value)
        self._note(entry.cid, message_key)
        if not isinstance(content, Acknowledge):
            self.deliveries.begin(entry.cid)
        self._take_message(position, entry.cid, self.device_id, payload)
        return entry.cid

    def _append(self, kind: LogKind, value: bytes) -> tuple[Entry, Position]:
        log = self.logs[kind]
        parents, refs, time = log.next_links()
        entry, block = sign_entry(self._identity, log.address, value, parents, refs, time)
        position = log.insert(entry, block)
        self._newest[kind] = log.newest
        author = self.device_id if kind is LogKind.MESSAGES else None
        self._around.emit(EntryAdded(self.group.id, kind, entry.cid, block, author, own=True))
        return entry, position

    def _own_chain(self) -> Chain:
        chain = self.chains.get(self.device_id)
        if chain is None:
            raise StoreCorrupt("this device's own chain is missing from the home")
        return chain

    # -- receiving -----------------------------------------------------------------------------

    def receive(self, kind: LogKind, entries: Iterable[tuple[Entry, bytes]]) -> Received:
        """Add entries that were verified; those whose parents are missing wait, within limits."""
        log, orphans, missing = self.logs[kind], self._orphans[kind], []
        queue = [pair for pair in entries if pair[0].cid not in log]
        ready: list[tuple[Entry, bytes]] = []
        accepted: set[Cid] = set()
        for entry, block in queue:
            absent = [parent for parent in entry.next if parent not in accepted and parent not in log]
            if entry.cid in accepted:
                continue
            if absent:
                missing += absent
                orphans.add(entry, block, absent)
                continue
            orphans.drop(entry.cid)
            ready.append((entry, block))
            accepted.add(entry.cid)
        added = self._insert_all(kind, ready)
        unknown = dict.fromkeys(cid for cid in missing if cid not in log and cid not in orphans)
        self.settle()
        return Received(tuple(added), tuple(unknown))

    def _insert_all(self, kind: LogKind, ready: Sequence[tuple[Entry, bytes]]) -> list[Cid]:
        """Insert entries whose parents are here, and what waited for them."""
        log, added = self.logs[kind], list[Cid]()
        while ready:
            new = self._insert(kind, ready)
            ready = [pair for pair in self._orphans[kind].adopt(new, log.__contains__) if pair[0].cid not in log]
            added += new
        return added

    def _insert(self, kind: LogKind, pairs: Sequence[tuple[Entry, bytes]]) -> list[Cid]:
        self._newest[kind] = self.logs[kind].newest
        positions = self.logs[kind].insert_many(pairs)
        for (entry, block), position in zip(pairs, positions, strict=True):
            author = None
            with suppress(RemoteProtocolError):  # an entry that says nothing to us is still part of the log
                if kind is LogKind.METADATA:
                    self._take_event(entry.cid, position, open_metadata(self.group, entry.value))
                else:
                    author = self._take_sealed(position, entry)
            self._newest[kind] = max(self._newest[kind], path_of(position))
            self._around.emit(EntryAdded(self.group.id, kind, entry.cid, block, author))
        return [entry.cid for entry, _ in pairs]

    def refuse(self, kind: LogKind, block: bytes) -> bool:
        """Take note of a block that breaks the rules; True if waiting entries descend from it and go on without it."""
        cid, log = Cid.of(block), self.logs[kind]
        if cid in log or not self._orphans[kind].wait_for(cid):
            return False
        log.refuse(cid, block)
        self._insert_all(kind, self._orphans[kind].adopt([cid], log.__contains__))
        self.settle()
        return True

    def absent(self, kind: LogKind) -> list[Cid]:
        """Entries that others wait for, and that are not here."""
        return self._orphans[kind].absent()

    # -- what entries say ----------------------------------------------------------------------

    def _take_event(self, cid: Cid, position: Position, event: MetadataEvent) -> None:
        registers: tuple[Register, ...] = reduce(event)
        payload = event.payload
        if isinstance(payload, pb.GroupMetadataPayloadSent) and event.device:
            registers = self._take_payload(cid, position, event.device, payload.message)
        if changed := self.registers.apply(position, registers):
            self._around.emit(StateChanged(self.group.id, changed))
        if isinstance(payload, pb.GroupDeviceChainKeyAdded) and event.device:
            self._take_chain(event.device, payload)

    def _take_payload(self, cid: Cid, position: Position, device: DeviceId, message: bytes) -> tuple[Register, ...]:
        payload = decode_payload(message)
        if isinstance(payload.content, UserMessage | GroupInvitation):
            self._arrive(LogKind.METADATA, position, cid, device)
        return _named(payload.content, device, "name", self.group.kind)

    def _take_chain(self, device: DeviceId, payload: pb.GroupDeviceChainKeyAdded) -> None:
        """Register a chain that was shared with our member; the first one of a device counts (section 3.5)."""
        if payload.dest_member_pk != self.member_id or self.chains.get(device) is not None:
            return
        chain = open_shared_chain(payload.payload, self.group.id, self.member, device)
        self.chains.put(device, chain)
        self._retry(device)

    def _take_sealed(self, position: Position, entry: Entry) -> DeviceId:
        message = open_headers(self.group.secret, entry.value)
        chain = self.chains.get(message.device)
        reach = readability(chain, message.counter) if chain else Readability.BEYOND
        if chain is None or reach is Readability.BEYOND:
            self.chains.wait(message.device, message.counter, entry.cid)
        elif reach is Readability.READABLE:
            with suppress(RemoteProtocolError):  # a payload that nobody can read has moved the window all the same
                self._open(position, entry.cid, message, chain)
            self._retry(message.device)
        return message.device

    def _open(self, position: Position, cid: Cid, message: SealedMessage, chain: Chain) -> None:
        message_key, moved = take_key(chain, self.group.id, message.counter)
        text = open_message(message, message_key)  # a false one leaves the chain as it was
        self.chains.put(message.device, moved)
        self._note(cid, message_key)
        if message.device == self.device_id:
            self._around.emit(OwnEntryMet(self.group.id, message.counter))
        self._take_message(position, cid, message.device, decode_payload(text))

    def _retry(self, device: DeviceId) -> None:
        """Open what waited for this device's chain, as far as its window reaches."""
        while (waiting := self.chains.next_waiting(device)) is not None:
            counter, cid = waiting
            self.chains.forget(device, counter, cid)
            chain = self.chains.get(device)
            if chain is None or readability(chain, counter) is not Readability.READABLE:
                continue  # written before the chain was shared with us, or opened under another CID
            stored = self.logs[LogKind.MESSAGES].read(cid)
            with suppress(RemoteProtocolError):
                self._open(stored.position, cid, open_headers(self.group.secret, stored.entry.value), chain)

    def _take_message(self, position: Position, cid: Cid, device: DeviceId, payload: AppPayload) -> None:
        content = payload.content
        if isinstance(content, Acknowledge):
            if not self.is_mine(device) and self.deliveries.acknowledged(content.target, device):
                self._around.emit(DeliveryChanged(self.group.id, content.target))
            return
        registers = _named(content, device, "name in messages", self.group.kind)
        if isinstance(content, GroupInvitation) and not self.is_mine(device):
            registers = (Register("invitation", (bytes(cid),), content.link.encode()),)
        if changed := self.registers.apply(position, registers):
            self._around.emit(StateChanged(self.group.id, changed))
        if isinstance(content, UserMessage | GroupInvitation):
            self._arrive(LogKind.MESSAGES, position, cid, device)
        if isinstance(content, UserMessage) and self.live and not self.is_mine(device):
            self._to_acknowledge.append(cid)

    def _arrive(self, kind: LogKind, position: Position, cid: Cid, device: DeviceId) -> None:
        late = path_of(position) < self._newest[kind]
        number = self._around.arrivals.add(self.group.id, kind, cid, late)
        if not self.is_mine(device):
            self._unread, self._unread_changed = self.unread() + 1, True
        self._around.emit(MessageArrived(number, self.group.id, kind, cid, late))

    # -- reading -------------------------------------------------------------------------------

    def message(self, cid: Cid, kind: LogKind = LogKind.MESSAGES) -> OpenedMessage | None:
        """Open a message that was readable when it arrived; None if it never was, or is none."""
        stored = self.logs[kind].get(cid)
        if stored is None:
            return None
        try:
            return self._event_message(cid, stored.entry) if kind is LogKind.METADATA else self._read(cid, stored.entry)
        except RemoteProtocolError:
            return None

    def _read(self, cid: Cid, entry: Entry) -> OpenedMessage | None:
        note = self._records.unseal(NOTE + self.logs[LogKind.MESSAGES].key + cid.digest)
        if note is None:
            return None
        key, received = decode_dagcbor(bytes(note))
        message = open_headers(self.group.secret, entry.value)
        payload = decode_payload(open_message(message, Secret(key), check_signature=False))
        return OpenedMessage(cid, message.device, message.counter, payload, received)

    def _event_message(self, cid: Cid, entry: Entry) -> OpenedMessage | None:
        event = open_metadata(self.group, entry.value)
        if not isinstance(event.payload, pb.GroupMetadataPayloadSent) or event.device is None:
            return None
        return OpenedMessage(cid, event.device, 0, decode_payload(event.payload.message), 0)

    def _note(self, cid: Cid, message_key: Secret) -> None:
        key = NOTE + self.logs[LogKind.MESSAGES].key + cid.digest
        self._seal(key, encode_dagcbor([bytes(message_key), self._milliseconds()]))

    def _milliseconds(self) -> int:
        return int(self._around.now() * 1000)

    def _setting_key(self, name: str) -> bytes:
        return SETTING + self._records.vault.blind(self.group.id + name.encode())

    def _setting(self, name: str) -> Secret | None:
        return self._records.unseal(self._setting_key(name))

    def _put_setting(self, name: str, value: bytes) -> None:
        self._seal(self._setting_key(name), value)

    def _seal(self, key: bytes, value: bytes) -> None:
        self._records.put(key, self._records.vault.seal(key, value))


def _named(content: Content, device: DeviceId, kind: str, group: GroupKind) -> tuple[Register, ...]:
    """The names that a payload sets; over-long ones are cut, for they are shown in lists."""
    if isinstance(content, SetUserInfo) and content.display_name:
        return (Register(kind, (bytes(device),), content.display_name[:MAX_NAME].encode()),)
    if isinstance(content, SetGroupInfo) and content.display_name and group is GroupKind.MULTI_MEMBER:
        return (Register("group name", (), content.display_name[:MAX_NAME].encode()),)
    return ()
