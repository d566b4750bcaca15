"""Make the vectors of the private profile again: python -m tests.generate_session_vectors, after a change on purpose.

Everything is made from fixed keys. `tests/protocol/test_session_vectors.py` makes them again and compares, and checks
them with code that shares nothing with `berty_core`.
"""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from berty_core.codec.frames import FrameReader
from berty_core.codec.pb import session_pb2 as pb
from berty_core.crypto.aead import chained_hkdf
from berty_core.crypto.keys import PrivateKey, Secret, x25519_pair
from berty_core.ids import AccountId
from berty_core.protocol.group import BERTY, Group, LogKind, new_group
from berty_core.protocol.log import Position
from berty_core.protocol.noise import CipherState, NoiseHandshake
from berty_core.protocol.offers import GroupOffers, group_tag, member_proof, presence_text
from berty_core.protocol.range_index import element_hash
from berty_core.protocol.rendezvous import advert_key, advert_tag, contact_point, group_point, session_secret
from berty_core.protocol.session import CAPABILITIES, PROLOGUE
from berty_core.protocol.sync import MAX_FRAME, GroupSync

from .protocol.conversation import (
    End,
    Entropy,
    Log,
    accept,
    converse,
    dial,
    ephemeral,
    identity,
    make_block,
    make_logs,
    position,
    reconcile,
)

DIRECTORY = Path(__file__).parent / "vectors" / "session"
SIDES = ("initiator", "responder")
Json = dict[str, Any]


def build() -> dict[str, Json]:
    """All files by name."""
    return {
        "adverts": adverts(),
        "handshake": handshake(),
        "offers": offers(),
        "ranges": ranges(),
        "sync": sync(),
        "conversation": conversation(),
    }


def example_group(name: str) -> Group:
    """A group made from its name."""
    return new_group(Entropy(name))[0]


def example_device(name: str) -> PrivateKey:
    """A device's key made from its name."""
    return PrivateKey(Entropy(name)(32))


def show_group(group: Group) -> Json:
    """What a member knows of a group; of a reduced one the secret is empty."""
    return {
        "public_key": group.public_key.hex(),
        "secret": bytes(group.secret).hex(),
        "link_key": bytes(group.link_key).hex(),
    }


# -- adverts ----------------------------------------------------------------------------------------


def adverts() -> Json:
    """Points with their keys, and their tags under some nonces."""
    points = []
    for name in ("group one", "group two"):
        group = example_group(name)
        address = group.address(BERTY, LogKind.METADATA).text
        point = group_point(address, group.link_key)
        points.append({"kind": "group", **show_group(group), "metadata_address": address, **show_point(point)})
    account, seed = AccountId(example_device("an account").public), Entropy("a seed")(32)
    link = {"kind": "contact link", "account": account.hex(), "seed": seed.hex()}
    points.append({**link, **show_point(contact_point(account, seed, 0))})
    return {"points": points}


def show_point(point: bytes) -> Json:
    """The keys of a point, and some adverts of it."""
    nonces = [Entropy("nonces")(8) for _ in range(1)] + [bytes(8), b"\xff" * 8]
    return {
        "point": point.hex(),
        "advert_key": bytes(advert_key(point)).hex(),
        "session_secret": bytes(session_secret(point)).hex(),
        "adverts": [{"nonce": nonce.hex(), "tag": advert_tag(point, nonce).hex()} for nonce in nonces],
    }


# -- the handshake ----------------------------------------------------------------------------------


def handshake() -> Json:
    """Two handshakes with all keys, and the bytes on the link."""
    plain = one_handshake("Ann", "Bob", {})
    further = one_handshake("Carl", "Dora", {"capabilities": ("entries", "a later one"), "profile": "wesh"})
    return {"handshakes": [plain, further]}


