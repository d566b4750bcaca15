"""Entries as Go's encoding/json writes and reads them in heads messages (IPFS log, section 4.4).

Invariant: what is written has every object that Go needs: an entry without identity would crash it (Wesh protocol,
section 14.18). What is read is bounded before it is built.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, NoReturn

import attrs

from ..codec.cid import Cid
from ..errors import LocalProtocolError, RemoteProtocolError

MAX_JSON = 4 * 1024 * 1024
MAX_HEADS = 1000
MAX_PARTS = 200_000  # objects, lists and what they hold: what the text may unfold to in memory
_HTML = [("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029")]

Value = bytes | str | int | tuple[Cid, ...]


@attrs.frozen
class IdentityJson:
    """The identity object of an entry, byte fields as bytes."""

    id: str
    public_key: bytes
    signature_id: bytes
    signature_public_key: bytes
    type: str


@attrs.frozen
class HeadJson:
    """The fields of one entry as heads messages carry them; nothing in it is verified."""

    payload: bytes
    id: str
    next: tuple[Cid, ...]
    refs: tuple[Cid, ...]
    v: int
    key: bytes
    sig: bytes
    identity: IdentityJson
    hash: Cid
    clock_id: bytes
    clock_time: int


def encode_heads_json(heads: tuple[HeadJson, ...]) -> bytes:
    """Write the list byte for byte as Go does; no heads are `[]`. LocalProtocolError above 1000 heads or 4 MiB."""
    if len(heads) > MAX_HEADS:
        raise LocalProtocolError(f"{len(heads)} heads in one message, the limit is {MAX_HEADS}")
    try:
        data = ("[" + ",".join([_encode_head(head) for head in heads]) + "]").encode()
    except UnicodeEncodeError as error:
        raise LocalProtocolError("an entry whose text is not valid Unicode") from error
    if len(data) > MAX_JSON:
        raise LocalProtocolError(f"heads of {len(data)} bytes, the limit is {MAX_JSON}")
    return data


def _encode_head(head: HeadJson) -> str:
    if not head.id:
        raise LocalProtocolError("an entry without log id must never be sent")
    clock = _object([("id", head.clock_id), ("time", head.clock_time)])
    fields: list[tuple[str, Value]] = [
        ("payload", head.payload),
        ("id", head.id),
        ("next", head.next),
        ("refs", head.refs),
        ("v", head.v),
        ("key", head.key),
        ("sig", head.sig),
    ]
    open_object = _object(fields)[:-1]
    return f'{open_object},"identity":{_encode_identity(head.identity)},"hash":{_link(head.hash)},"clock":{clock}}}'


def _encode_identity(identity: IdentityJson) -> str:
    if not identity.id:
        raise LocalProtocolError("an entry without identity must never be sent")
    named = _object([("id", identity.id), ("publicKey", identity.public_key)])[:-1]
    signatures = _object([("id", identity.signature_id), ("publicKey", identity.signature_public_key)])
    return f'{named},"signatures":{signatures},"type":{_quote(identity.type)},"Provider":null}}'


def _object(fields: list[tuple[str, Value]]) -> str:
    """An object without its empty fields (Go's `omitempty`)."""
    return "{" + ",".join([f'"{name}":{_encode_value(value)}' for name, value in fields if value]) + "}"


def _encode_value(value: Value) -> str:
    if isinstance(value, bytes):
        return f'"{base64.b64encode(value).decode()}"'
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, int):
        return str(value)
    return "[" + ",".join([_link(cid) for cid in value]) + "]"


def _link(cid: Cid) -> str:
    return f'{{"/":"{cid}"}}'


def _quote(text: str) -> str:
    """Quote as Go does: safe inside HTML, the rest beyond ASCII literal (IPFS log, section 1.4)."""
    quoted = json.dumps(text, ensure_ascii=False)
    for character, escape in _HTML:
        quoted = quoted.replace(character, escape)
    return quoted


def decode_heads_json(data: bytes) -> tuple[HeadJson, ...]:
    """Read a list of entries with Go's leniency: names in any case, unknown ones skipped, `null` for no list or entry.

    RemoteProtocolError for what Go refuses, for an entry without identity (which Go does not survive), and above
    the limits.
    """
    if len(data) > MAX_JSON or sum(map(data.count, (b"{", b"[", b","))) > MAX_PARTS:
        raise RemoteProtocolError(f"heads of {len(data)} bytes are above the limits")
    items = _load(data)
    if items is None:
        return ()
    if not isinstance(items, list) or len(items) > MAX_HEADS:
        raise RemoteProtocolError(f"heads must be a list of at most {MAX_HEADS}")
    return tuple([_decode_head(item) for item in items if item is not None])


def _load(data: bytes) -> Any:
    try:
        return json.loads(data.decode(), object_pairs_hook=_fold, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError("heads that are not JSON") from error


def _fold(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name.casefold(): value for name, value in pairs}  # the last of equal names counts, as in Go


def _refuse_constant(text: str) -> NoReturn:
    raise RemoteProtocolError(f"{text} is not JSON")


def _decode_head(value: Any) -> HeadJson:
    head = _record(value, "entry")
    identity = _record(head.get("identity"), "identity")
    if identity.get("provider") is not None:
        raise RemoteProtocolError("an identity with a provider")
    signatures = _record(identity.get("signatures"), "signatures")
    clock = _record(head.get("clock"), "clock")
    return HeadJson(
        payload=_bytes(head.get("payload")),
        id=_text(head.get("id")),
        next=_links(head.get("next")),
        refs=_links(head.get("refs")),
        v=_integer(head.get("v"), 0, 1 << 63),
        key=_bytes(head.get("key")),
        sig=_bytes(head.get("sig")),
        identity=IdentityJson(
            _text(identity.get("id")),
            _bytes(identity.get("publickey")),
            _bytes(signatures.get("id")),
            _bytes(signatures.get("publickey")),
            _text(identity.get("type")),
        ),
        hash=_cid(head.get("hash")),
        clock_id=_bytes(clock.get("id")),
        clock_time=_integer(clock.get("time"), -(1 << 63), 1 << 63),
    )


def _record(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RemoteProtocolError(f"a head without {name}")
    return value


def _text(value: Any) -> str:
    if value is None:
        return ""
    try:
        value.encode()
    except (AttributeError, UnicodeEncodeError) as error:
        raise RemoteProtocolError("text was expected in heads") from error
    return str(value)


def _integer(value: Any, low: int, high: int) -> int:
    if value is None:
        return 0
    if type(value) is not int or not low <= value < high:
        raise RemoteProtocolError("a 64-bit integer was expected in heads")
    return value


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(_text(value).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise RemoteProtocolError("base64 was expected in heads") from error


def _links(value: Any) -> tuple[Cid, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise RemoteProtocolError("a list of links was expected in heads")
    return tuple([_cid(item) for item in value])


def _cid(value: Any) -> Cid:
    link = value.get("/") if isinstance(value, dict) else None
    if not isinstance(link, str):
        raise RemoteProtocolError("a link was expected in heads")
    return Cid.parse(link)
