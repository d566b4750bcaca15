"""A beacon that is asked for on a link: whole however it is cut, and bounded whatever comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berty_core.errors import RemoteProtocolError
from berty_core.protocol.link_beacon import MAX_LENGTH, MAX_TAGS, AnswerReader, LinkBeacon, encode_answer

TAGS = st.lists(st.binary(min_size=8, max_size=8), unique=True, max_size=40).map(lambda tags: tuple(sorted(tags)))
BEACONS = st.builds(LinkBeacon, st.binary(min_size=8, max_size=8), TAGS)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """The same bytes in pieces."""
    places = [0, *sorted(place % (len(data) + 1) for place in at), len(data)]
    return [data[start:end] for start, end in zip(places, places[1:], strict=False)]  # noqa: RUF007  empty ones too


@given(BEACONS, st.binary(max_size=50), st.lists(st.integers(0, 500)))
def test_round_trip_in_pieces(beacon: LinkBeacon, rest: bytes, places: list[int]) -> None:
    """The beacon comes out as it was, with all that followed it, wherever the link cut it."""
    reader, pieces = AnswerReader(), cut(encode_answer(beacon) + rest, places)
    while (found := reader.feed(pieces.pop(0))) is None:
        pass
    assert found[0] == beacon
    assert found[1] + b"".join(pieces) == rest


@given(st.binary(max_size=3000))
def test_any_bytes_give_a_value_or_a_remote_error(data: bytes) -> None:
    """Nothing else is raised, and an answer is complete or wrong before the reader keeps more than its limit."""
    reader = AnswerReader()
    try:
        found = reader.feed(data)
    except RemoteProtocolError:
        return
    if found is None:
        assert len(data) < MAX_LENGTH
    else:
        assert encode_answer(found[0]) + found[1] == data


@given(st.binary(min_size=1, max_size=3000))
def test_the_rest_of_an_answer_may_be_anything(tail: bytes) -> None:
    """The same with a first byte that fits, or none of this would reach what is behind it."""
    test_any_bytes_give_a_value_or_a_remote_error.hypothesis.inner_test(b"\xbd" + tail)  # type: ignore[attr-defined]


def test_the_bytes() -> None:
    """The example of the reference page."""
    beacon = LinkBeacon(bytes(range(8)), (b"\x11" * 8, b"\x22" * 8))
    assert encode_answer(beacon).hex() == "bd02" + "0001020304050607" + "11" * 8 + "22" * 8


def test_more_tags_than_fit() -> None:
    """The first ones are shown; an answer never exceeds its limit."""
    tags = tuple(sorted(number.to_bytes(8, "big") for number in range(300)))
    data = encode_answer(LinkBeacon(bytes(8), tags))
    assert len(data) == MAX_LENGTH
    found = AnswerReader().feed(data)
    assert found is not None
    assert found[0].tags == tags[:MAX_TAGS]


@pytest.mark.parametrize("tags", [(b"b" * 8, b"a" * 8), (b"a" * 8, b"a" * 8)])
def test_tags_in_disorder(tags: tuple[bytes, ...]) -> None:
    """Tags that are not in order, or come twice, are refused."""
    with pytest.raises(RemoteProtocolError, match="ascending"):
        AnswerReader().feed(encode_answer(LinkBeacon(bytes(8), tags)))


def test_another_first_byte() -> None:
    """The first wrong byte is enough."""
    with pytest.raises(RemoteProtocolError, match="beacon"):
        AnswerReader().feed(b"\xbe")
