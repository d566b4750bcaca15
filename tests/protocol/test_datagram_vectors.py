"""The vectors of datagram links: made again byte for byte, and read by code that shares nothing with ours.

Below `test_made_again` nothing of `berty_core` is used, only what docs/reference/datagram-links.md says.
"""

from __future__ import annotations

import json
from typing import Any

from ..generate_datagram_vectors import PATH, build

VECTORS: dict[str, Any] = json.loads(PATH.read_text())


def test_made_again() -> None:
    """The same entropy and the same losses give the same file."""
    assert json.loads(json.dumps(build())) == VECTORS


def read(datagram: bytes) -> dict[str, Any]:
    """A datagram as section 3 of the page has it."""
    kind, flags = datagram[0] >> 4, datagram[0] & 15
    at = 1

    def take(count: int) -> bytes:
        nonlocal at
        piece, at = datagram[at : at + count], at + count
        assert len(piece) == count
        return piece

    def number(count: int) -> int:
        return int.from_bytes(take(count), "big")

    found: dict[str, Any] = {"kind": kind, "flags": flags}
    if kind == 1:
        found |= {"sender": take(3), "mtu": number(2), "window": number(1)}
    elif kind == 2:
        found |= {"receiver": take(3), "sender": take(3), "mtu": number(2), "window": number(1)}
    elif kind == 3:
        found |= {"receiver": take(3), "number": number(2)}
        if flags & 2:
            found |= {"next": number(2), "window": number(1), "map": take(number(1)) if flags & 4 else b""}
        found["payload"] = take(len(datagram) - at)
    elif kind == 4:
        found |= {"receiver": take(3), "next": number(2), "window": number(1), "map": take(len(datagram) - at)}
    elif kind == 5:
        found |= {"receiver": take(3), "sender": take(3)}
    assert at == len(datagram)
    return found


def test_each_kind_reads_as_the_page_says() -> None:
    """Names, numbers, windows and maps stand where the tables have them."""
    found = {one["name"]: read(bytes.fromhex(one["datagram"])) for one in VECTORS["messages"]}
    a, b = b"\xa1\xa2\xa3", b"\xb1\xb2\xb3"
    assert found["open"] == {"kind": 1, "flags": 1, "sender": a, "mtu": 233, "window": 255}
    assert found["accept"] == {"kind": 2, "flags": 1, "receiver": a, "sender": b, "mtu": 233, "window": 255}
    assert found["data"] == {"kind": 3, "flags": 0, "receiver": b, "number": 0, "payload": b"hello"}
    assert (found["data, the last"]["flags"], found["data, the last"]["number"]) == (1, 65535)
    assert (found["the end without data"]["flags"], found["the end without data"]["payload"]) == (1, b"")
    with_ack = found["data with an acknowledgement"]
    assert (with_ack["next"], with_ack["window"], with_ack["map"], with_ack["payload"]) == (3, 255, b"", b"hello")
    with_map = found["data with an acknowledgement and a map"]
    assert (with_map["flags"], with_map["map"], with_map["payload"]) == (14, b"\x05\x80", b"hello")
    assert (found["acknowledgement"]["next"], found["acknowledgement"]["map"]) == (258, b"")
    assert (found["acknowledgement with a map"]["window"], found["acknowledgement with a map"]["map"]) == (200, b"\2\1")
    assert found["question"]["flags"] == 8
    assert found["abort"] == {"kind": 5, "flags": 0, "receiver": b, "sender": a}


def test_the_conversation_gives_what_was_said() -> None:
    """The pieces that arrived, put in order by number, are the streams; every number that was sent arrived once."""
    case = VECTORS["conversation"]
    assert any(one["lost"] for one in case["wire"])
    names: dict[int, bytes] = {}
    for side in (0, 1):
        pieces: dict[int, bytes] = {}
        last = None
        for one in case["wire"]:
            message = read(bytes.fromhex(one["datagram"]))
            assert len(one["datagram"]) <= 2 * case["mtu"]
            if one["from"] != side:
                continue
            if message["kind"] in (1, 2):
                names[side] = message["sender"]
            elif message["kind"] == 3:
                assert message["payload"] == pieces.setdefault(message["number"], message["payload"])
                last = message["number"] if message["flags"] & 1 else last
        assert sorted(pieces) == list(range(len(pieces)))
        assert last == len(pieces) - 1
        assert b"".join(pieces[number] for number in sorted(pieces)).hex() == case["said"][side]
    for one in case["wire"]:
        message = read(bytes.fromhex(one["datagram"]))
        if message["kind"] != 1:
            assert message["receiver"] == names[1 - one["from"]]


def test_the_fragments_give_what_was_said() -> None:
    """One byte before each piece, another before the last."""
    case = VECTORS["fragments"]
    datagrams = [bytes.fromhex(one) for one in case["datagrams"]]
    assert [one[0] for one in datagrams] == [0x61] * (len(datagrams) - 1) + [0x71]
    assert all(len(one) <= case["mtu"] for one in datagrams)
    assert b"".join(one[1:] for one in datagrams).hex() == case["said"]
