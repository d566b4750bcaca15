"""Message entries: headers and text opened by their chains, sealed again, and who could open what."""

from __future__ import annotations

from ...codec.cid import Cid
from ...codec.pb import wesh_pb2 as pb
from ...codec.protobuf import parse
from ...crypto.boxes import open_secretbox
from ...crypto.keys import Secret
from ...ids import GroupId
from ...protocol.entry import Entry
from ...protocol.envelope import SealedMessage, open_headers, open_message, seal_message
from ...protocol.group import Group
from ...protocol.ratchet import advance, step
from .fields import check_message
from .known import Known
from .recording import Place
from .replay import open_all, shared_chain
from .report import Report


def check_message_entry(
    report: Report, known: Known, group: Group | None, entry: Entry, place: Place, root: Place
) -> None:
    """Check one entry of a message log."""
    if group is None or place["block"].shortened:
        reason = "no file tells the group's secret" if group is None else "the block is shortened"
        report.lack("message: headers opened", reason)
        return
    outer = parse(pb.MessageEnvelope, entry.value)
    check_message(report, "message: envelope", place["envelope"], outer)
    plain = open_secretbox(group.secret, outer.nonce, outer.message_headers)
    report.equal("message: headers opened", place["headers_plain"], plain)
    headers = parse(pb.MessageHeaders, plain or b"")
    check_message(report, "message: headers opened", place["headers"], headers)
    message = open_headers(group.secret, entry.value)
    key = _message_key(report, known, group, entry.cid, message, root)
    if key is None:
        report.lack("message: opened", "neither its key nor the chain of its device is in any file")
        return
    text = report.succeeds("message: opened", place["headers"]["sig"], lambda: open_message(message, key))
    if text is None:
        return
    _seal_again(report, known, group, message, key, text, outer.nonce, place)
    _sent(report, group, entry, text, place, root)


def _sent(report: Report, group: Group, entry: Entry, text: bytes, place: Place, root: Place) -> None:
    kind = "message: text is what was sent"
    sends = [sent for sent in root["sends"] if sent["cid"].optional() == str(entry.cid)]
    for sent in sends:
        report.equal(kind, sent["payload"], text)
        report.equal(kind, sent["group_pk"], bytes(group.public_key))
    if root["sends"].value:
        report.true(kind, place["cid"], bool(sends), "nobody sent it")


def _message_key(
    report: Report, known: Known, group: Group, cid: Cid, message: SealedMessage, root: Place
) -> Secret | None:
    recorded = root["message_key_by_cid"][str(cid)]
    start = known.chains.get((bytes(group.public_key), bytes(message.device)))
    if start is None or start.counter >= message.counter:
        return Secret(recorded.bytes()) if recorded else None
    before = advance(start, GroupId(group.public_key), message.counter - 1)
    _, key = step(before.key, GroupId(group.public_key))
    report.equal("message: key by its chain", recorded, bytes(key))
    return key


def _seal_again(
    report: Report,
    known: Known,
    group: Group,
    message: SealedMessage,
    key: Secret,
    text: bytes,
    nonce: bytes,
    place: Place,
) -> None:
    device = known.private.get(bytes(message.device))
    if device is None:
        report.lack("message: sealed again", "the private key of the device is in no file")
        return
    again = seal_message(group.secret, key, message.counter, device, text, nonce)
    report.equal("message: sealed again", place["operation_value"], again)


def check_openers(report: Report, known: Known, root: Place) -> None:
    """Compare who could open which message with what the chains that were shared allow."""
    groups = {str(cid): group for group, messages in known.messages.items() for cid, _ in messages}
    opened: dict[tuple[str, bytes], dict[str, bytes] | None] = {}
    for cid, nodes in root["opened_by"].items():
        for node, result in nodes.items():
            with report.attempt("message: who could open it", result):
                group = groups.get(cid)
                if group is None:
                    report.lack("message: who could open it", "the message or its group's secret is in no file")
                    continue
                if (node, group) not in opened:
                    opened[node, group] = readable_by(known, node, group)
                _opener(report, opened[node, group], cid, result)


def _opener(report: Report, readable: dict[str, bytes] | None, cid: str, result: Place) -> None:
    kind = "message: who could open it"
    if readable is None:
        report.lack(kind, "no file tells who the node is in the group, or a chain that it had")
        return
    failed = isinstance(result.value, str) and result.value.startswith("error")
    result.take()
    if failed or cid not in readable:
        report.true(kind, result, failed and cid not in readable, "readable" if failed else "not readable")
    else:
        report.equal(kind, result, readable[cid])


def readable_by(known: Known, node: str, group: bytes) -> dict[str, bytes] | None:
    """The texts that a node can read by our chains; None if what it had is not known."""
    view = known.views.get((node, group))
    if view is None or view.member not in known.private:
        return None
    texts: dict[str, bytes] = {}
    messages = known.messages.get(group, [])
    for device in {bytes(message.device) for _, message in messages}:
        chain = shared_chain(known, view, group, device)
        if chain is None:
            continue
        own = [item for item in messages if item[1].device == device]
        _, found = open_all(chain, group, own)
        texts.update({str(cid): text for cid, (_, text) in found.items()})
    return texts
