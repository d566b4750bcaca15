"""Groups and what follows from their secret: signing key, link key, store addresses (Wesh protocol, section 2).

Invariant: a `Group` holds what its kind needs; a reduced group can verify and locate but not read.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from functools import cached_property

import attrs

from ..codec.cid import RAW, Cid
from ..codec.dagcbor import encode_dagcbor
from ..codec.pb import wesh_pb2 as pb
from ..crypto.kdf import hkdf_sha3_256, hkdf_sha256
from ..crypto.keys import PrivateKey, Secret, derive_shared_key, verify
from ..errors import LocalProtocolError, RemoteProtocolError
from ..ids import AccountId, GroupId, PublicKey


class GroupKind(enum.IntEnum):
    """What a group is for; the numbers travel."""

    REDUCED = 0
    ACCOUNT = 1
    CONTACT = 2
    MULTI_MEMBER = 3


class LogKind(enum.IntEnum):
    """The two logs of a group."""

    METADATA = 0
    MESSAGES = 1


@attrs.frozen
class Profile:
    """How a product names its stores and how often its rendezvous points rotate (seconds; sections 2.7 and 6.1)."""

    name: str
    metadata_type: str
    messages_type: str
    rotation: int

    def store_type(self, kind: LogKind) -> str:
        """The store type of one of the two logs."""
        return self.metadata_type if kind is LogKind.METADATA else self.messages_type


BERTY = Profile("berty", "berty_group_metadata", "berty_group_messages", 24 * 3600)
WESH = Profile("wesh", "wesh_group_metadata", "wesh_group_messages", 9223372036)
PROFILES = {profile.name: profile for profile in (BERTY, WESH)}


@attrs.frozen
class LogAddress:
    """The address of one log (its log id, topic and name in one) with the manifest block it names."""

    text: str
    manifest: bytes
    access_controller: bytes


@attrs.frozen(slots=False)
class Group:
    """A group as invitations carry it (section 2.1)."""

    public_key: GroupId
    secret: Secret = attrs.field(repr=False)
    kind: GroupKind
    secret_sig: bytes = attrs.field(default=b"", repr=False)
    link_key_sig: bytes = attrs.field(default=b"", repr=False)
    sign_pub: bytes = attrs.field(default=b"", repr=False)
    stored_link_key: bytes = attrs.field(default=b"", repr=False)

    @cached_property
    def signing_key(self) -> PrivateKey:
        """The key that signs log entries, shared by all members."""
        if not self.secret:
            raise LocalProtocolError("a reduced group has no signing key")
        return PrivateKey(self.secret)

    @cached_property
    def signing_public(self) -> PublicKey:
        """The public half of the log signing key."""
        return PublicKey(self.sign_pub) if self.sign_pub else self.signing_key.public

    @cached_property
    def link_key(self) -> Secret:
        """Opens heads messages and finds the group; a replica has it, the secret it has not."""
        if len(self.stored_link_key) == 32:
            return Secret(self.stored_link_key)
        return hkdf_sha3_256(self.secret, bytes(self.public_key))

    @property
    def id(self) -> GroupId:
        """The group's public key."""
        return self.public_key

    def address(self, profile: Profile, kind: LogKind) -> LogAddress:
        """The address of a log in one store profile (section 2.7)."""
        return log_address(self.public_key, self.signing_public, profile.store_type(kind))

    def reduced(self) -> Group:
        """What a replica is given: enough to locate and verify, not to read (section 2.6)."""
        return Group(
            self.public_key,
            Secret(b""),
            GroupKind.REDUCED,
            link_key_sig=self.link_key_sig,
            sign_pub=bytes(self.signing_public),
            stored_link_key=bytes(self.link_key),
        )

    def check_invitation(self) -> None:
        """Verify the signature of an invitation to a multi-member group; RemoteProtocolError if it is false."""
        if self.kind is not GroupKind.MULTI_MEMBER:
            raise RemoteProtocolError("this invitation is not for a group that can be joined")
        if not verify(self.public_key, self.secret, self.secret_sig):
            raise RemoteProtocolError("the invitation's signature is false: it was changed on its way")


def log_address(group: GroupId, signing_public: bytes, store_type: str) -> LogAddress:
    """Derive a log's address and its manifest block (section 2.7)."""
    name = f"{group.hex()}_{store_type}"
    access = json.dumps(
        {"group_id": [group.hex()], "store_type": [store_type], "write": [signing_public.hex()]},
        separators=(",", ":"),
    ).encode()
    manifest = encode_dagcbor({"name": name, "type": store_type, "access_controller": f"/ipfs/{Cid.of(access, RAW)}"})
    return LogAddress(f"/orbitdb/{Cid.of(manifest)}/{name}", manifest, access)


def account_group(account: PrivateKey, proof: PrivateKey) -> Group:
    """The group of an account's own devices (section 2.4)."""
    return Group(GroupId(account.public), proof.seed, GroupKind.ACCOUNT)


def contact_group(account: PrivateKey, contact: AccountId) -> Group:
    """The group of two contacts, the same from both sides (section 2.3)."""
    pair = derive_shared_key(account, contact)
    material = hkdf_sha256(pair.expanded, b"", 64)
    return Group(GroupId(PrivateKey(material[:32]).public), Secret(material[32:]), GroupKind.CONTACT)


def new_group(entropy: Callable[[int], bytes]) -> tuple[Group, PrivateKey]:
    """Make a multi-member group, and the group's private key that signs event 302 once (section 2.5)."""
    key, secret = PrivateKey(entropy(32)), Secret(entropy(32))
    unsigned = Group(GroupId(key.public), secret, GroupKind.MULTI_MEMBER)
    signed = attrs.evolve(unsigned, secret_sig=key.sign(bytes(secret)), link_key_sig=key.sign(bytes(unsigned.link_key)))
    return signed, key


def encode_group(group: Group) -> pb.Group:
    """The protobuf of a group, as stored and as sent in invitations."""
    return pb.Group(
        public_key=bytes(group.public_key),
        secret=bytes(group.secret),
        secret_sig=group.secret_sig,
        group_type=int(group.kind),
        sign_pub=group.sign_pub,
        link_key=group.stored_link_key,
        link_key_sig=group.link_key_sig,
    )


def decode_group(message: pb.Group) -> Group:
    """Read a group; RemoteProtocolError for lengths or kinds that no group has."""
    try:
        kind = GroupKind(message.group_type)
    except ValueError as error:
        raise RemoteProtocolError(f"unknown kind of group: {message.group_type}") from error
    for name, lengths in _LENGTHS.items():
        if len(getattr(message, name)) not in lengths:
            raise RemoteProtocolError(f"a group's {name} cannot have {len(getattr(message, name))} bytes")
    if not message.secret and (kind is not GroupKind.REDUCED or not message.sign_pub or not message.link_key):
        raise RemoteProtocolError("a group needs its secret, or signing key and link key in its place")
    return Group(
        GroupId(message.public_key),
        Secret(message.secret),
        kind,
        secret_sig=message.secret_sig,
        link_key_sig=message.link_key_sig,
        sign_pub=message.sign_pub,
        stored_link_key=message.link_key,
    )


_LENGTHS = {
    "public_key": (32,),
    "secret": (0, 32),
    "secret_sig": (0, 64),
    "sign_pub": (0, 32),
    "link_key": (0, 32),
    "link_key_sig": (0, 64),
}
