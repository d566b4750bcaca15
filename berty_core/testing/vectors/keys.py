"""Recordings of keys: keystores, groups as each device sees them, stores, rendezvous points, messages out of store."""

from __future__ import annotations

import base64

from ...codec.base58 import encode_base58
from ...codec.cid import RAW, Cid
from ...codec.dagcbor import decode_dagcbor, encode_dagcbor
from ...codec.pb import wesh_pb2 as pb
from ...codec.protobuf import parse
from ...crypto.keys import PrivateKey, decode_private, derive_shared_key, encode_private, encode_public
from ...ids import AccountId
from ...protocol.group import (
    WESH,
    Group,
    GroupKind,
    account_group,
    contact_group,
    decode_group,
    encode_group,
    log_address,
)
from ...protocol.heads import raw_rotation
from ...protocol.ratchet import WINDOW
from ...protocol.rendezvous import period_start, rotation_point
from ...protocol.shareable import ShareableContact, decode_contact, encode_contact
from .fields import check_message
from .known import Known, View
from .out_of_store import check_out_of_store
from .recording import Place
from .replay import chain_at_end
from .report import Report

STATIC_INTERVAL = WESH.rotation


def check_keys(report: Report, known: Known, root: Place) -> None:
    """Check a recording of keys."""
    names = {account["name"].value: account for account in root["accounts"]}
    for account in root["accounts"]:
        with report.attempt("keys: account", account):
            _account(report, known, account)
    for name, owner in root["account_of"].items():
        with report.attempt("keys: second device", owner):
            _second_device(report, names, name, owner, root)
    report.each("keys: contact pair", root["contact_pairs"], lambda place: _pair(report, names, place))
    report.each("keys: group", root["groups"], lambda place: _seen_group(report, names, place))
    report.each("keys: store", root["stores"], lambda place: _store(report, known, place))
    report.each("keys: rendezvous point", root["rendezvous_points"], lambda place: _point(report, place))
    report.each("keys: out of store", root["out_of_store"], lambda place: check_out_of_store(report, known, place))
    for place in root["replication_server_received"]:
        with report.attempt("keys: replicated group", place):
            _replicated(report, known, place)


def _account(report: Report, known: Known, place: Place) -> None:
    for name, entry in place["keystore"].items():
        with report.attempt("keys: keystore entry", entry):
            _keystore_entry(report, place, name, entry)
    account, proof = _keystore(place, "accountSK"), _keystore(place, "accountProofSK")
    for name in ("api_account_pk", "api_account_group_pk", "GetAccountProofPublicKey_returns"):
        report.equal("keys: account", place[name], bytes(account.public))
    report.equal("keys: account", place["api_device_pk"], bytes(_keystore(place, "deviceSK").public))
    report.equal("keys: account", place["exported_account_key"], encode_private(account))
    report.equal("keys: account", place["exported_account_proof_key"], encode_private(proof))
    with report.attempt("keys: account group", place["account_group"]):
        check_group(report, place["account_group"], account_group(account, proof))
    _peer(report, place)
    _contact(report, place, account)
    for name, item in place["groups_in_datastore"].items():
        with report.attempt("keys: group in the datastore", item):
            _datastore(report, known, name, item)
    _chains_at_end(report, known, place)


def _keystore(account: Place, name: str) -> PrivateKey:
    return PrivateKey(account["keystore"][name]["seed"].bytes())


def _keystore_entry(report: Report, account: Place, name: str, entry: Place) -> None:
    key = PrivateKey(entry["seed"].bytes())
    report.equal("keys: keystore entry", entry["pub"], bytes(key.public))
    report.equal("keys: keystore entry", entry["raw_64"], bytes(key.expanded))
    report.equal("keys: keystore entry", entry["stored_libp2p_priv"], bytes(encode_private(key)))
    if entry["stored_libp2p_priv"]:
        same = decode_private(entry["stored_libp2p_priv"].bytes()) == key
        report.true("keys: keystore entry", entry, same, "the stored form decodes to another key")
    kind, _, other = name.partition("_")
    source = {"memberSK": "accountProofSK", "contactGroupSK": "accountSK"}.get(kind)
    if source and other:
        own = _keystore(account, source)
        derived = derive_shared_key(own, bytes.fromhex(other))
        report.equal("keys: derived by exchange", entry["seed"], bytes(derived.seed))


def _peer(report: Report, place: Place) -> None:
    if place["libp2p_identity_priv"]:
        key = decode_private(place["libp2p_identity_priv"].bytes())
        identity = b"\x00\x24" + encode_public(key.public)
        report.equal("keys: peer id", place["peer_id_bytes"], identity)
        report.equal("keys: peer id", place["peer_id"], encode_base58(identity))


