"""The rings of the architecture: imports go downward, and pure code asks nobody for time, chance or the network."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import berty_core

ROOT = Path(berty_core.__file__).parent

# What each room may import of this package, besides itself. `testing` sees everything but the command line.
LOWER = {"contracts", "protocol", "crypto", "codec", "errors", "ids"}
SHELL = LOWER | {"media", "fitting", "config", "plugins", "specs", "loading", "calling", "settings"}
RINGS = {
    "errors": set(),
    "ids": {"errors"},
    "codec": {"errors", "ids"},
    "crypto": {"codec", "errors", "ids"},
    "protocol": {"codec", "crypto", "errors", "ids"},
    "media": {"contracts", "errors"},
    "contracts": {"protocol", "crypto", "codec", "errors", "ids"},
    "settings": {"errors"},
    "calling": {"errors"},
    "loading": {"calling", "settings", "contracts", "errors"},
    "specs": {"calling", "loading", "contracts", "crypto", "errors"},
    "plugins": {"calling", "specs", "loading", "contracts", "errors"},
    "config": {"plugins", "settings", "protocol", "errors"},
    "fitting": {"calling", "config", "plugins", "specs", "loading", "settings", "contracts", "errors"},
    "runtime": SHELL,
    "testing": {"runtime", *SHELL},
    "cli": {"runtime", *SHELL},
    "__init__": {"runtime", "plugins", "config", "contracts", "protocol", "codec", "errors", "ids"},
    "__main__": {"cli"},
}
# Rooms of the shell that know nothing else of it, or only this.
SHELL_ROOMS: dict[str, set[str]] = {"replica": set(), "surroundings": {"decisions"}}
PURE = ("codec", "crypto", "protocol")
# Modules that read a clock, chance, the file system, the network, or start work of their own.
IMPURE = {
    *("anyio", "asyncio", "concurrent", "datetime", "glob", "io", "multiprocessing", "os", "pathlib", "random"),
    *("secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile"),
    *("threading", "time", "trio", "urllib.request", "uuid", "zeroconf", "click", "pluggy", "keyring", "sys"),
}
PURE_CALLS = {"open", "input", "print", "exec", "eval", "breakpoint", "__import__"}
CRYPTOGRAPHY = {"nacl", "cryptography"}
# Stock go-ipfs-log signs with secp256k1; only published fixtures need it, and no product code should have it.
CRYPTOGRAPHY_ELSEWHERE = {"testing/vectors/secp256k1.py"}
CODECS = {"cbrrr", "libipld"}


def modules() -> list[Path]:
    """All hand-written modules; the template of a plugin is a package of its own, beside the rings."""
    found = [path for path in sorted(ROOT.rglob("*.py")) if not path.stem.endswith("_pb2")]
    return [path for path in found if "scaffold" not in path.parts]


def room(path: Path) -> str:
    """The ring that a module is in."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Full names of what a module imports, also inside functions; relative ones are resolved."""
    package = ("berty_core", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def rooms_used(path: Path) -> set[str]:
    """Rooms of this package that a module imports from."""
    found = {name.split(".")[1] for name in imports(path) if name.startswith("berty_core.") and name.count(".")}
    return {name for name in found if (ROOT / name).is_dir() or (ROOT / f"{name}.py").exists()}


def outside(path: Path) -> set[str]:
    """Foreign packages that a module imports, as written."""
    return {name for name in imports(path) if not name.startswith("berty_core")}


def test_every_room_has_a_ring() -> None:
    """A new room is placed in the table above before anything may import it."""
    assert {room(path) for path in modules()} <= set(RINGS)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downward(path: Path) -> None:
    """A module imports its own room and the rooms below."""
    own = room(path)
    assert rooms_used(path) - {own} <= RINGS[own]


@pytest.mark.parametrize("name", SHELL_ROOMS)
def test_rooms_of_the_shell(name: str) -> None:
    """The replica knows no link, and those who watch the device know no transport."""
    used = {
        imported.split(".")[2]
        for path in sorted((ROOT / "runtime" / name).glob("*.py"))
        for imported in imports(path)
        if imported.startswith("berty_core.runtime.")
    }
    assert name in used
    assert used - {name} <= SHELL_ROOMS[name]


@pytest.mark.parametrize(
    "path", [path for path in modules() if room(path) in PURE], ids=lambda path: str(path.relative_to(ROOT))
)
def test_pure_rooms_ask_nobody(path: Path) -> None:
    """No clock, chance, file, network or task in codec, crypto and protocol: they are arguments."""
    prefixes = {
        ".".join(name.split(".")[: length + 1]) for name in outside(path) for length in range(name.count(".") + 1)
    }
    assert prefixes & IMPURE == set()
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert calls & PURE_CALLS == set()


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_one_room_for_each_library(path: Path) -> None:
    """Cryptographic libraries belong to `crypto`, encoders to `codec`."""
    packages = {name.split(".")[0] for name in outside(path)}
    if room(path) != "crypto" and str(path.relative_to(ROOT)) not in CRYPTOGRAPHY_ELSEWHERE:
        assert packages & CRYPTOGRAPHY == set()
    if room(path) != "codec":
        assert packages & CODECS == set()


def test_nothing_in_the_product_imports_testing() -> None:
    """What is for tests stays out of the product."""
    users = {str(path.relative_to(ROOT)) for path in modules() if "testing" in rooms_used(path)}
    assert {user for user in users if not user.startswith("testing/")} == set()


def test_a_breach_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk finds an upward import, also a relative one inside a function, and an impure one."""
    for name in ("protocol", "runtime"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    module = tmp_path / "protocol" / "bad.py"
    module.write_text("import os.path\ndef f():\n    from ..runtime import node\n    from .. import runtime\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert rooms_used(module) == {"runtime"}
    assert "os.path" in outside(module)
    with pytest.raises(AssertionError):
        test_imports_go_downward(module)
    with pytest.raises(AssertionError):
        test_pure_rooms_ask_nobody(module)
