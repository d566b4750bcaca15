"""The vectors of bundles are what the code makes, and what the page says, read by code that shares nothing with it."""

from __future__ import annotations

import gzip
import hmac
import json
from base64 import b32decode
from pathlib import Path
from typing import Any

import nacl.secret
import nacl.signing
import pytest

from berty_core.protocol import bundle
from berty_core.protocol.bundle import padded_count

from ..generate_bundle_vectors import FILE, build

VECTORS: dict[str, Any] = json.loads(gzip.decompress(FILE.read_bytes()))
GROUP = {name: bytes.fromhex(value) for name, value in VECTORS["group"].items()}
CHUNKS = VECTORS["chunks"]
PAGE = (Path(__file__).parent.parent.parent / "docs" / "reference" / "bundle.md").read_text()


def hkdf(key: bytes, info: bytes) -> bytes:
    """RFC 5869, one block, no salt."""
    prepared = hmac.digest(bytes(32), key, "sha256")
    return hmac.digest(prepared, info + b"\1", "sha256")


def read(data: bytes, at: int = 0) -> tuple[Any, int]:
    """DAG-CBOR of lists, bytes and small numbers."""
    major, low = data[at] >> 5, data[at] & 31
    width = {24: 1, 25: 2, 26: 4, 27: 8}.get(low, 0)
    number = int.from_bytes(data[at + 1 : at + 1 + width], "big") if width else low
    at += 1 + width
    if major == 0:
        return number, at
    if major == 2:
        return data[at : at + number], at + number
    assert major == 4
    items = []
    for _ in range(number):
        item, at = read(data, at)
        items.append(item)
    return items, at


def opened(vector: dict[str, Any]) -> tuple[bytes, list[Any], bytes]:
    """Nonce, content and the encoded content of a chunk."""
    chunk = bytes.fromhex(vector["chunk"])
    nonce, tag, box = chunk[:24], chunk[24:40], chunk[40:]
    assert len(chunk) == 16384
    assert tag == hmac.digest(hkdf(GROUP["link_key"], b"berty bundle tag"), nonce, "sha256")[:16]
    plain = nacl.secret.SecretBox(hkdf(GROUP["link_key"], b"berty bundle seal")).decrypt(box, nonce)
    length = int.from_bytes(plain[:2], "big")
    assert plain[2 + length :] == bytes(len(plain) - 2 - length)
    value, end = read(plain[2 : 2 + length])
    assert end == length
    assert value[0] == 1
    return nonce, value, plain[2 : 2 + length]


def digest(cid: str) -> bytes:
    """The hash in a CID's text."""
    text = cid[1:].upper()
    return b32decode(text + "=" * (-len(text) % 8))[4:]


def test_they_are_what_the_code_makes() -> None:
    """The generator gives exactly this file."""
    assert build() == VECTORS


def test_keys() -> None:
    """Both keys follow from the link key."""
    assert GROUP["tag_key"] == hkdf(GROUP["link_key"], b"berty bundle tag")
    assert GROUP["seal_key"] == hkdf(GROUP["link_key"], b"berty bundle seal")


@pytest.mark.parametrize("vector", CHUNKS[:2], ids=lambda vector: str(vector["what"]))
def test_statements(vector: dict[str, Any]) -> None:
    """Heads, wanted entries, and the proof of a member."""
    nonce, value, _ = opened(vector)
    assert value[1] == 0
    lists = [b"".join(map(digest, cids)) for cids in (*vector["heads"], *vector["wanted"])]
    assert value[2:6] == lists
    if vector["device"] is None:
        assert value[6] == b""
        return
    proof = nacl.secret.SecretBox(hkdf(GROUP["secret"], b"berty bundle member")).decrypt(value[6], nonce)
    device, stamp, signature = proof[:32], proof[32:40], proof[40:]
    assert device.hex() == vector["device"]
    assert int.from_bytes(stamp, "big") == vector["time"]
    encoded = b"\x86\x01\x00" + b"".join(_bytes(item) for item in lists)
    signed = b"\0berty bundle statement" + GROUP["public_key"] + stamp + encoded
    nacl.signing.VerifyKey(device).verify(signed, signature)


def _bytes(data: bytes) -> bytes:
    """A byte string of less than 256 bytes in CBOR."""
    return (bytes([0x40 + len(data)]) if len(data) < 24 else bytes([0x58, len(data)])) + data


def test_entries_part_and_padding() -> None:
    """What the other kinds hold."""
    entries, part, padding = CHUNKS[2:]
    assert opened(entries)[1] == [1, 1, 1, [bytes.fromhex(block) for block in entries["blocks"]]]
    where = [part["log"], digest(part["cid"]), part["size"], part["offset"], bytes.fromhex(part["data"])]
    assert opened(part)[1] == [1, 2, *where]
    assert part["offset"] == 16262
    assert len(where[-1]) == part["size"] - part["offset"]
    assert opened(padding)[1] == [1, 3]


def test_padding_counts() -> None:
    """Counts are padded as they are listed."""
    assert [[count, padded_count(count)] for count, _ in VECTORS["padding"]] == VECTORS["padding"]


@pytest.mark.parametrize(
    "sentence",
    [
        f"Every chunk has {bundle.CHUNK:,} bytes",
        f"| box | {bundle.CHUNK - 40:,} |",
        f"the content, at most {bundle.MAX_CONTENT:,} bytes",
        f"up to {bundle.MAX_DIGESTS} of each list",
        f"multiples of {bundle.PART:,} bytes",
        f"of at most {bundle.MAX_UNFINISHED} blocks",
        '`HKDF(link key, "berty bundle tag")`',
        '`HKDF(link key, "berty bundle seal")`',
        '`HKDF(group secret, "berty bundle member")`',
        '`0x00 ‖ "berty bundle statement" ‖ group key ‖ time ‖',
    ],
)
def test_the_page(sentence: str) -> None:
    """The page has the numbers and names of the code."""
    assert sentence in PAGE
