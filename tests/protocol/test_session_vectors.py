"""The vectors of the private profile: made again byte for byte, and checked by code that shares nothing with ours.

Below `test_made_again` nothing of `berty_core` is used: hashlib, hmac, cryptography, the noiseprotocol package, and
what docs/reference/session.md and docs/reference/sync.md say.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
import struct
from collections.abc import Iterable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from noise.connection import Keypair, NoiseConnection

from ..generate_session_vectors import build, path_to

NAMES = ("adverts", "handshake", "offers", "ranges", "sync", "conversation")
VECTORS: dict[str, dict[str, Any]] = {name: json.loads(gzip.decompress(path_to(name).read_bytes())) for name in NAMES}
SIDES = ("initiator", "responder")
ROLE = {"initiator": b"initiator", "responder": b"responder"}


def test_made_again() -> None:
    """The same keys give the same files."""
    made = json.loads(json.dumps(build()))
    assert sorted(made) == sorted(NAMES)
    for name in NAMES:
        assert made[name] == VECTORS[name], name


# -- what an implementer needs -----------------------------------------------------------------------


def unhex(text: str) -> bytes:
    return bytes.fromhex(text)


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def hkdf(key: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256, without salt, 32 bytes."""
    return mac(mac(bytes(32), key), info + b"\x01")


def fields(data: bytes) -> list[tuple[int, Any]]:
    """The fields of a protobuf: number, and an integer or bytes."""
    found, at = [], 0
    while at < len(data):
        key, at = varint(data, at)
        value, at = varint(data, at)
        if key & 7 == 2:
            found.append((key >> 3, data[at : at + value]))
            at += value
        else:
            assert key & 7 == 0
            found.append((key >> 3, value))
    return found


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            return value, at


def frames(data: bytes) -> list[bytes]:
    """Frames behind their lengths; nothing may be left over."""
    found, at = [], 0
    while at < len(data):
        length, at = varint(data, at)
        found.append(data[at : at + length])
        at += length
    assert at == len(data)
    return found


# -- adverts and the handshake ------------------------------------------------------------------------


@pytest.mark.parametrize("point", VECTORS["adverts"]["points"], ids=lambda point: str(point["kind"]))
def test_adverts(point: dict[str, Any]) -> None:
    """A point is a MAC of what names it; from it come the tags of all nonces, and the pre-shared key."""
    if point["kind"] == "group":
        topic = point["metadata_address"].encode() + unhex(point["link_key"])
    else:
        topic = base64.b64encode(unhex(point["account"])) + unhex(point["seed"])
    value = mac(topic, bytes(8))
    assert value.hex() == point["point"]
    assert hkdf(value, b"advert").hex() == point["advert_key"]
    assert hkdf(value, b"session").hex() == point["session_secret"]
    for advert in point["adverts"]:
        assert mac(hkdf(value, b"advert"), unhex(advert["nonce"]))[:8].hex() == advert["tag"]
    assert len({advert["tag"] for advert in point["adverts"]}) == len(point["adverts"])


def noise_end(vector: dict[str, Any], side: str) -> NoiseConnection:
    """One side of a handshake in the noiseprotocol package."""
    end = NoiseConnection.from_name(b"Noise_XXpsk0_25519_ChaChaPoly_SHA256")
    end.set_psks(unhex(vector["psk"]))
    end.set_prologue(b"berty private session 1" + unhex(vector["tag"]))
    (end.set_as_initiator if side == "initiator" else end.set_as_responder)()
    for kind, name in ((Keypair.STATIC, "static_private"), (Keypair.EPHEMERAL, "ephemeral_private")):
        end.set_keypair_from_private_bytes(kind, unhex(vector[side][name]))
    with pytest.warns(UserWarning, match="ephemeral keypairs is already set"):
        end.start_handshake()
    return end


HANDSHAKES = [*VECTORS["handshake"]["handshakes"], VECTORS["conversation"]]


