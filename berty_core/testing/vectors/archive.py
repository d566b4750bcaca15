"""Account archives (Wesh protocol, section 1.6): each block under its name, heads, keys; and the directory of one."""

from __future__ import annotations

import base64
from pathlib import PurePath

from ...codec.cid import Cid
from ...codec.pb import wesh_pb2 as pb
from ...codec.protobuf import parse
from ...crypto.keys import decode_private, decode_public, encode_private
from ...ids import GroupId
from ...protocol.entry import Entry, check_entry
from ...protocol.group import PROFILES, LogKind, log_address
from .entries import check_append, check_block, check_signature
from .fields import check_message
from .known import Known
from .recording import Place
from .report import Report
from .source import Member


def check_archive(report: Report, known: Known, root: Place) -> None:
    """Check a tar archive."""
    entries: dict[Cid, Entry] = {}
    for place in root["members"]:
        member: Member = place.take()
        with report.attempt("archive: member", place):
            _member(report, known, place, member, entries)


def _member(report: Report, known: Known, place: Place, member: Member, entries: dict[Cid, Entry]) -> None:
    folder, _, name = member.name.partition("/")
    if folder == "entries":
        entry = check_block(report, member.data, place)
        report.true("archive: entry under its CID", place, name == str(entry.cid), f"its CID is {entry.cid}")
        group = known.group_of(entry.log_id)
        check_signature(report, Place(member.data.hex(), place.path, set()), entry, group)
        entries[entry.cid] = entry
        check_append(report, place, entry, known.entries)
    elif folder == "heads":
        _heads(report, known, place, member, entries)
    elif member.name in ("account.key", "account_proof.key"):
        key = decode_private(member.data)
        report.true("archive: key", place, encode_private(key) == member.data, "it is encoded differently")
    else:
        report.lack("archive: member", "a name that the protocol does not know (readers skip it)")


def _heads(report: Report, known: Known, place: Place, member: Member, entries: dict[Cid, Entry]) -> None:
    kind = "archive: heads"
    heads = parse(pb.GroupHeadsExport, member.data)
    label = base64.urlsafe_b64encode(heads.public_key).decode().rstrip("=")
    report.true(kind, place, member.name == f"heads/{label}", "the name is of another group")
    report.true(kind, place, heads.SerializeToString() == member.data, "encoded again it has other bytes")
    group = known.groups.get(heads.public_key)
    if group is None:
        report.lack("archive: keys of a group", "no file tells the group's secret")
    else:
        right = heads.link_key == group.link_key and heads.sign_pub == group.signing_public
        report.true("archive: keys of a group", place, right, "link key or signing key differ")
    for log, named in ((LogKind.METADATA, heads.metadata_heads_cids), (LogKind.MESSAGES, heads.messages_heads_cids)):
        _log(report, place, heads, log, [Cid.from_bytes(cid) for cid in named], entries)


def _log(
    report: Report, place: Place, heads: pb.GroupHeadsExport, log: LogKind, named: list[Cid], entries: dict[Cid, Entry]
) -> None:
    addresses = {
        log_address(GroupId(heads.public_key), heads.sign_pub, profile.store_type(log)).text
        for profile in PROFILES.values()
    }
    held = [entry for entry in entries.values() if entry.log_id in addresses]
    for entry in held:
        check_entry(entry, entry.log_id, decode_public(entry.key))
    parents = {cid for entry in held for cid in entry.next}
    ours = {entry.cid for entry in held if entry.cid not in parents}
    report.true("archive: heads of a log", place, ours == set(named), f"the heads are {sorted(map(str, ours))}")
    whole = all(cid in entries for cid in parents)
    report.true("archive: log is complete", place, whole, "an entry's parent is missing")


def check_export(report: Report, known: Known, root: Place) -> None:
    """Check the directory of an archive, against the archive if that is given too."""
    for export in root["exports"]:
        with report.attempt("export: directory", export):
            _export(report, known, export)


def _export(report: Report, known: Known, export: Place) -> None:
    archive = known.archives.get(PurePath(export["tar_file"].text()).stem) if export["tar_file"] else None
    members = {member.name: member for member in archive["members"]} if archive else {}
    if archive is None:
        report.lack("export: directory", "the archive itself was not given")
    else:
        report.equal("export: length of the archive", export["tar_len"], archive["length"])
        names = [entry["name"].text() for entry in export["entries"]]
        same = names == [member.name for member in archive["members"]]
        report.true("export: directory", export["entries"], same, "other names, or in another order")
    groups = []
    for entry in export["entries"]:
        with report.attempt("export: directory", entry):
            groups += _listed(report, known, entry, members.get(entry["name"].text()), names_given=archive is not None)
    if export["opened_groups"]:
        opened = sorted(str(group.text()) for group in export["opened_groups"])
        report.true(
            "export: opened groups", export["opened_groups"], opened == sorted(groups), f"heads are of {groups}"
        )


def _listed(report: Report, known: Known, entry: Place, member: Member | None, *, names_given: bool) -> list[str]:
    folder, _, label = entry["name"].text().partition("/")
    if member is not None:
        for field in ("size", "mode", "modtime", "typeflag", "uid", "uname"):
            report.equal("export: header", entry[field], member.header[field])
        report.equal("export: header", entry["format"], "USTAR")
        report.equal("export: content", entry["content"], member.data)
        if folder == "heads":
            check_message(report, "export: heads", entry["heads"], parse(pb.GroupHeadsExport, member.data))
    elif names_given:
        report.true("export: directory", entry["name"], False, "the archive has no such member")
    if entry["content"]:
        data = entry["content"].bytes()
        report.equal("export: content", entry["size"], len(data))
        if folder in ("account.key", "account_proof.key"):
            key = decode_private(data)
            report.true("export: key", entry, bytes(key.public) in known.private, "no such key is known")
    if folder != "heads" or not entry["heads"]:
        return []
    group = known.groups.get(entry["heads"]["public_key"].bytes())
    if group is not None:
        report.equal("export: keys of a group", entry["heads"]["link_key"], bytes(group.link_key))
        report.equal("export: keys of a group", entry["heads"]["sign_pub"], bytes(group.signing_public))
    wanted = base64.urlsafe_b64encode(entry["heads"]["public_key"].bytes()).decode().rstrip("=")
    report.true("export: heads", entry["name"], label == wanted, "the name is of another group")
    return [entry["heads"]["public_key"].text()]
