"""The reference pages say what the code has: every name, default, hook and record, and nothing that is gone."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

import attrs
import pytest

import berty_core
from berty_core import config, errors
from berty_core.contracts import hookspecs
from berty_core.plugins import load_plugins
from berty_core.protocol.ranking import Policy
from berty_core.runtime.replica import records
from berty_core.testing.network import FakeSurroundings
from berty_core.testing.vectors.deviations import DEVIATIONS

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("plugins/*/README.md")])
PYTHON = re.compile(r"^[ ]*```python\n(.*?)^[ ]*```$", re.MULTILINE | re.DOTALL)
HOOKS = {name: value for name, value in vars(hookspecs).items() if hasattr(value, f"{hookspecs.PROJECT}_spec")}
PUBLIC = {
    "AccountId", "AmbiguousName", "BertyError", "BudgetSpent", "ConfigError", "DeadlinePassed", "DeviceId",
    "EndOfStream", "GroupId", "LinkLost", "MessageTooLarge",
    "LocalProtocolError", "MemberId", "Message", "Node", "NodeConfig", "RemoteProtocolError", "StoreCorrupt",
    "StoreError", "StoreFull", "StoreLocked", "StoreTooNew", "TransportError", "UserError", "create_home",
    "read_config",
}  # fmt: skip


def page(name: str) -> str:
    """The text of a reference page."""
    return (REFERENCE / name).read_text()


def table(text: str, heading: str) -> dict[str, str]:
    """First cell to second cell of the table under a heading, without backquotes."""
    section = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]*)` \|", section, re.MULTILINE)
    assert rows
    return dict(rows)


def as_toml(value: object) -> str:
    """A default as the configuration file would have it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(list(value) if isinstance(value, tuple) else value)


def kind_keys(kind: type[attrs.AttrsInstance]) -> list[str]:
    """The keys of a table: fields of the node's configuration that are none are left out."""
    return config.node_keys() if kind is config.NodeConfig else [field.name for field in attrs.fields(kind)]


def defaults(kind: type[attrs.AttrsInstance]) -> dict[str, str]:
    """Names and defaults of a class of settings."""
    made = kind()
    return {
        field.name: as_toml(getattr(made, field.name)) for field in attrs.fields(kind) if field.name in kind_keys(kind)
    }


def test_public_names() -> None:
    """The public API is these names and no others; each can be had, and each is in the page."""
    assert set(berty_core.__all__) == PUBLIC
    assert sorted(PUBLIC) == dir(berty_core)
    text = page("python-api.md")
    for name in PUBLIC:
        assert getattr(berty_core, name).__name__ == name
        assert name in text


def test_every_error_is_public() -> None:
    """No error that a caller may want to catch is hidden in a module."""
    found = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == "berty_core.errors"
    }
    assert found <= PUBLIC


def test_import_is_cheap() -> None:
    """What is imported with the package is nothing but the package: names come when they are used."""
    tree = ast.parse((ROOT / "berty_core" / "__init__.py").read_text())
    imported = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert imported == ["__future__", "importlib", "typing"]


@pytest.mark.parametrize("name", ["Node", "Message"])
def test_members_of_public_classes(name: str) -> None:
    """Each public attribute of `Message`, and each name that the page gives `Node`, exists."""
    text = page("python-api.md")
    kind = getattr(berty_core, name)
    if name == "Message":
        assert {field.name for field in attrs.fields(kind) if not field.name.startswith("_")} == set(
            re.findall(r"^\| `([a-z]+)` \|", text.split("## `Message`")[1].split("\n## ")[0], re.MULTILINE)
        )
        return
    for member in re.findall(r"`(?:await )?node\.([a-z_]+)", text):
        assert hasattr(kind, member) or f"self.{member}:" in inspect.getsource(kind.__init__)


@pytest.mark.parametrize(
    "function",
    [
        "Node.open",
        "Node.send",
        "Node.messages",
        "Node.export_bundle",
        "Node.import_bundle",
        "create_home",
        "Message.answer",
    ],
)
def test_parameters_are_in_the_page(function: str) -> None:
    """Each parameter of the documented functions is named where they are."""
    name, _, member = function.partition(".")
    target = getattr(berty_core, name)
    parameters = set(inspect.signature(getattr(target, member) if member else target).parameters) - {"self", "cls"}
    spelled = {"Node": "Node" if member == "open" else "node", "Message": "message"}.get(name, "")
    start = f"{spelled}.{member}(" if member else f"{name}("
    line = page("python-api.md").split(f"`{start}" if f"`{start}" in page("python-api.md") else f"`await {start}", 1)[1]
    shown = set(re.findall(r"([a-z_]+)", line.split("`", 1)[0]))
    assert parameters <= shown


