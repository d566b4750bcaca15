"""Heads messages as they travelled: opened, read, made again byte for byte; the pubsub messages around them."""

from __future__ import annotations

import datetime
import re

import attrs

from ...codec.base58 import decode_base58
from ...codec.pb import wesh_pb2 as pb
from ...codec.protobuf import parse
from ...codec.varint import decode_varint, encode_varint
from ...crypto.boxes import NONCE_LENGTH, open_secretbox, seal_secretbox
from ...crypto.keys import decode_public, verify
from ...protocol.entry import check_entry
from ...protocol.group import Group
from ...protocol.heads import Heads, entry_of, head_of, open_heads, parse_heads, raw_rotation, seal_heads
from ...protocol.heads_json import decode_heads_json, encode_heads_json
from ...protocol.rendezvous import period_start
from .known import Known
from .recording import Place
from .report import Report
from .wire import field_bytes, read_fields

DAY = 86400
_SIGNED = b"libp2p-pubsub:"


@attrs.define
class _Traffic:
    """What earlier events of the recording told: their data by number, who has which peer id, known period starts."""

    data: dict[int, Place]
    nodes: dict[str, str]
    starts: list[int]


def check_heads(report: Report, known: Known, root: Place) -> None:
    """Check the events of kinds box, direct and pubsub."""
    traffic = _Traffic({}, {}, period_starts(root))
    for name, peer in root["peers"].items():
        traffic.nodes[peer.value if isinstance(peer.value, str) else ""] = name
        with report.attempt("heads: peer ids", peer):
            identity = decode_base58(peer.text())
            report.true("heads: peer ids", peer, identity[:6] == b"\x00\x24\x08\x01\x12\x20", "no Ed25519 peer id")
    for event in root["events"]:
        check = _CHECKS.get(event["kind"].value)
        if check is not None:
            event["kind"].take()
            with report.attempt(f"heads: {event['kind'].value}", event):
                if isinstance(event["n"].value, int) and event["data"]:
                    traffic.data[event["n"].value] = event["data"]
                check(report, known, traffic, event)


def period_starts(root: Place) -> list[int]:
    """Period starts that rotating recordings may use: static, and days around the date of the recording."""
    found = re.search(r"\d{4}-\d{2}-\d{2}", str(root["origin"].value))
    if not found:
        return [0]
    try:
        day = datetime.datetime.fromisoformat(found[0]).replace(tzinfo=datetime.UTC)
    except ValueError:
        return [0]
    today = period_start(day.timestamp(), DAY)
    return [0, *(today + DAY * days for days in range(-3, 4))]


def _data(traffic: _Traffic, event: Place) -> Place:
    if event["data"]:
        return event["data"]
    same = event["data_same_as_n"].number()
    return traffic.data.get(same, event["data"])


def _group(report: Report, known: Known, kind: str, address: str) -> Group | None:
    group = known.group_of(address)
    if group is None:
        report.lack(kind, "no file tells the group's secret")
    return group


def _box(report: Report, known: Known, traffic: _Traffic, event: Place) -> None:
    address = event["topic"].text()
    told = parse(pb.HeadsBox, _data(traffic, event).bytes()).address
    report.equal("heads: address in the box", event["topic"], told)
    group = _group(report, known, "heads: box opened", address)
    if group is None:
        return
    sealed = event["extra"]["sealed_box"].bytes()
    nonce = sealed[:NONCE_LENGTH]
    plain = open_secretbox(group.link_key, nonce, sealed[NONCE_LENGTH:])
    data = _data(traffic, event)
    report.equal("heads: box opened", data, plain)
    again = nonce + seal_secretbox(group.link_key, nonce, data.bytes())
    report.equal("heads: box sealed again", event["extra"]["sealed_box"], again)
    box = parse(pb.HeadsBox, plain or b"")
    report.equal("heads: address in the box", event["topic"], box.address)
    _sender(report, known, traffic, event, group, box)
    heads = decode_heads_json(box.heads)
    same = encode_heads_json(heads) == box.heads
    report.true("heads: JSON written again", data, same, "other bytes")
    for head in heads:
        entry, _ = entry_of(head)
        check_entry(entry, box.address, group.signing_public)
        report.true("heads: entry of a head", data, head_of(entry) == head, "the head is written differently")
        recorded = known.entries.get(entry.cid)
        if recorded is not None:
            report.true("heads: entry of a head", data, recorded == entry, "the log holds another entry of this CID")