def _contact(report: Report, place: Place, account: PrivateKey) -> None:
    encoded = place["share_contact_encoded"]
    if not encoded:
        return
    contact = decode_contact(encoded.bytes())
    seed = place["public_rendezvous_seed"].bytes()
    ours = encode_contact(ShareableContact(AccountId(account.public), seed))
    report.equal("keys: shareable contact", encoded, ours)
    report.true("keys: shareable contact", encoded, contact.rendezvous_seed == seed, "another seed")


def _datastore(report: Report, known: Known, name: str, item: Place) -> None:
    data = item.bytes()
    message = parse(pb.Group, data)
    report.true(
        "keys: group in the datastore",
        item,
        encode_group(decode_group(message)).SerializeToString() == data,
        "other bytes",
    )
    label = base64.urlsafe_b64encode(message.public_key).decode().rstrip("=")
    report.true("keys: group in the datastore", item, name.endswith(f"/{label}"), f"stored under {name}")
    group = known.groups.get(message.public_key)
    if group is None:
        report.lack("keys: group in the datastore", "no file tells the group in another way")
    else:
        report.equal("keys: group in the datastore", item, encode_group(group).SerializeToString())


def _second_device(report: Report, names: dict[str, Place], name: str, owner: Place, root: Place) -> None:
    second, first = names.get(name), names.get(owner.text())
    if second is None or first is None:
        report.lack("keys: second device", "its accounts are not in the recording")
        return
    for key in ("accountSK", "accountProofSK"):
        seed = _keystore(first, key).seed
        report.equal("keys: second device", second["keystore"][key]["seed"], bytes(seed))
    configuration = root[f"{name.lower()}_configuration"]
    report.equal("keys: second device", configuration["account_pk"], bytes(_keystore(second, "accountSK").public))
    report.equal("keys: second device", configuration["device_pk"], bytes(_keystore(second, "deviceSK").public))


def _pair(report: Report, names: dict[str, Place], place: Place) -> None:
    first, second = (names.get(place[side].text()) for side in ("a", "b"))
    if not names:
        report.lack("keys: contact pair", "no account is in the recording")
        return
    if first is None or second is None:
        report.true("keys: contact pair", place, False, "an account of this name is not in the recording")
        return
    for own, other in ((first, second), (second, first)):
        account = _keystore(own, "accountSK")
        group = contact_group(account, AccountId(_keystore(other, "accountSK").public))
        check_group(report, place["contact_group"], group)


def check_group(report: Report, place: Place, group: Group) -> None:
    """Compare all that a recording says about a group with ours."""
    kind = "keys: group"
    message = encode_group(group)
    check_message(report, kind, place["fields"], message)
    report.equal(kind, place["proto"], message.SerializeToString())
    report.equal(kind, place["group_type"], int(group.kind))
    report.equal(kind, place["id_string"], group.public_key.hex())
    report.equal(kind, place["link_key"], bytes(group.link_key))
    report.equal(kind, place["shared_secret"], bytes(group.secret))
    report.equal(kind, place["signing_pub"], bytes(group.signing_public))
    reduced = encode_group(group.reduced())
    check_message(report, "keys: reduced group", place["reduced_for_replication"]["fields"], reduced)
    report.equal("keys: reduced group", place["reduced_for_replication"]["proto"], reduced.SerializeToString())


def _seen_group(report: Report, names: dict[str, Place], place: Place) -> None:
    message = parse(pb.Group, place["proto"].bytes())
    group = decode_group(message)
    check_group(report, place, group)
    if group.kind is GroupKind.MULTI_MEMBER:
        report.succeeds("keys: invitation", place["proto"], group.check_invitation)
    private = place["group_private_key_64"]
    if private:
        _creator(report, place, group, PrivateKey(private.bytes()[:32]))
    owner = names.get(place["as_seen_by"].text())
    if owner is None:
        report.lack("keys: member and device of a group", "the account is not in the recording")
        return
    many = group.kind is GroupKind.MULTI_MEMBER
    member = _keystore(owner, f"memberSK_{group.public_key.hex()}" if many else "accountSK")
    device = _keystore(owner, f"memberDeviceSK_{group.public_key.hex()}" if many else "deviceSK")
    report.equal("keys: member and device of a group", place["member_pk"], bytes(member.public))
    report.equal("keys: member and device of a group", place["device_pk"], bytes(device.public))


def _creator(report: Report, place: Place, group: Group, key: PrivateKey) -> None:
    kind = "keys: group signatures made again"
    report.equal(kind, place["group_private_key_64"], bytes(key.expanded))
    report.equal(kind, place["fields"]["public_key"], bytes(key.public))
    report.equal(kind, place["fields"]["secret_sig"], key.sign(bytes(group.secret)))
    report.equal(kind, place["fields"]["link_key_sig"], key.sign(bytes(group.link_key)))


