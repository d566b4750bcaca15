"""One log entry: block, content identifier and signature (IPFS log, sections 1.1 to 1.7).

Invariant: an `Entry` and its block say the same; decoding refuses a block that would encode differently.
"""

from __future__ import annotations

import base64
import binascii
import json

import attrs

from ..codec.cid import Cid
from ..codec.dagcbor import decode_dagcbor, encode_dagcbor, link, unlink_all
from ..crypto.keys import PrivateKey, encode_public, verify
from ..errors import RemoteProtocolError
from ..ids import PublicKey

MAX_BLOCK = 2 * 1024 * 1024  # larger ones wedge Go receivers (Wesh protocol, section 14.6)
MAX_LINKS = 4096
IDENTITY_TYPE = "betry_group_entry"  # spelled so on the wire
_OPERATION_HEAD = '{"op":"ADD","value":"'
_OPERATION_TAIL = '"}'
_KEYS = ["v", "id", "key", "sig", "hash", "next", "refs", "clock", "payload", "identity"]


@attrs.frozen
class EntryIdentity:
    """The identity object inside an entry; byte fields as they stand in the block, in hexadecimal text."""

    id: str
    type: str
    public_key: str
    signature_id: str
    signature_public_key: str = ""


@attrs.frozen
class Entry:
    """A signed node of a log. `time` is the Lamport clock, `payload` the operation as text."""

    cid: Cid
    log_id: str
    payload: str
    next: tuple[Cid, ...]
    refs: tuple[Cid, ...]
    time: int
    clock_id: bytes
    key: bytes
    sig: bytes
    identity: EntryIdentity
    v: int = 2

    @property
    def value(self) -> bytes:
        """The sealed envelope that the operation carries; RemoteProtocolError if there is none."""
        return operation_value(self.payload)


@attrs.frozen
class LogIdentity:
    """Who signs the entries of a group: one identity that all members share (section 1.7)."""

    key: PrivateKey = attrs.field(repr=False)
    public: bytes
    identity: EntryIdentity

    @classmethod
    def of(cls, key: PrivateKey) -> LogIdentity:
        """The identity that belongs to a group's log signing key."""
        name, public = key.public.hex(), encode_public(key.public)
        return cls(key, public, EntryIdentity(name, IDENTITY_TYPE, public.hex(), key.sign(name.encode()).hex()))


def operation(value: bytes) -> str:
    """The text that a log entry carries for an envelope (section 3.6)."""
    return _OPERATION_HEAD + base64.b64encode(value).decode() + _OPERATION_TAIL


def operation_value(payload: str) -> bytes:
    """Read the envelope out of an operation; any JSON form of it is accepted, as Go does."""
    text: object
    if payload.startswith(_OPERATION_HEAD) and payload.endswith(_OPERATION_TAIL):
        text = payload[len(_OPERATION_HEAD) : -len(_OPERATION_TAIL)]
    else:
        try:
            parsed = json.loads(payload)
        except (ValueError, RecursionError) as error:
            raise RemoteProtocolError("an entry's payload is not JSON") from error
        text = parsed.get("value", "") if isinstance(parsed, dict) and parsed.get("op") == "ADD" else None
    if not isinstance(text, str):
        raise RemoteProtocolError("an entry's payload is not an ADD operation")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RemoteProtocolError("an operation's value is not base64") from error


def signed_bytes(
    log_id: str,
    payload: str,
    parents: tuple[Cid, ...],
    refs: tuple[Cid, ...],
    time: int,
    clock_id: bytes,
    v: int = 2,
) -> bytes:
    """The JSON that an entry's signature covers (section 1.4)."""
    return (
        f'{{"clock":{{"id":"{clock_id.hex()}","time":{time}}},"hash":null,"id":{_go_string(log_id)},'
        f'"next":{_go_links(parents)},"payload":{_go_string(payload)},"refs":{_go_links(refs)},"v":{v}}}'
    ).encode()


def _go_links(cids: tuple[Cid, ...]) -> str:
    return "[" + ",".join([f'"{cid.base58}"' for cid in cids]) + "]"


def _go_string(text: str) -> str:
    """Quote as Go's encoding/json does: HTML-safe, everything beyond ASCII literal."""
    quoted = json.dumps(text, ensure_ascii=False)
    for character, escape in _GO_ESCAPES:
        if character in quoted:
            quoted = quoted.replace(character, escape)
    return quoted


_GO_ESCAPES = [
    ("<", "\\u003c"),
    (">", "\\u003e"),
    ("&", "\\u0026"),
    ("\u2028", "\\u2028"),
    ("\u2029", "\\u2029"),
]


