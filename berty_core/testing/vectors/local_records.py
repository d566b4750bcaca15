"""Local records: the topics that a node tells a peer on its own network (Wesh protocol, section 6.6)."""

from __future__ import annotations

from ...codec.frames import encode_frame
from ...codec.pb import wesh_pb2 as pb
from ...codec.protobuf import parse
from ...codec.varint import decode_varint
from ...ids import AccountId
from ...protocol.rendezvous import contact_topic
from .heads_messages import period_starts
from .known import Known
from .recording import Place
from .report import Report

LIMIT = 2048
_PREFIX = "floodsub:"


def check_local_records(report: Report, known: Known, root: Place) -> None:
    """Check the events of the kinds that begin with `localrecord`."""
    topics: set[str] | None = None
    for event in root["events"]:
        if str(event["kind"].value).startswith("localrecord"):
            event["kind"].take()
            if topics is None:
                topics = _topics(known, period_starts(root))
            with report.attempt("local record: frame", event):
                _frame(report, known, topics, event["data"])


def _topics(known: Known, starts: list[int]) -> set[str]:
    contacts = {contact_topic(AccountId(account), seed, start) for account, seed in known.seeds for start in starts}
    return {_PREFIX + address for address in known.addresses()} | contacts


def _frame(report: Report, known: Known, topics: set[str], place: Place) -> None:
    data = place.bytes()
    _, start = decode_varint(data) or (0, 0)
    message = parse(pb.LocalRecords, data[start:], LIMIT)
    report.equal("local record: frame made again", place, encode_frame(message.SerializeToString(), LIMIT))
    for record in message.records:
        told = record.cid.startswith(_PREFIX) and known.group_of(record.cid) is not None
        if record.cid in topics or told:
            fits = record.cid in topics
            report.true("local record: topic", place, fits, f"{record.cid} is no address of its group")
        else:
            report.lack("local record: topic", "its group or rendezvous seed is in no file")