@pytest.mark.parametrize("vector", HANDSHAKES, ids=range(len(HANDSHAKES)))
def test_handshakes(vector: dict[str, Any]) -> None:
    """Another implementation of Noise says the same messages, and ends with the same hash and keys."""
    ends = {side: noise_end(vector, side) for side in SIDES}
    for side in SIDES:
        for kind in ("static", "ephemeral"):
            private = X25519PrivateKey.from_private_bytes(unhex(vector[side][f"{kind}_private"]))
            assert private.public_key().public_bytes_raw().hex() == vector[side][f"{kind}_public"]
    for turn, payload in enumerate(vector["payloads"]):
        writer, reader = (ends[side] for side in (SIDES if turn % 2 == 0 else SIDES[::-1]))
        message = bytes(writer.write_message(unhex(payload)))
        assert message.hex() == vector["noise_messages"][turn]
        assert bytes(reader.read_message(message)).hex() == payload
        sent = unhex(vector["link"][turn]["bytes"])
        opening = b"\xbe" + unhex(vector["tag"]) if turn == 0 else b""
        assert sent.startswith(opening + len(message).to_bytes(2, "big") + message)
    assert {end.get_handshake_hash().hex() for end in ends.values()} == {vector["handshake_hash"]}
    for side, way in (("initiator", "initiator_to_responder"), ("responder", "responder_to_initiator")):
        expected = ChaCha20Poly1305(unhex(vector[f"key_{way}"])).encrypt(bytes(12), b"text", b"")
        assert bytes(ends[side].encrypt(b"text")) == expected


@pytest.mark.parametrize("vector", HANDSHAKES, ids=range(len(HANDSHAKES)))
def test_greetings(vector: dict[str, Any]) -> None:
    """Message 1 says nothing; messages 2 and 3 say what the responder and the initiator are."""
    assert vector["payloads"][0] == ""
    for payload, side in zip(vector["payloads"][1:], ("responder", "initiator"), strict=True):
        own, said = vector[side], fields(unhex(payload))
        assert [value for number, value in said if number in (1, 2)] == own["versions"]
        assert [value.decode() for number, value in said if number == 3] == own["capabilities"]
        assert dict(said)[4].decode() == own["profile"]
        assert dict(said)[5].hex() == own["beacon_nonce"]


# -- offers -------------------------------------------------------------------------------------------

OFFERS = VECTORS["offers"]["conversations"]
OFFER, PROOF, PRESENCE, WITHDRAWAL, BEACON = range(1, 6)


@pytest.mark.parametrize("vector", OFFERS, ids=lambda vector: str(vector["what"]))
def test_what_is_derived_for_a_group(vector: dict[str, Any]) -> None:
    """Tag, proof, and what a device signs."""
    handshake_hash = unhex(VECTORS["offers"]["handshake_hash"])
    for side in SIDES:
        for group in vector[side]:
            public = unhex(group["public_key"])
            tag_key = hkdf(unhex(group["link_key"]), b"berty group tag")
            assert mac(tag_key, handshake_hash + ROLE[side])[:16].hex() == group["tag"]
            if group["secret"]:
                proof_key = hkdf(unhex(group["secret"]), b"berty member proof")
                assert mac(proof_key, handshake_hash + ROLE[side] + public).hex() == group["mac"]
            text = b"berty device presence" + handshake_hash + ROLE[side] + public
            device = Ed25519PrivateKey.from_private_bytes(unhex(group["device_seed"]))
            assert text.hex() == group["presence_text"]
            assert device.sign(text).hex() == group["signature"]
            assert device.public_key().public_bytes_raw().hex() == group["device"]


@pytest.mark.parametrize("vector", OFFERS, ids=lambda vector: str(vector["what"]))
def test_control_frames(vector: dict[str, Any]) -> None:
    """Each frame is one that its sender may say, with the values that are derived for it."""
    for side in SIDES:
        own = {group["tag"]: group for group in vector[side]}
        for frame in [frame["frame"] for frame in vector["frames"] if frame["from"] == side]:
            ((kind, body),) = fields(unhex(frame))
            values = dict(fields(body))
            if kind == OFFER:
                tags = [values[1][at : at + 16].hex() for at in range(0, len(values[1]), 16)]
                assert len(tags) % 16 == 0
                assert tags == sorted(tags)
                assert set(own) <= set(tags)
            elif kind == PROOF:
                assert values.get(2, b"").hex() == own[values[1].hex()]["mac"]
            elif kind == PRESENCE:
                group = own[values[1].hex()]
                assert (values[2].hex(), values[3].hex()) == (group["device"], group["signature"])
            elif kind == WITHDRAWAL:
                assert values[1].hex() in own
            else:
                assert (kind, values) == (BEACON, {1: b"new name"})


