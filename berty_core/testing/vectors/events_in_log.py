"""Metadata entries: envelope opened and sealed again, event decoded, its signatures verified and made again."""

from __future__ import annotations

from google.protobuf.message import Message

from ...codec.pb import wesh_pb2 as pb
from ...codec.protobuf import parse
from ...crypto.boxes import open_secretbox
from ...ids import DeviceId, GroupId, MemberId
from ...protocol.entry import Entry
from ...protocol.envelope import open_event, seal_event
from ...protocol.group import Group
from ...protocol.metadata import PAYLOADS, EventType, MetadataEvent, announce_device, open_metadata, seal_metadata
from ...protocol.ratchet import advance, open_shared_chain, share_chain
from .fields import check_message
from .known import Known
from .recording import Place
from .report import Report

# Go's names of events, by our numbers; the wire has numbers alone.
_GO_NAMES = {number: f"EventType{kind.DESCRIPTOR.name}" for number, kind in PAYLOADS.items()}


def check_event(report: Report, known: Known, group: Group | None, entry: Entry, place: Place) -> None:
    """Check one entry of a metadata log."""
    number = EventType(place["event_type"].number())
    report.equal("event: name of its type", place["event_type_name"], _GO_NAMES[number])
    if group is None:
        report.lack("event: opened", "no file tells the group's secret")
        return
    if place["block"].shortened:
        report.lack("event: opened", "the block is shortened")
        return
    value = entry.value
    outer = parse(pb.GroupEnvelope, value)
    report.equal("event: envelope", place["envelope"]["nonce"], outer.nonce)
    report.equal("event: envelope", place["envelope"]["event"], outer.event)
    plain = open_secretbox(group.secret, outer.nonce, outer.event)
    report.equal("event: opened", place["group_metadata"], plain)
    event = open_event(group.secret, value)
    report.equal("event: opened", place["event_type"], event.event_type)
    report.equal("event: opened", place["payload"], event.payload)
    report.equal("event: opened", place["api_event_bytes"], event.payload)
    report.equal("event: opened", place["sig"], event.sig)
    report.equal("event: opened", place["protocol_metadata_present"], event.HasField("protocol_metadata"))
    again = seal_event(group.secret, event.event_type, event.payload, event.sig, outer.nonce)
    report.equal("event: sealed again", place["operation_value"], again)
    opened = report.succeeds("event: signature rule", place["sig"], lambda: open_metadata(group, value))
    if opened is not None:
        _inside(report, known, group, opened, event, outer.nonce, place)


def _inside(
    report: Report,
    known: Known,
    group: Group,
    opened: MetadataEvent,
    event: pb.GroupMetadata,
    nonce: bytes,
    place: Place,
) -> None:
    check_message(report, "event: fields", place["event"], opened.payload)
    same = opened.payload.SerializeToString() == event.payload
    report.true("event: payload encoded again", place["payload"], same, "other bytes")
    signer = known.private.get(bytes(opened.device or group.public_key))
    if signer is None:
        report.lack("event: signature made again", "the private key is in no file")
    else:
        report.equal("event: signature made again", place["sig"], signer.sign(event.payload))
        whole = seal_metadata(group, opened.type, opened.payload, signer, nonce)
        report.equal("event: made again from its fields", place["operation_value"], whole)
    _special(report, known, group, opened.payload, place)


def _special(report: Report, known: Known, group: Group, payload: Message, place: Place) -> None:
    if isinstance(payload, pb.GroupMemberDeviceAdded):
        member, device = known.private.get(payload.member_pk), known.private.get(payload.device_pk)
        if member is None or device is None:
            report.lack("event 1: made again from both keys", "a private key is in no file")
            return
        ours = announce_device(member, device).SerializeToString()
        report.equal("event 1: made again from both keys", place["payload"], ours)
    elif isinstance(payload, pb.GroupDeviceChainKeyAdded):
        _shared(report, known, bytes(group.public_key), payload, place)


def _shared(report: Report, known: Known, group: bytes, payload: pb.GroupDeviceChainKeyAdded, place: Place) -> None:
    member, device = known.private.get(payload.dest_member_pk), known.private.get(payload.device_pk)
    if member is None:
        report.lack("event 2: chain opened", "the member's private key is in no file")
        return
    sender = DeviceId(payload.device_pk)
    chain = report.succeeds(
        "event 2: chain opened",
        place["event"]["payload"],
        lambda: open_shared_chain(payload.payload, GroupId(group), member, sender),
    )
    if chain is None:
        return
    start = known.chains.get((group, payload.device_pk))
    if start is None or start.counter > chain.counter:
        report.lack("event 2: chain is the device's own", "the initial chain of the device is in no file")
    else:
        same = advance(start, GroupId(group), chain.counter).key == chain.key
        report.true("event 2: chain is the device's own", place["event"]["payload"], same, "another chain key")
    if device is None:
        report.lack("event 2: chain shared again", "the device's private key is in no file")
    else:
        again = share_chain(chain, GroupId(group), device, MemberId(payload.dest_member_pk))
        report.equal("event 2: chain shared again", place["event"]["payload"], again)
