"""What unmodified go-ipfs-log produced: long logs, joins, odd payloads, encrypted links, manifests."""

from __future__ import annotations

import base64
import hashlib
import re

from ...codec.cid import Cid
from ...codec.dagcbor import decode_dagcbor, encode_dagcbor
from ...crypto.boxes import open_secretbox
from ...crypto.keys import PrivateKey
from ...errors import RemoteProtocolError
from ...protocol.entry import Entry, LogIdentity, decode_entry, encode_entry, signed_bytes
from ...protocol.heads import head_of
from ...protocol.heads_json import encode_heads_json
from .go_order import GoLog
from .recording import Place
from .report import Report
from .secp256k1 import finish

POINTERS = 64


def sign_text(
    identity: LogIdentity, log_id: str, value: bytes, parents: tuple[Cid, ...], refs: tuple[Cid, ...], time: int
) -> tuple[Entry, bytes]:
    """Make an entry whose payload is any text instead of an operation."""
    sig = identity.key.sign(signed_bytes(log_id, value.decode(), parents, refs, time, identity.public))
    return finish(log_id, value.decode(), parents, refs, time, identity.public, sig, identity.identity)


def check_generated(report: Report, place: Place) -> None:
    """Check the section `generated_by_go`."""
    for name in ("db_manifest", "log_manifest"):
        with report.attempt("generated: manifest", place[name]):
            _manifest(report, place[name])
    identities = {side: place[f"seed_{side}_hex"] for side in "ab"}
    with report.attempt("generated: long log", place["wesh_like_log"]):
        if place["wesh_like_log"]:
            _long_log(report, place["wesh_like_log"])
    with report.attempt("generated: join", place["join"]):
        if place["join"]:
            _join(report, place["join"], {side: _identity(seed) for side, seed in identities.items()})
    for item in place["tricky"]:
        with report.attempt("generated: odd payload", item):
            _odd(report, item, _identity(identities["a"]))
    links = place["encrypted_links"]
    for item in links["entries"]:
        with report.attempt("generated: encrypted links", item):
            _encrypted(report, item, links)


def _identity(seed: Place) -> LogIdentity:
    return LogIdentity.of(PrivateKey(seed.bytes()))


def _manifest(report: Report, item: Place) -> None:
    if not item:
        return
    block = item["cbor_hex"].bytes()
    report.equal("generated: manifest", item["cbor_hex"], encode_dagcbor(decode_dagcbor(block)))
    report.equal("generated: manifest", item["cid"], str(Cid.of(block)))


def check_made(report: Report, item: Place, entry: Entry) -> None:
    """Compare an entry that we made with its record: block, CID, signed bytes, heads JSON, links."""
    kind = "generated: entry made again"
    report.equal(kind, item["cbor_hex"], encode_entry(entry))
    report.equal(kind, item["cid"], str(entry.cid))
    report.equal(kind, item["clock_time"], entry.time)
    report.equal(kind, item["next"], [str(cid) for cid in entry.next])
    report.equal(kind, item["refs"], [str(cid) for cid in entry.refs])
    report.equal(kind, item["payload_hex"], entry.payload.encode())
    message = signed_bytes(entry.log_id, entry.payload, entry.next, entry.refs, entry.time, entry.clock_id)
    report.equal(kind, item["sign_bytes_hex"], message)
    report.equal("generated: heads JSON", item["heads_json"], encode_heads_json((head_of(entry),)).decode())
    report.equal(kind, item["additional_data"], {})
    report.equal(kind, item["decoded_payload_hex"], decode_entry(encode_entry(entry)).payload.encode())


def _long_log(report: Report, place: Place) -> None:
    log = GoLog(_identity(place["seed_hex"]), place["log_id"].text(), place["pointer_count"].number(), sign_text)
    pattern = re.sub(r"'? % i.*", "", place["payload"].text())
    for index, cid in enumerate(place["cids"]):
        entry = log.append((pattern % index).encode())
        report.equal("generated: long log", cid, str(entry.cid))
        if place["entries"][str(index)]:
            check_made(report, place["entries"][str(index)], entry)


def _join(report: Report, place: Place, identities: dict[str, LogIdentity]) -> None:
    """Two writers: two and three entries, a join, one and two more, a second join, one more."""
    a, b = (GoLog(identities[side], "J", POINTERS, sign_text) for side in "ab")
    made: dict[str, Entry] = {}
    first = place["append_after_join"]
    if first:
        a.log_id = b.log_id = decode_entry(first["cbor_hex"].bytes()).log_id
    _append(made, a, "a1", "a2")
    _append(made, b, "b1", "b2", "b3")
    a.join(b)
    _compare(report, place, a, made, "heads_after_join", "values_after_join")
    _append(made, a, "a3")
    check_made(report, place["append_after_join"], made["a3"])
    _append(made, b, "b4", "b5")
    a.join(b)
    _compare(report, place, a, made, "heads_after_join2", "values_after_join2")
    report.equal("generated: join", place["heads_cids"], [str(entry.cid) for entry in a.heads])
    _append(made, a, "a4")
    check_made(report, place["append_after_join2"], made["a4"])
    _compare(report, place, a, made, "", "values_final")
    for name, cid in place["cid_by_payload"].items():
        report.equal("generated: join", cid, str(made[name].cid))