def _sender(report: Report, known: Known, traffic: _Traffic, event: Place, group: Group, box: pb.HeadsBox) -> None:
    kind = "heads: sender in the box"
    report.true(kind, event["self"], decode_base58(event["self"].text()) == box.peer_id, "another peer id")
    view = known.views.get((traffic.nodes.get(event["self"].text(), ""), bytes(group.public_key)))
    if view is None:
        report.lack(kind, "no file tells who the node is in the group")
    else:
        report.true(kind, event, view.device == box.device_pk, "another device")


def _message(report: Report, known: Known, traffic: _Traffic, place: Place, message: bytes) -> None:
    """Find the group of a message by its rotation, open it, make it again."""
    sealed = parse_heads(message)
    found = _find(known, traffic, sealed.raw_rotation)
    if found is None:
        report.lack("heads: message made again", "its rotation belongs to no group that is told")
        return
    group, address = found
    heads = open_heads(sealed, group.link_key)
    if heads is None:
        report.true("heads: message made again", place, False, "the box does not open")
        return
    report.true("heads: address of the rotation", place, heads.address == address, f"the box says {heads.address}")
    rebuilt = tuple(head_of(entry_of(head)[0]) for head in heads.heads)
    again = seal_heads(
        Heads(address, rebuilt, heads.device, heads.peer_id),
        group.link_key,
        sealed.raw_rotation,
        sealed.sealed_box[:NONCE_LENGTH],
    )
    report.true("heads: message made again", place, again == message, f"other bytes: {again.hex()}")


def _find(known: Known, traffic: _Traffic, rotation: bytes) -> tuple[Group, str] | None:
    return rotations(known, traffic.starts).get(rotation)


def rotations(known: Known, starts: list[int]) -> dict[bytes, tuple[Group, str]]:
    """Group and address by rotation, for all groups and both profiles; made once for a run."""
    wanted = (len(known.groups), *starts)
    if known.rotations_for != wanted:
        known.rotations_for = wanted
        known.rotations = {
            raw_rotation(address, group.link_key, start): (group, address)
            for address, group in known.addresses().items()
            for start in starts
        }
    return known.rotations


def _direct_out(report: Report, known: Known, traffic: _Traffic, event: Place) -> None:
    data = _data(traffic, event).bytes()
    prefix = decode_varint(data)
    length, start = prefix or (-1, 0)
    report.true("heads: frame", event, start + length == len(data), "the frame's length is wrong")
    again = encode_varint(len(data) - start) + data[start:]
    report.true("heads: frame", event, again == data, "the length is written differently")
    _message(report, known, traffic, event, data[start:])


def _direct_in(report: Report, known: Known, traffic: _Traffic, event: Place) -> None:
    _message(report, known, traffic, event, _data(traffic, event).bytes())


def _pubsub_out(report: Report, known: Known, traffic: _Traffic, event: Place) -> None:
    data = _data(traffic, event).bytes()
    _message(report, known, traffic, event, data)
    found = _find(known, traffic, parse_heads(data).raw_rotation)
    if found is not None:
        report.equal("heads: topic of a publication", event["topic"], found[1])


def _pubsub_in(report: Report, known: Known, traffic: _Traffic, event: Place) -> None:
    _pubsub_out(report, known, traffic, event)
    whole = event["extra"]["pubsub_message"]
    fields = read_fields(whole.bytes())
    sender, data, topic, signature = (field_bytes(fields, number) for number in (1, 2, 4, 5))
    kind = "heads: pubsub message"
    report.true(kind, whole, data == _data(traffic, event).bytes(), "it carries other data")
    report.equal(kind, event["topic"], topic.decode())
    report.true(kind, whole, decode_base58(event["peer"].text()) == sender, "it is from another peer")
    signed = _SIGNED + b"".join(raw for number, _, raw in fields if number not in (5, 6))
    public = decode_public(sender[2:])
    report.true("heads: pubsub signature", whole, verify(public, signed, signature), "it is false")
    key = known.private.get(bytes(public))
    if key is not None:
        report.true("heads: pubsub signature made again", whole, key.sign(signed) == signature, "another signature")


_CHECKS = {
    "box": _box,
    "direct_out": _direct_out,
    "direct_in": _direct_in,
    "pubsub_out": _pubsub_out,
    "pubsub_in": _pubsub_in,
}
