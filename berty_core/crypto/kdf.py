"""Key derivation: HKDF over two hash families, HMAC, and the two password functions. Lengths are in bytes."""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from nacl import pwhash

from .keys import Secret


def hkdf_sha256(key: bytes, info: bytes, length: int = 32) -> Secret:
    """RFC 5869 with SHA-256 and no salt."""
    return Secret(HKDF(hashes.SHA256(), length, None, info).derive(key))


def hkdf_sha3_256(key: bytes, info: bytes, length: int = 32) -> Secret:
    """RFC 5869 with SHA3-256 and no salt (link keys and push references only)."""
    return Secret(HKDF(hashes.SHA3_256(), length, None, info).derive(key))


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256: 32 bytes."""
    return hmac.digest(key, message, "sha256")


def equal(left: bytes, right: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(left, right)


def shake256(data: bytes, length: int) -> bytes:
    """The first `length` bytes of SHAKE256."""
    return hashlib.shake_256(data).digest(length)


def scrypt_link_key(passphrase: bytes, salt: bytes) -> Secret:
    """The key of a password-protected link (Wesh protocol, section 10.7): N 32768, r 8, p 1."""
    return Secret(Scrypt(salt=salt, length=32, n=32768, r=8, p=1).derive(passphrase))


def aes256_ctr(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """AES-256-CTR, both directions; `nonce` has 16 bytes."""
    return Cipher(algorithms.AES(bytes(key)), modes.CTR(nonce)).encryptor().update(data)


ARGON2_SALT_LENGTH = 16


def argon2id(passphrase: bytes, salt: bytes) -> Secret:
    """32 bytes from a passphrase, at libsodium's "moderate" cost (256 MiB, three passes); `salt` has 16 bytes."""
    return Secret(
        pwhash.argon2id.kdf(
            32,
            passphrase,
            salt,
            opslimit=pwhash.argon2id.OPSLIMIT_MODERATE,
            memlimit=pwhash.argon2id.MEMLIMIT_MODERATE,
        )
    )
