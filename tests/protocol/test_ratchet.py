"""Sender chains: golden step, Go's window of precomputed keys as oracle, gaps, and strangers' chains."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berty_core.crypto.keys import PrivateKey, Secret
from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.ids import DeviceId, GroupId, MemberId
from berty_core.protocol.ratchet import (
    WINDOW,
    Chain,
    Readability,
    advance,
    decode_chain,
    encode_chain,
    open_shared_chain,
    readability,
    share_chain,
    step,
    take_key,
)

GROUP = GroupId(PrivateKey(b"\x05" * 32).public)
DEVICE, MEMBER = PrivateKey(b"\x06" * 32), PrivateKey(b"\x07" * 32)


def message_keys(start: Chain, count: int) -> dict[int, bytes]:
    """The key of each counter behind a chain, one step after another."""
    key, keys = start.key, {}
    for counter in range(start.counter + 1, start.counter + count + 1):
        key, keys[counter] = step(key, GROUP)
    return keys


@attrs.define
class GoWindow:
    """Go's model: a hundred keys computed ahead, and one more for each that is used (Wesh protocol, section 3.5)."""

    key: Secret
    counter: int
    keys: dict[int, bytes] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        for _ in range(100):
            self.compute()

    def compute(self) -> None:
        """One further key."""
        self.key, message_key = step(self.key, GROUP)
        self.counter += 1
        self.keys[self.counter] = message_key

    def take(self, counter: int) -> bytes | None:
        """Use a key, which slides the far end."""
        found = self.keys.pop(counter, None)
        if found is not None:
            self.compute()
        return found


def test_golden_step() -> None:
    """The chain step of the specification (section 2.8)."""
    group = GroupId(bytes.fromhex("7d86a0e60b29362856dc41cc69afaeff71d527c3bf964429ed255fd3556dbdca"))
    key, message_key = step(b"\x09" * 32, group)
    assert bytes(key).hex() == "3da1755fecc2316ddc008768684127143f35319b34e493a346981c83a0a1af2f"
    assert bytes(message_key).hex() == "c04005890a1b79e1e6dc6092f8d64125c56103b323a1d238b5470d5bb4994401"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 50), st.lists(st.integers(-5, 260), max_size=40))
def test_equals_go(start: int, arrivals: list[int]) -> None:
    """Counters in any order, twice, behind and beyond the window: what opens, and with which key, is as in Go."""
    chain, go = Chain(Secret(b"\x01" * 32), start), GoWindow(Secret(b"\x01" * 32), start)
    for counter in arrivals:
        expected = go.take(counter)
        readable = readability(chain, counter) is Readability.READABLE
        assert readable is (expected is not None)
        if readable:
            key, chain = take_key(chain, GROUP, counter)
            assert key == expected
        else:
            with pytest.raises(LocalProtocolError):
                take_key(chain, GROUP, counter)
        unopened = sorted({*chain.skipped, *range(chain.counter + 1, chain.reach + 1)})
        assert unopened == sorted(go.keys)
        assert len(unopened) == WINDOW


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(1, 81)), st.lists(st.integers(1, 80), max_size=20))
def test_each_message_opens_once(order: list[int], again: list[int]) -> None:
    """Any order and any duplication within the window opens every message exactly once."""
    start = Chain(Secret(b"\x02" * 32), 0)
    expected, chain, opened = message_keys(start, 80), start, {}
    for counter in [*order[:40], *again, *order[40:], *again]:
        if readability(chain, counter) is Readability.READABLE:
            assert counter not in opened
            opened[counter], chain = take_key(chain, GROUP, counter)
    assert opened == expected
    assert chain.gaps == ()


@given(st.sets(st.integers(1, 90), min_size=1))
def test_gaps_are_reported(counters: set[int]) -> None:
    """What is missing below the highest opened counter is exactly what the chain tells."""
    chain = Chain(Secret(b"\x02" * 32), 0)
    for counter in sorted(counters):
        _, chain = take_key(chain, GROUP, counter)
    assert chain.gaps == tuple(counter for counter in range(1, max(counters)) if counter not in counters)


def test_words_for_what_cannot_be_read() -> None:
    """Beyond the window, and opened before or never shared, are told apart."""
    _, chain = take_key(Chain(Secret(bytes(32)), 10), GROUP, 12)
    assert readability(chain, 11) is Readability.READABLE
    assert readability(chain, 12) is Readability.CONSUMED
    assert readability(chain, 10) is Readability.CONSUMED
    assert readability(chain, 111) is Readability.READABLE
    assert readability(chain, 112) is Readability.BEYOND


@given(st.integers(0, 30), st.integers(0, 30))
def test_advancing_keeps_nothing(first: int, more: int) -> None:
    """A jump equals single steps, and leaves no key behind."""
    chain = Chain(Secret(b"\x03" * 32), first)
    far = advance(chain, GROUP, first + more)
    assert far == advance(advance(chain, GROUP, first + more // 2), GROUP, first + more)
    assert far.counter == first + more
    assert not far.skipped
    assert advance(far, GROUP, 0) == Chain(far.key, far.counter)


@given(st.integers(0, 2**63 - 1))
def test_sharing(counter: int) -> None:
    """A chain reaches the member it is sealed for, and nobody else (section 3.4)."""
    chain = Chain(Secret(b"\x04" * 32), counter)
    payload = share_chain(chain, GROUP, DEVICE, MemberId(MEMBER.public))
    assert open_shared_chain(payload, GROUP, MEMBER, DeviceId(DEVICE.public)) == chain
    for member, device in ((DEVICE, DEVICE), (MEMBER, MEMBER)):
        with pytest.raises(RemoteProtocolError):
            open_shared_chain(payload, GROUP, member, DeviceId(device.public))


@given(st.binary(max_size=80))
def test_any_shared_bytes(payload: bytes) -> None:
    """Bytes that nobody sealed are refused."""
    with pytest.raises(RemoteProtocolError):
        open_shared_chain(payload, GROUP, MEMBER, DeviceId(DEVICE.public))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 100), max_size=10))
def test_at_rest(counters: list[int]) -> None:
    """A chain comes back with all it kept."""
    chain = Chain(Secret(b"\x05" * 32), 0)
    for counter in counters:
        if readability(chain, counter) is Readability.READABLE:
            _, chain = take_key(chain, GROUP, counter)
    assert decode_chain(encode_chain(chain)) == chain
