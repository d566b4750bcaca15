"""What lies in the directory of a home."""

from __future__ import annotations

import stat
from pathlib import Path

from berty_core.runtime.lock import LOCK_FILE


def contents(home: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and bytes of every file; the lock says nothing."""
    return {
        path.name: (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
        for path in home.iterdir()
        if path.is_file() and path.name != LOCK_FILE
    }