def one_handshake(first: str, second: str, fields: Json) -> Json:
    """A handshake between two names; `fields` is what the first one says otherwise than usual."""
    point = group_point("/orbitdb/some address", Secret(Entropy("a link key")(32)))
    tag, secret = advert_tag(point, identity(second).beacon_nonce), session_secret(point)
    one = dial(first, tag, secret, **fields)
    other = accept(second)
    other._secret_for_tag = {tag: secret}.get
    link = []
    for side, writer, reader in ((0, one, other), (1, other, one), (0, one, other)):
        data = writer.take()
        link.append({"from": SIDES[side], "bytes": data.hex()})
        reader.receive(data, 0.0)
    made = replay_noise(first, second, tag, secret, [bytes.fromhex(part["bytes"]) for part in link])
    return {
        "point": point.hex(),
        "tag": tag.hex(),
        "prologue": (PROLOGUE + tag).hex(),
        "psk": bytes(secret).hex(),
        "initiator": show_end(first, fields),
        "responder": show_end(second, {}),
        "link": link,
        **made,
    }


def show_end(name: str, fields: Json) -> Json:
    """The keys of one side, and what it says in its greeting."""
    own = identity(name, **fields)
    return {
        "static_private": bytes(own.key).hex(),
        "static_public": own.public.hex(),
        "ephemeral_private": bytes(ephemeral(name)).hex(),
        "ephemeral_public": x25519_pair(ephemeral(name))[1].hex(),
        "versions": [1, 1],
        "capabilities": list(fields.get("capabilities", CAPABILITIES)),
        "profile": own.profile,
        "beacon_nonce": own.beacon_nonce.hex(),
    }


def replay_noise(first: str, second: str, tag: bytes, secret: Secret, link: list[bytes]) -> Json:
    """The Noise messages and payloads in a link's bytes, and the keys that come out."""
    reader = NoiseHandshake(False, identity(second).key, ephemeral(second), PROLOGUE + tag, secret)
    writer = NoiseHandshake(True, identity(first).key, ephemeral(first), PROLOGUE + tag, secret)
    messages = [link[0][11:], link[1][2:], link[2][2:]]
    payloads = [reader.read_message(messages[0]), b"", b""]
    writer.write_message(payloads[0])
    payloads[1] = writer.read_message(messages[1])
    reader.write_message(payloads[1])
    payloads[2] = reader.read_message(messages[2])
    keys = chained_hkdf(reader._symmetric.chaining_key, b"", 2)
    return {
        "noise_messages": [message.hex() for message in messages],
        "payloads": [payload.hex() for payload in payloads],
        "handshake_hash": reader.handshake_hash.hex(),
        "key_initiator_to_responder": bytes(keys[0]).hex(),
        "key_responder_to_initiator": bytes(keys[1]).hex(),
    }


# -- offers -----------------------------------------------------------------------------------------

HASH = Entropy("a handshake hash")(32)


def offers() -> Json:
    """Conversations on the control stream, with everything that is computed for them."""
    one, two, three = (example_group(name) for name in ("group one", "group two", "group three"))
    ann, bob = example_device("Ann's device"), example_device("Bob's device")
    return {
        "handshake_hash": HASH.hex(),
        "conversations": [
            offer_conversation("two members", [(one, ann)], [(one, bob)]),
            offer_conversation("a member and a replica", [(one, ann)], [(one.reduced(), bob)]),
            offer_conversation("two replicas", [(one.reduced(), ann)], [(one.reduced(), bob)]),
            offer_conversation("one of three groups is shared", [(one, ann), (two, ann)], [(two, bob), (three, bob)]),
        ],
    }


def offer_conversation(what: str, *shown: list[tuple[Group, PrivateKey]]) -> Json:
    """What two sides say that show these groups; at the end the initiator withdraws its last one."""
    machines = [GroupOffers(HASH, initiator=side == 0, entropy=Entropy(SIDES[side])) for side in (0, 1)]
    frames, learnt = [], []
    for machine, groups in zip(machines, shown, strict=True):
        machine.offer(groups)
    for last in (False, True):
        if last:
            machines[0].withdraw(shown[0][-1][0].id)
            machines[0].change_beacon(b"new name")
        while any(said := [machine.take() for machine in machines]):
            for side, spoken in enumerate(said):
                for frame in spoken:
                    frames.append({"from": SIDES[side], "frame": frame.hex()})
                    machines[1 - side].receive(frame)
        learnt += [show_learnt(side, event) for side in (0, 1) for event in machines[side].events()]
    return {
        "what": what,
        **{side: [show_shown(*pair, side) for pair in groups] for side, groups in zip(SIDES, shown, strict=True)},
        "frames": frames,
        "learnt": learnt,
    }


