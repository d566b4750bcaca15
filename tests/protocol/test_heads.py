"""Heads messages against recorded ones, Go's JSON and its verdicts, and hostile JSON."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from berty_core.codec.cid import Cid
from berty_core.codec.pb import wesh_pb2 as pb
from berty_core.codec.varint import decode_varint
from berty_core.crypto.boxes import open_secretbox, seal_secretbox
from berty_core.crypto.keys import PrivateKey
from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.ids import DeviceId
from berty_core.protocol.entry import MAX_BLOCK, LogIdentity, decode_entry, encode_entry, sign_entry
from berty_core.protocol.heads import (
    Heads,
    entry_of,
    head_of,
    open_heads,
    parse_heads,
    raw_rotation,
    seal_heads,
)
from berty_core.protocol.heads_json import (
    MAX_HEADS,
    HeadJson,
    IdentityJson,
    decode_heads_json,
    encode_heads_json,
)

VECTORS = Path(__file__).parents[1] / "vectors"
KEY = b"\x09" * 32


def load(name: str) -> dict[str, Any]:
    return json.loads(gzip.decompress((VECTORS / f"{name}.json.gz").read_bytes()))


def head() -> HeadJson:
    identity = LogIdentity.of(PrivateKey(b"\x04" * 32))
    parents = (Cid.of(b"parent"),)
    entry, _ = sign_entry(identity, "/orbitdb/x/<&>", b"value", parents, (Cid.of(b"ref"), Cid.of(b"ref 2")), 7)
    return head_of(entry)


def link_keys() -> dict[str, bytes]:
    """The link key of each recorded group, by the group's public key in hexadecimal, which addresses contain."""
    found: dict[str, bytes] = {}

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if "link_key" in value and "fields" in value:
                found[value["fields"]["public_key"]] = bytes.fromhex(value["link_key"])
            value = list(value.values())
        if isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(load("wesh/keys"))
    return found


def test_recorded_messages_are_opened_and_sealed_alike() -> None:
    """Every recorded heads message is found by its rotation, opened, and written again to the same bytes."""
    keys = link_keys()
    events = load("wesh/heads")["events"]
    addresses = {event["topic"] for event in events if "topic" in event}
    by_rotation = {}
    for address in addresses:
        key = keys[address.split("/")[3][:64]]
        by_rotation[raw_rotation(address, key, 0)] = (address, key)
    boxes = {event.get("data") for event in events if event["kind"] == "box"}
    checked = heads_seen = plaintexts = 0
    for event in events:
        if event["kind"] not in ("pubsub_out", "direct_out") or event["data"].startswith("sha256:"):
            continue
        data = bytes.fromhex(event["data"])
        if event["kind"] == "direct_out":
            prefix = decode_varint(data)
            assert prefix is not None
            data = data[prefix[1] :]
        sealed = parse_heads(data)
        address, key = by_rotation[sealed.raw_rotation]
        opened = open_heads(sealed, key)
        assert opened is not None
        assert opened.address == address
        again = seal_heads(opened, key, sealed.raw_rotation, sealed.sealed_box[:24])
        assert hashlib.sha256(data).digest() == hashlib.sha256(again).digest()
        plaintext = open_secretbox(key, sealed.sealed_box[:24], sealed.sealed_box[24:])
        plaintexts += plaintext is not None and plaintext.hex() in boxes
        for item in opened.heads:
            entry, block = entry_of(item)
            assert entry == decode_entry(block)
            assert head_of(entry) == item
            heads_seen += 1
        checked += 1
    assert (checked, heads_seen, plaintexts) == (126, 151, 94)


