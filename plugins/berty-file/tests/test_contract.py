"""The rules for carriers of bundles, held by `berty file`."""

from __future__ import annotations

from pathlib import Path

from berty_core.cli.main import run
from berty_core.testing.bundle_suite import BundleSuite


class TestFiles(BundleSuite):
    """A directory of files."""

    largest = 64 * 1024

    def export(self, home: Path, place: Path, quota: int | None = None) -> None:
        """`berty file export`."""
        limit = [] if quota is None else ["--quota", str(quota)]
        words = ["--home", str(home), "file", "export", str(place), "--all", "--file-size", str(self.largest), *limit]
        assert run(words) == 0

    def take(self, home: Path, place: Path) -> None:
        """`berty file import`."""
        assert run(["--home", str(home), "file", "import", str(place)]) == 0