def show_shown(group: Group, device: PrivateKey, side: str) -> Json:
    """One side's group, and all that is derived for it."""
    initiator = side == "initiator"
    text = presence_text(group, HASH, initiator)
    return {
        **show_group(group),
        "device_seed": bytes(device.seed).hex(),
        "device": device.public.hex(),
        "tag": group_tag(group, HASH, initiator).hex(),
        "mac": member_proof(group, HASH, initiator).hex() if group.secret else "",
        "presence_text": text.hex(),
        "signature": device.sign(text).hex(),
    }


def show_learnt(side: int, event: Any) -> Json:
    """An event of one side."""
    shown = {"by": SIDES[side], "event": type(event).__name__}
    for name, value in attrs.asdict(event, recurse=False).items():
        shown[name] = value.hex() if isinstance(value, bytes) else getattr(value, "value", value)
    return shown


# -- the range index and sync -----------------------------------------------------------------------


def ranges() -> Json:
    """Sets of positions with the sums and fingerprints of some of their ranges."""
    seeds = Entropy("positions")
    digests = [seeds(32) for _ in range(300)]
    sets = {
        "empty": [],
        "one": [Position(1, digests[0])],
        "a time of eight digits": [Position(0xFFFFFFFF, digests[0]), Position(0x10, digests[1])],
        "a full leaf": [Position(1 + number, digests[number]) for number in range(32)],
        "one more": [Position(1 + number, digests[number]) for number in range(33)],
        "all at one time": [Position(7, digest) for digest in digests],
        "a line": [Position(1 + number, digest) for number, digest in enumerate(digests)],
    }
    return {"session": HASH.hex(), "sets": [show_set(name, positions) for name, positions in sets.items()]}


def show_set(name: str, positions: list[Position]) -> Json:
    """A set, and what is computed of it."""
    log = Log()
    log.index.insert(positions)
    machine = GroupSync({LogKind.METADATA: log, LogKind.MESSAGES: log}, opener=False, now=0.0, session=HASH)
    paths = [*log.index.paths()]
    prefixes = dict.fromkeys(["", *(child for child, _ in log.index.children(log.index.descend(""))), *paths[:1], "2"])
    shown = []
    for prefix in prefixes:
        own, total = log.index.summary(prefix), sum(element_hash(path) for path in paths if path.startswith(prefix))
        shown.append(
            {
                "prefix": prefix,
                "count": own.count,
                "sum": (total % (1 << 4096)).to_bytes(512, "big").hex() if not prefix else None,
                "fingerprint": own.fingerprint.hex(),
                "on_the_wire": machine._fingerprint(own).hex(),
            }
        )
    return {
        "what": name,
        "positions": [{"time": each.time, "digest": each.digest.hex()} for each in positions],
        "paths": paths[:3],
        "ranges": shown,
    }


def sync() -> Json:
    """Conversations of two replicas, frame by frame."""
    line = [make_block(time, 0) for time in range(1, 401)]
    few = [make_block(time, 1) for time in range(1, 4)]
    sets: dict[str, tuple[list[bytes], list[bytes]]] = {
        "equal": (few, few),
        "the responder has nothing": (few, []),
        "the initiator has nothing": ([], few),
        "each has one that the other lacks": (few[:2], few[1:]),
        "ten of four hundred are missing on either side": (line[5:], [b for n, b in enumerate(line) if n % 80 != 40]),
    }
    return {
        "session": HASH.hex(),
        "conversations": [show_course(what, one, other) for what, (one, other) in sets.items()],
    }


def show_course(what: str, one: list[bytes], other: list[bytes]) -> Json:
    """Let two replicas come together; the metadata log has the first two entries of each on its side."""
    logs = make_logs(one[:2], one), make_logs(other[:2], other)
    course = reconcile(*logs, session=HASH)
    return {
        "what": what,
        "initiator": {"metadata": show_blocks(one[:2]), "messages": show_blocks(one)},
        "responder": {"metadata": show_blocks(other[:2]), "messages": show_blocks(other)},
        "turns": [{"from": SIDES[side], "frames": [frame.hex() for frame in frames]} for side, frames in course.turns],
    }