@pytest.mark.parametrize("vector", OFFERS, ids=lambda vector: str(vector["what"]))
def test_what_is_learnt(vector: dict[str, Any]) -> None:
    """A shared group is proven to both: with the other's device where both know the secret, and else without."""
    mine, theirs = ({group["public_key"]: group for group in vector[side]} for side in SIDES)
    for group in set(mine) & set(theirs):
        members = bool(mine[group]["secret"] and theirs[group]["secret"])
        for side, other in ((SIDES[0], theirs), (SIDES[1], mine)):
            proven = [each for each in vector["learnt"] if (each["by"], each.get("group")) == (side, group)]
            assert proven[0]["event"] == "GroupProven"
            assert proven[0]["level"] == ("member" if members else "replica")
            assert proven[0]["device"] == (other[group]["device"] if members else None)
    told = {each["group"] for each in vector["learnt"] if each["event"] == "GroupProven"}
    assert told == set(mine) & set(theirs)
    assert [each["by"] for each in vector["learnt"] if each["event"] == "BeaconChanged"] == ["responder"]


def test_no_frame_names_a_device_to_a_replica() -> None:
    """Where one side lacks the secret nobody says which device it is."""
    for vector in OFFERS[1:3]:
        said = [fields(unhex(frame["frame"]))[0][0] for frame in vector["frames"]]
        assert PRESENCE not in said
        assert PROOF in said


# -- ranges and sync ------------------------------------------------------------------------------------


def path_of(time: int, digest: bytes) -> str:
    digits = format(time, "x")
    return format(len(digits), "x") + digits + digest.hex()


def fingerprint(paths: Iterable[str]) -> tuple[int, int, bytes]:
    """Count, sum and fingerprint of a set of whole paths."""
    chosen = list(paths)
    total = sum(int.from_bytes(hashlib.shake_128(path.encode()).digest(512), "big") for path in chosen) % (1 << 4096)
    if not chosen:
        return 0, 0, bytes(32)
    return len(chosen), total, hashlib.sha256(len(chosen).to_bytes(8, "big") + total.to_bytes(512, "big")).digest()


def on_the_wire(session: str, value: bytes) -> bytes:
    return mac(hkdf(unhex(session), b"berty range fingerprint"), value)[:8]


@pytest.mark.parametrize("vector", VECTORS["ranges"]["sets"], ids=lambda vector: str(vector["what"]))
def test_fingerprints(vector: dict[str, Any]) -> None:
    """Count, sum and fingerprint of a range follow from the paths in it, by adding all of them."""
    paths = sorted(path_of(each["time"], unhex(each["digest"])) for each in vector["positions"])
    assert paths[:3] == vector["paths"]
    for shown in vector["ranges"]:
        count, total, value = fingerprint(path for path in paths if path.startswith(shown["prefix"]))
        assert (count, value.hex()) == (shown["count"], shown["fingerprint"])
        assert shown["sum"] in (None, total.to_bytes(512, "big").hex())
        assert on_the_wire(VECTORS["ranges"]["session"], value).hex() == shown["on_the_wire"]


class Replica:
    """Two sets of blocks by their paths, and nothing that is clever."""

    def __init__(self, side: dict[str, Any]) -> None:
        self.logs = [
            {self.place(unhex(each["block"])): unhex(each["block"]) for each in side[kind]}
            for kind in ("metadata", "messages")
        ]

    @staticmethod
    def place(block: bytes) -> str:
        """In these vectors a block begins with its effective time."""
        return path_of(int.from_bytes(block[:4], "big"), hashlib.sha256(block).digest())

    def below(self, log: int, prefix: str) -> list[str]:
        return sorted(path for path in self.logs[log] if path.startswith(prefix))

    def digests(self, log: int, prefix: str) -> list[bytes]:
        return [unhex(path[-64:]) for path in self.below(log, prefix)]


SYNC = VECTORS["sync"]["conversations"]
RANGES, HAVE, WANT, ENTRIES, HELD, IN_SYNC, WANT_BELOW = range(2, 9)


@pytest.mark.parametrize("vector", SYNC, ids=lambda vector: str(vector["what"]))
def test_sync_frames_are_true(vector: dict[str, Any]) -> None:
    """Whatever a frame says of its sender is so at that moment, and at the end both have the union."""
    replicas = {side: Replica(vector[side]) for side in SIDES}
    union = [{**one, **other} for one, other in zip(*(replicas[side].logs for side in SIDES), strict=True)]
    for turn in vector["turns"]:
        sender, receiver = replicas[turn["from"]], replicas[SIDES[turn["from"] == "initiator"]]
        for frame in turn["frames"]:
            check_frame(unhex(frame), sender, receiver)
    for side in SIDES:
        assert replicas[side].logs == union


