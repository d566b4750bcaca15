"""An account on this device: its keys, its open groups, and everything a person can do with them.

All of it is synchronous over a store. Invariant: what one `batch` did becomes one commit, and only then is it told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import attrs

from ...codec.pb import wesh_pb2 as pb
from ...codec.protobuf import parse
from ...crypto.keys import PrivateKey, Secret, decode_private, derive_shared_key, encode_private
from ...errors import RemoteProtocolError, StoreCorrupt, UserError
from ...ids import AccountId, GroupId
from ...protocol.group import (
    BERTY,
    Group,
    GroupKind,
    LogKind,
    Profile,
    account_group,
    contact_group,
    decode_group,
    encode_group,
    new_group,
)
from ...protocol.metadata import ContactState, EventType
from ...protocol.payloads import SetGroupInfo
from ...protocol.rendezvous import contact_point, group_point
from .arrivals import Arrivals
from .effects import Effect, GroupsChanged, StateChanged
from .group_replica import GroupReplica, Surroundings
from .records import COPIED, SETTING, Records

_GROUP_KINDS = frozenset({"group", "contact"})
_POINT_KINDS = frozenset({"group", "contact", "contact seed", "requests", "seed"})


@attrs.frozen
class AccountKeys:
    """The two keys that are the account; whoever has both is the account."""

    account: PrivateKey
    proof: PrivateKey


@attrs.frozen
class Points:
    """The rendezvous points of this device: where it shows itself, and where it looks for somebody."""

    groups: dict[bytes, GroupId]
    own_link: bytes | None
    wanted: dict[bytes, AccountId]


class Replica:
    """The account's groups on this device."""

    def __init__(
        self,
        records: Records,
        *,
        now: Callable[[], float],
        entropy: Callable[[int], bytes],
        listen: Callable[[list[Effect]], None],
        profile: Profile = BERTY,
        acknowledge: str = "small",
        silent: bool = False,
    ) -> None:
        self.records = records
        self.profile = profile
        self.now = now
        self.entropy = entropy
        self._listen = listen
        self._effects: list[Effect] = []
        self._points: Points | None = None
        self._name: str | None = None
        self.arrivals = Arrivals(records)
        self.groups: dict[GroupId, GroupReplica] = {}
        self._closed: dict[GroupId, GroupReplica] = {}  # a group has one object, also if it is left and joined again
        self._silent = silent
        self._around = Surroundings(
            records,
            now,
            entropy,
            self._effects.append,
            self.arrivals,
            self.own_name,
            lambda: not self._silent,
            acknowledge,
        )
        self.keys = AccountKeys(self._key("account"), self._key("proof"))
        self.device = self._key("device")
        self.account_id = AccountId(self.keys.account.public)
        self.account = self._open(account_group(self.keys.account, self.keys.proof))
        with self.batch():
            self.account.settle()
            self.adjust_groups()

    @staticmethod
    def create(records: Records, entropy: Callable[[int], bytes], keys: AccountKeys | None = None) -> None:
        """Write the keys of a new account, or of a restored one, which joins as a new device."""
        if records.unseal(_setting_key(records, "account")) is not None:
            raise UserError("this home has an account already")
        keys = keys or AccountKeys(PrivateKey(entropy(32)), PrivateKey(entropy(32)))
        if keys.account == keys.proof:
            raise UserError("the two keys of an account must differ: this archive is damaged")
        with records.write(durable=True) as transaction:
            for name, key in (
                ("account", keys.account),
                ("proof", keys.proof),
                ("device", PrivateKey(entropy(32))),
            ):
                transaction.seal(_setting_key(records, name), bytes(encode_private(key)))

    # -- transactions --------------------------------------------------------------------------

    @contextmanager
    def batch(self, *, durable: bool = True) -> Iterator[None]:
        """Collect changes into one commit; afterwards listeners are told. On failure nothing has happened."""
        with self.records.write(durable=durable, on_failure=self._reload):
            yield
            self._flush()
            if self._account_changed():
                self.adjust_groups()
                self._flush()
        effects = list(self._effects)
        self._effects.clear()
        if any(isinstance(effect, StateChanged) and effect.kinds & _POINT_KINDS for effect in effects):
            self._points = None
            effects.append(GroupsChanged())
        if effects:
            self._listen(effects)

    def _flush(self) -> None:
        for group in self.groups.values():
            group.flush()

    def _account_changed(self) -> bool:
        """Whether the open batch may have opened or closed a group."""
        return any(
            isinstance(effect, StateChanged) and effect.group == self.account.group.id and effect.kinds & _GROUP_KINDS
            for effect in self._effects
        )

    def _reload(self) -> None:
        self._effects.clear()
        self._name = None
        self._points = None
        self.arrivals.reload()
        for group in [*self.groups.values(), *self._closed.values()]:
            group.reload()
        self._close_unwanted()
        for wanted, _ in self._wanted_groups():
            if wanted.id in self._closed:
                self.groups[wanted.id] = self._closed.pop(wanted.id)  # the batch that closed it has failed
        self._closed.clear()  # one that a failed batch opened may have a device key that was never stored

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Take things in without answering: nothing is written of our own until the block ends."""
        self._silent = True
        try:
            yield
        finally:
            self._silent = False

    def emit(self, effect: Effect) -> None:
        """Tell of a change once the open batch is committed."""
        self._effects.append(effect)

    # -- groups --------------------------------------------------------------------------------

    def adjust_groups(self) -> None:
        """Open what the account's state says is ours, close what it no longer says."""
        if not hasattr(self, "account"):
            return
        for group, contact in self._wanted_groups():
            if group.id not in self.groups:
                replica = self._open(group)
                if contact is not None:
                    replica.expect_contact(contact)
                replica.settle()
                self._effects.append(StateChanged(group.id, frozenset({"group"})))
        self._close_unwanted()

    def _close_unwanted(self) -> None:
        wanted = {group.id for group, _ in self._wanted_groups()} | {self.account.group.id}
        for group_id in set(self.groups) - wanted:
            self._closed[group_id] = self.groups.pop(group_id)

    def _wanted_groups(self) -> Iterator[tuple[Group, AccountId | None]]:
        for _, value in self.account.registers.items("group"):
            with suppress(RemoteProtocolError):  # what another of our devices wrote cannot stop the rest
                if value:
                    yield decode_group(parse(pb.Group, value)), None
        for contact, state in self.contacts().items():
            with suppress(RemoteProtocolError):
                if state is ContactState.ADDED:
                    known = next((g.group for g in self.groups.values() if g.contact == contact), None)
                    yield known or contact_group(self.keys.account, contact), contact

    def _open(self, group: Group) -> GroupReplica:
        if (closed := self._closed.pop(group.id, None)) is not None:
            self.groups[group.id] = closed
            return closed
        member, device = self._pair(group)
        replica = GroupReplica(self._around, group, self.profile, member, device)
        self.groups[group.id] = replica
        return replica

    def _pair(self, group: Group) -> tuple[PrivateKey, PrivateKey]:
        """Our member and device key in a group (Wesh protocol, section 1.1)."""
        if group.kind is not GroupKind.MULTI_MEMBER:
            return self.keys.account, self.device
        name = f"device {group.id.hex()}"
        stored = self.records.unseal(_setting_key(self.records, name))
        if stored is not None:
            return derive_shared_key(self.keys.proof, group.id), decode_private(stored)
        device = PrivateKey(self.entropy(32))
        self.put_setting(name, bytes(encode_private(device)))
        return derive_shared_key(self.keys.proof, group.id), device

    def renew_devices(self) -> None:
        """Take part as a new device from now on: for a home that is a copy, whose chains another home may use."""
        with self.records.write(durable=True) as transaction:
            transaction.seal(_setting_key(self.records, "device"), bytes(encode_private(PrivateKey(self.entropy(32)))))
            for (group_id,), _ in self.account.registers.items("group"):  # those that were left may be joined again
                name = _setting_key(self.records, f"device {group_id.hex()}")
                transaction.seal(name, bytes(encode_private(PrivateKey(self.entropy(32)))))
            transaction.delete(_setting_key(self.records, COPIED))
        self._closed.clear()
        self.device = self._key("device")
        groups = [replica.group for replica in self.groups.values()]
        self.groups.clear()
        for known in groups:
            replica = self._open(known)
            if known.kind is GroupKind.ACCOUNT:
                self.account = replica
        with self.batch():
            for replica in self.groups.values():
                replica.settle()

    def create_group(self, name: str) -> GroupReplica:
        """Make a multi-member group and name it, within a batch."""
        group, key = new_group(self.entropy)
        self._join(group)
        replica = self._open(group)
        replica.become_live()
        replica.settle()
        replica.write_event(
            EventType.INITIAL_MEMBER_ANNOUNCED,
            pb.MultiMemberGroupInitialMemberAnnounced(member_pk=bytes(replica.device_id)),
            signer=key,
        )
        if name:
            replica.write_payload(SetGroupInfo(name))
        return replica

    def join_group(self, group: Group) -> GroupReplica:
        """Join the group of an invitation, within a batch; an error if we are in it or it is false."""
        group.check_invitation()
        if group.id in self.groups:
            raise UserError("you are in this group already")
        self._join(group)
        replica = self._open(group)
        replica.settle()
        return replica

    def _join(self, group: Group) -> None:
        self.account.write_event(
            EventType.GROUP_JOINED,
            pb.AccountGroupJoined(device_pk=bytes(self.account.device_id), group=encode_group(group)),
        )

    def leave_group(self, group_id: GroupId) -> None:
        """Leave a multi-member group, within a batch; nothing is written in the group itself."""
        self.account.write_event(
            EventType.GROUP_LEFT,
            pb.AccountGroupLeft(device_pk=bytes(self.account.device_id), group_pk=bytes(group_id)),
        )

    # -- contacts ------------------------------------------------------------------------------

    def contacts(self) -> dict[AccountId, ContactState]:
        """Every account that was ever asked, or asked us, with its state."""
        found = self.account.registers.items("contact")
        return {AccountId(key): ContactState(value[0]) for (key,), value in found if len(key) == AccountId.LENGTH}

    def contact_of(self, group_id: GroupId) -> AccountId | None:
        """Whose contact group this is."""
        replica = self.groups.get(group_id)
        return replica.contact if replica else None

    def contact_group(self, contact: AccountId) -> GroupReplica | None:
        """The open group that is shared with a contact."""
        return next((replica for replica in self.groups.values() if replica.contact == contact), None)

    def points(self) -> Points:
        """Where to meet (the static period, so that no clock and no profile stands in the way)."""
        if self._points is None:
            self._points = self._find_points()
        return self._points

    def _find_points(self) -> Points:
        groups = {
            group_point(replica.group.address(BERTY, LogKind.METADATA).text, replica.group.link_key): group_id
            for group_id, replica in self.groups.items()
        }
        registers = self.account.registers
        seed = registers.get("seed")
        own = contact_point(self.account_id, seed, 0) if seed and registers.get("requests") == b"\1" else None
        wanted = {
            contact_point(contact, seed, 0): contact
            for contact, state in self.contacts().items()
            if state is ContactState.TO_REQUEST and (seed := registers.get("contact seed", contact))
        }
        return Points(groups, own, wanted)

    # -- settings of this home -----------------------------------------------------------------

    def own_name(self) -> str:
        """The account's display name: as set on this device, else as one of our other devices has it."""
        if self._name is None:
            self._name = bytes(self.setting("name") or b"").decode()
        account: GroupReplica | None = getattr(self, "account", None)
        return self._name or (account.name_of(account.device_id) if account else "")

    def rename(self, name: str) -> None:
        """Change the display name and tell every group, within a batch."""
        self.put_setting("name", name.encode())
        self._name = name
        for replica in self.groups.values():
            replica.settle()

    def setting(self, name: str) -> Secret | None:
        """A sealed setting of this home."""
        return self.records.unseal(_setting_key(self.records, name))

    def put_setting(self, name: str, value: bytes) -> None:
        """Keep a sealed setting, within a batch."""
        key = _setting_key(self.records, name)
        self.records.put(key, self.records.vault.seal(key, value))

    def cursor(self, name: str) -> int:
        """The number of the last arrival that a named reader has dealt with."""
        return int.from_bytes(self.setting(f"cursor {name}") or b"\0", "big")

    def move_cursor(self, name: str, number: int) -> bool:
        """Note that a reader has dealt with an arrival, within a batch; False if it had before."""
        if number <= self.cursor(name):
            return False
        self.put_setting(f"cursor {name}", number.to_bytes(8, "big"))
        return True

    def _key(self, name: str) -> PrivateKey:
        stored = self.setting(name)
        if stored is None:
            raise StoreCorrupt(f"the home lacks its {name} key")
        return decode_private(stored)


def _setting_key(records: Records, name: str) -> bytes:
    return SETTING + records.vault.blind(name.encode())
