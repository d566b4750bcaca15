"""What lies in the distributions: everything that is needed, and nothing of their neighbours."""

from __future__ import annotations

import re
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from berty_core.contracts.traits import Traits

ROOT = Path(__file__).parent.parent.parent
PROJECTS = {"berty_core": ROOT} | {path.name.replace("-", "_"): path for path in sorted((ROOT / "plugins").iterdir())}
POINTS = {package: "[berty.plugins]" for package in PROJECTS} | {"berty_core": "berty = berty_core.cli.main:main"}


def project(package: str) -> dict[str, object]:
    """The `[project]` table."""
    table: dict[str, object] = tomllib.loads((PROJECTS[package] / "pyproject.toml").read_text())["project"]
    return table


@pytest.fixture(params=PROJECTS)
def package(request: pytest.FixtureRequest) -> str:
    """Each of the distributions, by its package."""
    return str(request.param)


def test_sdist(package: str, tmp_path: Path) -> None:
    """A source distribution has its package, README and licences; of other packages and of tools it has nothing."""
    made = next(SdistBuilder(str(PROJECTS[package])).build(directory=str(tmp_path), versions=["standard"]))
    with tarfile.open(made) as tar:
        names = {name.split("/", 1)[1] for name in tar.getnames()}
    assert {"README.md", "LICENSE-MIT", "LICENSE-APACHE", "pyproject.toml", f"{package}/py.typed"} <= names
    if package == "berty_core":
        assert {name.split("/")[0] for name in names} == {
            "berty_core", "CHANGELOG.md", "README.md", "LICENSE-MIT", "LICENSE-APACHE", "pyproject.toml", "PKG-INFO",
            ".gitignore",
        }  # fmt: skip
    assert not any("__pycache__" in name or ".packages" in name or name.startswith("plugins") for name in names)


def test_wheel(package: str, tmp_path: Path) -> None:
    """A wheel is pure, typed, licensed, has every module of its package, and names its entry points."""
    made = Path(next(WheelBuilder(str(PROJECTS[package])).build(directory=str(tmp_path), versions=["standard"])))
    assert made.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(made) as wheel:
        names = set(wheel.namelist())
        points = "".join(wheel.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    source = PROJECTS[package] / package
    modules = {str(path.relative_to(source.parent)) for path in source.rglob("*.py")}
    assert modules <= names
    assert f"{package}/py.typed" in names
    assert {Path(name).name for name in names if "/licenses/" in name} == {"LICENSE-MIT", "LICENSE-APACHE"}
    assert POINTS[package] in points
    assert {name.split("/")[0].split("-")[0] for name in names} == {package}


def test_licences_are_alike(package: str) -> None:
    """Each distribution carries the same two texts."""
    for name in ("LICENSE-MIT", "LICENSE-APACHE"):
        assert (ROOT / name).read_bytes() == (PROJECTS[package] / name).read_bytes()
    assert project(package)["license"] == "MIT OR Apache-2.0"


def test_every_requirement_has_a_tested_version() -> None:
    """The constraints name a version for everything that the distributions and their tests ask for, and no host."""
    text = (ROOT / "tests" / "constraints.txt").read_text()
    tested = {re.sub(r"[-_.]+", "-", name).lower() for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}
    asked: set[str] = set()
    for package in PROJECTS:
        extras = project(package).get("optional-dependencies", {})
        assert isinstance(extras, dict)
        for requirements in (project(package)["dependencies"], *extras.values()):
            assert isinstance(requirements, list)
            asked |= {re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", item)[0]).lower() for item in requirements}
    assert {name for name in asked if not name.startswith("berty-")} <= tested
    assert "://" not in text


def test_no_two_require_each_other() -> None:
    """The store states its range of the core in its module, and not as a requirement."""
    assert project("berty_sqlite")["dependencies"] == []
    assert 'CORE = ">=' in (PROJECTS["berty_sqlite"] / "berty_sqlite" / "plugin.py").read_text()


def test_kit_brings_its_event_loops() -> None:
    """Whoever installs `berty-core[testing]` can run a suite on every event loop that a transport may declare."""
    extras = project("berty_core")["optional-dependencies"]
    assert isinstance(extras, dict)
    names = {re.split(r"[^\w.-]", item)[0] for item in extras["testing"]}
    assert Traits.of_bus(mtu=233).backends - {"asyncio"} <= names
    assert "pytest" in names
