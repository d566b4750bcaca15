"""Links as values, and their protobuf form (Wesh protocol, section 10.6).

Invariant: what the `read_` functions return can be used as it is: keys are points of the curve, a group's signature
holds. `LinkError` is worded for the person who typed or pasted a link.
"""

from __future__ import annotations

import enum

import attrs

from ..codec.pb import messenger_pb2 as pb
from ..codec.pb import wesh_pb2
from ..crypto.kdf import equal
from ..crypto.keys import PrivateKey, verify, x25519_public
from ..errors import LocalProtocolError, RemoteProtocolError
from ..ids import AccountId
from .group import Group, GroupKind, decode_group, encode_group

MAX_NAME = 1024  # bytes of UTF-8
NONCE_LENGTH = 16
_MAX_CHECKSUM = 64


class LinkError(RemoteProtocolError):
    """A text is not a usable Berty link; says what is wrong with it and what to do."""


class LinkKind(enum.IntEnum):
    """What a link leads to; the numbers travel."""

    CONTACT = 1
    GROUP = 2
    ENCRYPTED = 3
    MESSAGE = 4

    @property
    def word(self) -> str:
        """How web links name the kind."""
        return _WORDS[self]


_WORDS = {LinkKind.CONTACT: "contact", LinkKind.GROUP: "group", LinkKind.ENCRYPTED: "enc", LinkKind.MESSAGE: "message"}


@attrs.frozen
class ContactLink:
    """Leads to an account that takes contact requests: its id, its 32-byte rendezvous seed, its own name."""

    account: AccountId
    rendezvous_seed: bytes = attrs.field(repr=False)
    display_name: str = ""


@attrs.frozen
class GroupLink:
    """An invitation to a multi-member group: whoever has it can read the group."""

    group: Group
    display_name: str = ""


@attrs.frozen
class EncryptedLink:
    """A link that a passphrase opens. `kind` and `display_name` are in clear.

    `fields` are the sealed values in the order of the key stream: seed and account, or public key, secret, its
    signature, signing key and signature of the link key, the last two possibly empty.
    """

    kind: LinkKind
    display_name: str
    nonce: bytes
    checksum: bytes
    fields: tuple[bytes, ...] = attrs.field(repr=False)

    @property
    def kind_word(self) -> str:
        """`contact` or `group`."""
        return self.kind.word


@attrs.frozen
class MessageLink:
    """Points at one message; three texts: account and group in unpadded URL-safe base64, and the message's CID."""

    account_id: str
    group_id: str
    message_id: str


Link = ContactLink | GroupLink | EncryptedLink | MessageLink


def machine_part(link: Link) -> tuple[LinkKind, pb.BertyLink]:
    """Return the link without kind and display name, as web links carry it."""
    if isinstance(link, ContactLink):
        if len(link.rendezvous_seed) != 32:
            raise LocalProtocolError(f"a rendezvous seed has 32 bytes, not {len(link.rendezvous_seed)}")
        contact = pb.BertyID(public_rendezvous_seed=link.rendezvous_seed, account_pk=bytes(link.account))
        return LinkKind.CONTACT, pb.BertyLink(berty_id=contact)
    if isinstance(link, GroupLink):
        return LinkKind.GROUP, pb.BertyLink(berty_group=pb.BertyGroup(group=_invitation(link.group)))
    if isinstance(link, EncryptedLink):
        return LinkKind.ENCRYPTED, pb.BertyLink(encrypted=_encode_encrypted(link))
    reference = pb.BertyMessageRef(account_id=link.account_id, group_pk=link.group_id, message_id=link.message_id)
    return LinkKind.MESSAGE, pb.BertyLink(berty_message_ref=reference)


def _invitation(group: Group) -> wesh_pb2.Group:
    if group.kind is not GroupKind.MULTI_MEMBER:
        raise LocalProtocolError("only a multi-member group has links")
    message = encode_group(group)
    message.ClearField("link_key")  # recomputed by whoever joins
    return message


def checked_name(name: str) -> str:
    """Return a name that a link can carry; LocalProtocolError for any other."""
    try:
        length = len(name.encode())
    except UnicodeEncodeError as error:
        raise LocalProtocolError("a display name must be valid Unicode text") from error
    if length > MAX_NAME:
        raise LocalProtocolError(f"a display name of {length} bytes; at most {MAX_NAME} fit into a link")
    return name


