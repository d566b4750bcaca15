"""Crafted inputs with the verdict of the Go code: ours is the same, but for named deviations."""

from __future__ import annotations

import attrs

from ...codec.cid import Cid
from ...codec.pb import wesh_pb2 as pb
from ...codec.protobuf import parse
from ...crypto.keys import PrivateKey, Secret
from ...errors import RemoteProtocolError
from ...ids import DeviceId, GroupId, MemberId
from ...protocol.entry import check_entry, decode_entry
from ...protocol.envelope import open_headers, open_message
from ...protocol.group import PROFILES, Group, LogKind, decode_group
from ...protocol.heads_json import decode_heads_json
from ...protocol.metadata import open_metadata
from ...protocol.ratchet import Chain, Readability, open_shared_chain, readability, share_chain, take_key
from .deviations import known_deviation
from .fields import check_message
from .keys import check_group
from .known import Known
from .recording import Place
from .report import Report


@attrs.define
class _Receiver:
    """What the receiving member has learnt so far: chains by device, keys of opened messages by CID."""

    member: PrivateKey
    chains: dict[bytes, Chain] = attrs.field(factory=dict)
    keys: dict[str, Secret] = attrs.field(factory=dict)
    senders: dict[bytes, PrivateKey] = attrs.field(factory=dict)
    met: set[bytes] = attrs.field(factory=set)


def check_negative(report: Report, known: Known, root: Place) -> None:
    """Check a file of crafted inputs; the order of message cases matters."""
    if root["group"]:
        with report.attempt("negative: group", root["group"]):
            message = parse(pb.Group, root["group"]["proto"].bytes())
            check_group(report, root["group"], decode_group(message))
    receiver = _Receiver(PrivateKey(root["go_member_key_seed"].bytes())) if root["go_member_key_seed"] else None
    for _, seed in root["sender_device_seeds"].items():
        if receiver is not None:
            sender = PrivateKey(seed.bytes())
            receiver.senders[bytes(sender.public)] = sender
    for case in root["cases"]:
        kind = f"negative: {case['kind'].value}"
        with report.attempt(kind, case):
            _case(report, known, receiver, case)
    for name, seed in root["sender_device_seeds"].items() if receiver and receiver.met else ():
        public = bytes(PrivateKey(seed.bytes()).public)
        met = receiver is not None and public in receiver.met
        report.true("negative: chain shared again", seed, met, f"no case is of the device of {name}")


def _case(report: Report, known: Known, receiver: _Receiver | None, case: Place) -> None:
    kind = case["kind"].text()
    if not case["input"]:
        report.lack(f"negative: {kind}", "the case has no input")
        return
    if kind == "heads_json":
        _heads_json(report, case)
        return
    group = known.groups.get(case["input"]["group"].bytes())
    if group is None:
        report.lack(f"negative: {kind}", "no file tells the group's secret")
    elif kind == "metadata":
        _metadata(report, group, case)
    elif kind == "message" and receiver is not None:
        _message(report, group, receiver, case)
    elif kind == "entry":
        _entry(report, group, case)
    else:
        report.lack(f"negative: {kind}", "this kind of case is not known here")


def _verdict(report: Report, case: Place, go_accepts: Place, error: str) -> None:
    """Compare verdicts; `error` is our refusal, empty where we accept."""
    kind = case["kind"].text()
    theirs = go_accepts.take()
    if theirs is bool(not error):
        report.true(f"negative: {kind}", go_accepts, True, "")
        return
    same_cid = case["reencodes_to_same_cid"].value is True
    deviation = known_deviation(kind, error, same_cid=same_cid) if theirs is True else None
    if deviation is None:
        ours = f"refused: {error}" if error else "accepted"
        report.true(f"negative: {kind}", go_accepts, False, f"{ours}; no named deviation explains it")
    else:
        report.counts[f"negative: {kind}"] += 1
        report.deviations[deviation.name] += 1


def _metadata(report: Report, group: Group, case: Place) -> None:
    error = ""
    try:
        event = open_metadata(group, case["input"]["envelope"].bytes())
    except RemoteProtocolError as refusal:
        error = str(refusal) or "refused"
    else:
        result = case["go"]["result"]
        report.equal("negative: metadata", result["type"], int(event.type))
        check_message(report, "negative: metadata", result["event"], event.payload)
    _verdict(report, case, case["go"]["accepted"], error)


