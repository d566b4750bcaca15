"""Endpoints as text, and who may be dialled."""

from __future__ import annotations

import pytest
from berty_udp.addresses import dialable, endpoint
from hypothesis import given
from hypothesis import strategies as st

from berty_core.contracts.transport import Endpoint
from berty_core.errors import LinkLost

OWN = frozenset({("192.0.2.7", 4000)})


@pytest.mark.parametrize("address", [("192.0.2.1", 4000), ("fe80::1%2", 65535), ("2001:db8::1", 1)])
def test_there_and_back(address: tuple[str, int]) -> None:
    """An address that was heard can be dialled."""
    assert dialable(endpoint(address), OWN) == address


@pytest.mark.parametrize(
    "text",
    ["", ":", "192.0.2.1", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:x", "host.example:1", "239.1.2.3:1",
     "[ff02::1%2]:1", "0.0.0.0:1", "[::]:1", "255.255.255.255:1", "192.0.2.7:4000"],
)  # fmt: skip
def test_not_dialled(text: str) -> None:
    """What is no address, nobody's alone, or our own is refused at once."""
    with pytest.raises(LinkLost):
        dialable(Endpoint("udp", text), OWN)


def test_foreign_endpoints() -> None:
    """An endpoint of another transport means nothing here."""
    with pytest.raises(LinkLost):
        dialable(Endpoint("mdns", "192.0.2.1:4000"), OWN)


@given(st.text())
def test_any_text(text: str) -> None:
    """Any text is an address or LinkLost."""
    try:
        host, port = dialable(Endpoint("udp", text), OWN)
    except LinkLost:
        return
    assert host
    assert 0 < port < 65536
