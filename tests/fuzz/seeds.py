"""What a fuzzer begins with: recorded bytes of each kind, a few of each, the short ones first."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from berty_libp2p.certificates import encode_signed_key, make_credentials
from berty_mdns.txt import encode_txt
from cryptography.hazmat.primitives.serialization import Encoding

from berty_core.codec.dagcbor import encode_dagcbor
from berty_core.codec.frames import FrameReader
from berty_core.contracts.transport import Beacon
from berty_core.crypto.keys import PrivateKey
from berty_core.protocol.bundle import PART
from berty_core.protocol.bus_beacons import BusBeacon, LinkDatagram, encode_clear
from berty_core.protocol.link_beacon import LinkBeacon, encode_answer

VECTORS: Final = Path(__file__).parent.parent / "vectors"
MOST: Final = 12
LONGEST: Final = 20_000  # bytes
CONVERSATIONS: Final = ("kubo-dial", "kubo-listen")


@cache
def _load(name: str) -> Any:
    return json.loads(gzip.decompress((VECTORS / f"{name}.json.gz").read_bytes()))


def seeds(name: str) -> list[bytes]:
    """Seeds of a target; one byte where nothing was recorded."""
    found = {seed for seed in _SOURCES.get(name, list)() if seed and len(seed) <= LONGEST}
    return sorted(found, key=lambda seed: (len(seed), seed))[:MOST] or [b"\0"]


def _entries(log: str) -> Iterator[dict[str, Any]]:
    for found in _load(f"wesh/{log}")["logs"].values():
        yield from found["entries"]


def _field(log: str, *names: str) -> Callable[[], Iterable[bytes]]:
    def find() -> Iterator[bytes]:
        for entry in _entries(log):
            if all(isinstance(entry.get(name), str) for name in names):
                yield from (bytes.fromhex(entry[name]) for name in names)

    return find


def _events(kinds: str, file: str) -> Callable[[], Iterable[bytes]]:
    def find() -> Iterator[bytes]:
        for event in _load(f"wesh/{file}")["events"]:
            data = event.get("data", "")
            if event["kind"].startswith(kinds) and data and not data.startswith("sha256"):
                yield bytes.fromhex(data)

    return find


def _links() -> Iterator[bytes]:
    for link in _load("wesh/links")["links"]:
        yield from (link[form].encode() for form in ("web", "internal") if isinstance(link.get(form), str))


def _link_protos() -> Iterator[bytes]:
    return (bytes.fromhex(link["proto"]) for link in _load("wesh/links")["links"] if link.get("proto"))


def _streams(protocol: str) -> Iterator[bytes]:
    """What went over the streams of a protocol."""
    for name in CONVERSATIONS:
        for connection in _load(f"libp2p/{name}")["connections"]:
            for stream in connection["streams"]:
                for way in ("in", "out") if stream["protocol"] == protocol else ():
                    yield bytes.fromhex(stream[way])


def _messages(protocol: str, *, first: bytes = b"") -> Callable[[], Iterable[bytes]]:
    """The messages on these streams, behind a byte that says where to cut."""
    return lambda: (first + one for data in _streams(protocol) for one in FrameReader(4 << 20).feed(data))


def _chunks() -> Iterator[bytes]:
    for name in CONVERSATIONS:
        for connection in _load(f"libp2p/{name}")["connections"]:
            yield from (b"\5" + bytes.fromhex(chunk[-1]) for chunk in connection["chunks"][:8])


def _plaintexts() -> Iterator[bytes]:
    for connection in _load("libp2p/yamux")["connections"]:
        yield from (b"\x0c" + bytes.fromhex(plaintext[-1]) for plaintext in connection["plaintexts"])


def _turns(name: str, list_of: str) -> Callable[[], Iterable[bytes]]:
    def find() -> Iterator[bytes]:
        for conversation in _load(f"session/{name}")["conversations"]:
            for turn in conversation[list_of]:
                frames = turn.get("frames") or [turn["frame"]]
                yield from (b"\0" + bytes.fromhex(frame) for frame in frames)

    return find


def _conversation() -> Iterator[bytes]:
    for handshake in _load("session/handshake")["handshakes"]:
        yield from (b"\xff" + bytes.fromhex(one["bytes"]) for one in handshake["link"])


def _peers() -> Iterator[str]:
    for name in CONVERSATIONS:
        yield from (connection["peer"]["peer_id"] for connection in _load(f"libp2p/{name}")["connections"])


def _keys() -> Iterator[bytes]:
    for name in CONVERSATIONS:
        for connection in _load(f"libp2p/{name}")["connections"]:
            yield bytes.fromhex(connection["peer"]["identity_public_protobuf"])


def _certificates() -> Iterator[bytes]:
    credentials = make_credentials(PrivateKey(bytes([1]) * 32), lambda count: bytes([2]) * count)
    yield credentials.certificate.public_bytes(Encoding.DER)


def _plain(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())


def _frames() -> Iterator[bytes]:
    return (bytes.fromhex(one["frame"]) for one in _plain("groupcast/groupcast")["datagrams"])


def _frames_in_a_row() -> Iterator[bytes]:
    frames = [bytes((len(frame),)) + frame for frame in _frames() if len(frame) < 256]
    yield from (b"".join(frames[start:]) for start in range(len(frames)))


def _compact() -> Iterator[bytes]:
    for entry in _plain("groupcast/groupcast")["entries"]:
        if int(entry["log"]):
            yield from (bytes.fromhex(entry[form]) for form in ("alone", "short"))


def _datagrams() -> Iterator[bytes]:
    return (bytes.fromhex(one["datagram"]) for one in _plain("datagrams/datagrams")["messages"])


def _datagrams_in_a_row() -> Iterator[bytes]:
    yield b"".join(bytes((len(one),)) + one for one in _datagrams())
    zeros = [one[:1] + bytes(3) + one[4:] for one in _datagrams() if one[0] >> 4 in (3, 4)]  # as the ends are named
    yield from (b"".join(bytes((len(one),)) + one for one in zeros[start:]) for start in range(len(zeros)))


def _contents() -> Iterator[bytes]:
    block = b"a block"
    yield encode_dagcbor([1, 0, bytes(32), bytes(64), b"", b"", b""])
    yield encode_dagcbor([1, 1, 0, [block, block]])
    yield encode_dagcbor([1, 2, 1, bytes(32), PART + 7, PART, b"7 bytes"])
    yield encode_dagcbor([1, 3])


_ADDRESS: Final = "/ip4/192.168.1.7/tcp/4001/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"
_SOURCES: Final[dict[str, Callable[[], Iterable[bytes]]]] = {
    "advert": lambda: [encode_txt(Beacon(bytes(8), tuple(bytes([tag]) * 8 for tag in range(40))))],
    "certificate": _certificates,
    "signed_key": lambda: [encode_signed_key(key, bytes(64)) for key in _keys()],
    "varint": lambda: [b"\x80\x01", b"\xff" * 9 + b"\x01"],
    "base58": lambda: (peer.encode() for peer in _peers()),
    "cid": _field("metadata", "cid_bytes"),
    "cid_text": lambda: (entry["cid"].encode() for entry in _entries("metadata")),
    "dagcbor": _field("metadata", "block"),
    "frames": _events("localrecord", "localrecords"),
    "public_key": _keys,
    "peer_key": _keys,
    "entry": _field("messages", "block"),
    "heads": _events("pubsub_out", "heads"),
    "heads_box": _events("box", "heads"),
    "metadata": _field("metadata", "event"),
    "headers": _field("messages", "headers_plain"),
    "contact": _link_protos,
    "group": lambda: [bytes.fromhex(_load("wesh/negative")["group"]["proto"])],
    "link": _links,
    "contact_request": _events("contact_stream", "handshake"),
    "noise": _chunks,
    "yamux": _plaintexts,
    "session": _conversation,
    "offers": _turns("offers", "frames"),
    "sync": _turns("sync", "turns"),
    "peer_id": lambda: (bytes.fromhex("002408011220") + key[-32:] for key in _keys()),
    "peer_id_text": lambda: (peer.encode() for peer in _peers()),
    "multiaddr_text": lambda: [_ADDRESS.encode(), b"/ip6/fe80::1/udp/4001/quic-v1", b"/dns4/example.org/tcp/1"],
    "announcement": lambda: [bytes([len(_ADDRESS) + 8]) + b"dnsaddr=" + _ADDRESS.encode()],
    "negotiation": lambda: [b"\x05\x13/multistream/1.0.0\n\x05/a/1\n", b"\0\x13/multistream/1.0.0\n\x03na\n"],
    "connection": _chunks,
    "description": lambda: (b"\1" + data for data in _streams("/ipfs/id/1.0.0") if data),
    "whole_description": _messages("/ipfs/id/1.0.0"),
    "gossip": _messages("/meshsub/1.1.0", first=b"\0"),
    "bitswap": _messages("/ipfs/bitswap/1.2.0", first=b"\0"),
    "frame": _events("pubsub_out", "heads"),
    "bus_beacon": lambda: [
        encode_clear(BusBeacon(bytes(6), bytes(8), (bytes(8), bytes([1]) * 8))),
        encode_clear(LinkDatagram(bytes(6), bytes([1]) * 6, b"data")),
    ],
    "groupcast": _frames,
    "groupcast_datagram": lambda: (
        bytes.fromhex(one["datagram"]) for one in _plain("groupcast/groupcast")["datagrams"]
    ),
    "groupcast_machine": _frames_in_a_row,
    "compact_entry": _compact,
    "arq": _datagrams,
    "arq_stream": _datagrams_in_a_row,
    "fragments": lambda: [b"\x06" + b"\x61hello" + b"\x71bye"],
    "link_beacon": lambda: [b"\x04" + encode_answer(LinkBeacon(bytes(8), (bytes(8), bytes([1]) * 8)))],
    "bundle_content": _contents,
    "local_records": lambda: FrameReader(LONGEST).feed(b"".join(_events("localrecord", "localrecords")())),
}
