"""Contact requests: the recorded transcript replayed with both machines, the recorded keys and plaintexts compared."""

from __future__ import annotations

import hashlib

import attrs

from ...codec.pb import wesh_pb2 as pb
from ...codec.protobuf import parse
from ...crypto.boxes import open_secretbox, precompute_box
from ...crypto.keys import PrivateKey, x25519_pair, x25519_private, x25519_public
from ...errors import RemoteProtocolError
from ...ids import AccountId
from ...protocol.handshake import ContactRequester, ContactResponder, RequestReceived, RequestSent
from ...protocol.shareable import ShareableContact, decode_contact, encode_contact
from .known import Known
from .recording import Place
from .report import Report


@attrs.define
class _Request:
    """The events of one contact request, in order; `sides` holds the two `handshake_ephemeral` events."""

    sides: list[Place] = attrs.field(factory=list)
    writes: list[Place] = attrs.field(factory=list)
    reads: list[Place] = attrs.field(factory=list)
    steps: dict[str, Place] = attrs.field(factory=dict)
    peers: list[str] = attrs.field(factory=list)


def check_handshakes(report: Report, known: Known, root: Place) -> None:
    """Check the recorded contact requests."""
    if isinstance(root["accounts"].value, dict):
        for _, account in root["accounts"].items():
            with report.attempt("contact request: account", account):
                key = PrivateKey(account["account_priv_64"].bytes()[:32])
                report.equal("contact request: account", account["account_pub"], bytes(key.public))
                report.equal("contact request: account", account["account_priv_64"], bytes(key.expanded))
    for request in _requests(root):
        place = request.sides[0] if request.sides else request.writes[0]
        with report.attempt("contact request: replay", place):
            _check(report, request)


def _requests(root: Place) -> list[_Request]:
    """Group the events: a request begins with the ephemeral key of its first side."""
    requests: list[_Request] = []
    for event in root["events"]:
        kind = str(event["kind"].value)
        if not kind.startswith(("handshake_", "contact_stream_")):
            continue
        event["kind"].take()
        if kind == "handshake_ephemeral" and (not requests or _begins(requests[-1], event)):
            requests.append(_Request())
        if requests:
            _sort(requests[-1], kind, event)
    return requests


def _begins(request: _Request, event: Place) -> bool:
    """Whether this ephemeral key is of a new request: of a third side, or of the first one again."""
    own = event["extra"]["own_account_pub"].value
    return len(request.sides) == 2 or any(own == side["extra"]["own_account_pub"].value for side in request.sides)


def _sort(request: _Request, kind: str, event: Place) -> None:
    if kind == "handshake_ephemeral":
        request.sides.append(event)
    elif kind == "contact_stream_write":
        request.writes.append(event)
    elif kind == "contact_stream_read":
        request.reads.append(event)
    else:
        request.steps[kind] = event


def _keys(report: Report, side: Place) -> tuple[PrivateKey, bytes]:
    extra = side["extra"]
    own = PrivateKey(extra["own_account_priv"].bytes()[:32])
    report.equal("contact request: keys", extra["own_account_pub"], bytes(own.public))
    report.equal("contact request: keys", extra["own_account_priv"], bytes(own.expanded))
    private, public = x25519_pair(extra["ephemeral_priv"].bytes())
    report.equal("contact request: keys", extra["ephemeral_pub"], public)
    return own, bytes(private)


def _check(report: Report, request: _Request) -> None:
    if len(request.sides) != 2:
        report.lack("contact request: replay", "only one side of a request is in the recording")
        return
    (own, ephemeral), (other, other_ephemeral) = (_keys(report, side) for side in request.sides)
    first = request.writes[0]["self"].text()
    ours, theirs = _written(request.writes, first, same=True), _written(request.writes, first, same=False)
    for events, sent in ((_of(request.reads, first, same=False), ours), (_of(request.reads, first, same=True), theirs)):
        data = b"".join(event["data"].bytes() for event in events)
        if events:
            report.true("contact request: read is what was written", events[0], data == sent, "other bytes")
    requester = ContactRequester(own, AccountId(other.public), _contact(report, request, ours), ephemeral)
    responder = ContactResponder(other, other_ephemeral)
    _replay(report, request, requester, responder, ours, theirs)
    _secrets(report, request, (own, ephemeral), (other, other_ephemeral))


def _contact(report: Report, request: _Request, ours: bytes) -> ShareableContact:
    frame = request.writes[-1]["data"]
    contact = decode_contact(frame.bytes())
    report.equal("contact request: contact", frame, encode_contact(contact))
    return contact


def _of(events: list[Place], peer: str, *, same: bool) -> list[Place]:
    return [event for event in events if (event["self"].text() == peer) is same]


def _written(events: list[Place], peer: str, *, same: bool) -> bytes:
    return b"".join(event["data"].bytes() for event in _of(events, peer, same=same))


def _replay(
    report: Report,
    request: _Request,
    requester: ContactRequester,
    responder: ContactResponder,
    ours: bytes,
    theirs: bytes,
) -> None:
    """Let each of our machines talk to the recorded other side."""
    place = request.writes[0]
    sent = requester.take()
    events = requester.receive(theirs)
    sent += requester.take()
    report.true("contact request: requester replayed", place, sent == ours, f"we would write {sent.hex()}")
    report.true("contact request: requester replayed", place, any(isinstance(e, RequestSent) for e in events), "no end")
    received = responder.receive(ours)
    answered = responder.take()
    report.true("contact request: responder replayed", place, answered == theirs, f"we would write {answered.hex()}")
    accounts = [event.account for event in received if isinstance(event, RequestReceived)]
    named = [AccountId(request.sides[0]["extra"]["own_account_pub"].bytes())]
    report.true("contact request: responder replayed", place, accounts == named, "it meets another account")


def _secrets(
    report: Report, request: _Request, requester: tuple[PrivateKey, bytes], responder: tuple[PrivateKey, bytes]
) -> None:
    (own, ephemeral), (other, other_ephemeral) = requester, responder
    shared = precompute_box(ephemeral, x25519_pair(other_ephemeral)[1])
    statics = {
        "handshake_step3": precompute_box(ephemeral, x25519_public(other.public)),
        "handshake_step4": precompute_box(x25519_private(own), x25519_public(other.public)),
    }
    for number, (name, static) in enumerate(statics.items(), start=1):
        step = request.steps.get(name)
        if step is None:
            continue
        kind = f"contact request: step {number + 2}"
        key = hashlib.sha256(shared + static).digest()
        report.equal(kind, step["extra"]["shared_ephemeral"], shared)
        report.equal(kind, step["extra"]["box_key"], key)
        boxes = [event for event in request.writes if _opened(event, key, number) is not None]
        report.true(kind, step, len(boxes) == 1, "no frame opens with this key")
        for event in boxes:
            report.equal(kind, step["data"], _opened(event, key, number))


def _opened(event: Place, key: bytes, number: int) -> bytes | None:
    data = event["data"].bytes()
    if data[:1] != b"\x0a":
        return None
    try:
        box = parse(pb.BoxEnvelope, data).box
    except RemoteProtocolError:
        return None
    return open_secretbox(key, bytes([number]) + bytes(23), box)
