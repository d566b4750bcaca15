"""No window of time ever has more in it than the limit, whatever restarts and whatever the clock says."""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berty_core.contracts.bus import Budget
from berty_core.errors import LocalProtocolError, RemoteProtocolError
from berty_core.protocol.airtime import AirtimeLedger, LoRa, serial_airtime

# payload bytes, spreading factor, bandwidth, coding rate 4/x, milliseconds: from calculators that others published
PUBLISHED = (
    (13, 9, 125e3, 5, 164.864),  # sheet with the formulas of Semtech's AN1200.13
    (23, 7, 125e3, 5, 61.696),  # ten bytes of a LoRaWAN application, The Things Network
    (23, 8, 125e3, 5, 113.152),
    (23, 9, 125e3, 5, 205.824),
    (23, 10, 125e3, 5, 370.688),
    (23, 11, 125e3, 5, 823.296),
    (23, 12, 125e3, 5, 1482.752),
    (10, 7, 125e3, 5, 41.216),  # ns-3, module lorawan
)


@pytest.mark.parametrize(("size", "factor", "bandwidth", "rate", "expected"), PUBLISHED)
def test_airtime_is_as_published(size: int, factor: int, bandwidth: float, rate: int, expected: float) -> None:
    """The formula of the data sheet, to the microsecond."""
    radio = LoRa(spreading_factor=factor, bandwidth=bandwidth, coding_rate=rate)
    assert round(1000 * radio.airtime(size), 3) == expected


def test_each_setting_of_a_radio_counts() -> None:
    """By hand: 20 bytes at SF7 are 46 symbols of 1.024 ms; each setting changes the blocks as the formula says."""
    radio = LoRa()
    assert radio.airtime(20) == pytest.approx((8 + 4.25 + 8 + 7 * 5) * 1.024e-3)
    assert attrs.evolve(radio, explicit_header=False).airtime(20) == pytest.approx((12.25 + 8 + 6 * 5) * 1.024e-3)
    assert attrs.evolve(radio, crc=False).airtime(20) == pytest.approx((12.25 + 8 + 6 * 5) * 1.024e-3)
    assert attrs.evolve(radio, coding_rate=8).airtime(20) == pytest.approx((12.25 + 8 + 7 * 8) * 1.024e-3)
    assert attrs.evolve(radio, preamble=16).airtime(20) == pytest.approx((20.25 + 8 + 7 * 5) * 1.024e-3)
    assert attrs.evolve(radio, low_data_rate=True).airtime(20) == pytest.approx((12.25 + 8 + 9 * 5) * 1.024e-3)
    assert attrs.evolve(radio, bandwidth=250e3).airtime(20) == pytest.approx(radio.airtime(20) / 2)
    assert serial_airtime(9600, 2)(10) == pytest.approx(0.01)


def count(size: int) -> float:
    """Each datagram costs its size."""
    return float(size)


@attrs.define
class World:
    """True time, a wall clock that is set as people and daemons do, and the machine's own since its start."""

    time: float = 1000.0
    offset: float = 0.0
    began: float = 0.0
    taken: list[tuple[float, float]] = attrs.field(factory=list)

    @property
    def wall(self) -> float:
        """What the clock on the wall says."""
        return self.time + self.offset

    def monotonic(self) -> float:
        """What the machine counted since it started."""
        return self.time - self.began

    def check(self, limit: float, window: float) -> None:
        """No window has too much in it: each that ends with a datagram."""
        for end, _ in self.taken:
            inside = math.fsum(amount for when, amount in self.taken if end - window < when <= end)
            assert inside <= limit * (1 + 1e-9)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.floats(0, 12)),
        st.tuples(st.just("burst"), st.integers(1, 30)),
        st.tuples(st.just("pass"), st.floats(0, 150)),
        st.tuples(st.just("wait"), st.floats(0, 10)),
        st.tuples(st.just("set back"), st.floats(0, 1000)),
        st.tuples(st.just("set forward"), st.floats(0, 1000)),
        st.tuples(st.just("restart"), st.floats(0, 100)),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=200)
