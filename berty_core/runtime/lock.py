"""One process for one home. The lock goes with its process, also after kill -9."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import StoreLocked, UserError

LOCK_FILE = "lock"


@contextmanager
def home_lock(directory: Path, timeout: float = 0.0) -> Iterator[None]:
    """Hold the home while the block runs; StoreLocked if another process has it for longer than `timeout` seconds."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(directory / LOCK_FILE, timeout=timeout, mode=0o600)
    try:
        lock.acquire()
    except Timeout as error:
        raise StoreLocked(
            f"another process has the home {directory} open: stop it, or let commands talk to it (`berty status`)"
        ) from error
    except OSError as error:
        raise UserError(
            f"the home {directory} cannot be written: {error.strerror}; choose another with --home"
        ) from error
    try:
        yield
    finally:
        lock.release()
