"""The pages on sessions and sync: every field of every message, and every limit, is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor

from berty_core.codec.pb import session_pb2
from berty_core.protocol import entry, link_beacon, noise, offers, range_index, session, shareable, sync
from berty_core.protocol.yamux import YamuxLimits
from berty_core.runtime.connectivity import adverts, dialling, endpoints, kept_sessions
from berty_core.runtime.replica import orphans
from berty_core.runtime.sessions import peer_session, sign_of_life

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
SESSION, SYNC = ((REFERENCE / name).read_text() for name in ("session.md", "sync.md"))
YAMUX = YamuxLimits()
EXAMPLE = link_beacon.LinkBeacon(bytes(range(8)), (b"\x11" * 8, b"\x22" * 8))


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the tables under a heading, without the first two lines of each."""
    section = re.split(r"^#+ ", text.split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("| ---")]


def spoken(field: FieldDescriptor) -> str:
    """The type of a field as a .proto file says it."""
    names = {
        FieldDescriptor.TYPE_BOOL: "bool",
        FieldDescriptor.TYPE_UINT32: "uint32",
        FieldDescriptor.TYPE_UINT64: "uint64",
        FieldDescriptor.TYPE_STRING: "string",
        FieldDescriptor.TYPE_BYTES: "bytes",
    }
    name = field.message_type.name if field.message_type else names[field.type]
    return f"repeated {name}" if field.is_repeated else name


def test_every_field_of_every_message() -> None:
    """The two tables of messages have exactly the fields of the .proto file, with number, name and type."""
    defined = {
        (f"`{message.name}`", str(field.number), f"`{field.name}`", spoken(field))
        for message in session_pb2.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
    }
    shown = [tuple(row[:4]) for page in (SESSION, SYNC) for row in rows(page, "Messages")[1:]]
    assert len(shown) == len(set(shown))
    assert set(shown) == defined


@pytest.mark.parametrize(
    ("page", "limits"),
    [
        (
            SESSION,
            {
                "message of the handshake": f"{session.MAX_HANDSHAKE_MESSAGE:,} bytes",
                "time for the handshake": f"{session.HANDSHAKE_TIMEOUT:.0f} s",
                "remembered first messages": f"{session.ReplayGuard()._limit:,}",
                "header of a stream": f"{session.MAX_HEADER} bytes",
                "streams of a peer": f"{session.MAX_STREAMS:,}",
                "control frame": f"{offers.MAX_FRAME:,} bytes",
                "tags of a peer in one session": f"{offers.MAX_TAGS:,}",
                "frame of a contact request": f"{shareable.MAX_FRAME:,} bytes",
                "frame of sync": f"{sync.MAX_FRAME:,} bytes",
            },
        ),
        (
            SYNC,
            {
                "frame": f"{sync.MAX_FRAME:,} bytes",
                "block": f"{entry.MAX_BLOCK:,} bytes",
                "blocks in a frame": f"{sync.MAX_BLOCKS:,}",
                "ranges, or paths, in a frame": f"{sync.MAX_RANGES}",
                "digests in `have`": f"{range_index.LEAF}",
                "digests in `want` or `held`": f"{sync.MAX_DIGESTS:,}",
                "digits of a path": f"{range_index.MAX_PATH}",
                "items that wait to be sent to one peer, for each log": f"{sync.MAX_QUEUE:,}",
            },
        ),
    ],
    ids=["session", "sync"],
)
def test_limits(page: str, limits: dict[str, str]) -> None:
    """The tables of limits have the constants of the code."""
    assert dict(map(tuple, rows(page, "Limits")[1:])) == limits  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        (SESSION, f"The byte `{session.MAGIC:02X}`"),
        (SESSION, f'| prologue | `"{session.PROLOGUE.decode()}" ‖ tag` |'),
        (SESSION, f"`{noise.NAMES[noise.XX_PSK0].decode()}`"),
        (SESSION, f"up to {noise.MAX_PLAINTEXT:,} bytes of plaintext"),
        (SESSION, f"The version is {session.VERSION}."),
        (SESSION, f"| initial window of each stream, both directions | {YAMUX.window // 1024} KiB |"),
        (SESSION, f"| {YAMUX.max_window >> 20} MiB; all streams' growth together {YAMUX.growth >> 20} MiB |"),
        (SESSION, f"| answers (pongs, resets) between two writes | {YAMUX.control:,}, of them 32 pongs |"),
        (SESSION, f"| ping after silence | {YAMUX.keepalive:.0f} s |"),
        (SESSION, f"| given up without an answer after | another {YAMUX.ping_timeout:.0f} s |"),
        (SESSION, f"lasts {adverts.ROTATION * 0.8 / 60:.0f} to {adverts.ROTATION * 1.2 / 60:.0f} minutes"),
        (SESSION, f"up to 1, 2, 4, … {endpoints.MAX_BACKOFF:.0f} seconds"),
        (SESSION, f"within {kept_sessions.SIMULTANEOUS:.0f} seconds"),
        (SESSION, f"at the latest {peer_session.DRAIN_LIMIT:.0f} seconds after it was sent, or later"),
        (SESSION, f"comes back for {sign_of_life.ANSWER_LIMIT} seconds and four latencies"),
        (SESSION, f"each {dialling.STAGGER} seconds and twice the latency"),
        (SESSION, f"an answer has at most {link_beacon.MAX_LENGTH:,} bytes"),
        (SESSION, link_beacon.encode_answer(EXAMPLE).hex()),
        (SESSION, f"is closed after {peer_session.PATIENCE:.0f} seconds"),
        (SESSION, f"without an answer in {peer_session.PROBE_TIMEOUT:.0f} seconds"),
        (SESSION, f"more than {peer_session.MAX_BACKLOG >> 20} MiB on one stream"),
        (SESSION, f"more than {peer_session.MAX_WAITING:,} frames"),
        (SESSION, f"reads of a request at most {8 * shareable.MAX_FRAME:,}"),
        (SYNC, f"`LEAF` = {range_index.LEAF}"),
        (SYNC, f"the first {range_index.SUM_LENGTH} bytes of SHAKE128"),
        (SYNC, f"fingerprint)[:{sync.FINGERPRINT_LENGTH}]`"),
        (SYNC, f"the digests ({sync.SHORT} bytes each)"),
        (SYNC, f"closed at {sync.ENTRIES_COUNT} entries or before it passes {sync.ENTRIES_BYTES >> 10} KiB"),
        (SYNC, f"The last {sync._REMEMBERED:,} are remembered"),
        (SYNC, f"begins a comparison {sync.QUIET} seconds after the last ones"),
        (SYNC, f"does after {4 * sync.QUIET:.0f} second"),
        (SYNC, f"{orphans.MAX_ORPHANS:,} entries or {orphans.MAX_ORPHAN_BYTES >> 20} MiB wait"),
    ],
    ids=range(32),
)
def test_numbers_in_the_text(page: str, sentence: str) -> None:
    """What the pages say in words has the numbers of the code."""
    assert sentence in page


def test_every_frame_has_a_row() -> None:
    """Each frame of control and of sync is explained."""
    for page, heading, message in ((SESSION, "Groups", "ControlFrame"), (SYNC, "Frames", "SyncFrame")):
        cells = {row[0] for row in rows(page, heading)}
        for field in session_pb2.DESCRIPTOR.message_types_by_name[message].oneofs[0].fields:
            kind = field.message_type.name if message == "ControlFrame" else field.name
            assert f"`{kind}`" in cells
