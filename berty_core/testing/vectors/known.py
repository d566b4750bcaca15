"""What all recordings of a run tell together: private keys, groups, chains, entries, who is who in which group.

Gathering never judges: whatever cannot be read is left out here, and found by the checks.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import attrs

from ...codec.cid import Cid
from ...codec.pb import wesh_pb2 as pb
from ...codec.protobuf import parse
from ...crypto.kdf import hkdf_sha256
from ...crypto.keys import PrivateKey, Secret
from ...errors import BertyError
from ...ids import GroupId
from ...protocol.entry import Entry, EntryIdentity, decode_entry
from ...protocol.envelope import SealedMessage, open_event, open_headers
from ...protocol.group import PROFILES, Group, GroupKind, LogKind, account_group
from ...protocol.metadata import EventType
from ...protocol.ratchet import Chain
from .source import Source

_FAULTS = (BertyError, ValueError, TypeError, LookupError, AttributeError)
_KEY_FIELD = re.compile(
    r"(?:.*_)?seed(?:_[ab])?(?:_hex)?|[A-Z]|.*_64|own_account_priv|accountSK|accountProofSK|.*SK(?:_.*)?"
)
_EVENT_2 = EventType.DEVICE_CHAIN_KEY_ADDED


@attrs.frozen
class View:
    """Who a node is in a group."""

    device: bytes
    member: bytes


class Known:
    """Everything that one recording may need of another."""

    def __init__(self) -> None:
        self.private: dict[bytes, PrivateKey] = {}
        self.groups: dict[bytes, Group] = {}
        self.views: dict[tuple[str, bytes], View] = {}
        self.chains: dict[tuple[bytes, bytes], Chain] = {}
        self.entries: dict[Cid, Entry] = {}
        self.shared: dict[tuple[bytes, bytes, bytes], bytes] = {}  # by group, device, member
        self.messages: dict[bytes, list[tuple[Cid, SealedMessage]]] = {}
        self.seeds: set[tuple[bytes, bytes]] = set()
        self.archives: dict[str, Any] = {}  # by file name without endings
        self.rotations: dict[bytes, tuple[Group, str]] = {}
        self.rotations_for: tuple[int, ...] = ()

    def gather(self, source: Source) -> None:
        """Take in what a file tells about keys and groups."""
        if source.format == "archive":
            self.archives[PurePath(source.name).name.split(".")[0]] = source.root
            self._archive(source.root)
            return
        self._walk(source.root)
        root = source.root
        for item in _dicts(root.get("groups")):
            self._view(item)
        for item in _dicts(root.get("accounts")):
            self._account(item)
        for item in _dicts(root.get("own_chains")):
            self._chain(item)

    def link(self, sources: list[Source]) -> None:
        """Open what the gathered groups open: who shared which chain with whom, whose message is which."""
        for source in sources:
            logs = source.root.get("logs") if source.format == "logs" else None
            for log in logs.values() if isinstance(logs, dict) else ():
                with contextlib.suppress(*_FAULTS):
                    group = self.groups.get(bytes.fromhex(log["group_pk"]))
                    for item in _dicts(log["entries"]):
                        self._entry(item, group)

    def _walk(self, value: Any, key: str = "") -> None:
        if isinstance(value, dict):
            if "public_key" in value and "secret" in value:
                self._group(value)
            for name, item in value.items():
                self._walk(item, name)
        elif isinstance(value, list):
            for item in value:
                self._walk(item, key)
        elif isinstance(value, str):
            self._key(value, key)

    def _key(self, value: str, name: str) -> None:
        with contextlib.suppress(*_FAULTS):
            if len(value) == 136 and value.startswith("08011240"):
                self._add(PrivateKey(bytes.fromhex(value[8:72])))
            elif len(value) in (64, 128) and "rendezvous" not in name and _KEY_FIELD.fullmatch(name):
                self._add(PrivateKey(bytes.fromhex(value[:64])))

    def _add(self, key: PrivateKey) -> None:
        self.private.setdefault(bytes(key.public), key)

    def _group(self, fields: dict[str, Any]) -> None:
        with contextlib.suppress(*_FAULTS):
            self.add_group(
                Group(
                    GroupId(bytes.fromhex(fields["public_key"])),
                    Secret(bytes.fromhex(fields["secret"])),
                    GroupKind(fields.get("group_type", 0)),
                    secret_sig=bytes.fromhex(fields.get("secret_sig", "")),
                    link_key_sig=bytes.fromhex(fields.get("link_key_sig", "")),
                )
            )

    def add_group(self, group: Group) -> None:
        """Remember a group whose secret is known; the first that is told wins."""
        if len(group.secret) == 32:
            self.groups.setdefault(bytes(group.public_key), group)
            self._add(group.signing_key)

    def _account(self, item: dict[str, Any]) -> None:
        store = item.get("keystore") or {}
        for name, entry in store.items() if isinstance(store, dict) else ():
            with contextlib.suppress(*_FAULTS):
                if name.startswith("contactGroupSK_"):
                    self._pair(PrivateKey(bytes.fromhex(entry["seed"])))
        with contextlib.suppress(*_FAULTS):
            account = PrivateKey(bytes.fromhex(store["accountSK"]["seed"]))
            self.add_group(account_group(account, PrivateKey(bytes.fromhex(store["accountProofSK"]["seed"]))))
            for seed in (item.get("public_rendezvous_seed"), item["contact_reference_before_ShareContact"]):
                text = seed["public_rendezvous_seed"] if isinstance(seed, dict) else seed
                self.seeds.add((bytes(account.public), bytes.fromhex(str(text))))

    def _pair(self, pair: PrivateKey) -> None:
        material = hkdf_sha256(pair.expanded, b"", 64)
        public = GroupId(PrivateKey(material[:32]).public)
        self.add_group(Group(public, Secret(material[32:]), GroupKind.CONTACT))

    def _view(self, item: dict[str, Any]) -> None:
        with contextlib.suppress(*_FAULTS):
            group = bytes.fromhex(item["fields"]["public_key"])
            view = View(bytes.fromhex(item["device_pk"]), bytes.fromhex(item["member_pk"]))
            self.views[item["as_seen_by"], group] = view

    def _chain(self, item: dict[str, Any]) -> None:
        with contextlib.suppress(*_FAULTS):
            name = bytes.fromhex(item["group_pk"]), bytes.fromhex(item["device_pk"])
            self.chains[name] = Chain(Secret(bytes.fromhex(item["initial_chain_key"])), item["initial_counter"])

    def _entry(self, item: dict[str, Any], group: Group | None) -> None:
        with contextlib.suppress(*_FAULTS):
            entry = recorded_entry(item)
            self.entries[entry.cid] = entry
            if group is None:
                return
            if "event" in item:
                self._event(entry, group)
            else:
                message = open_headers(group.secret, entry.value)
                self.messages.setdefault(bytes(group.public_key), []).append((entry.cid, message))

    def _event(self, entry: Entry, group: Group) -> None:
        event = open_event(group.secret, entry.value)
        if event.event_type == _EVENT_2:
            shared = parse(pb.GroupDeviceChainKeyAdded, event.payload)
            self.shared.setdefault((bytes(group.public_key), shared.device_pk, shared.dest_member_pk), shared.payload)
        elif event.event_type == EventType.REFERENCE_RESET:
            seed = parse(pb.AccountContactRequestReferenceReset, event.payload).public_rendezvous_seed
            self.seeds.add((bytes(group.public_key), seed))

    def _archive(self, root: dict[str, Any]) -> None:
        for member in root["members"]:
            with contextlib.suppress(*_FAULTS):
                if member.name.startswith("entries/"):
                    entry = decode_entry(member.data)
                    self.entries[entry.cid] = entry
                elif member.name in ("account.key", "account_proof.key"):
                    self._key(member.data.hex(), "")

    def group_of(self, address: str) -> Group | None:
        """The group that a log address names."""
        try:
            return self.groups.get(bytes.fromhex(address.rpartition("/")[2][:64]))
        except ValueError:
            return None

    def addresses(self) -> dict[str, Group]:
        """All addresses of all groups, in both profiles."""
        return {
            group.address(profile, kind).text: group
            for group in self.groups.values()
            for profile in PROFILES.values()
            for kind in LogKind
        }


def recorded_entry(item: dict[str, Any]) -> Entry:
    """The entry that an item of a recorded log describes: of its block, or of its fields where that is shortened."""
    if not item["block"].startswith("sha256:"):
        return decode_entry(bytes.fromhex(item["block"]))
    fields = item["fields"]
    return Entry(
        Cid.parse(item["cid"]),
        fields["id"],
        fields["payload"],
        tuple(Cid.parse(text) for text in fields["next"]),
        tuple(Cid.parse(text) for text in fields["refs"]),
        fields["clock"]["time"],
        bytes.fromhex(fields["clock"]["id"]),
        bytes.fromhex(fields["key"]),
        bytes.fromhex(fields["sig"]),
        EntryIdentity("", "", "", ""),  # not needed for the order
        fields["v"],
    )


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))
