"""Make the vectors of groupcast again: python -m tests.generate_groupcast_vectors, after a change on purpose.

Everything is made from fixed keys. `tests/protocol/test_groupcast_vectors.py` makes them again and compares, and checks
them with code that shares nothing with `berty_core`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from berty_core.codec.cid import DAG_CBOR, Cid
from berty_core.crypto.kdf import hkdf_sha256
from berty_core.protocol.compact_entries import short_id
from berty_core.protocol.group import LogKind
from berty_core.protocol.groupcast.frames import (
    DigestFrame,
    EntryFrame,
    Frame,
    HeadsOf,
    NamedFrame,
    PartFrame,
    SinceFrame,
    UnheldFrame,
    WantFrame,
    confirm_held,
    encode_groupcast,
)
from berty_core.protocol.groupcast.seal import GroupcastKey

from .protocol.logs_in_memory import ANN, BOB, DEVICES, GROUP, MemoryLog, event, message

PATH = Path(__file__).parent / "vectors" / "groupcast" / "groupcast.json"
SENDER = b"abcd"
Json = dict[str, Any]


def build() -> Json:
    """The whole file."""
    key = GroupcastKey(GROUP)
    return {
        "group": {
            "public_key": GROUP.id.hex(),
            "secret": bytes(GROUP.secret).hex(),
            "key": bytes(hkdf_sha256(GROUP.secret, b"berty groupcast" + GROUP.id, 64)).hex(),
            "topic": key.topic.hex(),
            "devices": [device.hex() for device in DEVICES],
            "device_seed": bytes(ANN.seed).hex(),
        },
        "entries": entries(),
        "datagrams": [datagram(key, counter, frame) for counter, frame in enumerate(frames(), 126)],
    }


def entries() -> list[Json]:
    """A message without parents, one with a parent and shortcuts, a merge, an event, and one that goes whole."""
    log, events = MemoryLog(), MemoryLog(LogKind.METADATA)
    for number in range(5):
        log.append(message(b"message %d" % number, number + 1))
    heads = list(log.heads)
    log.append(message(b"one side", 6), parents=heads)
    log.append(message(b"other side", 1, BOB), parents=heads)
    log.append(message(b"merge", 7))
    events.append(event())
    strange = MemoryLog()
    strange.append(b"no envelope", time=1000)
    return [entry(each, cid) for each in (log, events, strange) for cid in each.cids()]


def entry(log: MemoryLog, cid: Cid) -> Json:
    """One entry in all its forms."""
    block = log.blocks[cid]
    compactor = log.compactor()
    return {
        "log": int(log.kind),
        "address": log.address,
        "name": short_id(cid).hex(),
        "block": block.hex(),
        "short": compactor.shrink(block).hex(),
        "alone": compactor.shrink(block, alone=True).hex(),
    }


def frames() -> list[Frame]:
    """One of each kind."""
    names = tuple(bytes((number,)) * 6 for number in range(1, 6))
    cids = tuple(Cid(DAG_CBOR + bytes((number,)) * 32) for number in (1, 2))
    return [
        EntryFrame(LogKind.MESSAGES, names[0], b"a form"),
        PartFrame(LogKind.METADATA, names[1], 7, 1, 3, b"a piece"),
        DigestFrame(HeadsOf(names[:1]), HeadsOf(names[:4], names[4])),
        SinceFrame(LogKind.MESSAGES, names[:2], names[2:]),
        WantFrame(LogKind.MESSAGES, names[0], 7, b"\x05"),
        WantFrame(LogKind.METADATA, names[0], 0, b""),
        confirm_held(GROUP.id, ANN, cids),
        UnheldFrame(names[:2]),
        NamedFrame(LogKind.MESSAGES, names[:3]),
    ]


def datagram(key: GroupcastKey, counter: int, frame: Frame) -> Json:
    """A frame and the datagram that carries it."""
    body = encode_groupcast(frame)
    return {
        "kind": type(frame).__name__.removesuffix("Frame").lower(),
        "sender": SENDER.hex(),
        "counter": counter,
        "frame": body.hex(),
        "datagram": key.seal(SENDER, counter, body).hex(),
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(build(), indent=1) + "\n")