def check_frame(frame: bytes, sender: Replica, receiver: Replica) -> None:
    said = fields(frame)
    log = next((value for number, value in said if number == 1), 0)
    kind, body = next((number, value) for number, value in said if number != 1)
    values = fields(body)
    if kind == RANGES:
        check_ranges(log, values, sender)
    elif kind == IN_SYNC:
        check_range(log, dict(values), sender)
        assert sender.logs[log] == receiver.logs[log]
    elif kind == HAVE:
        own = [digest[:16] for digest in sender.digests(log, dict(values).get(1, b"").decode())]
        assert b"".join(own) == dict(values)[3]
        assert len(own) <= 32
    elif kind == WANT:
        found = dict(values)
        wanted = [found[3][at : at + found[2]] for at in range(0, len(found[3]), found[2])]
        assert not [digest for digest in sender.digests(log, "") if digest[: found[2]] in wanted]
    elif kind == WANT_BELOW:
        assert not [path for _, prefix in values for path in sender.below(log, prefix.decode())]
    elif kind == ENTRIES:
        new = {Replica.place(block): block for _, block in values}
        assert new.items() <= sender.logs[log].items()
        receiver.logs[log] |= new
    else:
        assert kind == HELD
        found = dict(values)
        held = [found[3][at : at + 32] for at in range(0, len(found[3]), 32)]
        assert set(held) <= set(sender.digests(log, ""))


def check_ranges(log: int, values: list[tuple[int, Any]], sender: Replica) -> None:
    within = next((value.decode() for number, value in values if number == 1), "")
    described = [dict(fields(value)) for number, value in values if number == 2]
    prefixes = [each.get(1, b"").decode() for each in described]
    assert prefixes == sorted(prefixes)
    assert all(prefix.startswith(within) for prefix in prefixes)
    for each in described:
        check_range(log, each, sender)
    assert sum(each.get(2, 0) for each in described) == len(sender.below(log, within))


def check_range(log: int, values: dict[int, Any], sender: Replica) -> None:
    count, _, value = fingerprint(sender.below(log, values.get(1, b"").decode()))
    assert (count, on_the_wire(VECTORS["sync"]["session"], value)) == (values.get(2, 0), values[3])


# -- the whole conversation -------------------------------------------------------------------------------


def test_conversation() -> None:
    """Behind the handshake the link opens with the two keys, and its plaintext is yamux with the listed frames."""
    vector = VECTORS["conversation"]
    ciphers = {
        "initiator": ChaCha20Poly1305(unhex(vector["key_initiator_to_responder"])),
        "responder": ChaCha20Poly1305(unhex(vector["key_responder_to_initiator"])),
    }
    sealed, streams = dict.fromkeys(SIDES, 0), {}
    for number, part in enumerate(vector["link"]):
        data, plain = unhex(part["bytes"]), b""
        at = 9 if number == 0 else 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 2], "big")
            box, at, first = data[at + 2 : at + 2 + length], at + 2 + length, at
            if number < 3 and first in (0, 9):
                continue  # a message of the handshake
            nonce = struct.pack("<4xQ", sealed[part["from"]])
            plain += ciphers[part["from"]].decrypt(nonce, box, b"")
            sealed[part["from"]] += 1
        assert plain.hex() == part["plaintext"]
        read_yamux(plain, part["from"], streams)
    for stream in vector["streams"]:
        for side in SIDES:
            found = frames(streams[stream["stream"]].get(side, b""))
            if side == "initiator":
                header = dict(fields(found.pop(0)))
                assert (header[1].decode(), header.get(2, b"").hex()) == (stream["type"], stream["tag"])
            assert [frame.hex() for frame in found] == stream[side]
    assert [stream["type"] for stream in vector["streams"]] == ["control", "group"]
    assert set(streams) == {stream["stream"] for stream in vector["streams"]}


def read_yamux(plain: bytes, side: str, streams: dict[int, dict[str, bytes]]) -> None:
    while plain:
        version, kind, _, number, length = struct.unpack(">BBHII", plain[:12])
        assert version == 0
        size = length if kind == 0 else 0
        found = streams.setdefault(number, {})
        found[side] = found.get(side, b"") + plain[12 : 12 + size]
        plain = plain[12 + size :]


def test_the_group_stream_has_the_initiators_tag() -> None:
    """The header of a group stream names the group by the tag of who opens it."""
    vector = VECTORS["conversation"]
    tag = mac(
        hkdf(unhex(vector["group"]["link_key"]), b"berty group tag"), unhex(vector["handshake_hash"]) + b"initiator"
    )
    assert vector["streams"][1]["tag"] == tag[:16].hex()