def sign_entry(
    identity: LogIdentity, log_id: str, value: bytes, parents: tuple[Cid, ...], refs: tuple[Cid, ...], time: int
) -> tuple[Entry, bytes]:
    """Make the entry that appends an envelope, and its block."""
    payload = operation(value)
    parents, refs = tuple(dict.fromkeys(parents)), tuple(dict.fromkeys(refs))
    sig = identity.key.sign(signed_bytes(log_id, payload, parents, refs, time, identity.public))
    block = _encode(log_id, payload, parents, refs, time, identity.public, identity.public, sig, identity.identity, 2)
    cid = Cid.of(block)
    entry = Entry(cid, log_id, payload, parents, refs, time, identity.public, identity.public, sig, identity.identity)
    return entry, block


def encode_entry(entry: Entry) -> bytes:
    """The block of an entry (section 1.2)."""
    return _encode(
        entry.log_id,
        entry.payload,
        entry.next,
        entry.refs,
        entry.time,
        entry.clock_id,
        entry.key,
        entry.sig,
        entry.identity,
        entry.v,
    )


def _encode(
    log_id: str,
    payload: str,
    parents: tuple[Cid, ...],
    refs: tuple[Cid, ...],
    time: int,
    clock_id: bytes,
    key: bytes,
    sig: bytes,
    identity: EntryIdentity,
    v: int,
) -> bytes:
    return encode_dagcbor(
        {
            "v": v,
            "id": log_id,
            "key": key.hex(),
            "sig": sig.hex(),
            "hash": None,
            "next": [link(cid) for cid in parents],
            "refs": [link(cid) for cid in refs],
            "clock": {"id": clock_id.hex(), "time": time},
            "payload": payload,
            "identity": {
                "id": identity.id,
                "type": identity.type,
                "publicKey": identity.public_key,
                "signatures": {"id": identity.signature_id, "publicKey": identity.signature_public_key},
            },
        }
    )


def decode_entry(block: bytes, limit: int = MAX_BLOCK) -> Entry:
    """Read a block of at most `limit` bytes; its signature is not checked here."""
    if len(block) > limit:
        raise RemoteProtocolError(f"an entry of {len(block)} bytes, the limit is {limit}")
    value = decode_dagcbor(block)
    try:
        if list(value) != _KEYS or value["hash"] is not None:
            raise RemoteProtocolError("an entry with other keys than those of version 2")
        clock, identity = value["clock"], value["identity"]
        signatures = identity["signatures"]
        if len(clock) != 2 or len(identity) != 4 or len(signatures) != 2:
            raise RemoteProtocolError("an entry's clock or identity has unknown keys")
        return Entry(
            Cid.of(block),
            _text(value["id"]),
            _text(value["payload"]),
            _links(value["next"]),
            _links(value["refs"]),
            _integer(clock["time"]),
            _hex(clock["id"]),
            _hex(value["key"]),
            _hex(value["sig"]),
            EntryIdentity(
                _text(identity["id"]),
                _text(identity["type"]),
                _hex(identity["publicKey"]).hex(),
                _hex(signatures["id"]).hex(),
                _hex(signatures["publicKey"]).hex(),
            ),
            _integer(value["v"]),
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise RemoteProtocolError("an entry that is not built as one") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise RemoteProtocolError("text was expected in an entry")
    return value


def _integer(value: object) -> int:
    if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
        raise RemoteProtocolError("a 64-bit integer was expected in an entry")
    return value


def _hex(value: object) -> bytes:
    text = _text(value)
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise RemoteProtocolError("an entry's hexadecimal field is not hexadecimal") from error
    if data.hex() != text:
        raise RemoteProtocolError("hexadecimal in an entry must be lower-case")
    return data


def _links(value: object) -> tuple[Cid, ...]:
    if not isinstance(value, list) or len(value) > MAX_LINKS:
        raise RemoteProtocolError("an entry's links must be a list of bounded length")
    return unlink_all(value)


def check_entry(entry: Entry, log_id: str, signing_public: PublicKey) -> None:
    """Accept an entry into a log, or RemoteProtocolError.

    Stricter than Go in one point: `key` must be the group's own signing key, not merely any key that signed
    (section 3.4). Type, clock id and signatures of the identity are not judged, so that an entry which Go joins
    does not stand between us and its descendants.
    """
    if entry.log_id != log_id:
        raise RemoteProtocolError("an entry of another log")
    if entry.v != 2:
        raise RemoteProtocolError(f"an entry of version {entry.v}; version 2 is spoken here")
    if entry.key != encode_public(signing_public) or entry.identity.id != signing_public.hex():
        raise RemoteProtocolError("an entry signed by a key that is not the group's")
    message = signed_bytes(entry.log_id, entry.payload, entry.next, entry.refs, entry.time, entry.clock_id, entry.v)
    if not verify(signing_public, message, entry.sig):
        raise RemoteProtocolError("an entry with a false signature")
