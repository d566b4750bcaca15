"""Log entries: golden values, Go's JSON, and blocks from strangers."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from berty_core.codec.cid import Cid
from berty_core.codec.dagcbor import decode_dagcbor, encode_dagcbor
from berty_core.crypto.keys import PrivateKey, encode_public
from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.ids import AccountId, PublicKey
from berty_core.protocol.entry import (
    Entry,
    LogIdentity,
    check_entry,
    decode_entry,
    encode_entry,
    operation,
    operation_value,
    sign_entry,
    signed_bytes,
)
from berty_core.protocol.group import WESH, Group, LogKind, contact_group

VECTORS = Path(__file__).parent.parent / "vectors"


@pytest.fixture(scope="module")
def group() -> Group:
    """The group of the specification's test values."""
    return contact_group(PrivateKey(b"\x01" * 32), AccountId(PrivateKey(b"\x02" * 32).public))


@pytest.fixture(scope="module")
def address(group: Group) -> str:
    """Its metadata log."""
    return group.address(WESH, LogKind.METADATA).text


def sample(group: Group, address: str, value: bytes = b"\0\1\2", time: int = 1) -> tuple[Entry, bytes]:
    """The first entry of a log."""
    return sign_entry(LogIdentity.of(group.signing_key), address, value, (), (), time)


def test_golden_entry(group: Group, address: str) -> None:
    """Signature, length and CID of the example (Wesh protocol, section 2.9)."""
    entry, block = sample(group, address)
    assert entry.sig.hex() == (
        "a39f3a17a93a0629e1fa1beb2c207dc0f5c9a78cdfdda68db4aa6871c8f6c96a"
        "c493d0937e0ab2b486e748a86571069edb7f75185b403b944ac3192a56b48c0b"
    )
    assert len(block) == 861
    assert str(entry.cid) == "bafyreidy7zuqszxx6kxdq63qjwqhx3xplbjjsuk7sp3makxzsdeqnmyogm"
    assert entry.payload == '{"op":"ADD","value":"AAEC"}'


def test_json_of_odd_texts() -> None:
    """What Go signs of controls, quotes, signs of HTML and line separators (IPFS log, section 1.4)."""
    vectors = json.loads(gzip.decompress((VECTORS / "ipfs-log.json.gz").read_bytes()))
    checked = 0
    for item in vectors["generated_by_go"]["tricky"]:
        payload = bytes.fromhex(item["payload_hex"])
        if item["python_matches"]:
            block = decode_dagcbor(bytes.fromhex(item["cbor_hex"]))
            clock = bytes.fromhex(block["clock"]["id"])
            ours = signed_bytes(item["log_id"], payload.decode(), (), (), item["clock_time"], clock)
            assert ours.hex() == item["sign_bytes_hex"]
            checked += 1
    assert checked == 3


