"""The rules of the transport contract, over real sockets on the loopback interface."""

from __future__ import annotations

from berty_udp.conformance import UdpSuite


class TestUdp(UdpSuite):
    """Several devices on one machine."""
