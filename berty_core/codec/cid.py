"""Content identifiers of one shape: CIDv1, sha2-256, of a dag-cbor block (or a raw one for access controllers)."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache

from ..errors import RemoteProtocolError
from ..ids import _FixedBytes
from .base58 import decode_base58, encode_base58

DAG_CBOR = b"\x01\x71\x12\x20"
RAW = b"\x01\x55\x12\x20"
UNKNOWN_KIND = "only CIDv1 with sha2-256 of dag-cbor or raw blocks is spoken here"


class Cid(_FixedBytes):
    """The 36 binary bytes of a CID; `str()` gives the base32 form (`bafyrei…`)."""

    LENGTH = 36
    __slots__ = ()

    @classmethod
    def of(cls, block: bytes, codec: bytes = DAG_CBOR) -> Cid:
        """Name a block by its content."""
        return cls(codec + hashlib.sha256(block).digest())

    @classmethod
    def parse(cls, text: str) -> Cid:
        """Read base32 (`b…`) or base58btc (`z…`) text; RemoteProtocolError otherwise."""
        if text.startswith("z"):
            return cls.from_bytes(decode_base58(text[1:], 64))
        if not text.startswith("b") or len(text) > 64:
            raise RemoteProtocolError("a CID starts with b (base32) or z (base58)")
        body = text[1:].upper()
        try:
            data = base64.b32decode(body + "=" * (-len(body) % 8))
        except ValueError as error:
            raise RemoteProtocolError("a CID that is not base32") from error
        return cls.from_bytes(data)

    @classmethod
    def from_bytes(cls, data: bytes) -> Cid:
        """Check length and prefix of a binary CID."""
        if len(data) != 36 or data[:4] not in (DAG_CBOR, RAW):
            raise RemoteProtocolError(UNKNOWN_KIND)
        return cls(data)

    @property
    def digest(self) -> bytes:
        """The 32 bytes of the hash."""
        return self[4:]

    @property
    def base58(self) -> str:
        """The form that log entries sign (`zdpu…`)."""
        return _base58(self)

    def __str__(self) -> str:
        return "b" + base64.b32encode(self).decode().rstrip("=").lower()


@lru_cache(maxsize=4096)  # parents and shortcuts repeat from entry to entry
def _base58(cid: bytes) -> str:
    return "z" + encode_base58(cid)
