"""Password-protected links (Wesh protocol, section 10.7).

The checksum has one byte, so it cannot prove a passphrase; what it lets pass must still make valid keys.
"""

from __future__ import annotations

from ..codec.pb import wesh_pb2
from ..crypto.kdf import aes256_ctr, equal, scrypt_link_key, shake256
from ..errors import LocalProtocolError, RemoteProtocolError
from .group import GroupKind
from .link_values import (
    NONCE_LENGTH,
    ContactLink,
    EncryptedLink,
    GroupLink,
    LinkError,
    LinkKind,
    checked_name,
    machine_part,
    read_contact,
    read_group,
)

CHECKSUM_LENGTH = 1
_IN_CHECKSUM = 4  # the fifth field of a group, link_key_sig, is left out of it


def seal_link(link: ContactLink | GroupLink, passphrase: str, nonce: bytes) -> EncryptedLink:
    """Protect a link by a passphrase; `nonce` is 16 fresh random bytes (section 10.7)."""
    if not passphrase:
        raise LocalProtocolError("a password-protected link needs a passphrase that is not empty")
    if len(nonce) != NONCE_LENGTH:
        raise LocalProtocolError(f"a link's nonce has {NONCE_LENGTH} bytes, not {len(nonce)}")
    kind, message = machine_part(link)
    if kind is LinkKind.CONTACT:
        plain: tuple[bytes, ...] = (message.berty_id.public_rendezvous_seed, message.berty_id.account_pk)
    else:
        group = message.berty_group.group
        plain = (group.public_key, group.secret, group.secret_sig, group.sign_pub, group.link_key_sig)
    checksum = shake256(b"".join(plain[:_IN_CHECKSUM]), CHECKSUM_LENGTH)
    return EncryptedLink(kind, checked_name(link.display_name), nonce, checksum, _crypt(plain, passphrase, nonce))


def unseal_link(encrypted: EncryptedLink, passphrase: str) -> ContactLink | GroupLink:
    """Open a protected link; LinkError if the passphrase is wrong, as far as that can be told."""
    wrong = LinkError("wrong passphrase: this link does not open with it; check capitals, spaces and spelling")
    plain = _crypt(encrypted.fields, passphrase, encrypted.nonce)
    checksum = shake256(b"".join(plain[:_IN_CHECKSUM]), len(encrypted.checksum))
    if not equal(checksum, encrypted.checksum):
        raise wrong
    try:  # a checksum of one byte lets one wrong passphrase in 256 pass: the keys tell the rest
        if encrypted.kind is LinkKind.CONTACT:
            return read_contact(plain[1], plain[0], encrypted.display_name)
        public_key, secret, secret_sig, sign_pub, link_key_sig = plain
        group = wesh_pb2.Group(
            public_key=public_key,
            secret=secret,
            secret_sig=secret_sig,
            group_type=int(GroupKind.MULTI_MEMBER),
            sign_pub=sign_pub,
            link_key_sig=link_key_sig,
        )
        return read_group(group, encrypted.display_name)
    except RemoteProtocolError as error:
        raise wrong from error


def _crypt(fields: tuple[bytes, ...], passphrase: str, nonce: bytes) -> tuple[bytes, ...]:
    """Apply the one key stream that runs on from field to field; absent fields consume nothing."""
    try:
        secret = passphrase.encode()
    except UnicodeEncodeError as error:
        raise LocalProtocolError("a passphrase must be valid Unicode text") from error
    stream = aes256_ctr(scrypt_link_key(secret, nonce), nonce, b"".join(fields))
    out: list[bytes] = []
    for field in fields:
        out.append(stream[: len(field)])
        stream = stream[len(field) :]
    return tuple(out)
