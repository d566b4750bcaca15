"""Messages that travelled outside the log (Wesh protocol, section 7): opened, and sealed again with their nonces.

Push messages are no part of this product, so the format lives here alone.
"""

from __future__ import annotations

from ...codec.cid import Cid
from ...codec.pb import wesh_pb2 as pb
from ...codec.protobuf import parse
from ...crypto.boxes import open_secretbox, seal_secretbox
from ...crypto.kdf import hkdf_sha3_256
from ...crypto.keys import verify
from ...ids import GroupId
from ...protocol.envelope import message_nonce
from ...protocol.ratchet import advance, step
from .fields import check_message
from .known import Known
from .recording import Place
from .report import Report


def group_reference(secret: bytes, device: bytes, counter: int) -> bytes:
    """The 32 bytes that tell a receiver which group a message is for (section 7.2)."""
    return hkdf_sha3_256(hkdf_sha3_256(secret, b"push_secret_ref"), device + counter.to_bytes(8, "big"))


def check_out_of_store(report: Report, known: Known, place: Place) -> None:
    """Check one out-of-store envelope with what its receiver read."""
    for name, received in place.items():
        if name.startswith("received_by_"):
            report.equal("out of store: received", received["group_pk"], place["group_pk"].bytes())
    group = known.groups.get(place["group_pk"].bytes())
    if group is None:
        report.lack("out of store: envelope opened", "no file tells the group's secret")
        return
    outer = parse(pb.OutOfStoreMessageEnvelope, place["envelope"].bytes())
    plaintext = open_secretbox(group.secret, outer.nonce, outer.box)
    report.true("out of store: envelope opened", place["envelope"], plaintext is not None, "the box does not open")
    if plaintext is None:
        return
    message = parse(pb.OutOfStoreMessage, plaintext)
    report.equal("out of store: CID", place["cid"], str(Cid.from_bytes(message.cid)))
    reference = group_reference(group.secret, message.device_pk, message.counter)
    again = pb.OutOfStoreMessageEnvelope(
        nonce=outer.nonce,
        box=seal_secretbox(group.secret, outer.nonce, message.SerializeToString()),
        group_reference=reference,
    )
    report.equal("out of store: sealed again", place["envelope"], again.SerializeToString())
    for name, received in place.items():
        if name.startswith("received_by_"):
            with report.attempt("out of store: received", received):
                _received(report, known, received, bytes(group.public_key), message)


def _received(report: Report, known: Known, place: Place, group: bytes, message: pb.OutOfStoreMessage) -> None:
    report.equal("out of store: received", place["group_pk"], group)
    check_message(report, "out of store: received", place["message"], message)
    if not place["cleartext"]:
        return
    clear = place["cleartext"].bytes()
    good = verify(message.device_pk, clear, message.sig)
    report.true("out of store: signature", place["cleartext"], good, "the device's signature is false")
    start = known.chains.get((group, message.device_pk))
    if start is None or start.counter >= message.counter:
        report.lack("out of store: text", "the chain of the device is in no file")
        return
    before = advance(start, GroupId(group), message.counter - 1)
    _, key = step(before.key, GroupId(group))
    box = seal_secretbox(key, message_nonce(message.counter), clear)
    report.equal("out of store: text", place["message"]["encrypted_payload"], box)