@given(st.text(max_size=40).filter(lambda text: "\x7f" not in text))
def test_signed_json_is_json(text: str) -> None:
    """Any text survives the quoting."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        return
    parsed = json.loads(signed_bytes(text, text, (), (), 1, b"key"))
    assert parsed["id"] == parsed["payload"] == text
    assert list(parsed) == sorted(parsed)


@given(st.binary(max_size=60), st.integers(0, 2**63 - 1), st.integers(0, 5))
@settings(max_examples=40)
def test_round_trip(value: bytes, time: int, parents: int) -> None:
    """An entry that was signed decodes, encodes and verifies."""
    identity = LogIdentity.of(PrivateKey(b"\x03" * 32))
    links = tuple(Cid.of(bytes([index])) for index in range(parents))
    entry, block = sign_entry(identity, "/orbitdb/x/y", value, links, links[::-1], time)
    assert decode_entry(block) == entry
    assert encode_entry(entry) == block
    assert entry.value == value
    check_entry(entry, "/orbitdb/x/y", identity.key.public)


def test_duplicates_are_removed_before_signing() -> None:
    """Parents and references named twice stand once (IPFS log, section 1.1)."""
    cid = Cid.of(b"x")
    entry, _ = sign_entry(LogIdentity.of(PrivateKey(b"\x03" * 32)), "l", b"", (cid, cid), (cid, cid), 1)
    assert entry.next == entry.refs == (cid,)


def test_strangers_are_refused(group: Group, address: str) -> None:
    """Another log, version, key, identity or signature is refused."""
    entry, _ = sample(group, address)
    other = PrivateKey(b"\x09" * 32)
    foreign, _ = sign_entry(LogIdentity.of(other), address, b"", (), (), 1)
    for bad in (
        attrs.evolve(entry, log_id="/orbitdb/other"),
        attrs.evolve(entry, v=3),
        attrs.evolve(entry, time=2),
        attrs.evolve(entry, sig=bytes(64)),
        attrs.evolve(entry, sig=b""),
        attrs.evolve(entry, key=bytes(entry.key[4:])),
        attrs.evolve(entry, key=encode_public(other.public)),
        attrs.evolve(foreign, identity=entry.identity),
        foreign,
    ):
        with pytest.raises(RemoteProtocolError):
            check_entry(bad, address, group.signing_public)
    check_entry(entry, address, PublicKey(group.signing_public))


def _json_block(group: Group, address: str) -> dict[str, Any]:
    value = decode_dagcbor(sample(group, address)[1])
    assert isinstance(value, dict)
    return value


LEAVES = st.none() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=6) | st.binary(max_size=4) | st.booleans()
INNER = LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(st.text(max_size=9), LEAVES, max_size=3)
KEYS = ["v", "id", "key", "sig", "hash", "next", "refs", "clock", "payload", "identity"]


@given(st.dictionaries(st.sampled_from(KEYS), INNER, max_size=3), st.sets(st.sampled_from(KEYS), max_size=1))
@settings(max_examples=200)
def test_any_values_in_a_block(changes: dict[str, Any], lost: set[str]) -> None:
    """Any values under the keys of an entry give an entry or RemoteProtocolError."""
    identity = LogIdentity.of(PrivateKey(b"\x03" * 32))
    value = {**decode_dagcbor(sign_entry(identity, "l", b"x", (), (), 1)[1]), **changes}
    block = encode_dagcbor({key: item for key, item in value.items() if key not in lost})
    try:
        entry = decode_entry(block)
    except RemoteProtocolError:
        return
    assert encode_entry(entry) == block


@given(st.binary(max_size=80))
@example(b"")
def test_any_bytes(data: bytes) -> None:
    """Any bytes give an entry or RemoteProtocolError."""
    with pytest.raises(RemoteProtocolError):
        decode_entry(data)


@given(st.data())
@settings(max_examples=200)
def test_damaged_blocks(data: st.DataObject) -> None:
    """A block with one changed byte is refused, or names itself otherwise and does not verify."""
    identity = LogIdentity.of(PrivateKey(b"\x03" * 32))
    entry, block = sign_entry(identity, "l", b"value", (Cid.of(b"p"),), (), 7)
    position = data.draw(st.integers(0, len(block) - 1))
    damaged = bytearray(block)
    damaged[position] ^= data.draw(st.integers(1, 255))
    try:
        found = decode_entry(bytes(damaged))
    except RemoteProtocolError:
        return
    assert found.cid != entry.cid
    if found.identity == entry.identity:
        with pytest.raises(RemoteProtocolError):
            check_entry(found, "l", identity.key.public)


def test_large_blocks_are_refused_unread() -> None:
    """A block above the limit is not even parsed (Wesh protocol, section 14.6)."""
    with pytest.raises(RemoteProtocolError, match="limit"):
        decode_entry(bytes(101), limit=100)


@given(st.binary(max_size=50))
def test_operations(value: bytes) -> None:
    """An operation carries its envelope, in our form and in any other JSON."""
    text = operation(value)
    assert operation_value(text) == value
    parsed = json.loads(text)
    assert operation_value(json.dumps({"value": parsed["value"], "more": [1], "op": "ADD"}, indent=1)) == value


@given(st.text(max_size=60))
@example("[" * 100_000)
@example('{"op":"ADD","value":"***"}')
@example('{"op":"PUT","value":""}')
@example('{"op":"ADD","value":1}')
@example('{"op":"ADD","value":"é"}')
def test_any_operation(text: str) -> None:
    """Any payload gives bytes or RemoteProtocolError."""
    try:
        assert isinstance(operation_value(text), bytes)
    except RemoteProtocolError:
        return


def test_values_that_no_block_holds() -> None:
    """An entry that cannot be written is our caller's fault."""
    with pytest.raises(LocalProtocolError):
        sign_entry(LogIdentity.of(PrivateKey(b"\x03" * 32)), "l", b"", (), (), 2**70)
