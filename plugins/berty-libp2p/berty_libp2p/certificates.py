"""The certificate by which a TLS handshake of libp2p proves a peer id (libp2p TLS specification).

Invariant: whatever bytes are shown, `peer_of` gives the id of who signed the certificate's key, or RemoteProtocolError.
A certificate made here has nothing in it but a throw-away key and the peer id: no name, no clock, no serial number.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from berty_core.crypto.keys import PrivateKey, encode_public, verify
from berty_core.errors import RemoteProtocolError

from .peers import PeerId, identity_of

EXTENSION: Final = x509.ObjectIdentifier("1.3.6.1.4.1.53594.1.1")
MAX_CERTIFICATE: Final = 16384
MAX_PART: Final = 8192
_SIGNED: Final = b"libp2p-tls-handshake:"
_SEQUENCE, _OCTETS = 0x30, 0x04
_BEGIN: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_END: Final = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)  # "no end" (RFC 5280, 4.1.2.5)
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_MIN_RSA: Final = 2048


@attrs.frozen
class Credentials:
    """What a TLS handshake shows, and the key that goes with it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = attrs.field(repr=False)


def make_credentials(identity: PrivateKey, entropy: Callable[[int], bytes]) -> Credentials:
    """A fresh P-256 key, and a certificate that binds it to the peer id of `identity`."""
    key = ec.derive_private_key(int.from_bytes(entropy(48), "big") % (_P256_ORDER - 1) + 1, ec.SECP256R1())
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    proof = encode_signed_key(encode_public(identity.public), identity.sign(_SIGNED + spki))
    nobody = x509.Name([])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(nobody)
        .issuer_name(nobody)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_BEGIN)
        .not_valid_after(_END)
        .add_extension(x509.UnrecognizedExtension(EXTENSION, proof), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Credentials(certificate, key)


def peer_of(certificate: bytes, now: float) -> PeerId:
    """Whose certificate this is, in DER; `now` in Unix seconds. RemoteProtocolError in words if it proves nothing."""
    if len(certificate) > MAX_CERTIFICATE:
        raise RemoteProtocolError(f"a certificate of {len(certificate)} bytes")
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        _check_form(parsed, now)
        proof = _proof(parsed)
        spki = parsed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except RemoteProtocolError:
        raise
    except Exception as error:  # the library's errors for foreign bytes have no common class
        raise RemoteProtocolError(f"a malformed certificate ({type(error).__name__})") from error
    public, signature = decode_signed_key(proof)
    peer = identity_of(public)
    if not verify(peer.public, _SIGNED + spki, signature):
        raise RemoteProtocolError("the peer does not hold the key of its peer id")
    return peer


def _check_form(certificate: x509.Certificate, now: float) -> None:
    """What the specification asks of a certificate; the library knows no curves but named ones."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _MIN_RSA:
        raise RemoteProtocolError(f"a certificate with an RSA key of {key.key_size} bits")
    digest = certificate.signature_hash_algorithm
    if digest is not None and digest.digest_size < 32:
        raise RemoteProtocolError(f"a certificate signed with {digest.name}")
    if not certificate.not_valid_before_utc.timestamp() <= now <= certificate.not_valid_after_utc.timestamp():
        raise RemoteProtocolError("a certificate that is not valid at this time; is the clock right?")
    certificate.verify_directly_issued_by(certificate)


def _proof(certificate: x509.Certificate) -> bytes:
    proof = None
    for extension in certificate.extensions:
        if extension.oid == EXTENSION and isinstance(extension.value, x509.UnrecognizedExtension):
            proof = extension.value.value
        elif extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
            raise RemoteProtocolError(f"a certificate with the critical extension {extension.oid.dotted_string}")
    if proof is None:
        raise RemoteProtocolError("a certificate without a peer id")
    return proof


# -- SignedKey: two octet strings in a sequence, in DER ----------------------------------------


def encode_signed_key(public: bytes, signature: bytes) -> bytes:
    """The extension's value: a libp2p `PublicKey`, and its signature of the certificate's key."""
    return _encode(_SEQUENCE, _encode(_OCTETS, public) + _encode(_OCTETS, signature))


def decode_signed_key(data: bytes) -> tuple[bytes, bytes]:
    """Public key and signature; RemoteProtocolError if the value is no SignedKey."""
    body, rest = _decode(_SEQUENCE, data)
    public, behind = _decode(_OCTETS, body)
    signature, end = _decode(_OCTETS, behind)
    if rest or end:
        raise RemoteProtocolError("a certificate whose proof has bytes behind it")
    return public, signature


def _encode(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _decode(tag: int, data: bytes) -> tuple[bytes, bytes]:
    """The content of the value at the front, and what comes behind it."""
    if len(data) < 2 or data[0] != tag:
        raise RemoteProtocolError("a certificate whose proof is malformed")
    size, start = data[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start], "big")
    if size > MAX_PART or len(data) < start + size or _encode(tag, data[start : start + size]) != data[: start + size]:
        raise RemoteProtocolError("a certificate whose proof is malformed")
    return data[start : start + size], data[start + size :]
