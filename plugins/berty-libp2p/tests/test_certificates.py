"""Certificates of libp2p's TLS: the specification's examples, our own, and whatever a stranger may show."""

from __future__ import annotations

import datetime
import itertools
import json
import os
import random
from typing import Any

import pytest
from berty_libp2p.certificates import (
    EXTENSION,
    Credentials,
    decode_signed_key,
    encode_signed_key,
    make_credentials,
    peer_of,
)
from berty_libp2p.peers import PeerId
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from berty_core.crypto.keys import PrivateKey
from berty_core.errors import RemoteProtocolError

from .conftest import OWN

KEY = PrivateKey(bytes(range(32)))
NOW = 1_800_000_000.0
EXAMPLES = json.loads((OWN / "tls-certificates.json").read_text())
ED25519, ECDSA, SECP256K1, WRONG = (bytes.fromhex(text) for text in EXAMPLES.values())


def entropy_from(seed: int) -> Any:
    return random.Random(seed).randbytes


def der(credentials: Credentials) -> bytes:
    return credentials.certificate.public_bytes(Encoding.DER)


def signed(
    proof: bytes | None,
    *,
    key: Any = None,
    signer: Any = None,
    digest: Any = None,
    begin: int = 1970,
    end: int = 9999,
    also: x509.ExtensionType | None = None,
    critical: bool = False,
) -> bytes:
    """A certificate that is not as ours are."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    nobody = x509.Name([])
    builder = x509.CertificateBuilder().subject_name(nobody).issuer_name(nobody).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(datetime.datetime(begin, 1, 1))
    builder = builder.not_valid_after(datetime.datetime(end, 12, 31))
    if proof is not None:
        builder = builder.add_extension(x509.UnrecognizedExtension(EXTENSION, proof), critical)
    if also is not None:
        builder = builder.add_extension(also, critical)
    return builder.sign(signer or key, digest or hashes.SHA256()).public_bytes(Encoding.DER)


def proof_for(key: Any) -> bytes:
    """A good proof of a certificate's key."""
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encode_signed_key(b"\x08\x01\x12\x20" + KEY.public, KEY.sign(b"libp2p-tls-handshake:" + spki))


def test_the_examples_of_the_specification() -> None:
    """The Ed25519 one names its peer; the others are refused by the kind of their keys, in words."""
    assert str(peer_of(ED25519, NOW)) == "12D3KooWM6CgA9iBFZmcYAHA6A2qvbAxqfkmrYiRQuz3XEsk4Ksv"
    for certificate, kind in ((ECDSA, "ECDSA"), (SECP256K1, "secp256k1"), (WRONG, "ECDSA")):
        with pytest.raises(RemoteProtocolError, match=f"the peer has an {kind} key; only Ed25519"):
            peer_of(certificate, NOW)


def test_our_own_certificate() -> None:
    """It proves our peer id, and another run has another key."""
    one, two = (der(make_credentials(KEY, entropy_from(seed))) for seed in (1, 2))
    assert peer_of(one, NOW) == peer_of(two, NOW) == PeerId.of(KEY.public)
    spki = x509.load_der_x509_certificate(one).public_key(), x509.load_der_x509_certificate(two).public_key()
    assert spki[0] != spki[1]


def test_our_certificate_says_nothing_else() -> None:
    """Two of one peer differ in the throw-away key and the signatures alone; no name, no clock, no other extension."""
    made = [make_credentials(KEY, entropy_from(seed)).certificate for seed in (1, 2)]
    for certificate in made:
        assert (certificate.subject, certificate.issuer) == (x509.Name([]), x509.Name([]))
        assert certificate.serial_number == 1
        assert (certificate.not_valid_before_utc.year, certificate.not_valid_after_utc.year) == (1970, 9999)
        assert [extension.oid for extension in certificate.extensions] == [EXTENSION]
    assert repr(made[0].public_key()) not in repr(make_credentials(KEY, entropy_from(1)))


def test_what_proves_nothing() -> None:
    """No proof, somebody else's, of another key, at another time, signed by another or badly: each in words."""
    key = ec.generate_private_key(ec.SECP256R1())
    good = proof_for(key)
    assert peer_of(signed(good, key=key), NOW) == PeerId.of(KEY.public)
    assert peer_of(signed(good, key=key, critical=True), NOW) == PeerId.of(KEY.public)
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"")
    assert peer_of(signed(good, key=key, also=unknown), NOW) == PeerId.of(KEY.public)
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505  that is what is refused
    for certificate, words in (
        (signed(None), "without a peer id"),
        (signed(good), "does not hold the key"),
        (signed(good[:-1], key=key), "proof is malformed"),
        (signed(good + b"\0", key=key), "bytes behind"),
        (signed(good, key=key, begin=2100), "not valid at this time"),
        (signed(good, key=key, end=2001), "not valid at this time"),
        (signed(good, key=key, signer=ec.generate_private_key(ec.SECP256R1())), "malformed certificate"),
        (signed(good, key=key, digest=hashes.SHA224()), "signed with sha224"),
        (signed(good, key=key, also=unknown, critical=True), "critical extension 1.2.3.4"),
        (signed(proof_for(small), key=small), "RSA key of 1024 bits"),
        (bytes(20_000), "20000 bytes"),
    ):
        with pytest.raises(RemoteProtocolError, match=words):
            peer_of(certificate, NOW)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_peer_or_an_error(data: bytes) -> None:
    """Whatever is shown as a certificate."""
    with pytest.raises(RemoteProtocolError):
        peer_of(data, NOW)


@given(st.integers(0, len(ED25519) - 1), st.integers(1, 255), st.booleans())
def test_a_changed_certificate_is_no_proof(position: int, change: int, ours: bool) -> None:
    """One byte that is different anywhere: an error, or the same peer, and nothing else."""
    certificate = bytearray(der(make_credentials(KEY, entropy_from(1))) if ours else ED25519)
    whole = peer_of(bytes(certificate), NOW)
    certificate[position % len(certificate)] ^= change
    try:
        assert peer_of(bytes(certificate), NOW) == whole
    except RemoteProtocolError:
        return


@given(st.binary(max_size=300))
def test_any_proof_gives_two_parts_or_an_error(data: bytes) -> None:
    """And what is read is written as it was."""
    try:
        parts = decode_signed_key(data)
    except RemoteProtocolError:
        return
    assert encode_signed_key(*parts) == data


def test_proofs_of_every_length() -> None:
    """Keys and signatures of other kinds are longer than the short form of a length."""
    for sizes in itertools.product((0, 1, 36, 127, 128, 255, 256, 600), repeat=2):
        parts = tuple(os.urandom(size) for size in sizes)
        assert decode_signed_key(encode_signed_key(*parts)) == parts
