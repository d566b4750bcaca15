"""Recordings of logs: what every replica holds in which order, and the chains that open its messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ...codec.cid import Cid
from ...crypto.keys import Secret
from ...ids import GroupId
from ...protocol.entry import Entry
from ...protocol.ratchet import Chain, advance, step
from .entries import check_append, check_recorded
from .events_in_log import check_event
from .go_order import difference, sort_descending, values
from .known import Known
from .messages_in_log import check_message_entry, check_openers, readable_by
from .recording import Place
from .report import Report


def check_logs(report: Report, known: Known, root: Place) -> None:
    """Check a recording of metadata logs, message logs, or both."""
    seen: Counter[str] = Counter()
    for address, log in root["logs"].items():
        report.equal("log: address", log["address"], address)
        report.true("log: address", log["group_pk"], _names_group(log, log), "the address is of another group")
        for place in log["entries"]:
            with report.attempt("log: entry", place):
                _entry(report, known, root, log, place, seen)
    for place in root["own_chains"]:
        with report.attempt("ratchet: chain keys and message keys", place):
            _chain(report, place)
    for name, count in root["event_types_seen"].items():
        enough = count.number() >= seen[name]
        report.true("log: number of events by type", count, enough, f"{seen[name]} are in the logs")
    check_openers(report, known, root)
    for place in root["replica_orders"]:
        with report.attempt("order: replica", place):
            _replica(report, known, place)
    with report.attempt("order: reopened log", root["reopen_from_disk"]):
        _reopened(report, known, root["reopen_from_disk"])


def _entry(report: Report, known: Known, root: Place, log: Place, place: Place, seen: Counter[str]) -> None:
    group = known.groups.get(log["group_pk"].bytes())
    if group is not None:
        report.equal("log: kind of its group", log["group_type"], int(group.kind))
    entry = check_recorded(report, place, group)
    report.equal("log: address", log["address"], entry.log_id)
    check_append(report, place, entry, known.entries)
    if place["operation_value"] and not place["block"].shortened:
        report.equal("log: envelope in an entry", place["operation_value"], entry.value)
    if place["event"]:
        seen[place["event_type_name"].text()] += 1
        check_event(report, known, group, entry, place)
    elif place["headers"]:
        check_message_entry(report, known, group, entry, place, root)


def _names_group(address: Place, group: Place) -> bool:
    return f"/{group['group_pk'].text()}_" in address["address"].text()


def _chain(report: Report, place: Place) -> None:
    kind = "ratchet: chain keys and message keys"
    group = GroupId(place["group_pk"].bytes())
    start = Chain(_secret(place["initial_chain_key"]), place["initial_counter"].number())
    for text, key in place["chain_keys_after_counter"].items():
        report.equal(kind, key, bytes(advance(start, group, int(text)).key))
    for text, key in place["message_keys_by_counter"].items():
        before = advance(start, group, int(text) - 1)
        report.equal(kind, key, bytes(step(before.key, group)[1]))


def _secret(place: Place) -> Secret:
    return Secret(place.bytes())


def _replica(report: Report, known: Known, place: Place) -> None:
    names = _names(place["insertion_order"])
    _listing(report, known, place, names[::-1])
    _same_entries(report, place, names)
    _live(report, known, place)
    report.true("log: address", place["group_pk"], _names_group(place, place), "the address is of another group")
    entries = _entries(known, names)
    raw = _entries(known, _names(place["raw_heads"]))
    if entries is None or raw is None:
        report.lack("order: heads and values", "some of its entries are in no file")
        return
    _order(report, place, entries, raw)


def _same_entries(report: Report, place: Place, names: list[str]) -> None:
    raw = _names(place["raw_heads"])
    report.true("order: heads", place["raw_heads"], set(raw) <= set(names), "a head that is not in the log")
    same = sorted(_names(place["heads"])) == sorted(raw)
    report.true("order: sorted heads", place["heads"], same, "other heads than the raw ones")
    same = sorted(_names(place["values_order"])) == sorted(names)
    report.true("order: values", place["values_order"], same, "other entries than were inserted")
    for cid in place["live_delivery"]["cids"]:
        report.true("log: live delivery", cid, cid.text() in names, "an entry that is not in the log")


def _listing(report: Report, known: Known, place: Place, newest_first: list[str]) -> None:
    """Go lists what it can read, in the reverse of its insertion order (Wesh protocol, section 14.1)."""
    listed = _names(place["list_api_order_until_now"])
    wanted = newest_first
    if place["address"].text().endswith("_messages"):
        readable = readable_by(known, place["node"].text(), place["group_pk"].bytes())
        wanted = [name for name in newest_first if name in (listed if readable is None else readable)]
    kind = "order: listing is the insertion order reversed"
    report.true(kind, place["list_api_order_until_now"], listed == wanted, f"reversed and readable: {wanted}")


def _order(report: Report, place: Place, entries: list[Entry], raw: list[Entry]) -> None:
    held = {entry.cid: entry for entry in entries}
    named = {cid for entry in entries for cid in entry.next}
    heads = {str(entry.cid) for entry in entries if entry.cid not in named}
    report.true(
        "order: heads", place["raw_heads"], heads == set(_names(place["raw_heads"])), f"the heads are {sorted(heads)}"
    )
    ours = [str(entry.cid) for entry in sort_descending(raw)]
    report.true("order: sorted heads", place["heads"], ours == _names(place["heads"]), f"sorted they are {ours}")
    order = [str(entry.cid) for entry in values(held, raw)]
    report.true("order: values", place["values_order"], order == _names(place["values_order"]), "another order")
    ids = {entry.log_id for entry in entries}
    if place["address"]:
        report.true("log: address", place["address"], ids <= {place["address"].text()}, f"the entries say {ids}")


def _live(report: Report, known: Known, place: Place) -> None:
    delivery = place["live_delivery"]
    if not delivery:
        return
    group = place["group_pk"].bytes()
    messages = {str(cid): message for cid, message in known.messages.get(group, [])}
    for cid, counter, device in zip(delivery["cids"], delivery["counter"], delivery["device_pk"], strict=True):
        message = messages.get(cid.text())
        if message is None:
            report.lack("log: live delivery", "the message is in no file, or its group's secret is not")
            continue
        report.equal("log: live delivery", counter, message.counter)
        report.equal("log: live delivery", device, bytes(message.device))


def _reopened(report: Report, known: Known, place: Place) -> None:
    """A log that one node wrote alone lists newest first; read back from disk it lists oldest first (14.1)."""
    for name, state in place.items():
        for log in ("messages", "metadata"):
            inserted = _names(state[log]["insertion_order"])
            listed = state[f"list_{log}_until_now"]
            kind = "order: listing is the insertion order reversed"
            report.true(kind, listed, _names(listed) == inserted[::-1], f"it is not, in {name}")
            ordered = state[log]["values_order"]
            same = sorted(_names(ordered)) == sorted(inserted)
            report.true("order: values", ordered, same, "other entries than were inserted")
            _ends(report, state[log])
    for log in ("messages", "metadata"):
        _read_back(report, known, place, log)


def _ends(report: Report, state: Place) -> None:
    """A single head is the last value."""
    raw, heads, ordered = (_names(state[name]) for name in ("raw_heads", "heads", "values_order"))
    report.true("order: sorted heads", state["heads"], sorted(raw) == sorted(heads), "raw heads and heads differ")
    if len(raw) == 1:
        report.true("order: heads", state["raw_heads"], raw == ordered[-1:], "the head is not the last value")


def _read_back(report: Report, known: Known, place: Place, log: str) -> None:
    kind = "order: insertion order after reading from disk"
    before, after, later = (
        place[name][log] for name in ("before_close", "after_reopen", "after_reopen_and_one_append")
    )
    if not before or not after:
        return
    first, second = _names(before["insertion_order"]), _names(after["insertion_order"])
    report.true(kind, after, sorted(first) == sorted(second), "other entries than before")
    entries, heads = _entries(known, first), _entries(known, _names(after["raw_heads"]))
    if entries is not None and heads is not None:
        ours = [str(entry.cid) for entry in difference({e.cid: e for e in entries}, heads, {})]
        report.true(kind, after, ours == second, "not breadth first from the heads")
    elif first == _names(before["values_order"]) and len(_names(after["raw_heads"])) == 1:
        report.true(kind, after, second == first[::-1], "a log in one line is read newest first")
    third = _names(later["insertion_order"]) if later else []
    if later:
        report.true(kind, later, third[: len(second)] == second, "an append changed what was there")


def _names(place: Place) -> list[str]:
    value = place.optional() or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError("a list of CIDs was expected")
    return value


def _entries(known: Known, names: Iterable[str]) -> list[Entry] | None:
    found = [known.entries.get(Cid.parse(name)) for name in names]
    kept = [entry for entry in found if entry is not None]
    return kept if len(kept) == len(found) else None
