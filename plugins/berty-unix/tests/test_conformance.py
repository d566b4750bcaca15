"""The rules of the transport contract."""

from __future__ import annotations

from berty_unix.conformance import UnixSuite


class TestUnix(UnixSuite):
    """Three devices that hear each other."""
