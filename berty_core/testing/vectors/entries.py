"""Checks that every recorded log entry has in common: block, CID, fields, signature, references."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...codec.cid import Cid
from ...crypto.keys import decode_public, verify
from ...protocol.entry import (
    Entry,
    LogIdentity,
    check_entry,
    decode_entry,
    encode_entry,
    operation,
    sign_entry,
    signed_bytes,
)
from ...protocol.group import Group
from ...protocol.log import REFERENCE_COUNT
from .go_order import references
from .known import recorded_entry
from .recording import Place
from .report import Report


def check_block(report: Report, block: bytes, place: Place) -> Entry:
    """Decode a block and encode it again to the same bytes."""
    entry = decode_entry(block)
    report.true("entry: block encoded again", place, encode_entry(entry) == block, "other bytes")
    return entry


def check_recorded(report: Report, place: Place, group: Group | None) -> Entry:
    """Check an item of a recorded log: block, CIDs, fields, signature; return its entry."""
    entry = recorded_entry(place.value)
    if place["block"].shortened:
        report.lack("entry: block encoded again", "the block is shortened")
        return entry
    check_block(report, place["block"].bytes(), place["block"])
    report.equal("entry: CID of the block", place["cid"], str(entry.cid))
    report.equal("entry: CID of the block", place["cid_bytes"], bytes(entry.cid))
    check_fields(report, place["fields"], entry)
    check_signature(report, place["block"], entry, group)
    return entry


def check_fields(report: Report, fields: Place, entry: Entry) -> None:
    """Compare the decoded fields with the recorded ones."""
    identity = entry.identity
    expected = {
        ("v",): entry.v,
        ("id",): entry.log_id,
        ("key",): entry.key,
        ("sig",): entry.sig,
        ("payload",): entry.payload,
        ("next",): [str(cid) for cid in entry.next],
        ("refs",): [str(cid) for cid in entry.refs],
        ("clock", "id"): entry.clock_id,
        ("clock", "time"): entry.time,
        ("identity", "id"): identity.id,
        ("identity", "type"): identity.type,
        ("identity", "publicKey"): identity.public_key,
        ("identity", "signatures", "id"): identity.signature_id,
        ("identity", "signatures", "publicKey"): identity.signature_public_key,
    }
    for path, value in expected.items():
        field = fields
        for name in path:
            field = field[name]
        report.equal("entry: fields", field, value)


def check_signature(report: Report, place: Place, entry: Entry, group: Group | None) -> None:
    """Verify the signature; with the group's secret, make the entry again."""
    message = signed_bytes(entry.log_id, entry.payload, entry.next, entry.refs, entry.time, entry.clock_id, entry.v)
    good = verify(decode_public(entry.key), message, entry.sig)
    report.true("entry: signature", place, good, "the signature is false")
    if group is None:
        report.lack("entry: made again from its signing key", "no file tells the group's secret")
        return
    report.succeeds("entry: signer", place, lambda: check_entry(entry, entry.log_id, group.signing_public))
    identity = LogIdentity.of(group.signing_key)
    value = entry.value
    report.true("entry: operation", place, operation(value) == entry.payload, "the operation is written differently")
    _, block = sign_entry(identity, entry.log_id, value, entry.next, entry.refs, entry.time)
    report.equal("entry: made again from its signing key", place, block)


def check_append(report: Report, place: Place, entry: Entry, entries: Mapping[Cid, Entry]) -> None:
    """Compare time, `next` and `refs` with what Go's append gives on the log that the author had."""
    ancestors = ancestry(entries, entry.next)
    if ancestors is None:
        report.lack("entry: time, next and refs of the append", "an ancestor is in no file")
        return
    heads = [entries[cid] for cid in reversed(entry.next)]
    kind = "entry: time, next and refs of the append"
    time = 1 + max((head.time for head in heads), default=0)
    times = [head.time for head in heads]
    report.true(kind, place, entry.time == time, f"time {entry.time}, an append gives {time}")
    report.true(kind, place, times == sorted(times, reverse=True), "next is not sorted by time")
    ours = references(ancestors, heads, REFERENCE_COUNT)
    report.true(kind, place, ours == entry.refs, f"refs {[str(cid) for cid in ours]}")


def ancestry(entries: Mapping[Cid, Entry], parents: Iterable[Cid]) -> dict[Cid, Entry] | None:
    """Everything below some entries, themselves included; None if any is unknown."""
    found: dict[Cid, Entry] = {}
    waiting = list(parents)
    while waiting:
        cid = waiting.pop()
        if cid in found:
            continue
        if cid not in entries:
            return None
        found[cid] = entries[cid]
        waiting += entries[cid].next
    return found
