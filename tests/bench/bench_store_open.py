"""Print what opening a store of a million entries costs in time and memory, as a ratio to opening one of ten.

Run it as `python tests/bench/bench_store_open.py [ENTRIES]`; each opening is a process of its own.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from berty_sqlite.store import open_store

ROUNDS = 7


def fill(directory: Path, entries: int) -> None:
    """Write small entries under keys as a log has them: mostly in order, 44 bytes, values of 0 to 100 bytes."""
    store = open_store(directory)
    pool = os.urandom(4096)
    for start in range(0, entries, 1000):
        numbers = range(start, min(start + 1000, entries))
        store.commit(
            {b"t" + n.to_bytes(8, "big") + os.urandom(35): pool[n % 3000 :][: n % 101] for n in numbers}, durable=False
        )
    store.close()


def resident() -> int:
    """Return this process's memory in KiB (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


def measure(directory: Path) -> None:
    """Open, read the last ten entries, and print seconds and bytes of memory gained by each."""
    at_start = resident()
    started = time.perf_counter()
    store = open_store(directory)
    opened = time.perf_counter()
    assert len(store.scan(b"t", b"u", reverse=True, limit=10)) == 10
    read = time.perf_counter()
    gained = resident() - at_start
    store.close()
    print(json.dumps({"open_ms": (opened - started) * 1e3, "last10_ms": (read - opened) * 1e3, "memory_kib": gained}))


def measured(directory: Path) -> dict[str, float]:
    """Return the median of some openings."""
    command = [sys.executable, __file__, "--measure", str(directory)]
    runs = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(ROUNDS)]
    return {key: median(run[key] for run in runs) for key in runs[0]}


def main(entries: int) -> None:
    """Compare."""
    with tempfile.TemporaryDirectory() as name:
        for count in (10, entries):
            fill(Path(name) / str(count), count)
        few, many = (measured(Path(name) / str(count)) for count in (10, entries))
    print(f"{'':12} {10:>12,} {entries:>12,} {'ratio':>8} {'more':>10}")
    for key in few:
        ratio = many[key] / max(few[key], 1e-9)
        print(f"{key:12} {few[key]:12.2f} {many[key]:12.2f} {ratio:8.2f} {many[key] - few[key]:10.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(Path(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