@pytest.mark.parametrize("store", ["wesh_group_messages", "wesh_group_metadata"])
def test_message_of_the_log_vectors_is_reproduced(store: str) -> None:
    """From entry and keys to the complete sealed message, and both rotations."""
    group = load("ipfs-log")["weshnet"]
    values = group["stores"][store]
    key = bytes.fromhex(group["link_key_hex"])
    last = decode_entry(bytes.fromhex(values["entries"][-1]["cbor_hex"]))
    assert values["heads_json"].encode() == encode_heads_json((head_of(last),))
    static = raw_rotation(values["address"], key, 0)
    assert bytes.fromhex(values["raw_rotation_static_hex"]) == static
    daily = raw_rotation(values["address"], key, 1780272000 // 86400 * 86400)
    assert bytes.fromhex(values["raw_rotation_24h_at_1780272000_hex"]) == daily
    heads = Heads(
        values["address"],
        (head_of(last),),
        DeviceId(bytes.fromhex(values["box_device_pk_hex"])),
        bytes.fromhex(values["box_peer_id_hex"]),
    )
    message = seal_heads(heads, key, static, bytes.fromhex(values["box_nonce_hex"]))
    assert bytes.fromhex(values["message_hex"]) == message
    assert heads == open_heads(parse_heads(message), key)


@pytest.mark.parametrize(
    "case", [case for case in load("wesh/negative")["cases"] if case["kind"] == "heads_json"], ids=lambda c: c["label"]
)
def test_verdicts_of_the_go_code(case: dict[str, Any]) -> None:
    """Each crafted list meets the verdict that Go gave, with the same entries in it."""
    data = case["input"]["json"].encode()
    if not case["expected_accept"]:
        with pytest.raises(RemoteProtocolError):
            decode_heads_json(data)
        return
    expected = [(item["hash"], item["id"], item["next"]) for item in case["go"]["result"] if "nil" not in item]
    assert expected == [(str(item.hash), item.id, len(item.next)) for item in decode_heads_json(data)]


GOOD = json.loads(encode_heads_json((head(),)))[0]


def changed(**fields: Any) -> bytes:
    return json.dumps([{**GOOD, **fields}]).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"[{}]",  # crashes Go
        changed(identity=None),
        changed(identity={}),
        changed(clock=None),
        changed(hash=None),
        changed(hash={"/": 1}),
        changed(hash={"/": "Qm"}),
        changed(next=[None]),
        changed(next={}),
        changed(refs=[["a"]]),
        changed(payload=[1, 2]),
        changed(payload="!"),
        changed(payload="YQ"),
        changed(key="é"),
        changed(id=5),
        changed(id="\ud800"),
        changed(v="2"),
        changed(v=2.0),
        changed(v=True),
        changed(v=-1),
        changed(v=1 << 63),
        changed(clock={"id": "", "time": 1 << 63}),
        b'[{"clock":{"time":' + b"9" * 5000 + b"}}]",
        changed(unknown=float("nan")),
        changed(unknown=[[]] * 110_000),
        changed(unknown=[0] * 210_000),
        changed(unknown={str(number): 0 for number in range(210_000)}),
        b"[Infinity]",
        b"{}",
        b'"[]"',
        b"5",
        b"",
        b"[",
        b"[]x",
        b"\xff",
        b"\xef\xbb\xbf[]",
        "[]".encode("utf-16"),
        b"[" * 50_000,
        b"[" * 90_000 + b"]" * 90_000,
        b'[{"identity":' * 30_000,
        b"[" + b",".join([b"null"] * (MAX_HEADS + 1)) + b"]",
        b"[" + b",".join([b"[]"] * 200_000) + b"]",
    ],
    ids=range(42),
)
def test_hostile_json_is_refused(data: bytes) -> None:
    """Missing objects, wrong types, huge numbers, deep nesting and too many parts give RemoteProtocolError."""
    start = time.perf_counter()
    with pytest.raises(RemoteProtocolError):
        decode_heads_json(data)
    assert time.perf_counter() - start < 5  # a bound for the pathological, not a measurement


def test_what_go_tolerates_is_a_value() -> None:
    """Absent lists, other cases of names, repeated and unknown names, and no provider at all."""
    lenient = {key.upper(): value for key, value in GOOD.items() if key not in ("next", "refs")}
    lenient["Identity"] = {**GOOD["identity"], "Provider": None, "extra": [1.5, {"a": None}]}
    expected = attrs.evolve(head(), next=(), refs=())
    assert (expected,) == decode_heads_json(json.dumps([None, lenient]).encode())
    assert (expected,) == decode_heads_json(json.dumps([{**lenient, "next": None, "refs": []}]).encode())
    doubled = encode_heads_json((head(),)).replace(b'"v":2', b'"v":1,"V":2')
    assert (head(),) == decode_heads_json(doubled)