@pytest.mark.parametrize(("heading", "kind"), [("`[node]`", config.NodeConfig), ("`[node.transports.NAME]`", Policy)])
def test_settings(heading: str, kind: type[attrs.AttrsInstance]) -> None:
    """The configuration page has every key with its default."""
    assert table(page("configuration.md"), heading) == defaults(kind)


def test_settings_of_the_lan_transport() -> None:
    """The same for the table of berty-mdns, in the configuration page and in its own."""
    kind = importlib.import_module("berty_mdns.config").MdnsConfig
    assert table(page("configuration.md"), "`[plugins.mdns]`") == defaults(kind)
    assert table((ROOT / "plugins" / "berty-mdns" / "README.md").read_text(), "Configuration") == defaults(kind)


def test_settings_of_the_profile_of_berty_apps() -> None:
    """The same for berty-libp2p."""
    kind = importlib.import_module("berty_libp2p.config").Libp2pConfig
    assert table(page("configuration.md"), "`[plugins.libp2p]`") == defaults(kind)
    assert table((ROOT / "plugins" / "berty-libp2p" / "README.md").read_text(), "Configuration") == defaults(kind)


def test_hooks() -> None:
    """Each hook has a heading with its exact signature, and its docstring; no other hook has one."""
    text = page("hooks.md")
    assert HOOKS
    for name, hook in HOOKS.items():
        signature = str(inspect.signature(hook)).replace("'", "")
        assert f"\n## `{name}{signature}`\n\n{inspect.getdoc(hook)}\n" in text
    assert len(HOOKS) == len(re.findall(r"^## `", text, re.MULTILINE))


def test_every_hook_has_a_user() -> None:
    """No hook is there for nobody: a plugin of this repository has it, or the fake that the tests of the core use."""
    hooks = load_plugins().hooks
    hooks.register(FakeSurroundings(), "fake")
    for name in HOOKS:
        assert getattr(hooks.hook, name).get_hookimpls(), name


def test_deviations() -> None:
    """What the vector checker tolerates is named in the page, and nothing else is."""
    section = page("deviations.md").split("\n## What we do otherwise", 1)[0]
    names = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert names == [deviation.name for deviation in DEVIATIONS]


def test_records() -> None:
    """The page on the home lists each kind of record by its first byte."""
    kinds = {
        value.decode()
        for name, value in vars(records).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, bytes) and len(value) == 1
    }
    shown = re.findall(r"^\| `(.)` \|", page("home.md"), re.MULTILINE)
    assert sorted(kinds) == sorted(shown)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_compiles(path: Path) -> None:
    """Every block of Python in the documents compiles, and what it imports from the core is there."""
    for block in PYTHON.findall(path.read_text()):
        tree = ast.parse(inspect.cleandoc(block))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("berty_core"):
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_anchors(path: Path) -> None:
    """A link to a heading names one that is there."""
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", path.read_text()):
        if "://" in target:
            continue
        text = (path.parent / target).read_text() if target else path.read_text()
        headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_an_index() -> None:
    """No page is an orphan: the index, or the list of decisions, links to it."""
    linked = {
        (index.parent / target).resolve()
        for index in (DOCS / "README.md", DOCS / "decisions" / "README.md")
        for target in re.findall(r"\]\(([^)#]+)", index.read_text())
    }
    pages = {path.resolve() for path in DOCS.rglob("*.md")} - {(DOCS / "README.md").resolve()}
    assert pages <= linked


def test_the_bot_in_the_text_is_the_file() -> None:
    """The tutorial shows the whole of the file that is tested."""
    file = (DOCS / "tutorials" / "answer_bot.py").read_text()
    assert f"```python\n{file}```" in (DOCS / "tutorials" / "a-bot.md").read_text()


def test_the_bot_in_the_readme_is_the_same() -> None:
    """The README's dozen lines open a node, read with a cursor and answer, as the file does."""
    shown = PYTHON.findall((ROOT / "README.md").read_text())[0]
    file = (DOCS / "tutorials" / "answer_bot.py").read_text()
    for line in (
        "async with Node.open(home) as node:",
        'async for message in node.messages("bot"):',
        "await message.answer(",
    ):
        assert line in shown
        assert line in file
