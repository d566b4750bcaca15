"""What is public: one page, which has every name that the public modules define; and plugins use nothing else."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from berty_core import loading

from ..generate_public_api import PAGE, page, rows

ROOT = Path(__file__).parent.parent.parent
TEXT = PAGE.read_text()
WHOLE, SINGLE = rows(TEXT, "Whole modules"), rows(TEXT, "Single names")
PLUGIN_MODULES = sorted(
    path for path in ROOT.glob("plugins/*/berty_*/**/*.py") if "tests" not in path.relative_to(ROOT / "plugins").parts
)


def imports(source: str) -> Iterator[tuple[str, str]]:
    """Each module of the core and the name that is taken from it; of `import a.b` the name is empty."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "berty_core":
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] == "berty_core")


def is_public(module: str, name: str) -> bool:
    """Whether the page lists a name, or a module as a whole."""
    listed = {**WHOLE, **SINGLE}
    return name in listed.get(module, ()) or f"{module}.{name}".rstrip(".") in WHOLE


def test_whole_modules_are_listed_with_all_they_define() -> None:
    """A name that is added, renamed or gone changes the page: `python -m tests.generate_public_api`."""
    assert page(TEXT) == TEXT


def test_every_contract_is_public() -> None:
    """A module that plugins are to implement is on the page."""
    contracts = (ROOT / "berty_core" / "contracts").glob("[a-z]*.py")
    assert {f"berty_core.contracts.{path.stem}" for path in contracts} <= set(WHOLE)


@pytest.mark.parametrize("module", [*WHOLE, *SINGLE])
def test_every_name_is_there(module: str) -> None:
    """Whoever follows the page finds what it names."""
    imported = importlib.import_module(module)
    for name in {**WHOLE, **SINGLE}[module]:
        assert hasattr(imported, name), f"{module} has no {name}"


@pytest.mark.parametrize("path", PLUGIN_MODULES, ids=lambda path: str(path.relative_to(ROOT / "plugins")))
def test_plugins_use_what_is_public(path: Path) -> None:
    """The plugins here keep to what a stranger's plugin may use."""
    hidden = [f"{module} {name}" for module, name in imports(path.read_text()) if not is_public(module, name)]
    assert hidden == []


def test_a_hidden_name_is_seen() -> None:
    """The walk finds what it looks for, also inside functions."""
    source = "def f():\n    from berty_core.runtime.node import Node\n    import berty_core.plugins\n"
    assert [is_public(*found) for found in imports(source)] == [False, False]
    assert is_public("berty_core", "Node")
    assert is_public("berty_core.contracts", "transport")


def test_the_version_of_the_contract() -> None:
    """The page says the version that is checked."""
    assert f"**{'.'.join(map(str, loading.API))}**" in TEXT


@pytest.mark.parametrize("package", ["berty_mdns", "berty_libp2p", "berty_sqlite"])
def test_each_plugin_says_for_which_version_it_was_made(package: str) -> None:
    """None of ours relies on saying nothing."""
    wanted = importlib.import_module(f"{package}.plugin").API
    loading.check_api(wanted)
