"""Ed25519 keys, and the X25519 and libp2p forms of them that Wesh uses (Wesh protocol, sections 1.2 and 1.3).

Invariant: a private key never shows itself in a repr, and compares in constant time.
"""

from __future__ import annotations

import hmac

from nacl import bindings
from nacl.exceptions import CryptoError

from ..errors import LocalProtocolError, RemoteProtocolError
from ..ids import PublicKey

SIGNATURE_LENGTH = 64
_LIBP2P_PUBLIC = b"\x08\x01\x12\x20"
_LIBP2P_PRIVATE = b"\x08\x01\x12\x40"


class Secret(bytes):
    """Key material: bytes whose repr is redacted."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, bytes) and hmac.compare_digest(bytes(self), bytes(other))

    __hash__ = bytes.__hash__


class PrivateKey:
    """An Ed25519 private key, made from its 32-byte seed."""

    __slots__ = ("_expanded", "public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise LocalProtocolError(f"an Ed25519 seed has 32 bytes, not {len(seed)}")
        public, expanded = bindings.crypto_sign_seed_keypair(bytes(seed))
        self.public = PublicKey(public)
        self._expanded = expanded

    @property
    def seed(self) -> Secret:
        """The 32 secret bytes the key is made of."""
        return Secret(self._expanded[:32])

    @property
    def expanded(self) -> Secret:
        """Go's 64-byte form: seed, then public key."""
        return Secret(self._expanded)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of `message`."""
        return bindings.crypto_sign(message, self._expanded)[:SIGNATURE_LENGTH]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrivateKey) and hmac.compare_digest(self._expanded, other._expanded)

    def __hash__(self) -> int:
        return hash(self.public)

    def __repr__(self) -> str:
        return f"PrivateKey(public={self.public!r})"


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether `signature` (64 bytes) of `message` was made by the holder of `public` (32 bytes)."""
    if len(signature) != SIGNATURE_LENGTH or len(public) != 32:
        return False
    try:
        bindings.crypto_sign_open(signature + message, bytes(public))
    except CryptoError:
        return False
    return True


def x25519_private(key: PrivateKey) -> Secret:
    """Convert to the X25519 private key (section 1.2)."""
    return Secret(bindings.crypto_sign_ed25519_sk_to_curve25519(bytes(key.expanded)))


def x25519_public(key: bytes) -> bytes:
    """Convert to the X25519 public key; RemoteProtocolError if `key` is no point of the curve."""
    try:
        return bindings.crypto_sign_ed25519_pk_to_curve25519(bytes(key))
    except (CryptoError, ValueError, TypeError) as error:
        raise RemoteProtocolError("not a valid Ed25519 public key") from error


def exchange(private: bytes, public: bytes) -> Secret:
    """X25519: 32 raw bytes; RemoteProtocolError where the public key is of low order."""
    try:
        return Secret(bindings.crypto_scalarmult(bytes(private), bytes(public)))
    except (CryptoError, ValueError, TypeError) as error:
        raise RemoteProtocolError("the X25519 public key is of low order or malformed") from error


def x25519_pair(seed: bytes) -> tuple[Secret, bytes]:
    """Make an ephemeral X25519 pair (private, public) from 32 bytes of entropy."""
    return Secret(seed), bindings.crypto_scalarmult_base(bytes(seed))


def derive_shared_key(own: PrivateKey, other: bytes) -> PrivateKey:
    """The Ed25519 key whose seed is the X25519 secret of two Ed25519 keys (section 1.3)."""
    return PrivateKey(exchange(x25519_private(own), x25519_public(other)))


def encode_public(public: bytes) -> bytes:
    """libp2p `PublicKey` protobuf of an Ed25519 key: 36 bytes."""
    return _LIBP2P_PUBLIC + public


def decode_public(data: bytes) -> PublicKey:
    """Read a libp2p `PublicKey`; only Ed25519 is spoken by Wesh."""
    if len(data) != 36 or data[:4] != _LIBP2P_PUBLIC:
        raise RemoteProtocolError("not a libp2p Ed25519 public key")
    return PublicKey(data[4:])


def encode_private(key: PrivateKey) -> Secret:
    """libp2p `PrivateKey` protobuf of an Ed25519 key: 68 bytes."""
    return Secret(_LIBP2P_PRIVATE + key.expanded)


def decode_private(data: bytes) -> PrivateKey:
    """Read a libp2p `PrivateKey`; the public half must fit the seed."""
    if len(data) != 68 or data[:4] != _LIBP2P_PRIVATE:
        raise RemoteProtocolError("not a libp2p Ed25519 private key")
    key = PrivateKey(data[4:36])
    if key.public != data[36:]:
        raise RemoteProtocolError("the two halves of a private key do not belong together")
    return key
