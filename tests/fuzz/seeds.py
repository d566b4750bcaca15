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

from berty_core.codec.frames import FrameReader
from berty_core.contracts.transport import Beacon
from berty_core.crypto.keys import PrivateKey

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
    "local_records": lambda: FrameReader(LONGEST).feed(b"".join(_events("localrecord", "localrecords")())),
}
