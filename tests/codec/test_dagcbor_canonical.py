"""DAG-CBOR against another implementation, against recorded blocks, and against everything that is not canonical."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from berty_core.codec.cid import Cid
from berty_core.codec.dagcbor import decode_dagcbor, encode_dagcbor, link
from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.ids import GroupId

CID = Cid.of(b"block")
RECORDING = Path(__file__).parent.parent / "vectors" / "wesh" / "messages.json.gz"

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**64), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=300),
    st.binary(max_size=300),
    st.binary(max_size=40).map(lambda data: link(Cid.of(data))),
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=30), inner, max_size=6)
)


def as_cbor2(value: Any) -> Any:
    """The same value in the other library's types."""
    if isinstance(value, bytes) and value[:4] == bytes(CID)[:4] and len(value) == Cid.LENGTH:
        return cbor2.CBORTag(42, b"\0" + value)
    if isinstance(value, list):
        return [as_cbor2(item) for item in value]
    if isinstance(value, dict):
        return {key: as_cbor2(item) for key, item in value.items()}
    return value


def has_float(value: Any) -> bool:
    """Whether a float is anywhere in a value; the other library shortens them."""
    if isinstance(value, list | dict):
        return any(map(has_float, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float)


def sort_keys(value: Any) -> Any:
    """A value with its keys in the order of DAG-CBOR."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return {key: sort_keys(value[key]) for key in keys}
    return [sort_keys(item) for item in value] if isinstance(value, list) else value


@given(values)
@example({"bb": 1, "a": 2, "": 3, "é": 4})
@example([23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, -24, -25, -256, -257])
def test_every_value_comes_back(value: Any) -> None:
    """Encoding and decoding gives the value again, of the same types and with keys in order."""
    assert repr(sort_keys(value)) == repr(decode_dagcbor(encode_dagcbor(value)))


@given(values.filter(lambda value: not has_float(value)))
def test_equal_to_another_implementation(value: Any) -> None:
    """Canonical CBOR of another library has the same bytes."""
    assert cbor2.dumps(as_cbor2(value), canonical=True) == encode_dagcbor(value)


@given(st.binary(max_size=200) | values.map(encode_dagcbor), st.data())
def test_whatever_is_accepted_is_canonical(data: bytes, draws: st.DataObject) -> None:
    """Any bytes give a value that encodes to the same bytes, or RemoteProtocolError, and nothing else."""
    if data:
        position = draws.draw(st.integers(0, len(data) - 1))
        data = data[:position] + draws.draw(st.binary(max_size=2)) + data[position + 1 :]
    try:
        value = decode_dagcbor(data)
    except RemoteProtocolError:
        return
    assert data == encode_dagcbor(value)


@pytest.mark.parametrize(
    "data",
    [
        "",
        "18",
        "1817",  # 23 in two bytes
        "190018",
        "1a0000ffff",
        "1b00000000ffffffff",
        "1c",
        "1f",
        "5f4100ff",  # indefinite bytes
        "9fff",
        "bfff",
        "f7",  # undefined
        "f93c00",  # short floats
        "fa3f800000",
        "fb7ff8000000000000",  # not a number
        "fb7ff0000000000000",  # infinite
        "fb7ff0",
        "61ff",  # not UTF-8
        "a10102",  # a key that is a number
        "a2616101616102",  # a key twice
        "a2616201616102",  # keys out of order
        "a262616101616202",  # the longer key first
        "a26001600",  # the empty key twice
        "a16261",  # a key that is cut off
        "c11a514b67b0",  # a tag that is no link
        "c243010000",  # a big number
        "d82a450171122000",  # a link without the zero byte
        "d82a6100",
        "d82a5825000171122000",  # a link that is cut off
        "0000",
        "5affffffff00",  # a length beyond the data
        "9bffffffffffffffff00",
        "81" * 100_000 + "00",
        "81" * 100_000,
    ],
)
def test_refused(data: str) -> None:
    """What is cut off, ambiguous, not canonical or nested too deeply is refused."""
    with pytest.raises(RemoteProtocolError):
        decode_dagcbor(bytes.fromhex(data + "0" * (len(data) % 2)))


@pytest.mark.parametrize("value", [2**64, -(2**64) - 1, (1,), GroupId(bytes(32)), CID, float("nan"), {1: 2}, "\ud800"])
def test_what_has_no_form(value: object) -> None:
    """A value outside the data model is our caller's fault; a CID must say that it is a link."""
    with pytest.raises(LocalProtocolError):
        encode_dagcbor([value])


def blocks(value: Any) -> Iterator[bytes]:
    """All values under the key `block`, as bytes."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else []):
        if key == "block":
            yield bytes.fromhex(item)
        else:
            yield from blocks(item)


def test_recorded_blocks() -> None:
    """Each block that a Go node made decodes, and encodes to the same bytes."""
    found = list(blocks(json.loads(gzip.decompress(RECORDING.read_bytes()))))
    assert len(found) > 100
    for block in found:
        assert block == encode_dagcbor(decode_dagcbor(block))
