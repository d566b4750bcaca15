"""Three devices that share only a multicast bus that loses, repeats and reorders: processes, on real networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .lab import LossyHub, assert_each_once, befriend, gather, has_texts, in_step, reason_to_skip_hubs

pytestmark = pytest.mark.netns
UDP = {"udp": {"mtu": 233, "ipv6": False}}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LossyHub]:
    """A hub that takes datagrams of 233 bytes, loses one in five, repeats some and reorders some."""
    if reason := reason_to_skip_hubs():
        pytest.skip(reason)
    made = LossyHub(tmp_path, ports=3, mtu=233, loss=0.2, repeat=0.1, reorder=0.1)
    try:
        yield made
    finally:
        made.close()


def test_three_on_a_bad_bus(hub: LossyHub) -> None:
    """They become contacts, make a group, and all hold each text once, also those written while one was away."""
    everyone = ann, bob, carl = [hub.device(name) for name in ("Ann", "Bob", "Carl")]
    for device in everyone:
        device.start(name=device.name, transports=UDP, disabled=["libp2p", "mdns", "unix"])
    befriend(ann, bob)
    befriend(ann, carl)
    gather(ann, bob, carl)
    sent = [device.send("trip", f"{device.name} says {n}") for n in range(4) for device in everyone]
    for device in everyone:
        has_texts(device, "trip", len(sent))
    carl.stop()
    sent += [device.send("trip", f"{device.name} says {n} more") for n in range(10) for device in (ann, bob)]
    carl.start()
    for device in everyone:
        has_texts(device, "trip", len(sent))
        assert_each_once(device, "trip", sent)
    in_step(everyone, "trip")
