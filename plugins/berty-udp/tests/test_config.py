"""The configuration refuses what could never meet anybody."""

from __future__ import annotations

from typing import Any

import pytest
from berty_udp.config import UdpConfig
from berty_udp.seam import traits


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"group4": "192.0.2.1"}, "group4: a multicast address of IPv4"),
        ({"group4": "ff02::1"}, "group4: a multicast address of IPv4"),
        ({"group6": "239.1.2.3"}, "group6: a multicast address of IPv6"),
        ({"group6": "everybody"}, "group6: a multicast address of IPv6"),
        ({"port": 0}, "port: a number from 1"),
        ({"port": 65536}, "port: a number from 1"),
        ({"mtu": 19}, "mtu: a number from 20"),
        ({"mtu": 65508}, "mtu: a number from 20"),
        ({"hops": 0}, "hops: a number from 1"),
        ({"ipv4": False, "ipv6": False}, "one of ipv4 and ipv6"),
        ({"loopback": True, "interfaces": ("eth0",)}, "it excludes `interfaces`"),
        ({"loopback": True, "ipv4": False}, "IPv4 only"),
    ],
)
def test_refused(settings: dict[str, Any], words: str) -> None:
    """Each names the key and what is needed."""
    with pytest.raises(ValueError, match=words):
        UdpConfig(**settings)


def test_mtu_is_a_trait() -> None:
    """What is configured is what the core is promised."""
    assert traits(UdpConfig(mtu=233)).mtu == 233
