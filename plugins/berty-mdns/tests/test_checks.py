"""What `berty doctor` says of the local network, by real sockets on addresses that are there and on one that is not."""

from __future__ import annotations

from berty_mdns.checks import look
from berty_mdns.config import MdnsConfig
from berty_mdns.seam import LocalAddress

from berty_core.contracts.checks import Level

LOOPBACK = LocalAddress("lo", 1, "127.0.0.1", 8, loopback=True)


def test_nothing_is_up():
    """Without an interface nobody can be met."""
    [finding] = look(MdnsConfig(), [LOOPBACK])
    assert (finding.level, finding.what) == (Level.PROBLEM, "no network interface can be used")
    assert finding.why
    assert finding.command


def test_an_interface_that_is_not_there():
    """It is named, with those that are."""
    first, second = look(MdnsConfig(interfaces=("radio7",)), [LOOPBACK])
    assert first.what == "the interface radio7 of `interfaces` is not there or not up; up are: lo"
    assert second.what == "no network interface can be used"


def test_loopback_only():
    """It works, and is worth knowing."""
    [finding] = look(MdnsConfig(loopback=True), [LOOPBACK])
    assert (finding.level, finding.what) == (Level.WARNING, "only devices on this machine are met")


def test_multicast():
    """An address that takes part is fine; one that is not ours cannot join, and the system's reason is told."""
    there = LocalAddress("lo", 1, "127.0.0.1", 8)
    [fine] = look(MdnsConfig(), [there])
    assert (fine.level, fine.what) == (Level.OK, "multicast can be used on lo")
    [deaf] = look(MdnsConfig(), [there, LocalAddress("gone", 999_999, "192.0.2.77", 24)])
    assert deaf.level is Level.PROBLEM
    assert "multicast cannot be used on gone (192.0.2.77): No such device" in deaf.what
    [deaf] = look(MdnsConfig(), [LocalAddress("gone", 999_999, "fe80::1%999999", 64)])
    assert deaf.level is Level.PROBLEM
