"""The fuzz targets for what passes on buses, on links of datagrams and in bundles; the oracle is that of `targets`."""

from __future__ import annotations

from functools import cache
from typing import Final

from berty_core.crypto.boxes import seal_secretbox
from berty_core.errors import RemoteProtocolError
from berty_core.protocol.arq import wire as arq_wire
from berty_core.protocol.arq.stream import ReliableStream
from berty_core.protocol.arq.tuning import Tuning
from berty_core.protocol.bundle import (
    LENGTH_LENGTH,
    MAX_CONTENT,
    BundleKeys,
    Part,
    PartsInWaiting,
    Statement,
    is_for,
    open_chunk,
    seal_padding,
    who_states,
)
from berty_core.protocol.bus_beacons import decode_clear, encode_clear
from berty_core.protocol.compact_entries import Unready
from berty_core.protocol.entry import check_entry, decode_entry
from berty_core.protocol.fragments import Fragments
from berty_core.protocol.group import LogKind
from berty_core.protocol.groupcast.frames import decode_groupcast, encode_groupcast
from berty_core.protocol.groupcast.machine import Groupcast, GroupcastPart
from berty_core.protocol.groupcast.parts import MAX_BYTES
from berty_core.protocol.groupcast.seal import GroupcastKey
from berty_core.protocol.link_beacon import MAX_LENGTH, AnswerReader

from ..protocol.logs_in_memory import GROUP, MemoryLog, event, message
from .targets import NONCE, Target, in_two

KEYS: Final = BundleKeys.of(GROUP.link_key)
TUNING: Final = Tuning.for_medium(mtu=200)


def _bus_beacon(data: bytes) -> None:
    said = decode_clear(data)
    assert said is None or encode_clear(said) == data


def _groupcast(data: bytes) -> None:
    frame = decode_groupcast(data)
    assert frame is None or encode_groupcast(frame) == data


@cache
def _logs() -> dict[LogKind, MemoryLog]:
    """A few entries of each log, with two heads."""
    logs = {kind: MemoryLog(kind) for kind in LogKind}
    for number in range(12):
        logs[LogKind.MESSAGES].append(message(b"text", number))
    logs[LogKind.MESSAGES].append(message(b"aside"), parents=list(logs[LogKind.MESSAGES].cids())[:1])
    logs[LogKind.METADATA].append(event())
    return logs


def _compact_entry(data: bytes) -> None:
    """What a member says an entry is, whatever it is called."""
    log = _logs()[LogKind.MESSAGES]
    try:
        entry = decode_entry(log.compactor().expand(b"", data))
    except Unready:
        return
    check_entry(entry, log.address, GROUP.signing_public)


def _groupcast_machine(data: bytes) -> None:
    """Frames of a member, each behind its length; time passes between them."""
    parts = {kind: GroupcastPart(log, log.compactor()) for kind, log in _logs().items()}
    machine, now = Groupcast(parts, room=200, unit=1.0, entropy=bytes, now=0.0), 0.0
    while data:
        frame, data, now = data[1 : 1 + data[0]], data[1 + data[0] :], now + 7.0
        try:
            decoded = decode_groupcast(frame)
        except RemoteProtocolError:
            continue
        if decoded is not None:
            machine.receive(decoded, now)
            machine.stored(LogKind.MESSAGES, (), now)
        machine.wake(now)
        assert all(len(said.frame) <= 200 for said in machine.take())
    assert machine._reassembly._size <= MAX_BYTES


def _arq(data: bytes) -> None:
    said = arq_wire.decode(data)
    assert said is None or isinstance(said, arq_wire.Piece) or arq_wire.encode(said) == data


def _arq_stream(data: bytes) -> None:
    """Datagrams, each behind its length, to an end that listens, to one that dials, and to one that is open."""
    for opened in (True, False):
        for initiator in (True, False):
            stream = ReliableStream(initiator=initiator, tuning=TUNING, entropy=bytes, now=0.0)
            if opened:
                _open(stream, initiator)
            try:
                _talk(stream, data)
            except RemoteProtocolError:
                continue


def _open(stream: ReliableStream, initiator: bool) -> None:
    """All names are zeros."""
    if initiator:
        stream.take(0.0)
        stream.receive(arq_wire.encode(arq_wire.Accept(bytes(3), bytes(3), 200, 20)), 0.0)
    else:
        stream.receive(arq_wire.encode(arq_wire.Open(bytes(3), 200, 20)), 0.0)
        stream.receive(arq_wire.encode(arq_wire.Data(bytes(3), 0, b"a")), 0.0)
    stream.push(bytes(1000), 0.0)


def _talk(stream: ReliableStream, data: bytes) -> None:
    now, read = 0.0, 0
    while data:
        datagram, data, now = data[1 : 1 + data[0]], data[1 + data[0] :], now + 0.3
        stream.receive(datagram, now)
        stream.wake(now)
        for _ in range(300):
            if stream.take(now) is None:
                break
        else:
            raise AssertionError("it never stops to send")
        read += len(stream.read(now))
    assert read <= 200 * 300


def _fragments(data: bytes) -> None:
    stream = Fragments(mtu=64)
    for part in in_two(data):
        stream.receive(part, 0.0)
    stream.read(0.0)


def _link_beacon(data: bytes) -> None:
    reader = AnswerReader()
    for part in in_two(data):
        if reader.feed(part) is not None:
            return
    assert len(data) <= MAX_LENGTH + 1


def _bundle_chunk(data: bytes) -> None:
    assert not is_for(KEYS, data)
    open_chunk(KEYS, data)


def _bundle_content(data: bytes) -> None:
    """What a holder of the link key seals."""
    data = data[:MAX_CONTENT]
    plaintext = len(data).to_bytes(LENGTH_LENGTH, "big") + data.ljust(MAX_CONTENT, b"\0")
    head = seal_padding(KEYS, NONCE)[:40]
    content = open_chunk(KEYS, head + seal_secretbox(KEYS.seal, NONCE, plaintext))
    if isinstance(content, Statement):
        who_states(GROUP, content)
    if isinstance(content, Part):
        PartsInWaiting().add(content)


MEDIA: Final[dict[str, Target]] = {
    "bus_beacon": _bus_beacon,
    "groupcast": _groupcast,
    "groupcast_datagram": GroupcastKey(GROUP).open,
    "groupcast_machine": _groupcast_machine,
    "compact_entry": _compact_entry,
    "arq": _arq,
    "arq_stream": _arq_stream,
    "fragments": _fragments,
    "link_beacon": _link_beacon,
    "bundle_chunk": _bundle_chunk,
    "bundle_content": _bundle_content,
}