@given(STEPS, st.booleans())
def test_no_window_is_ever_exceeded(steps: list[tuple[str, float]], has_monotonic: bool) -> None:
    """With restarts in the middle and a clock that is set; forward where the machine has a clock of its own."""
    world = World()

    def made(saved: bytes) -> AirtimeLedger:
        return AirtimeLedger(10.0, 100.0, count, saved, monotonic=world.monotonic if has_monotonic else None)

    ledger = made(b"")
    for step, value in steps:
        if step in ("send", "wait"):
            wait = ledger.amount_allowed_at(value, world.wall) - world.wall
            if step == "wait" and has_monotonic and math.isfinite(wait):
                world.time += wait
                assert ledger.amount_allowed_at(value, world.wall) <= world.wall + 0.01
            if ledger.take_amount(value, world.wall):
                world.taken.append((world.time, value))
        elif step == "burst":
            while ledger.take(1, world.wall) and value > 0:
                world.taken.append((world.time, 1.0))
                value -= 1  # noqa: PLW2901
        elif step == "pass":
            world.time += value
        elif step == "set back":
            world.offset -= value
        elif step == "set forward" and has_monotonic:
            ledger.left(world.wall)
            world.offset += value
            ledger.left(world.wall)
        elif step == "restart":
            saved = ledger.dump()
            world.time += value
            world.began = world.time
            ledger = made(saved)
        assert 0 <= ledger.left(world.wall) <= 10.0
        assert len(ledger.dump()) < 10_000
    world.check(10.0, 100.0)


def test_it_is_a_budget_that_opens_again() -> None:
    """What is allowed is known before; what is over can be waited for; what never fits is said at once."""
    ledger = AirtimeLedger(36.0, 3600.0, LoRa(spreading_factor=12).airtime)
    budget: Budget = ledger
    sent, now = 0, 1e9
    while ledger.take(200, now):
        sent, now = sent + 1, now + 10
    assert sent == int(36 / budget.airtime(200))
    allowed = budget.allowed_at(200, now)
    assert 1e9 + 3600 <= allowed <= 1e9 + 3607  # a slot is six seconds
    assert budget.left(now) < budget.airtime(200)
    assert not ledger.take(200, now)
    assert ledger.take(200, allowed)
    assert budget.allowed_at(60_000, now) == math.inf
    assert budget.left(allowed + 3700) == 36.0


def test_what_was_reserved_is_used_after_a_restart() -> None:
    """One dump serves for many datagrams: who falls in between has used what was reserved, until now."""
    ledger = AirtimeLedger(10.0, 100.0, count)
    assert ledger.take(2, 1000.0)
    saved = ledger.dump(5.0)
    again = AirtimeLedger(10.0, 100.0, count, saved)
    assert again.left(1050.0) == 3.0
    assert again.left(1101.0) == 5.0
    assert again.left(1151.0) == 10.0
    twice = AirtimeLedger(10.0, 100.0, count, AirtimeLedger(10.0, 100.0, count, saved).dump())
    assert twice.left(1050.0) == 3.0


def test_a_ledger_stays_small() -> None:
    """However often something is sent, it is a few hundred sums."""
    ledger = AirtimeLedger(1e9, 100.0, count)
    for step in range(5000):
        assert ledger.take(1, 1000.0 + step * 0.05)
    assert len(ledger.dump()) < 10_000


@given(st.binary(max_size=200) | st.binary(min_size=3, max_size=3).map(lambda some: b"\x01" + some * 40))
def test_saved_bytes_are_a_ledger_or_refused(saved: bytes) -> None:
    """Whatever stands in the home, there is a ledger or an error of ours."""
    try:
        ledger = AirtimeLedger(10.0, 100.0, count, saved)
        assert 0 <= ledger.left(1e9) <= 10.0
    except RemoteProtocolError:
        pass


def test_limits_make_sense() -> None:
    """A limit of nothing is a mistake of ours, and so is a time that is none."""
    with pytest.raises(LocalProtocolError):
        AirtimeLedger(0, 100, count)
    with pytest.raises(LocalProtocolError):
        AirtimeLedger(1, 100, count).left(math.nan)