def test_empty_fields_are_left_out_as_go_does() -> None:
    """Time 0, empty lists and an empty payload do not appear; a second signature does."""
    bare = attrs.evolve(head(), payload=b"", next=(), refs=(), clock_time=0)
    text = encode_heads_json((bare,)).decode()
    for absent in ('"payload"', '"next"', '"refs"', '"time"'):
        assert absent not in text
    assert '"signatures":{"id":"' in text
    assert text.count('"publicKey"') == 1
    assert '"id":"/orbitdb/x/\\u003c\\u0026\\u003e"' in text
    assert (bare,) == decode_heads_json(text.encode())
    assert encode_heads_json(()) == b"[]"


def test_an_entry_that_would_crash_go_is_never_written() -> None:
    """No identity, or no log id, and the message is not made."""
    nobody = attrs.evolve(head(), identity=attrs.evolve(head().identity, id=""))
    for broken in (nobody, attrs.evolve(head(), id=""), attrs.evolve(head(), id="\ud800")):
        with pytest.raises(LocalProtocolError):
            encode_heads_json((broken,))


def test_sizes_are_judged_on_both_sides() -> None:
    """1000 heads and 4 MiB are the limits of what is written and read."""
    with pytest.raises(LocalProtocolError, match="1001 heads"):
        encode_heads_json((head(),) * (MAX_HEADS + 1))
    with pytest.raises(LocalProtocolError, match="limit"):
        encode_heads_json((attrs.evolve(head(), payload=bytes(4 * 1024 * 1024)),))
    nearly = attrs.evolve(head(), payload=bytes(3 * 1024 * 1024 - 2000))
    with pytest.raises(LocalProtocolError, match="send fewer heads"):
        seal_heads(Heads("a" * 1000, (nearly,), None, bytes(1000)), KEY, bytes(32), bytes(24))
    with pytest.raises(RemoteProtocolError, match="limit"):
        parse_heads(bytes(4 * 1024 * 1024 + 1))
    with pytest.raises(RemoteProtocolError, match="limits"):
        decode_heads_json(b" " * (4 * 1024 * 1024 + 1))


def test_a_replica_shows_no_device() -> None:
    """Without a device the field is absent, and another group's key opens nothing."""
    heads = Heads("address", (head(),))
    message = seal_heads(heads, KEY, bytes(32), bytes(24))
    sealed = parse_heads(message)
    assert open_heads(sealed, KEY) == heads
    assert open_heads(sealed, bytes(32)) is None
    box = pb.HeadsBox(address="address", heads=b"[]").SerializeToString()
    assert box == bytes.fromhex("0a07") + b"address" + bytes.fromhex("1202") + b"[]"
    empty = seal_heads(Heads("address", ()), KEY, bytes(32), bytes(24))
    assert seal_secretbox(KEY, bytes(24), box) in empty


def test_malformed_messages_are_the_peers_fault() -> None:
    """Rotations, boxes and device keys of a wrong length, and a head that is not what its CID says."""
    with pytest.raises(RemoteProtocolError):
        parse_heads(pb.OrbitDBMessageHeads(sealed_box=bytes(60), raw_rotation=bytes(31)).SerializeToString())
    with pytest.raises(RemoteProtocolError):
        parse_heads(pb.OrbitDBMessageHeads(sealed_box=bytes(5), raw_rotation=bytes(32)).SerializeToString())
    for box in (
        pb.HeadsBox(heads=b"[]", device_pk=bytes(31)),
        pb.HeadsBox(heads=b"[]", peer_id=bytes(500)),
        pb.HeadsBox(heads=b"[{}]"),
        pb.HeadsBox(address="a" * 2000, heads=b"[]"),
    ):
        sealed = bytes(24) + seal_secretbox(KEY, bytes(24), box.SerializeToString())
        message = pb.OrbitDBMessageHeads(sealed_box=sealed, raw_rotation=bytes(32)).SerializeToString()
        with pytest.raises(RemoteProtocolError):
            open_heads(parse_heads(message), KEY)
    for wrong in (
        attrs.evolve(head(), clock_time=8),
        attrs.evolve(head(), payload=b"\xff"),
        attrs.evolve(head(), refs=head().refs[::-1]),
    ):
        with pytest.raises(RemoteProtocolError):
            entry_of(wrong)


