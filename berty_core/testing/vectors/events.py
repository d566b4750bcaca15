"""Recordings of what travelled: heads messages, contact requests, local records."""

from __future__ import annotations

from .handshakes import check_handshakes
from .heads_messages import check_heads
from .known import Known
from .local_records import check_local_records
from .recording import Place
from .report import Report

_KINDS = ("box", "direct_", "pubsub_", "handshake_", "contact_stream_", "localrecord")


def check_events(report: Report, known: Known, root: Place) -> None:
    """Check a recording of events, by the kinds that are in it."""
    names = {peer.value for _, peer in root["peers"].items()}
    for event in root["events"]:
        kind = str(event["kind"].value)
        if not kind.startswith(_KINDS):
            report.lack("event", f"no check for the kind {kind!r}")
        if names and event["self"]:
            known_peer = event["self"].take() in names
            report.true("event: its node is listed", event["self"], known_peer, "no such peer")
    check_heads(report, known, root)
    check_handshakes(report, known, root)
    check_local_records(report, known, root)
