"""The vectors of groupcast: made again byte for byte, and checked by code that shares nothing with ours.

Below `test_made_again` nothing of `berty_core` is used: hashlib, hmac, cryptography, PyNaCl, and what
docs/reference/groupcast.md says.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import zlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from nacl.bindings import crypto_secretbox_open_easy

from ..generate_groupcast_vectors import PATH, build

VECTORS: dict[str, Any] = json.loads(PATH.read_text())
GROUP = {name: value if isinstance(value, list) else bytes.fromhex(value) for name, value in VECTORS["group"].items()}


def test_made_again() -> None:
    """The same keys give the same file."""
    assert build() == VECTORS


# -- what an implementer needs -----------------------------------------------------------------------


def hkdf(key: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 with SHA-256, without salt."""
    prk, out, block = hmac.digest(bytes(32), key, "sha256"), b"", b""
    while len(out) < length:
        block = hmac.digest(prk, block + info + bytes((len(out) // 32 + 1,)), "sha256")
        out += block
    return out[:length]


def varint(data: bytes) -> tuple[int, bytes]:
    """A varint from the front, and what follows."""
    value = shift = 0
    for place, byte in enumerate(data):
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, data[place + 1 :]
    raise AssertionError


def test_the_keys() -> None:
    """Key and topic follow from the group's secret and public key."""
    secret, public = GROUP["secret"], GROUP["public_key"]
    assert hkdf(secret, b"berty groupcast" + public, 64) == GROUP["key"]
    assert hkdf(secret, b"berty groupcast topic" + public, 16) == GROUP["topic"]


@pytest.mark.parametrize("vector", VECTORS["datagrams"], ids=lambda vector: str(vector["kind"]))
def test_datagrams(vector: dict[str, Any]) -> None:
    """Each opens to sender, counter and frame, and each frame begins with its kind."""
    plaintext = AESSIV(GROUP["key"]).decrypt(bytes.fromhex(vector["datagram"]), None)
    counter, frame = varint(plaintext[4:])
    assert (plaintext[:4].hex(), counter, frame.hex()) == (vector["sender"], vector["counter"], vector["frame"])
    kinds = ["entry", "part", "digest", "since", "want", "held", "unheld", "named"]
    assert kinds[(frame[0] & 0x7F) - 1] == vector["kind"]


def test_the_confirmation() -> None:
    """It is signed by the device over label, group and names."""
    (vector,) = [vector for vector in VECTORS["datagrams"] if vector["kind"] == "held"]
    frame = bytes.fromhex(vector["frame"])
    device = Ed25519PrivateKey.from_private_bytes(GROUP["device_seed"]).public_key().public_bytes_raw()
    assert frame[1:5] == device[:4]
    key = Ed25519PublicKey.from_public_bytes(device)
    key.verify(frame[5:69], b"\0berty held on a bus" + GROUP["public_key"] + frame[69:])


@pytest.mark.parametrize("vector", VECTORS["entries"], ids=lambda vector: str(vector["name"]))
def test_entries(vector: dict[str, Any]) -> None:
    """Names are beginnings of digests, and what is in a form that stands alone is in the block."""
    block, alone = bytes.fromhex(vector["block"]), bytes.fromhex(vector["alone"])
    assert hashlib.sha256(block).digest()[:6].hex() == vector["name"]
    form = alone[0]
    if form == 0x80:
        assert zlib.decompress(alone[1:]) == block
        return
    parents, rest = [alone[2 + 32 * n : 34 + 32 * n] for n in range(alone[1])], alone[2 + 32 * alone[1] :]
    references, rest = [rest[1 + 32 * n : 33 + 32 * n] for n in range(rest[0])], rest[1 + 32 * rest[0] :]
    assert all(digest in block for digest in parents + references)
    time, rest = varint(rest)
    assert form & 0b00111100 == 0 and time >= 1
    if form & 1:
        _, rest = varint(rest)
        assert rest[:32].hex() in VECTORS["group"]["devices"]
        nonce = rest[96:120]
        (box,) = [box for box in envelopes(block) if nonce in box]
        headers = crypto_secretbox_open_easy(field(box, 1), nonce, GROUP["secret"])
        assert rest[:32] in headers and rest[32:96] in headers and field(box, 2) == rest[120:]
    elif form & 2:
        (box,) = envelopes(block)
        assert crypto_secretbox_open_easy(field(box, 2), rest[:24], GROUP["secret"]) == rest[24:]


def envelopes(block: bytes) -> list[bytes]:
    """What the operation of an entry carries."""
    text = block.split(b'"value":"')[1].split(b'"')[0]
    return [base64.b64decode(text)]


def field(data: bytes, number: int) -> bytes:
    """A bytes field of a protobuf."""
    while data:
        key, data = varint(data)
        size, data = varint(data)
        value, data = data[:size], data[size:]
        if key >> 3 == number:
            return value
    raise AssertionError


def test_a_short_form_lacks_what_can_be_made() -> None:
    """Parents by six bytes, and no signature; mostly neither time nor shortcuts."""
    for vector in VECTORS["entries"]:
        short, alone = bytes.fromhex(vector["short"]), bytes.fromhex(vector["alone"])
        if short[0] == 0x80:
            assert short == alone
        else:
            assert short[0] & 0b00100100 == 0b00000100
            assert len(short) < len(alone)
