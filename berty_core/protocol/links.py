"""Berty links as text: web form and internal (QR) form (Wesh protocol, section 10.6).

A text that is no usable link gives `LinkError`, which says in words what is wrong and where.
"""

from __future__ import annotations

from urllib.parse import quote_plus, unquote_plus

from ..codec.base58 import BASE42, BASE58, decode_base42, decode_base58, encode_base42, encode_base58
from ..codec.pb import messenger_pb2 as pb
from ..codec.protobuf import parse
from ..errors import RemoteProtocolError
from .link_values import (
    ContactLink,
    EncryptedLink,
    GroupLink,
    Link,
    LinkError,
    LinkKind,
    MessageLink,
    checked_name,
    machine_part,
    read_contact,
    read_encrypted,
    read_group,
    read_message,
)
from .sealed_links import seal_link, unseal_link

__all__ = [
    "ContactLink",
    "EncryptedLink",
    "GroupLink",
    "Link",
    "LinkError",
    "LinkKind",
    "MessageLink",
    "format_internal",
    "format_web",
    "parse_link",
    "seal_link",
    "unseal_link",
]

MAX_LINK = 8192  # characters
MAX_BLOB = 4096  # characters of the encoded part
_WEB = "https://berty.tech/id#"
_INTERNAL = "BERTY://PB/"
_KINDS = {kind.word: kind for kind in LinkKind}
# The fewest bytes that the encoded part of a web link of each kind has; fewer means that it was cut off.
_SHORTEST = {LinkKind.CONTACT: 70, LinkKind.GROUP: 142, LinkKind.ENCRYPTED: 90, LinkKind.MESSAGE: 2}


def format_web(link: Link) -> str:
    """Write the form that opens in a browser; LocalProtocolError for a value no link can carry."""
    kind, message = machine_part(link)
    blob = encode_base58(message.SerializeToString())
    name = "" if isinstance(link, MessageLink) else checked_name(link.display_name)
    return f"{_WEB}{kind.word}/{blob}" + (f"/name={quote_plus(name)}" if name else "")


def format_internal(link: Link) -> str:
    """Write the form that QR codes carry, in characters of their alphanumeric mode."""
    kind, message = machine_part(link)
    message.kind = kind
    if isinstance(link, ContactLink):
        message.berty_id.display_name = checked_name(link.display_name)
    elif isinstance(link, GroupLink):
        message.berty_group.display_name = checked_name(link.display_name)
    elif isinstance(link, EncryptedLink):
        message.encrypted.display_name = checked_name(link.display_name)
    return _INTERNAL + encode_base42(message.SerializeToString())


def parse_link(text: str) -> Link:
    """Read a link in any form, with spaces around it; LinkError says what is wrong in words.

    A password-protected link comes back sealed. The web form of a message link carries a reference that Berty
    never reads (section 10.6): it gives a `MessageLink` with empty fields.
    """
    start = len(text) - len(text.lstrip())
    text = text.strip()
    if len(text) > MAX_LINK:
        raise LinkError(f"this text has {len(text)} characters, more than any Berty link ({MAX_LINK})")
    if text[: len(_WEB)].lower() == _WEB:
        return _parse_web(text, start)
    if text[: len(_INTERNAL)].upper() == _INTERNAL:
        return _parse_internal(text, start)
    if text.lower().startswith("berty://id"):
        raise LinkError("this link has the form of an early version that Berty no longer reads: ask for a new one")
    if text and (_WEB.startswith(text.lower()) or _INTERNAL.startswith(text.upper())):
        raise LinkError("this link is cut off right after its beginning: copy all of it")
    raise LinkError(f"not a Berty link: one begins with {_WEB} or {_INTERNAL}")


def _parse_web(text: str, start: int) -> Link:
    word, _, rest = text[len(_WEB) :].partition("/")
    blob, _, query = rest.partition("/")
    kind = _KINDS.get(word)
    if kind is None:
        if any(known.startswith(word) for known in _KINDS) and not rest:
            raise LinkError("this link is cut off right after its beginning: copy all of it")
        raise LinkError(f"a Berty link of an unknown kind ({word[:32]!r}); known are {', '.join(_KINDS)}")
    offset = start + len(_WEB) + len(word) + 1
    data = decode_base58(_checked_blob(blob, BASE58, offset), MAX_BLOB)
    return _read(kind, data, _query_name(query), _SHORTEST[kind])


def _parse_internal(text: str, start: int) -> Link:
    blob = text[len(_INTERNAL) :]
    data = decode_base42(_checked_blob(blob, BASE42, start + len(_INTERNAL)), MAX_BLOB)
    message = _parse_message(data, _SHORTEST[LinkKind.CONTACT] + 2)
    try:
        kind = LinkKind(message.kind)
    except ValueError as error:
        raise _damaged(data, _SHORTEST[LinkKind.CONTACT] + 2) from error
    return _read(kind, data, "", _SHORTEST[kind] + 2, internal=True)


def _checked_blob(blob: str, alphabet: str, offset: int) -> str:
    """The encoded part, once its characters are known to be legal; `offset` is where it begins in the text."""
    if not blob:
        raise LinkError("this link is empty: the part that names somebody is missing; copy all of it")
    if len(blob) > MAX_BLOB:
        raise LinkError(f"this link has {len(blob)} characters in its encoded part; at most {MAX_BLOB} are read")
    for position, character in enumerate(blob):
        if character not in alphabet:
            raise LinkError(
                f"character {offset + position + 1} of this link ({character!r}) cannot stand there:"
                " it was mistyped, or something was added while copying"
            )
    return blob


def _query_name(query: str) -> str:
    """The display name behind a web link; unknown keys are skipped, stray slashes and spaces tolerated."""
    for pair in query.split("&")[:64]:
        key, _, value = pair.partition("=")
        if key == "name" and value:
            return unquote_plus(value, errors="replace")
    return ""


def _damaged(data: bytes, shortest: int) -> LinkError:
    if len(data) < shortest:
        return LinkError("this link is cut off: its end is missing; copy all of it")
    return LinkError("this link is damaged or cut off: a character is wrong or missing; copy it again, all of it")


def _parse_message(data: bytes, shortest: int) -> pb.BertyLink:
    try:
        return parse(pb.BertyLink, data)
    except RemoteProtocolError as error:
        raise _damaged(data, shortest) from error


def _read(kind: LinkKind, data: bytes, name: str, shortest: int, *, internal: bool = False) -> Link:
    message = _parse_message(data, shortest)
    try:
        if kind is LinkKind.CONTACT:
            contact = message.berty_id
            return read_contact(contact.account_pk, contact.public_rendezvous_seed, contact.display_name or name)
        if kind is LinkKind.GROUP:
            return read_group(message.berty_group.group, message.berty_group.display_name or name)
        if kind is LinkKind.ENCRYPTED:
            return read_encrypted(message.encrypted, name)
    except LinkError:
        raise
    except RemoteProtocolError as error:
        raise _damaged(data, shortest) from error
    return read_message(message.berty_message_ref) if internal else MessageLink("", "", "")
