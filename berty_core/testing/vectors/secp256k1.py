"""Deterministic ECDSA over secp256k1, for the published entries of stock go-ipfs-log (IPFS log, sections 1.4 and 1.6).

Only these fixtures use it, so it lives here and not in `crypto`.
"""

from __future__ import annotations

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ...codec.cid import Cid
from ...protocol.entry import Entry, EntryIdentity, encode_entry, signed_bytes

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@attrs.frozen
class Secp256k1Key:
    """A private key, from its 32 bytes."""

    _key: ec.EllipticCurvePrivateKey = attrs.field(repr=False)

    @classmethod
    def of(cls, secret: bytes) -> Secp256k1Key:
        """The key with this secret number."""
        return cls(ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256K1()))

    def public(self, *, compressed: bool) -> bytes:
        """33 or 65 bytes."""
        form = PublicFormat.CompressedPoint if compressed else PublicFormat.UncompressedPoint
        return self._key.public_key().public_bytes(Encoding.X962, form)

    def sign(self, message: bytes) -> bytes:
        """DER, nonce by RFC 6979, lower half of the curve's order."""
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True)))
        return encode_dss_signature(r, min(s, ORDER - s))


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Check a DER signature."""
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), public)
    try:
        key.verify(signature, message, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


@attrs.frozen
class OrbitIdentity:
    """The two keys of a stock identity and the object that entries carry."""

    key: Secp256k1Key
    public: bytes
    identity: EntryIdentity

    @classmethod
    def of(cls, user: Secp256k1Key, signer: Secp256k1Key) -> OrbitIdentity:
        """The identity of a user key that vouches for a signing key."""
        name, public = user.public(compressed=True).hex(), signer.public(compressed=False)
        own = signer.sign(name.encode())
        vouched = user.sign((public + own).hex().encode())
        return cls(signer, public, EntryIdentity(name, "orbitdb", public.hex(), own.hex(), vouched.hex()))


def sign_raw(
    identity: OrbitIdentity, log_id: str, payload: str, parents: tuple[Cid, ...], refs: tuple[Cid, ...], time: int
) -> tuple[Entry, bytes]:
    """Make an entry whose payload is any text."""
    sig = identity.key.sign(signed_bytes(log_id, payload, parents, refs, time, identity.public))
    return finish(log_id, payload, parents, refs, time, identity.public, sig, identity.identity)


def finish(
    log_id: str,
    payload: str,
    parents: tuple[Cid, ...],
    refs: tuple[Cid, ...],
    time: int,
    public: bytes,
    sig: bytes,
    identity: EntryIdentity,
) -> tuple[Entry, bytes]:
    """Put a signed entry together and name it by its block."""
    entry = Entry(Cid.of(b""), log_id, payload, parents, refs, time, public, public, sig, identity)
    block = encode_entry(entry)
    return attrs.evolve(entry, cid=Cid.of(block)), block
