"""What go-ipfs-log's own tests state: secp256k1 identities and entries, a long log, entries of versions 1 and 0."""

from __future__ import annotations

import hashlib
import json

from ...codec.base58 import encode_base58
from ...codec.cid import Cid
from ...codec.dagcbor import decode_dagcbor, encode_dagcbor, link
from ...codec.varint import encode_varint
from ...errors import RemoteProtocolError
from ...protocol.entry import decode_entry, signed_bytes
from .recording import Place
from .report import Report
from .secp256k1 import OrbitIdentity, Secp256k1Key, sign_raw, verify


def check_published(report: Report, place: Place) -> None:
    """Check the section `published`."""
    identities: dict[str, OrbitIdentity] = {}
    keys = {name: Secp256k1Key.of(key.bytes()) for name, key in place["keystore_secp256k1_hex"].items()}
    for name, item in place["identities"].items():
        with report.attempt("published: identity", item):
            identities[name] = OrbitIdentity.of(keys[name], keys[item["id"].text()])
            _identity(report, item, identities[name])
    for item in place["entries"]:
        with report.attempt("published: entry", item):
            _entry(report, item, identities[item["identity"].text()])
    for name, log in place.items():
        if name.startswith("log_"):
            with report.attempt("published: long log", log):
                _long_log(report, log, identities[log["identity"].text()])
    report.each("published: entry of version 1", place["v1_entries"], lambda item: _version_1(report, item))
    report.each("published: entry of version 0", place["v0_entries"], lambda item: _version_0(report, item))


def _identity(report: Report, item: Place, ours: OrbitIdentity) -> None:
    kind = "published: identity"
    report.equal(kind, item["id"], ours.identity.id)
    report.equal(kind, item["publicKey_hex"], ours.identity.public_key)
    report.equal(kind, item["sig_id_hex"], ours.identity.signature_id)
    report.equal(kind, item["sig_publicKey_hex"], ours.identity.signature_public_key)
    report.equal(kind, item["type"], ours.identity.type)


def _entry(report: Report, item: Place, identity: OrbitIdentity) -> None:
    kind = "published: entry"
    log_id, payload, time = item["log_id"].text(), item["payload"].text(), item["clock_time"].number()
    parents, refs = (tuple(Cid.parse(cid.text()) for cid in item[name]) for name in ("next", "refs"))
    entry, block = sign_raw(identity, log_id, payload, parents, refs, time)
    message = signed_bytes(log_id, payload, parents, refs, time, identity.public)
    report.equal(kind, item["sign_bytes"], message.decode())
    report.equal(kind, item["sig_hex"], entry.sig)
    report.equal(kind, item["cbor_hex"], block)
    report.equal(kind, item["cid"], str(entry.cid))
    report.equal(kind, item["cid_base58"], entry.cid.base58)
    report.equal(kind, item["v"], entry.v)
    good = verify(identity.public, message, item["sig_hex"].bytes())
    report.true("published: signature", item["sig_hex"], good, "it is false")


def _long_log(report: Report, log: Place, identity: OrbitIdentity) -> None:
    """Entry i has payload `entry{i}`, time i + 1 and the one before as parent; pointer count 1 gives no refs."""
    expected = {int(name): cid for name, cid in log["expected_cid_base58_by_index"].items()}
    pattern = log["payload"].text().split('"')[1]
    log_id = log["log_id"].text()
    parents: tuple[Cid, ...] = ()
    for index in range(max(expected) + 1):
        entry, _ = sign_raw(identity, log_id, pattern % index, parents, (), index + 1)
        parents = (entry.cid,)
        if index in expected:
            report.equal("published: long log", expected[index], entry.cid.base58)


def _version_1(report: Report, item: Place) -> None:
    """Blocks of version 1 lack `refs`; they are made again here and refused by our own decoder."""
    kind = "published: entry of version 1"
    right = item["corrected"] if item["corrected"] else item
    parents = [Cid.parse(cid.text()) for cid in right["next_base58"]]
    time, key, identity = right["clock_time"].number(), item["key_hex"].text(), item["identity"]
    recorded = decode_dagcbor(item["cbor_hex"].bytes())
    block = encode_dagcbor(
        {
            "v": 1,
            "id": recorded["id"],
            "key": key,
            "sig": item["sig_hex"].text(),
            "hash": None,
            "next": [link(cid) for cid in parents],
            "clock": {"id": key, "time": time},
            "payload": item["payload"].text(),
            "identity": {
                "id": identity["id"].text(),
                "type": identity["type"].text(),
                "publicKey": identity["publicKey_hex"].text(),
                "signatures": {"id": identity["sig_id_hex"].text(), "publicKey": identity["sig_publicKey_hex"].text()},
            },
        }
    )
    report.equal(kind, item["cid_base58"], Cid.of(block).base58)
    if not item["corrected"]:
        report.equal(kind, item["cbor_hex"], block)
    message = signed_bytes(recorded["id"], item["payload"].text(), tuple(parents), (), time, bytes.fromhex(key), 1)
    signed = message.replace(b'"refs":[],"v":1}', b'"v":1}')  # that version signed no refs
    good = verify(bytes.fromhex(key), signed, item["sig_hex"].bytes())
    report.true("published: signature", item["sig_hex"], good, "it is false")
    try:
        decode_entry(block)
    except RemoteProtocolError:
        report.deviations["older-versions"] += 1


def _version_0(report: Report, item: Place) -> None:
    kind = "published: entry of version 0"
    text = item["json"].text()
    again = json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)
    report.equal(kind, item["json"], again)
    data = text.encode()
    block = b"\x0a" + encode_varint(len(data)) + data
    cid = encode_base58(b"\x12\x20" + hashlib.sha256(block).digest())
    report.equal(kind, item["dag_pb_hex"], block)
    report.equal(kind, item["cid"], cid)
    if item["published_cid"] and item["published_cid"].take() is not None:
        report.equal(kind, item["published_cid"], cid)
