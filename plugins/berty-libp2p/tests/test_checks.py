"""What `berty doctor` says of the port, with a port that is really taken."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from berty_libp2p.config import Libp2pConfig
from berty_libp2p.plugin import berty_checks

from berty_core.contracts.checks import CheckHost, Finding, Level


def look(port: int, *, node_runs: bool = False) -> Finding:
    """The finding with this port in the settings."""
    host = CheckHost(
        home=Path("/none"), settings=lambda kind: Libp2pConfig(host="127.0.0.1", port=port), node_runs=node_runs
    )
    (check,) = berty_checks()
    (finding,) = check.run(host)
    return finding


@pytest.fixture
def port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_port_that_is_free(port: int) -> None:
    """None that is chosen, or one that can be had, is fine."""
    assert look(0).what == "a free port is taken at each start"
    assert look(port).what == f"port {port} is free"


def test_a_port_that_is_taken() -> None:
    """Its owner may be the node that runs; otherwise it is a problem with a way out."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = int(server.getsockname()[1])
        finding = look(taken)
        assert finding.level is Level.PROBLEM
        assert f"port {taken} cannot be had: Address already in use" in finding.what
        assert finding.command == "berty config unset plugins.libp2p.port"
        assert look(taken, node_runs=True).level is Level.OK


def test_a_port_of_quic_that_is_taken() -> None:
    """It is needed on both protocols."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        assert "cannot be had: Address already in use" in look(int(other.getsockname()[1])).what
