"""Peer ids: what names a libp2p peer. Invariant: a `PeerId` made here holds the Ed25519 public key that it names."""

from __future__ import annotations

import base64
from typing import ClassVar

from berty_core.codec.base58 import decode_base58, encode_base58
from berty_core.codec.protobuf import parse
from berty_core.crypto.keys import decode_public, encode_public
from berty_core.errors import RemoteProtocolError
from berty_core.ids import PublicKey

from .pb import libp2p_pb2 as pb

MAX_TEXT = 128
MAX_KEY = 8192
_IDENTITY_HASH = b"\x00\x24"  # multihash "identity" of 36 bytes: the key itself
_LIBP2P_KEY_CID = b"\x01\x72"
_KINDS = {0: "RSA", 2: "secp256k1", 3: "ECDSA"}


class PeerId(bytes):
    """The 38 binary bytes of an Ed25519 peer's id; `str()` gives the usual text (`12D3KooW…`)."""

    LENGTH: ClassVar[int] = 38
    __slots__ = ()

    def __new__(cls, value: bytes) -> PeerId:
        """Check the form; RemoteProtocolError with words for ids of other kinds of keys."""
        if value[:2] == b"\x12\x20" and len(value) == 34:
            raise RemoteProtocolError("a peer id of an RSA or ECDSA key; only Ed25519 peers are spoken to here")
        if value[:2] != _IDENTITY_HASH and value[:1] == b"\x00":
            raise RemoteProtocolError("a peer id of a secp256k1 key; only Ed25519 peers are spoken to here")
        if value[:2] != _IDENTITY_HASH:
            raise RemoteProtocolError(f"{len(value)} bytes that are no peer id")
        decode_public(value[2:])
        return super().__new__(cls, value)

    @classmethod
    def of(cls, public: bytes) -> PeerId:
        """The id of an Ed25519 public key (32 bytes)."""
        return cls(_IDENTITY_HASH + encode_public(public))

    @classmethod
    def parse(cls, text: str) -> PeerId:
        """Read base58 text, or the text of a CID (`k…` and `z…` are base36 and base58, `b…` base32)."""
        if len(text) > MAX_TEXT:
            raise RemoteProtocolError(f"a peer id of {len(text)} characters")
        if text[:2] in ("12", "Qm"):
            return cls(decode_base58(text, MAX_TEXT))
        data = _decode_multibase(text)
        if data[:2] != _LIBP2P_KEY_CID:
            raise RemoteProtocolError("text that is no peer id")
        return cls(data[2:])

    @property
    def public(self) -> PublicKey:
        """The Ed25519 public key in it."""
        return PublicKey(self[6:])

    def __str__(self) -> str:
        return encode_base58(self)

    def __repr__(self) -> str:
        return f"PeerId({self})"


def _decode_multibase(text: str) -> bytes:
    kind, body = text[:1], text[1:]
    if kind == "z":
        return decode_base58(body, MAX_TEXT)
    try:
        if kind == "b":
            return base64.b32decode(body.upper() + "=" * (-len(body) % 8))
        if kind == "k":
            number = int(body, 36)
            return number.to_bytes((number.bit_length() + 7) // 8, "big")
    except ValueError as error:
        raise RemoteProtocolError("text that is no peer id") from error
    raise RemoteProtocolError("text that is no peer id")


def identity_of(key: bytes) -> PeerId:
    """The id of a peer that shows this libp2p `PublicKey`; RemoteProtocolError with words for kinds not spoken."""
    kind = parse(pb.Key, key, MAX_KEY).type
    if kind in _KINDS:
        raise RemoteProtocolError(f"the peer has an {_KINDS[kind]} key; only Ed25519 peers are spoken to here")
    return PeerId.of(decode_public(key))