def _store(report: Report, known: Known, place: Place) -> None:
    kind = "keys: store address"
    store_type = place["store_type"].text()
    report.equal(kind, place["db_name"], f"{place['group_pk'].text()}_{store_type}")
    group = known.groups.get(place["group_pk"].bytes())
    if group is None:
        report.lack(kind, "no file tells the group's secret")
        return
    address = log_address(group.public_key, group.signing_public, store_type)
    name = address.text.rpartition("/")[2]
    report.equal(kind, place["address"], address.text)
    report.equal(kind, place["manifest_block"], address.manifest)
    report.equal(kind, place["manifest_cid"], str(Cid.of(address.manifest)))
    report.equal(kind, place["manifest_cid_bytes"], bytes(Cid.of(address.manifest)))
    report.equal(kind, place["access_controller_json_by_spec"], address.access_controller.decode())
    report.equal(kind, place["access_controller_cid_of_that_json"], str(Cid.of(address.access_controller, RAW)))
    report.equal(kind, place["db_name"], name)
    report.equal(kind, place["address_path"], name)
    report.equal(kind, place["group_type"], int(group.kind))
    again = encode_dagcbor(decode_dagcbor(place["manifest_block"].bytes()))
    report.equal("keys: manifest encoded again", place["manifest_block"], again)
    _rotations(report, place["raw_rotation"], address.text, group)


def _rotations(report: Report, place: Place, address: str, group: Group) -> None:
    for name, value in place.items():
        start = None
        if name == "static":
            start = period_start(0, STATIC_INTERVAL)
        elif name.startswith("interval_24h_at_"):
            start = period_start(int(name.rpartition("_")[2]), 86400)
        elif name == "interval_24h_now" and place["now_unix"]:
            start = period_start(place["now_unix"].number(), 86400)
        if start is not None:
            report.equal("keys: rotation of a store", value, raw_rotation(address, group.link_key, start))


def _point(report: Report, place: Place) -> None:
    kind = "keys: rendezvous point"
    interval = place["interval_s"].take()
    seconds = int(abs(interval)) or STATIC_INTERVAL  # a rotation of 0 is the static one
    start = period_start(place["at_unix"].number(), seconds)
    point = rotation_point(place["topic_input"].text().encode(), place["seed"].bytes(), start)
    report.equal(kind, place["period_start"], start)
    report.equal(kind, place["point"], point)
    report.equal(kind, place["point_b64"], base64.b64encode(point).decode())
    report.equal(kind, place["next_period"], start + seconds)
    report.equal(kind, place["deadline"], start + seconds)
    report.equal(kind, place["static"], seconds == STATIC_INTERVAL)


def _replicated(report: Report, known: Known, place: Place) -> None:
    data = place.bytes()
    message = parse(pb.Group, data)
    reduced = decode_group(message)
    same = encode_group(reduced).SerializeToString() == data
    report.true("keys: replicated group", place, same, "encoded again it has other bytes")
    group = known.groups.get(message.public_key)
    if group is None:
        report.lack("keys: replicated group", "no file tells the group's secret")
    else:
        report.equal("keys: replicated group", place, encode_group(group.reduced()).SerializeToString())


def _chains_at_end(report: Report, known: Known, account: Place) -> None:
    node = account["name"].text()
    for name, state in account["chain_key_state_at_end"].items():
        with report.attempt("keys: chain at the end", state):
            _chain_at_end(report, known, account, node, name, state)


def _chain_at_end(report: Report, known: Known, account: Place, node: str, name: str, state: Place) -> None:
    kind = "keys: chain at the end"
    key, counter = state["chain_key"].bytes(), state["counter"].number()
    report.equal(kind, state["proto"], pb.DeviceChainKey(chain_key=key, counter=counter).SerializeToString())
    kept = account["precomputed_message_keys_at_end"][name]
    group, device = (bytes.fromhex(part) for part in name.split("/"))
    view = known.views.get((node, group))
    if view is None:
        report.lack(kind, "no file tells who the node is in the group")
        return
    if view.device != device and kept:
        report.equal(kind, kept["count"], WINDOW)
        report.equal(kind, kept["max"], counter)
    _against_messages(report, known, view, (group, device), state, kept)


def _against_messages(
    report: Report, known: Known, view: View, name: tuple[bytes, bytes], state: Place, kept: Place
) -> None:
    kind = "keys: chain after all messages"
    end = chain_at_end(known, view, *name)
    if end is None:
        report.lack(kind, "the chain or the messages of the group are in no file")
        return
    report.equal(kind, state["counter"], end.counter)
    report.equal(kind, state["chain_key"], bytes(end.key))
    if kept:
        report.equal(kind, kept["min"], min(end.kept, default=0))
        report.equal(kind, kept["max"], max(end.kept, default=0))
        report.equal(kind, kept["count"], len(end.kept))
