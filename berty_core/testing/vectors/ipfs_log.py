"""The file of log entries and logs that are not from a recorded node."""

from __future__ import annotations

from .generated import check_generated
from .known import Known
from .published import check_published
from .recording import Place
from .report import Report
from .sample_group import check_sample_group


def check_ipfs_log(report: Report, known: Known, root: Place) -> None:
    """Check the three sections, those that are there."""
    for name, check in (
        ("published", check_published),
        ("generated_by_go", check_generated),
        ("weshnet", check_sample_group),
    ):
        if root[name]:
            with report.attempt(f"ipfs-log: {name}", root[name]):
                check(report, root[name])
