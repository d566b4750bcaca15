"""Plugins as their authors would install them: a distribution with metadata and a module, in a directory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

SOUND = """
import attrs
from berty_core.contracts.hookspecs import hookimpl
from berty_core.contracts.transport import Probe, Traits

@attrs.frozen(kw_only=True)
class Config:
    speed: int = attrs.field(default=9600, metadata={"doc": "bits in a second"})

class Spec:
    name, api, platforms = NAME, (1, 0), frozenset() #
    traits = Traits(stream=True)
    config = Config
    tested_on = ("simulated: nothing",)
    def probe(self, config): return Probe(True)
    def create(self, config): return object()

@hookimpl
def berty_transports():
    return [Spec()]
"""


def install(directory: Path, name: str, code: str, *, distribution: str = "", requires: str = "") -> None:
    """Write a distribution with one entry point; `NAME` in the code is the plugin's name."""
    own = distribution or f"berty-{name}"
    module = f"made_{own.replace('-', '_')}"
    (directory / f"{module}.py").write_text(code.replace("NAME", repr(name)))
    metadata = directory / f"{module}-1.2.dist-info"
    metadata.mkdir()
    needed = f"Requires-Dist: {requires}\n" if requires else ""
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {own}\nVersion: 1.2\n{needed}")
    (metadata / "entry_points.txt").write_text(f"[berty.plugins]\n{name} = {module}\n")


@contextmanager
def found(directory: Path) -> Iterator[list[EntryPoint]]:
    """The entry points of what was installed there, which can be imported while the block runs."""
    sys.path.insert(0, str(directory))
    try:
        yield [point for made in distributions(path=[str(directory)]) for point in made.entry_points]
    finally:
        sys.path.remove(str(directory))
        for module in [name for name in sys.modules if name.startswith("made_")]:
            del sys.modules[module]