def _message(report: Report, group: Group, receiver: _Receiver, case: Place) -> None:
    error = ""
    try:
        if case["input"]["payload"]:
            _register(report, group, receiver, case["input"])
        else:
            counter, text = _open(group, receiver, case["input"])
            report.equal("negative: message", case["go"]["result"]["counter"], counter)
            report.equal("negative: message", case["go"]["result"]["plaintext"], text)
    except RemoteProtocolError as refusal:
        error = str(refusal) or "refused"
    _verdict(report, case, case["go"]["accepted"], error)


def _register(report: Report, group: Group, receiver: _Receiver, data: Place) -> None:
    device = DeviceId(data["device_pk"].bytes())
    name = GroupId(group.public_key)
    chain = open_shared_chain(data["payload"].bytes(), name, receiver.member, device)
    receiver.chains.setdefault(bytes(device), chain)  # the first that is shared stays
    receiver.met.add(bytes(device))
    sender = receiver.senders.get(bytes(device))
    if sender is not None:
        again = share_chain(chain, name, sender, MemberId(receiver.member.public))
        report.equal("negative: chain shared again", data["payload"], again)


def _open(group: Group, receiver: _Receiver, data: Place) -> tuple[int, bytes]:
    message = open_headers(group.secret, data["envelope"].bytes())
    receiver.met.add(bytes(message.device))
    name, device = data["cid"].text(), bytes(message.device)
    if name in receiver.keys:
        return message.counter, open_message(message, receiver.keys[name])
    chain = receiver.chains.get(device)
    if chain is None or readability(chain, message.counter) is not Readability.READABLE:
        raise RemoteProtocolError("no chain reads this counter")
    key, after = take_key(chain, GroupId(group.public_key), message.counter)
    text = open_message(message, key)  # a failure leaves the chain as it was
    receiver.chains[device], receiver.keys[name] = after, key
    return message.counter, text


def _entry(report: Report, group: Group, case: Place) -> None:
    block = case["input"]["block"].bytes()
    kind = LogKind[case["input"]["store"].text().upper()]
    _consistent(report, case, Cid.of(block))
    refusals = []
    for profile in PROFILES.values():
        try:
            check_entry(decode_entry(block), group.address(profile, kind).text, group.signing_public)
            refusals.append("")
        except RemoteProtocolError as refusal:
            refusals.append(str(refusal) or "refused")
    error = "" if "" in refusals else refusals[-1] if "another log" in refusals[0] else refusals[0]
    _verdict(report, case, case["accepted_by_join"], error)


def _consistent(report: Report, case: Place, cid: Cid) -> None:
    """The recorded steps of Go's verdict fit each other and the block."""
    go = case["go"]
    result = go["result"]
    fine = go["accepted"].take() is True
    if result:
        fine = fine and result["can_append"].text() == result["verify"].text() == "ok"
        same = result["rewrite_cid"].text() == str(cid)
        report.equal("negative: steps of Go's verdict", case["reencodes_to_same_cid"], same)
        node = result["node_cid"].text() == str(cid)
        report.equal("negative: steps of Go's verdict", result["node_reencoded_equal"], node)
    report.equal("negative: steps of Go's verdict", case["accepted_by_join"], fine)


def _heads_json(report: Report, case: Place) -> None:
    error = ""
    try:
        heads = decode_heads_json(case["input"]["json"].text().encode())
    except RemoteProtocolError as refusal:
        error = str(refusal) or "refused"
    else:
        listed = [item for item in case["go"]["result"] if not item["nil"]]
        report.true("negative: heads_json", case["go"]["result"], len(listed) == len(heads), "another number of heads")
        for item, head in zip(listed, heads, strict=False):
            report.equal("negative: heads_json", item["hash"], str(head.hash))
            report.equal("negative: heads_json", item["id"], head.id)
            report.equal("negative: heads_json", item["next"], len(head.next))
    _verdict(report, case, case["go"]["accepted"], error)