def _append(made: dict[str, Entry], log: GoLog, *names: str) -> None:
    for name in names:
        made[name] = log.append(name.encode())


def _compare(report: Report, place: Place, log: GoLog, made: dict[str, Entry], heads: str, values: str) -> None:
    names = {entry.cid: name for name, entry in made.items()}
    if heads:
        report.equal("generated: join", place[heads], [names[entry.cid] for entry in log.heads])
    report.equal("generated: join", place[values], [names[entry.cid] for entry in log.values])


def _odd(report: Report, item: Place, identity: LogIdentity) -> None:
    payload = item["payload_hex"].bytes()
    try:
        payload.decode()
    except UnicodeDecodeError:
        _refused(report, item)
        return
    entry, _ = sign_text(identity, item["log_id"].text(), payload, (), (), item["clock_time"].number())
    check_made(report, item, entry)


def _refused(report: Report, item: Place) -> None:
    """Go takes a payload that is no text (and its versions sign it differently); we refuse the block."""
    block = item["cbor_hex"].bytes()
    report.equal("generated: odd payload", item["cid"], str(Cid.of(block)))
    carried = item["payload_hex"].bytes() in block
    report.true("generated: odd payload", item["payload_hex"], carried, "the block has another payload")
    try:
        decode_entry(block)
    except RemoteProtocolError:
        report.deviations["payload-not-text"] += 1
    else:
        report.true("generated: odd payload", item, False, "a payload that is no text was accepted")


def _encrypted(report: Report, item: Place, links: Place) -> None:
    """Encrypted links can be read and must never be written: they do not verify in Go itself (IPFS log, 1.8)."""
    kind = "generated: encrypted links"
    block = item["cbor_hex"].bytes()
    report.equal(kind, item["cid"], str(Cid.of(block)))
    value = decode_dagcbor(block)
    report.equal(kind, item["cbor_hex"], encode_dagcbor(value))
    parents = tuple(Cid.parse(cid.text()) for cid in item["next"])
    refs = tuple(Cid.parse(cid.text()) for cid in item["refs"])
    payload = item["payload_hex"].bytes()
    report.true(kind, item["payload_hex"], value["payload"].encode() == payload, "the block has another payload")
    message = signed_bytes(
        value["id"], value["payload"], parents, refs, item["clock_time"].number(), bytes.fromhex(value["clock"]["id"])
    )
    extra = item["additional_data"].take()
    if extra:
        names = ",".join(f'"{name}":"{extra[name]}"' for name in sorted(extra))
        message = b'{"additional_data":{' + names.encode() + b"}," + message[1:]
        _links(report, item, links, value, payload, (parents, refs))
    report.equal(kind, item["sign_bytes_hex"], message)
    failed = "signature could not verified" if parents or refs else None
    report.equal(kind, item["verify_error"], failed)
    opened = [str(cid) for cid in parents]
    report.equal(kind, item["decoded_next"], opened)


def _links(
    report: Report,
    item: Place,
    links: Place,
    value: dict[str, object],
    payload: bytes,
    expected: tuple[tuple[Cid, ...], tuple[Cid, ...]],
) -> None:
    kind = "generated: encrypted links"
    extra = item["additional_data"]
    nonce = base64.b64decode(extra["encrypted_links_nonce"].text())
    box = base64.b64decode(extra["encrypted_links"].text())
    report.equal(kind, extra["encrypted_links"], value["enc_links"])
    report.equal(kind, extra["encrypted_links_nonce"], value["enc_links_nonce"])
    clock = bytes.fromhex(value["clock"]["id"])  # type: ignore[index]
    parts = [b"".join(b"-" + str(cid).encode() for cid in expected[0]), b"", payload, clock]
    parts += [str(item["clock_time"].number()).encode(), links["log_id"].text().encode(), b"2"]
    reference = b",".join(parts)
    report.equal(kind, item["nonce_ref_empty_key"], reference)
    report.true(kind, item, hashlib.sha3_256(reference).digest()[:24] == nonce, "the nonce is not of the reference")
    plain = open_secretbox(links["link_key_hex"].bytes(), nonce, box)
    report.true(kind, item, plain is not None, "the links do not open")
    # The inner block keeps Go's order of fields, which is not canonical: its links are cut out by their prefix.
    data = plain or b""
    found = [Cid(data[match.end() : match.end() + 36]) for match in re.finditer(rb"\xd8\x2a\x58\x25\x00", data)]
    report.true(kind, item, tuple(found) == expected[0] + expected[1], "other links are in it")


__all__ = ["check_generated", "check_made", "sign_text"]