def show_blocks(blocks: list[bytes]) -> list[Json]:
    """Blocks with their effective times; here a block is no entry, for sync does not look into one."""
    return [{"time": position(block).time, "block": block.hex()} for block in blocks]


# -- a whole conversation ---------------------------------------------------------------------------


def conversation() -> Json:
    """A session from its first byte until both sides are in step, down to the frames in its streams."""
    group, ann, bob = example_group("group one"), example_device("Ann's device"), example_device("Bob's device")
    point = group_point(group.address(BERTY, LogKind.METADATA).text, group.link_key)
    tag, secret = advert_tag(point, identity("Bob").beacon_nonce), session_secret(point)
    line = [make_block(time, 2) for time in range(1, 41)]
    one = End(dial("Ann", tag, secret), [(group, ann)], {group.id: make_logs(line[:2], line[1:])}, Entropy("Ann"))
    accepting = accept("Bob")
    accepting._secret_for_tag = {tag: secret}.get
    other = End(accepting, [(group, bob)], {group.id: make_logs(line[:3], line[:38])}, Entropy("Bob"))
    wire = converse(one, other)
    made = replay_noise("Ann", "Bob", tag, secret, [wire[0][1], wire[1][1], wire[2][1][: _handshake_end(wire[2][1])]])
    keys = [
        CipherState(bytes.fromhex(made[f"key_{way}"])) for way in ("initiator_to_responder", "responder_to_initiator")
    ]
    streams: dict[int, dict[str, bytearray]] = {}
    link = []
    for number, (side, data) in enumerate(wire):
        sealed = data if number > 2 else data[_handshake_end(data) :] if number == 2 else b""
        plain = b"".join(keys[side].decrypt(box) for box in noise_messages(sealed))
        link.append({"from": SIDES[side], "bytes": data.hex(), "plaintext": plain.hex()})
        for stream, payload in yamux_data(plain):
            streams.setdefault(stream, {name: bytearray() for name in SIDES})[SIDES[side]] += payload
    return {
        "group": show_group(group),
        "tag": tag.hex(),
        "psk": bytes(secret).hex(),
        "initiator": {**show_end("Ann", {}), "device_seed": bytes(ann.seed).hex()},
        "responder": {**show_end("Bob", {}), "device_seed": bytes(bob.seed).hex()},
        **made,
        "link": link,
        "streams": [show_stream(stream, sides) for stream, sides in sorted(streams.items())],
    }


def _handshake_end(data: bytes) -> int:
    return 2 + int.from_bytes(data[:2], "big")


def noise_messages(data: bytes) -> Iterator[bytes]:
    """The sealed messages in bytes of the link."""
    while data:
        end = _handshake_end(data)
        yield data[2:end]
        data = data[end:]


def yamux_data(plain: bytes) -> Iterator[tuple[int, bytes]]:
    """Stream and payload of the data frames in a plaintext."""
    while plain:
        _, kind, _, stream, length = struct.unpack(">BBHII", plain[:12])
        size = length if kind == 0 else 0
        if size:
            yield stream, plain[12 : 12 + size]
        plain = plain[12 + size :]


def show_stream(number: int, sides: dict[str, bytearray]) -> Json:
    """The frames of one stream; the first one of the side that opened it is its header."""
    frames = {side: FrameReader(MAX_FRAME).feed(bytes(data)) for side, data in sides.items()}
    header = pb.StreamHeader.FromString(frames["initiator"].pop(0))
    return {
        "stream": number,
        "type": header.type,
        "tag": header.tag.hex(),
        **{side: [frame.hex() for frame in found] for side, found in frames.items()},
    }


def path_to(name: str) -> Path:
    """Where a file lies."""
    return DIRECTORY / f"{name}.json.gz"


def main() -> None:
    """Write all files."""
    DIRECTORY.mkdir(exist_ok=True)
    for name, data in build().items():
        text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
        path_to(name).write_bytes(gzip.compress(text.encode(), 9, mtime=0))
        print(f"{path_to(name)}: {len(text)} bytes")


if __name__ == "__main__":
    main()
