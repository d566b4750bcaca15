"""Certificates of libp2p's TLS: the specification's examples, our own, and whatever a stranger may show."""

from __future__ import annotations

import datetime
import itertools
import os
import random
from typing import Any

import pytest
from berty_libp2p.peers import PeerId
from hypothesis import given
from hypothesis import strategies as st

from berty_core.crypto.keys import PrivateKey
from berty_core.errors import RemoteProtocolError

pytest.importorskip("cryptography.x509")
from berty_libp2p.certificates import (  # noqa: E402
    EXTENSION,
    Credentials,
    decode_signed_key,
    encode_signed_key,
    make_credentials,
    peer_of,
)
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: E402
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: E402

KEY = PrivateKey(bytes(range(32)))
NOW = 1_800_000_000.0
# The examples of the libp2p TLS specification: Ed25519, ECDSA, secp256k1, and one that is signed by another key.
ED25519, ECDSA, SECP256K1, WRONG = (
    bytes.fromhex(text)
    for text in (
        "308201ae30820156a0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a13096c69627032702e696f310a300806035504051301313020170d3735303130313133303030305a180f34303936303130313133303030305a302031123010060355040a13096c69627032702e696f310a300806035504051301313059301306072a8648ce3d020106082a8648ce3d030107034200040c901d423c831ca85e27c73c263ba132721bb9d7a84c4f0380b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37e381569ea37c307a3078060a2b0601040183a25a0101046a3068042408011220a77f1d92fedb59dddaea5a1c4abd1ac2fbde7d7b879ed364501809923d7c11b90440d90d2769db992d5e6195dbb08e706b6651e024fda6cfb8846694a435519941cac215a8207792e42849cccc6cd8136c6e4bde92a58c5e08cfd4206eb5fe0bf909300a06082a8648ce3d0403020346003043021f50f6b6c52711a881778718238f650c9fb48943ae6ee6d28427dc6071ae55e702203625f116a7a454db9c56986c82a25682f7248ea1cb764d322ea983ed36a31b77",
        "308201f63082019da0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a13096c69627032702e696f310a300806035504051301313020170d3735303130313133303030305a180f34303936303130313133303030305a302031123010060355040a13096c69627032702e696f310a300806035504051301313059301306072a8648ce3d020106082a8648ce3d030107034200040c901d423c831ca85e27c73c263ba132721bb9d7a84c4f0380b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37e381569ea381c23081bf3081bc060a2b0601040183a25a01010481ad3081aa045f0803125b3059301306072a8648ce3d020106082a8648ce3d03010703420004bf30511f909414ebdd3242178fd290f093a551cf75c973155de0bb5a96fedf6cb5d52da7563e794b512f66e60c7f55ba8a3acf3dd72a801980d205e8a1ad29f2044730450220064ea8124774caf8f50e57f436aa62350ce652418c019df5d98a3ac666c9386a022100aa59d704a931b5f72fb9222cb6cc51f954d04a4e2e5450f8805fe8918f71eaae300a06082a8648ce3d04030203470030440220799395b0b6c1e940a7e4484705f610ab51ed376f19ff9d7c16757cfbf61b8d4302206205c03fbb0f95205c779be86581d3e31c01871ad5d1f3435bcf375cb0e5088a",
        "308201ba3082015fa0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a13096c69627032702e696f310a300806035504051301313020170d3735303130313133303030305a180f34303936303130313133303030305a302031123010060355040a13096c69627032702e696f310a300806035504051301313059301306072a8648ce3d020106082a8648ce3d030107034200040c901d423c831ca85e27c73c263ba132721bb9d7a84c4f0380b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37e381569ea38184308181307f060a2b0601040183a25a01010471306f0425080212210206dc6968726765b820f050263ececf7f71e4955892776c0970542efd689d2382044630440220145e15a991961f0d08cd15425bb95ec93f6ffa03c5a385eedc34ecf464c7a8ab022026b3109b8a3f40ef833169777eb2aa337cfb6282f188de0666d1bcec2a4690dd300a06082a8648ce3d0403020349003046022100e1a217eeef9ec9204b3f774a08b70849646b6a1e6b8b27f93dc00ed58545d9fe022100b00dafa549d0f03547878338c7b15e7502888f6d45db387e5ae6b5d46899cef0",
        "308201f73082019da0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a13096c69627032702e696f310a300806035504051301313020170d3735303130313133303030305a180f34303936303130313133303030305a302031123010060355040a13096c69627032702e696f310a300806035504051301313059301306072a8648ce3d020106082a8648ce3d030107034200040c901d423c831ca85e27c73c263ba132721bb9d7a84c4f0380b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37e381569ea381c23081bf3081bc060a2b0601040183a25a01010481ad3081aa045f0803125b3059301306072a8648ce3d020106082a8648ce3d03010703420004bf30511f909414ebdd3242178fd290f093a551cf75c973155de0bb5a96fedf6cb5d52da7563e794b512f66e60c7f55ba8a3acf3dd72a801980d205e8a1ad29f204473045022100bb6e03577b7cc7a3cd1558df0da2b117dfdcc0399bc2504ebe7de6f65cade72802206de96e2a5be9b6202adba24ee0362e490641ac45c240db71fe955f2c5cf8df6e300a06082a8648ce3d0403020348003045022100e847f267f43717358f850355bdcabbefb2cfbf8a3c043b203a14788a092fe8db022027c1d04a2d41fd6b57a7e8b3989e470325de4406e52e084e34a3fd56eef0d0df",
    )
)


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
    builder = builder.serial_number(7).not_valid_before(datetime.datetime(begin, 1, 1))  # noqa: DTZ001
    builder = builder.not_valid_after(datetime.datetime(end, 12, 31))  # noqa: DTZ001
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
    small = rsa.generate_private_key(65537, 1024)
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
