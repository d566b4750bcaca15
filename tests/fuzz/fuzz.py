"""Run one fuzz target for as long as wanted: `python -m tests.fuzz.fuzz TARGET [options of libFuzzer]`.

Needs atheris (`pip install atheris`; it has wheels for CPython on Linux). Without a target it lists them. The seeds are
written into a corpus of their own; a finding is written where libFuzzer says.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["berty_core", "berty_libp2p", "berty_mdns"]):
    from .libp2p_targets import LIBP2P
    from .media_targets import MEDIA
    from .targets import CORE, run

from .seeds import seeds


def main() -> None:
    """Fuzz what the command line names."""
    targets = {**CORE, **LIBP2P, **MEDIA}
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in targets:
        sys.exit(f"there are these targets: {', '.join(sorted(targets))}")
    with tempfile.TemporaryDirectory(prefix="berty-fuzz-") as corpus:
        for number, seed in enumerate(seeds(name)):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], *sys.argv[2:], corpus], lambda data: run(targets[name], data))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
