"""Disks that are full, read-only or failing, for real. Run as a script, this file is the process on such a disk."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from berty_sqlite.store import FILE, open_store

from berty_core.errors import StoreError, StoreFull

ROOM = 6 * 1024 * 1024


def fill(directory: Path) -> None:
    """Write until there is no room, look what is there, make room, and write again."""
    ballast = directory / "ballast"
    ballast.write_bytes(bytes(ROOM // 3))
    store = open_store(directory / "home")
    held: dict[bytes, bytes] = {}
    error = None
    while error is None:
        fresh = {b"%06d" % (len(held) + n): os.urandom(1500) for n in range(100)}
        try:
            store.commit(fresh, list(held)[:1], durable=len(held) % 200 == 0)
        except StoreError as raised:
            error = raised
            assert dict(store.scan(b"", b"\xff")) == held
        else:
            held = dict(list(held.items())[1:]) | fresh
    assert len(held) > 500
    store.close()
    store = open_store(directory / "home")
    assert dict(store.scan(b"", b"\xff")) == held
    ballast.unlink()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.commit({b"again": b"1"}, durable=True)
    store.close()
    store = open_store(directory / "home")
    assert dict(store.scan(b"", b"\xff")) == held | {b"again": b"1"}
    store.close()
    report(error)


def create_on_full(directory: Path) -> None:
    """Open a new store where nothing is free."""
    (directory / "home").mkdir()
    try:
        with (directory / "ballast").open("wb", buffering=0) as ballast:
            while ballast.write(bytes(4096)):
                pass
    except OSError:
        report_opening(directory / "home")


def read_only(directory: Path) -> None:
    """Open what cannot be written, first where there is a store, then where there is none."""
    report_opening(directory / "home")
    report_opening(directory / "other")


def failing_sync(directory: Path) -> None:
    """Commit while the tracer fails one synchronisation, then go on."""
    store = open_store(directory)
    store.commit({b"a": b"1"}, durable=False)
    errors = 0
    for number in range(20):
        before = store.scan(b"", b"\xff")
        try:
            store.commit({b"%02d" % number: b"1"}, durable=True)
        except StoreError:
            errors += 1
            assert store.scan(b"", b"\xff") == before
    assert store.get(b"19") == b"1"
    held = store.scan(b"", b"\xff")
    store.close()
    store = open_store(directory)
    assert store.scan(b"", b"\xff") == held
    store.close()
    print("errors", errors)  # noqa: T201


def synchronise(directory: Path) -> None:
    """Make commits of both kinds between marks that a tracer sees."""
    store = open_store(directory)
    steps = (
        ("cheap", lambda: [store.commit({b"a%d" % n: b"1"}, durable=False) for n in range(50)]),
        ("durable", lambda: store.commit({b"b": b"1"}, durable=True)),
        ("cheap", lambda: store.commit({b"c": b"1"}, durable=False)),
        ("nothing", lambda: store.commit({}, durable=True)),
    )
    for name, step in steps:
        Path(f"/mark-{name}").exists()
        step()
    Path("/mark-end").exists()
    store.close()


def synchronised(trace: str) -> list[str]:
    """Return the files that a trace synchronises, in order."""
    return re.findall(r"f(?:data)?sync\(\d+<([^>]*)>", trace)


def report_opening(directory: Path) -> None:
    """Print the error that opening gives."""
    try:
        open_store(directory).close()
    except StoreError as error:
        report(error)


def report(error: StoreError) -> None:
    """Print what was raised."""
    print(type(error).__name__, error)  # noqa: T201


@cache
def unshare() -> list[str] | None:
    """Return the command that gives a mount namespace, or None where there is none."""
    command = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    if shutil.which("unshare") is None:
        return None
    mount = [*command, "mount", "-t", "tmpfs", "none", "/tmp"]
    return command if subprocess.run(mount, capture_output=True, check=False).returncode == 0 else None


def on_small_disk(task: str, directory: Path, then: str = "true") -> str:
    """Run a task on a tmpfs of six megabytes and return what it prints; `then` is a shell command before the task."""
    mount = f'mount -t tmpfs -o size={ROOM} none "$1" && {then} && exec "$2" "$3" "$4" "$1"'
    command = [*(unshare() or []), "sh", "-c", mount, "sh", str(directory), sys.executable, __file__, task]
    return run(command)


def run(command: list[str]) -> str:
    """Return what a command prints; its own error is the test's."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def traced(task: str, directory: Path, *options: str) -> tuple[str, str]:
    """Run a task under strace and return its output and the trace; skip where nothing can be traced."""
    import pytest

    probe = ["strace", "-o", "/dev/null", "true"]
    if shutil.which("strace") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("strace is not there, or may not trace")
    trace = directory / "trace"
    script = [sys.executable, __file__, task, str(directory / "home")]
    return run(["strace", "-f", "-y", "-o", str(trace), *options, *script]), trace.read_text()


