"""Every fuzz target for a short time: recorded bytes, the same with a few changes, and any others."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .libp2p_targets import LIBP2P
from .media_targets import MEDIA
from .seeds import seeds
from .targets import CORE, run

TARGETS = {**CORE, **LIBP2P, **MEDIA}
SHORT = settings(max_examples=60)
CHANGE = st.tuples(
    st.sampled_from(["set", "insert", "delete", "repeat"]), st.integers(0, 1 << 20), st.binary(max_size=6)
)
# What every seed of a target must be taken as: what was recorded is well formed.
TAKEN = {*("cid", "cid_text", "dagcbor", "heads", "heads_box", "link", "group", "peer_id", "peer_id_text")} | {
    *(
        "peer_key",
        "public_key",
        "gossip",
        "bitswap",
        "whole_description",
        "description",
        "local_records",
        "announcement",
    ),
    *(
        "advert",
        "certificate",
        "signed_key",
        "multiaddr_text",
        "varint",
        "negotiation",
        "connection",
        "contact_request",
        "session",
    ),
    *("bus_beacon", "groupcast", "groupcast_machine", "compact_entry", "arq", "arq_stream", "fragments"),
    *("link_beacon", "bundle_content"),
}


def change(data: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    """Some edits, each at a place of the bytes as they are then."""
    for kind, number, new in changes:
        place = number % (len(data) + 1)
        behind = place + (0 if kind == "insert" else max(1, len(new)))
        middle = {"set": new, "insert": new, "delete": b"", "repeat": data[place:behind] * 3}[kind]
        data = data[:place] + middle + data[behind:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_recorded_bytes(name: str) -> None:
    """What was recorded is taken, or refused where the target has other keys."""
    taken = [run(TARGETS[name], seed) for seed in seeds(name)]
    assert all(taken) or name not in TAKEN


@pytest.mark.parametrize("name", TARGETS)
@SHORT
@given(data=st.data())
def test_recorded_bytes_with_changes(name: str, data: st.DataObject) -> None:
    """A few edits of what was recorded: a value or RemoteProtocolError."""
    seed = data.draw(st.sampled_from(seeds(name)))
    run(TARGETS[name], change(seed, data.draw(st.lists(CHANGE, min_size=1, max_size=4))))


@pytest.mark.parametrize("name", TARGETS)
@SHORT
@given(data=st.binary(max_size=200))
def test_any_bytes(name: str, data: bytes) -> None:
    """A value or RemoteProtocolError."""
    run(TARGETS[name], data)


def test_a_target_at_fault_is_found() -> None:
    """What raises anything else is no RemoteProtocolError."""
    with pytest.raises(ZeroDivisionError):
        run(lambda data: 1 // len(data), b"")
