"""Authenticated ciphers: ChaCha20-Poly1305 with SHA-256 as Noise has it (sections 4 and 12), and AES-SIV for a bus.

Invariant: a box that does not open gives None and nothing else; who sent it is for the caller to blame.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV, ChaCha20Poly1305

from .kdf import hmac_sha256
from .keys import Secret

KEY_LENGTH = 32
NONCE_LENGTH = 12
TAG_LENGTH = 16


class ChaChaPoly:
    """ChaCha20-Poly1305 (RFC 8439) under one 32-byte key; the key schedule is made once."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(bytes(key))

    def seal(self, nonce: bytes, plaintext: bytes | memoryview, data: bytes) -> bytes:
        """Encrypt `plaintext` and authenticate `data` with it; 16 bytes longer than `plaintext`, 12 bytes of nonce."""
        return self._cipher.encrypt(nonce, plaintext, data)

    def open(self, nonce: bytes, box: bytes | memoryview, data: bytes) -> bytes | None:
        """Decrypt a box; None if key, nonce, `data` or bytes do not fit."""
        try:
            return self._cipher.decrypt(nonce, box, data)
        except InvalidTag:
            return None

    def __repr__(self) -> str:
        return "ChaChaPoly(…)"


def sha256(data: bytes) -> bytes:
    """SHA-256: 32 bytes."""
    return hashlib.sha256(data).digest()


def chained_hkdf(chaining_key: bytes, material: bytes, outputs: int) -> tuple[Secret, ...]:
    """Derive two or three keys of 32 bytes (Noise, section 4.3): RFC 5869 with the chaining key as salt, no info."""
    prepared = hmac_sha256(chaining_key, material)
    keys: list[Secret] = []
    block = b""
    for number in range(1, outputs + 1):
        block = hmac_sha256(prepared, block + bytes((number,)))
        keys.append(Secret(block))
    return tuple(keys)


class AesSiv:
    """AES-SIV (RFC 5297) under one key of 64 bytes, without a nonce: the same plaintext gives the same box.

    Two boxes of different plaintexts are safe under one key whatever happened to a counter, which is why it is used
    where a device cannot be sure of its own. The box is 16 bytes longer than the plaintext and looks random.
    """

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher = AESSIV(bytes(key))

    def seal(self, plaintext: bytes) -> bytes:
        """Encrypt and authenticate at least one byte."""
        return self._cipher.encrypt(plaintext, None)

    def open(self, box: bytes) -> bytes | None:
        """Decrypt a box; None if key or bytes do not fit."""
        if len(box) <= TAG_LENGTH:
            return None
        try:
            return self._cipher.decrypt(box, None)
        except InvalidTag:
            return None

    def __repr__(self) -> str:
        return "AesSiv(…)"
