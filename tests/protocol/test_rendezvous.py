"""Rendezvous points: golden values of the specification and of the reference's tests, and what must differ."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berty_core.crypto.keys import PrivateKey
from berty_core.ids import AccountId
from berty_core.protocol.rendezvous import (
    advert_tag,
    contact_topic,
    group_point,
    period_start,
    rotation_point,
    session_secret,
)


@pytest.mark.parametrize(
    ("topic", "hour", "point"),
    [
        (b"topicA", 12, "8b7fdc831ca90f78995f32d8b9cf7bc8682a7fc250fe13a9b7c5c0851a3b8cbc"),
        (b"topicA", 13, "ec86e0cb471195733ebbeb04277aafcfc60a19c09195cf04e60b50857465c27f"),
        (b"topicB", 12, "6350bd507198a9acb816dcadae8c5c6ff6c96ee6c9606c8ebe15c1f645ac4c4e"),
    ],
)
def test_golden_points(topic: bytes, hour: int, point: str) -> None:
    """The reference's own values (Wesh protocol, section 5.2)."""
    at = datetime.datetime(2020, 4, 10, hour, tzinfo=datetime.UTC).timestamp()
    assert rotation_point(topic, b"seedA", period_start(at, 3600)).hex() == point


@pytest.mark.parametrize(
    ("start", "topic"),
    [
        (0, "cIa2wvtPVBkDUXwzuC9o//aCxjHpw1NRdaEuYUNcqvw="),
        (1699920000, "5Gnfp2XujS3peunfN83NUw8+i/be4GYHf239ilTHtow="),
    ],
)
def test_golden_contact_topics(start: int, topic: str) -> None:
    """The specification's values (section 5.2)."""
    account = AccountId(PrivateKey(b"\x01" * 32).public)
    assert contact_topic(account, b"\x07" * 32, start) == topic


@given(st.floats(0, 4e9), st.integers(1, 10**7))
def test_periods(now: float, interval: int) -> None:
    """A period starts at a multiple of its length, holds its moment, and a negative length is its opposite."""
    start = period_start(now, interval)
    assert start % interval == 0
    assert start <= now < start + interval + 1e-6 * interval
    assert period_start(now, -interval) == start


def test_static_rotation_never_leaves_its_first_period() -> None:
    """The default of weshnet lasts until the year 2262 (section 6.1)."""
    assert period_start(9_223_372_035.0, 9223372036) == 0


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_adverts_share_nothing(first: bytes, second: bytes) -> None:
    """Two nonces give two tags of one point, and neither key tells the other."""
    point = group_point("/orbitdb/x/y", b"k" * 32)
    tags = {advert_tag(point, nonce) for nonce in (first, second)}
    assert len(tags) == (1 if first == second else 2)
    assert all(len(tag) == 8 for tag in tags)
    assert bytes(session_secret(point)) != point