def test_a_head_above_the_largest_block_is_refused() -> None:
    """An entry that would wedge other replicas is not made of a head, though its hash is right."""
    entry, _ = entry_of(head())
    big = attrs.evolve(entry, payload="x" * MAX_BLOCK)
    item = head_of(attrs.evolve(big, cid=Cid.of(encode_entry(big))))
    with pytest.raises(RemoteProtocolError, match="limit"):
        entry_of(item)


def test_our_own_mistakes_are_ours() -> None:
    """Nonces and rotations of a wrong length, and an entry whose identity cannot be written in JSON."""
    for rotation, nonce in ((bytes(31), bytes(24)), (bytes(32), bytes(23))):
        with pytest.raises(LocalProtocolError):
            seal_heads(Heads("address", ()), KEY, rotation, nonce)
    entry, _ = entry_of(head())
    garbled = attrs.evolve(entry, identity=attrs.evolve(entry.identity, signature_id="zz"))
    with pytest.raises(LocalProtocolError, match="hexadecimal"):
        head_of(garbled)


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
short = st.binary(max_size=40)
cids = st.lists(st.builds(Cid.of, short), max_size=3).map(tuple)
heads_strategy = st.builds(
    HeadJson,
    payload=short,
    id=text.filter(bool),
    next=cids,
    refs=cids,
    v=st.integers(0, (1 << 63) - 1),
    key=short,
    sig=short,
    identity=st.builds(IdentityJson, text.filter(bool), short, short, short, text),
    hash=st.builds(Cid.of, short),
    clock_id=short,
    clock_time=st.integers(-(1 << 63), (1 << 63) - 1),
)


@given(st.lists(heads_strategy, max_size=3).map(tuple))
def test_heads_round_trip(heads: tuple[HeadJson, ...]) -> None:
    """Any fields survive the JSON, and whatever they are, only a matching hash makes an entry of them."""
    assert heads == decode_heads_json(encode_heads_json(heads))
    for item in heads:
        with contextlib.suppress(RemoteProtocolError):
            entry, block = entry_of(item)
            assert Cid.of(block) == entry.cid


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["", "YQ=="]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "/", "time"]), inner),
    max_leaves=8,
)


@given(st.sampled_from([*GOOD]), json_values)
def test_any_field_gives_a_value_or_remote_error(name: str, value: Any) -> None:
    """Any JSON in the place of any field gives entries or RemoteProtocolError."""
    with contextlib.suppress(RemoteProtocolError):
        assert isinstance(decode_heads_json(changed(**{name: value})), tuple)


@given(st.binary(max_size=200), st.integers(0, 2000))
def test_any_bytes_give_a_value_or_remote_error(data: bytes, place: int) -> None:
    """Arbitrary bytes, alone or inside an honest text, sealed or bare, give a value or RemoteProtocolError."""
    honest = encode_heads_json((head(),))
    for candidate in (data, honest[:place] + data[:3] + honest[place + 3 :]):
        with contextlib.suppress(RemoteProtocolError):
            decode_heads_json(candidate)
    with contextlib.suppress(RemoteProtocolError):
        open_heads(parse_heads(data), KEY)
    sealed = bytes(24) + seal_secretbox(KEY, bytes(24), data)
    message = pb.OrbitDBMessageHeads(sealed_box=sealed, raw_rotation=bytes(32)).SerializeToString()
    with contextlib.suppress(RemoteProtocolError):
        assert open_heads(parse_heads(message), KEY) is not None


def test_base64_of_the_wire_is_the_padded_standard_one() -> None:
    """The key of an entry appears in Go's form of bytes."""
    assert base64.b64encode(head().key).decode() == GOOD["key"]
