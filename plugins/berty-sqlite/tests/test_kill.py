"""A writer is killed fifty times at random points. Run as a script, this file is that writer."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from berty_sqlite.store import open_store

KILLS = 50
KEPT = 10


def records(number: int) -> dict[bytes, bytes]:
    """What commit `number` puts: half a megabyte, so that every few commits move the log into the database."""
    return {b"%08d-%03d" % (number * 7919 % 10007, n): b"%08d" % number * (n % 200 + 1) for n in range(600)}


def expected(last: int) -> dict[bytes, bytes]:
    """What the store holds after commit `last`: the last ten commits and its number."""
    held = {b"last": b"%d" % last}
    for number in range(max(0, last + 1 - KEPT), last + 1):
        held |= records(number)
    return held


def write(directory: Path) -> None:
    """Commit until killed, every third time durably; print the number of each commit that is confirmed."""
    store = open_store(directory)
    number = int(store.get(b"last") or b"-1") + 1
    while True:
        gone = records(number - KEPT) if number >= KEPT else {}
        store.commit({b"last": b"%d" % number, **records(number)}, gone, durable=number % 3 == 0)
        print(number, flush=True)  # noqa: T201
        number += 1


def run_and_kill(directory: Path, delay: float) -> int:
    """Start a writer, kill it `delay` seconds after its first commit, and return the last number that it confirmed."""
    with subprocess.Popen([sys.executable, __file__, str(directory)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        time.sleep(delay)  # the point of the kill is meant to be arbitrary
        child.kill()
        confirmed = [line for line in [first, *child.stdout.readlines()] if line.endswith(b"\n")]
    return int(confirmed[-1])


def test_killed_at_random_points(tmp_path: Path) -> None:
    """Every confirmed commit is there whole, no commit is there in part, and the store opens each time."""
    chance = random.Random(50)
    total = 0
    for _ in range(KILLS):
        confirmed = run_and_kill(tmp_path, chance.uniform(0, 0.08))
        store = open_store(tmp_path)
        last = int(store.get(b"last") or b"-1")
        held = dict(store.scan(b"", b"\xff"))
        store.close()
        assert confirmed <= last <= confirmed + 1
        assert held == expected(last)
        total = last
    assert total > 2 * KILLS  # the writers got beyond their first commits


if __name__ == "__main__":
    write(Path(sys.argv[1]))
