"""Recorded conversations, and the backend of the shell's tests."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

OWN = Path(__file__).parent / "vectors"
SHARED = Path(__file__).parents[3] / "tests" / "vectors" / "libp2p"
RECORDINGS = {"kubo-dial": SHARED, "kubo-listen": SHARED, "wesh-dial": OWN, "wesh-listen": OWN}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", params=RECORDINGS)
def recording(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A whole conversation with Kubo 0.41 or with weshnet, in both dial directions."""
    path = RECORDINGS[request.param] / f"{request.param}.json.gz"
    found: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return found
