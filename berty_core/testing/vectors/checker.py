"""Read files, let each tell what it knows, then check each by its format."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from .archive import check_archive, check_export
from .conversations import check_conversations
from .events import check_events
from .ipfs_log import check_ipfs_log
from .keys import check_keys
from .known import Known
from .links import check_links
from .logs import check_logs
from .negative import check_negative
from .noise_handshakes import check_noise
from .recording import Place
from .report import Report
from .source import Source, Unreadable, expand, read

CHECKS: dict[str, Callable[[Report, Known, Place], None]] = {
    "keys": check_keys,
    "logs": check_logs,
    "events": check_events,
    "links": check_links,
    "archive": check_archive,
    "export": check_export,
    "ipfs-log": check_ipfs_log,
    "negative": check_negative,
    "noise": check_noise,
    "libp2p conversation": check_conversations,
}


def check_paths(paths: Iterable[Path]) -> Report:
    """Check files and directories."""
    report, sources = Report(), []
    for path in paths:
        found = list(expand(path))
        if not found:
            report.unreadable.append((str(path), "a directory without recordings"))
        for file in found:
            try:
                sources.append(read(file))
            except Unreadable as reason:
                report.unreadable.append((str(file), str(reason)))
    return check_sources(sources, report)


def check_sources(sources: list[Source], report: Report | None = None) -> Report:
    """Check recordings that were read already."""
    report, known = report or Report(), know(sources)
    for source in sources:
        place = report.start(source.name, source.root)
        check = CHECKS.get(source.format)
        if check is not None:
            with report.attempt(source.format, place):
                check(report, known, place)
        report.finish(source.root)
    return report


def know(sources: list[Source]) -> Known:
    """Gather what recordings tell each other."""
    known = Known()
    for source in sources:
        known.gather(source)
    known.link(sources)
    return known
