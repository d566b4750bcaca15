"""Sealing at rest: what a store is given, it cannot read, move to another key, or tell names from.

Each record is XChaCha20-Poly1305 under the home's key, with the record's own key as associated data.
"""

from __future__ import annotations

from collections.abc import Callable

from nacl import bindings
from nacl.exceptions import CryptoError

from ..errors import StoreCorrupt
from .kdf import hkdf_sha256, hmac_sha256
from .keys import Secret

NONCE_LENGTH = 24


class Vault:
    """Seal and unseal records under one 32-byte key; `entropy(n)` gives n random bytes."""

    __slots__ = ("_blind", "_entropy", "_seal")

    def __init__(self, key: bytes, entropy: Callable[[int], bytes]) -> None:
        self._seal = hkdf_sha256(key, b"berty vault seal")
        self._blind = hkdf_sha256(key, b"berty vault name")
        self._entropy = entropy

    def seal(self, key: bytes, plaintext: bytes) -> bytes:
        """Encrypt a record that will be stored under `key`: 40 bytes longer than `plaintext`."""
        nonce = self._entropy(NONCE_LENGTH)
        box = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, key, nonce, bytes(self._seal))
        return nonce + box

    def unseal(self, key: bytes, sealed: bytes) -> Secret:
        """Decrypt a record; StoreCorrupt if it was changed, moved, or sealed by another home."""
        try:
            return Secret(
                bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
                    sealed[NONCE_LENGTH:], key, sealed[:NONCE_LENGTH], bytes(self._seal)
                )
            )
        except (CryptoError, ValueError, TypeError) as error:
            raise StoreCorrupt(
                "a record of the store cannot be unsealed: it was damaged, or the key is of another home"
            ) from error

    def blind(self, name: bytes) -> bytes:
        """A 16-byte name for a record's key that tells a store nothing about `name`."""
        return hmac_sha256(self._blind, name)[:16]

    def __repr__(self) -> str:
        return "Vault(…)"
