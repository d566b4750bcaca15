"""One made-up group with fixed keys: addresses, entries, a complete heads message; and joins of tied writers."""

from __future__ import annotations

from ...codec.cid import RAW, Cid
from ...crypto.boxes import NONCE_LENGTH
from ...crypto.keys import PrivateKey, Secret
from ...ids import DeviceId, GroupId
from ...protocol.entry import Entry, LogIdentity, encode_entry, signed_bytes
from ...protocol.group import WESH, Group, GroupKind, log_address
from ...protocol.heads import Heads, entry_of, head_of, raw_rotation, seal_heads
from ...protocol.heads_json import decode_heads_json, encode_heads_json
from ...protocol.rendezvous import period_start
from .generated import POINTERS, sign_text
from .go_order import GoLog
from .recording import Place
from .report import Report

DAY = 86400
_TIES_LOG = "TIE"
_MERGE = b"merge"


def check_sample_group(report: Report, place: Place) -> None:
    """Check the section `weshnet`."""
    group = Group(
        GroupId(PrivateKey(place["group_sk_seed_hex"].bytes()).public),
        Secret(place["group_secret_hex"].bytes()),
        GroupKind.MULTI_MEMBER,
    )
    report.equal("sample group: keys", place["group_public_key_hex"], bytes(group.public_key))
    report.equal("sample group: keys", place["sign_public_key_hex"], bytes(group.signing_public))
    report.equal("sample group: keys", place["link_key_hex"], bytes(group.link_key))
    for store_type, store in place["stores"].items():
        with report.attempt("sample group: store", store):
            _store(report, group, store_type, store)
    for item in place["ties"]:
        for order in ("fwd", "rev"):
            with report.attempt("sample group: ties", item[order]):
                _ties(report, group, item["n"].number(), item[order])


def _store(report: Report, group: Group, store_type: str, store: Place) -> None:
    kind = "sample group: store"
    address = log_address(group.public_key, group.signing_public, store_type)
    report.equal(kind, store["address"], address.text)
    report.equal(kind, store["ac_json"], address.access_controller.decode())
    report.equal(kind, store["ac_cid"], str(Cid.of(address.access_controller, RAW)))
    report.equal(kind, store["manifest_cbor_hex"], address.manifest)
    report.equal(kind, store["manifest_cid"], str(Cid.of(address.manifest)))
    start = period_start(0, store["static_interval_s"].number())
    report.equal(kind, store["static_period_start"], start)
    report.equal(kind, store["static_interval_s"], WESH.rotation)
    static = raw_rotation(address.text, group.link_key, start)
    report.equal(kind, store["raw_rotation_static_hex"], static)
    for name, rotation in store.items():
        if name.startswith("raw_rotation_24h_at_"):
            at = period_start(int(name.split("_")[4]), DAY)
            report.equal(kind, rotation, raw_rotation(address.text, group.link_key, at))
    log = GoLog(LogIdentity.of(group.signing_key), address.text, POINTERS)
    for item in store["entries"]:
        _entry(report, item, log.append(item["value_hex"].bytes()))
    _message(report, group, store, log, static)


def _entry(report: Report, item: Place, entry: Entry) -> None:
    kind = "sample group: entry"
    message = signed_bytes(entry.log_id, entry.payload, entry.next, entry.refs, entry.time, entry.clock_id)
    report.equal(kind, item["payload"], entry.payload)
    report.equal(kind, item["sign_bytes"], message.decode())
    report.equal(kind, item["cid"], str(entry.cid))
    report.equal(kind, item["cbor_hex"], encode_entry(entry))


def _message(report: Report, group: Group, store: Place, log: GoLog, rotation: bytes) -> None:
    kind = "sample group: heads message"
    heads = tuple(head_of(entry) for entry in log.heads)
    report.equal(kind, store["heads_json"], encode_heads_json(heads).decode())
    again = decode_heads_json(store["heads_json"].text().encode())
    read = [entry_of(head)[0] for head in again]
    report.true(kind, store["heads_json"], read == log.heads, "it reads as other entries")
    device = DeviceId(store["box_device_pk_hex"].bytes())
    nonce = store["box_nonce_hex"].bytes()
    report.true(kind, store["box_nonce_hex"], len(nonce) == NONCE_LENGTH, "a nonce of another length")
    value = Heads(log.log_id, heads, device, store["box_peer_id_hex"].bytes())
    report.equal(kind, store["message_hex"], seal_heads(value, group.link_key, rotation, nonce))


def _ties(report: Report, group: Group, writers: int, place: Place) -> None:
    """Writers of one identity: each writes `p`, every third one more, `q`; all are joined in order, then merged."""
    kind = "sample group: ties"
    identity = LogIdentity.of(group.signing_key)
    names: dict[Cid, str] = {}
    logs = []
    for number in range(writers):
        log = GoLog(identity, _TIES_LOG, POINTERS, sign_text)
        for letter in "pq" if number % 3 == 2 else "p":
            name = f"{letter}{number:02}"
            names[log.append(name.encode()).cid] = name
        logs.append(log)
    merged = GoLog(identity, _TIES_LOG, POINTERS, sign_text)
    for number in place["order"].take():
        merged.join(logs[number])
    report.equal(kind, place["raw_heads"], [names[entry.cid] for entry in merged.raw_heads])
    report.equal(kind, place["heads"], [names[entry.cid] for entry in merged.heads])
    report.equal(kind, place["values"], [names[entry.cid] for entry in merged.values])
    merge = merged.append(_MERGE)
    report.equal(kind, place["merge_next"], [names[cid] for cid in merge.next])
    report.equal(kind, place["merge_refs"], [names[cid] for cid in merge.refs])
    report.equal(kind, place["merge_cid"], str(merge.cid))