def _received_name(name: str) -> str:
    data = name.encode(errors="replace")
    if len(data) > MAX_NAME:
        raise LinkError(f"the display name in this link is longer than {MAX_NAME} bytes: ask for a new link")
    return data.decode()


def read_contact(account: bytes, seed: bytes, name: str) -> ContactLink:
    """Check what a link says about an account (section 5.1); RemoteProtocolError if it cannot be one."""
    if len(seed) != 32:
        raise RemoteProtocolError("a contact link needs a rendezvous seed of 32 bytes")
    x25519_public(AccountId(account))  # refuses what is no point of the curve
    return ContactLink(AccountId(account), seed, _received_name(name))


def read_group(message: wesh_pb2.Group, name: str) -> GroupLink:
    """Check an invitation and its signature; RemoteProtocolError if nobody could join by it."""
    if message.link_key:
        message.ClearField("link_key")  # ours is computed from the secret
    group = decode_group(message)
    try:
        group.check_invitation()
    except RemoteProtocolError as error:
        raise LinkError(f"this group link cannot be used: {error}; ask a member for a new one") from error
    if group.sign_pub and not equal(group.sign_pub, PrivateKey(group.secret).public):
        raise LinkError("this group link cannot be used: it names a foreign signing key; ask a member for a new one")
    # Go does not check this one; here it also makes a typing error in the last characters show.
    if group.link_key_sig and not verify(group.public_key, bytes(group.link_key), group.link_key_sig):
        raise LinkError("this group link cannot be used: it was changed on its way; copy all of it again")
    return GroupLink(group, _received_name(name))


def read_message(reference: pb.BertyMessageRef) -> MessageLink:
    """Check that a reference names a message."""
    texts = (reference.account_id, reference.group_pk, reference.message_id)
    if not all(texts) or any(len(text) > 256 for text in texts):
        raise LinkError("this message link is incomplete: it must name an account, a group and a message")
    return MessageLink(*texts)


def _encode_encrypted(link: EncryptedLink) -> pb.EncryptedLink:
    message = pb.EncryptedLink(kind=link.kind, nonce=link.nonce, checksum=link.checksum)
    if link.kind is LinkKind.CONTACT:
        message.contact_public_rendezvous_seed, message.contact_account_pk = link.fields
        return message
    message.group_type = GroupKind.MULTI_MEMBER
    (
        message.group_public_key,
        message.group_secret,
        message.group_secret_sig,
        message.group_sign_pub,
        message.group_link_key_sig,
    ) = link.fields
    return message


_SEALED_LENGTHS = {
    LinkKind.CONTACT: ((32,), (32,)),
    LinkKind.GROUP: ((32,), (32,), (64,), (0, 32), (0, 64)),
}


def read_encrypted(message: pb.EncryptedLink, name: str) -> EncryptedLink:
    """Check the lengths of a protected link; what is sealed in it shows only to `unseal_link`."""
    if message.kind not in _SEALED_LENGTHS:
        raise RemoteProtocolError("a protected link is for a contact or a group")
    kind = LinkKind(message.kind)
    if kind is LinkKind.CONTACT:
        fields: tuple[bytes, ...] = (message.contact_public_rendezvous_seed, message.contact_account_pk)
    else:
        fields = (
            message.group_public_key,
            message.group_secret,
            message.group_secret_sig,
            message.group_sign_pub,
            message.group_link_key_sig,
        )
        if message.group_type != GroupKind.MULTI_MEMBER:
            raise RemoteProtocolError("a protected group link is for a multi-member group")
    for field, lengths in zip(fields, _SEALED_LENGTHS[kind], strict=True):
        if len(field) not in lengths:
            raise RemoteProtocolError(f"a protected field of {len(field)} bytes")
    if len(message.nonce) != NONCE_LENGTH or len(message.checksum) > _MAX_CHECKSUM:
        raise RemoteProtocolError("a protected link with a malformed nonce or checksum")
    return EncryptedLink(kind, _received_name(message.display_name or name), message.nonce, message.checksum, fields)