def test_full_disk(tmp_path: Path) -> None:
    """A full disk is StoreFull: the failed commit left nothing, all others stay, and with room it goes on."""
    if unshare() is not None:
        assert on_small_disk("fill", tmp_path).startswith(f"{StoreFull.__name__} no room left")
        return
    limit = f"ulimit -S -f {ROOM // 3 // 512} && exec "
    command = ["sh", "-c", limit + '"$1" "$2" fill "$3"', "sh", sys.executable, __file__, str(tmp_path)]
    assert run(command).startswith("Store")


def test_new_store_on_full_disk(tmp_path: Path) -> None:
    """Opening a new store where nothing is free is StoreFull."""
    import pytest

    if unshare() is None:
        pytest.skip("no mount namespaces here: unshare -Urm is refused")
    assert on_small_disk("create_on_full", tmp_path).startswith("StoreFull no room left")


def test_read_only(tmp_path: Path) -> None:
    """A home that cannot be written is a StoreError that names the file and says what to do."""
    import pytest

    if unshare() is None and os.geteuid() == 0:
        pytest.skip("no mount namespaces here, and root may write anywhere")
    (tmp_path / "home").mkdir()
    if unshare() is not None:
        make = f'mkdir "$1/home" && touch "$1/home/{FILE}" && mount -o remount,ro "$1"'
        said = on_small_disk("read_only", tmp_path, make).splitlines()
    else:
        (tmp_path / "home" / FILE).touch()
        (tmp_path / "home").chmod(0o500)
        tmp_path.chmod(0o500)
        said = run([sys.executable, __file__, "read_only", str(tmp_path)]).splitlines()
        tmp_path.chmod(0o700)
        (tmp_path / "home").chmod(0o700)
    assert len(said) == 2
    for line in said:
        assert line.startswith("StoreError ") and FILE in line and "cannot be written" in line and "writable" in line


def test_failed_synchronisation(tmp_path: Path) -> None:
    """A synchronisation that the disk refuses is a StoreError, the commit is taken back, and the next one works."""
    # Opening takes the first few synchronisations; this one is in the middle of the durable commits.
    inject = ("-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO:when=16")
    said, trace = traced("failing_sync", tmp_path, *inject)
    assert "(INJECTED)" in trace
    assert said == "errors 1\n"
    healing = synchronised(trace.partition("(INJECTED)")[2])[:3]
    assert str(tmp_path / "home" / FILE) in healing  # what the log held went into the database before the next commit


def test_what_is_synchronised(tmp_path: Path) -> None:
    """Cheap commits synchronise nothing after the log's first header; a durable one the log; so does one of nothing."""
    _, trace = traced("synchronise", tmp_path, "-e", "trace=fsync,fdatasync,stat,newfstatat")
    first, durable, cheap, nothing, _ = map(synchronised, re.split(r"/mark-\w+", trace)[1:])
    log = str(tmp_path / "home" / (FILE + "-wal"))
    assert len(first) <= 2
    assert durable == [log]
    assert cheap == []
    assert log in nothing


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
