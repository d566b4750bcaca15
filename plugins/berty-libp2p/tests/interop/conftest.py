"""The Go programs, where they are built."""

from __future__ import annotations

from pathlib import Path

import pytest
from berty_libp2p.config import has_quic

from .build import target

WORDS = "is not built: python plugins/berty-libp2p/tests/interop/build.py (needs Go 1.26)"


@pytest.fixture(scope="session")
def program() -> Path:
    """The program on go-libp2p; the tests skip without it."""
    path = target("peer")
    if not path.is_file():
        pytest.skip(f"the Go program {WORDS}")
    return path


@pytest.fixture(scope="session")
def kubo_program() -> Path:
    """Kubo's `ipfs`; the tests skip without it."""
    path = target("kubo")
    if not path.is_file():
        pytest.skip(f"Kubo {WORDS}")
    return path


@pytest.fixture(params=["tcp", "quic-v1"])
def transport(request: pytest.FixtureRequest) -> str:
    """What carries the link."""
    chosen: str = request.param
    if chosen == "quic-v1" and not has_quic():
        pytest.skip("QUIC is an extra: pip install 'berty-libp2p[quic]'")
    return chosen


@pytest.fixture(params=["we dial", "they dial"])
def dials(request: pytest.FixtureRequest) -> str:
    """Who opens the link."""
    return str(request.param)
