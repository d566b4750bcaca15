"""NaCl boxes with explicit nonces, as Wesh uses them. Opening gives None when the box is not for this key."""

from __future__ import annotations

from nacl import bindings
from nacl.exceptions import CryptoError

from ..errors import RemoteProtocolError

KEY_LENGTH = 32
NONCE_LENGTH = 24
OVERHEAD = 16


def seal_secretbox(key: bytes, nonce: bytes, plaintext: bytes) -> bytes:
    """XSalsa20-Poly1305: a 16-byte tag, then as many bytes as `plaintext`; nonce (24) not included."""
    return bindings.crypto_secretbox_easy(plaintext, nonce, bytes(key))


def open_secretbox(key: bytes, nonce: bytes, box: bytes) -> bytes | None:
    """Open a secret box; None if key, nonce or bytes do not fit."""
    if len(nonce) != NONCE_LENGTH or len(box) < OVERHEAD or len(key) != KEY_LENGTH:
        return None
    try:
        return bindings.crypto_secretbox_open_easy(box, nonce, bytes(key))
    except CryptoError:
        return None


def precompute_box(private: bytes, public: bytes) -> bytes:
    """NaCl `beforenm` of an X25519 pair: the 32-byte key of a box; RemoteProtocolError for a low-order point."""
    try:
        return bindings.crypto_box_beforenm(bytes(public), bytes(private))
    except (CryptoError, ValueError, TypeError) as error:
        raise RemoteProtocolError("the X25519 public key is of low order or malformed") from error


def seal_box(private: bytes, public: bytes, nonce: bytes, plaintext: bytes) -> bytes:
    """crypto_box under X25519 keys; nonce (24) not included."""
    return seal_secretbox(precompute_box(private, public), nonce, plaintext)


def open_box(private: bytes, public: bytes, nonce: bytes, box: bytes) -> bytes | None:
    """Open a crypto_box; None if it is not for this pair."""
    return open_secretbox(precompute_box(private, public), nonce, box)
