"""Recordings of what travelled: heads messages, contact requests, local records."""

from __future__ import annotations

from .handshakes import check_handshakes
from .heads_messages import check_heads
from .known import Known
from .local_records import check_local_records
from .recording import Place
from .report import Report


def check_events(report: Report, known: Known, root: Place) -> None:
    """Check a recording of events, by the kinds that are in it."""
    check_heads(report, known, root)
    check_handshakes(report, known, root)
    check_local_records(report, known, root)
