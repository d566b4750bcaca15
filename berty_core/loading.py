"""Load a plugin's module from its entry point. Invariant: whatever it does, it costs the node this plugin only."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from importlib.metadata import EntryPoint, PackageNotFoundError, version
from typing import Any, Literal

import attrs
import pluggy

from .calling import IMPORT_TIME, PluginFault, supervised
from .contracts import hookspecs
from .contracts.transport import API
from .settings.faults import did_you_mean

CORE = "berty-core"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


@attrs.frozen
class LeftOut:
    """A plugin that is not used, why, and what to do about it."""

    name: str
    reason: str
    remedy: str = ""
    state: Literal["broken", "refused", "unusable", "missing"] = "broken"
    distribution: str = ""  # which one of two of the same name was not loaded


def in_order(points: Iterable[EntryPoint]) -> list[EntryPoint]:
    """By name; of two with one name the distribution that is called like it comes first, so that none displaces it."""
    return sorted(
        points, key=lambda point: (point.name, distribution(point) != f"berty-{point.name}", distribution(point))
    )


def distribution(point: EntryPoint) -> str:
    """The name of the distribution that an entry point comes from, if that is known."""
    return re.sub(r"[-_.]+", "-", _said_of(point, "name")).lower()


def distribution_version(point: EntryPoint) -> str:
    """The version of that distribution, if that is known."""
    return _said_of(point, "version")


def _said_of(point: EntryPoint, what: str) -> str:
    try:
        return str(getattr(point.dist, what, None) or "")
    except Exception:  # whatever a damaged file of metadata makes of the library
        return ""


def load(point: EntryPoint, hooks: pluggy.PluginManager, patience: float = IMPORT_TIME) -> None:
    """Check a plugin, import it and register its hooks; PluginFault, and then nothing of it is registered."""
    _check_name(point, hooks)
    remedy = f"`pip install --upgrade {distribution(point) or point.name}`, or `berty plugin disable {point.name}`"
    try:
        stated = supervised(None, "reading its metadata", lambda: _check_requirement(point))
        module = supervised(patience, "importing it", point.load)
        _check_declared(module, check_core=not stated)
        _register(module, point.name, hooks)
    except PluginFault as fault:
        fault.remedy = fault.remedy or remedy
        raise


def _check_name(point: EntryPoint, hooks: pluggy.PluginManager) -> None:
    if NAME.fullmatch(point.name) is None:
        raise PluginFault(
            f"{point.name!r} is no name of a plugin: small letters, digits, `-` and `_`, at most 32",
            "tell the plugin's author",
        )
    if hooks.get_plugin(point.name) is not None:
        raise PluginFault(
            f"another plugin has the name {point.name} already; this one is of {distribution(point) or 'elsewhere'}",
            f"`pip uninstall {distribution(point)}`" if distribution(point) else "remove one of the two",
        )


# -- versions ------------------------------------------------------------------------------------


def _check_requirement(point: EntryPoint) -> bool:
    """Hold what the distribution requires of the core against this one, before import; whether it says anything."""
    stated = False
    for requirement in (point.dist.requires if point.dist is not None else None) or ():
        if re.match(r"berty[-_.]+core\b", requirement, re.IGNORECASE):
            stated = _check_range(requirement.partition(";")[0]) or stated
    return stated


def _check_range(written: str) -> bool:
    """PluginFault unless this version of the core is in the range; whether there is one."""
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415  not slow, but for this only

    try:
        wanted = Requirement(written).specifier
    except InvalidRequirement as error:
        raise PluginFault(f"the range of {CORE} that it wants cannot be read: {written}") from error
    own = core_version()
    if not wanted.contains(own, prereleases=True):
        raise PluginFault(f"it wants {CORE} {wanted}, and this is {own}")
    return bool(str(wanted))


def core_version() -> str:
    """The version of this core."""
    try:
        return version(CORE)
    except PackageNotFoundError as error:
        raise PluginFault(f"the version of {CORE} is not known: it is not installed") from error


def _check_declared(module: object, *, check_core: bool) -> None:
    """Hold what the module says of itself against this core."""
    wanted = getattr(module, "CORE", "")
    if check_core and wanted:
        _check_range(f"{CORE}{wanted}")
    check_api(getattr(module, "API", (1, 0)))


def check_api(wanted: object) -> None:
    """Hold the version of the contract that a plugin was made for against ours; PluginFault."""
    if not (isinstance(wanted, tuple) and len(wanted) == 2 and all(type(part) is int for part in wanted)):
        raise PluginFault(f"its API is {wanted!r}, and two whole numbers such as (1, 0) are needed")
    ours = ".".join(map(str, API))
    theirs = ".".join(map(str, wanted))
    if wanted[0] < API[0]:
        raise PluginFault(f"it was made for version {theirs} of the plugin contract, which this core ({ours}) has left")
    if wanted > API:
        raise PluginFault(
            f"it was made for version {theirs} of the plugin contract, and this core has {ours}",
            f"pip install --upgrade {CORE}",
        )


# -- hooks ---------------------------------------------------------------------------------------


def _register(module: object, name: str, hooks: pluggy.PluginManager) -> None:
    _check_hooks(module)
    try:
        hooks.register(module, name)
        hooks.check_pending()
    except Exception as error:  # a stranger's object may raise when it is looked at
        if hooks.get_plugin(name) is not None:
            hooks.unregister(name=name)
        raise PluginFault(_plain(error)) from error


def _plain(error: Exception) -> str:
    """What pluggy says, without its first two lines, which name the plugin and the hook object."""
    return str(error).rpartition("\n")[2] if isinstance(error, pluggy.PluginValidationError) else str(error)


def _check_hooks(module: object) -> None:
    """Find hooks that would never be called, in words that say what to change."""
    known = {name for name, value in vars(hookspecs).items() if hasattr(value, f"{hookspecs.PROJECT}_spec")}
    functions = {name: value for name, value in _members(module) if callable(value)}
    marked = {name for name, value in functions.items() if hasattr(value, f"{hookspecs.PROJECT}_impl")}
    for name in sorted(marked - known):
        raise PluginFault(f"its hook {name} is unknown{did_you_mean(name, known, otherwise='hooks are')}")
    for name in sorted(functions.keys() & known - marked):
        raise PluginFault(f"its {name} is not marked with @hookimpl, so it would not be called")
    for name in sorted(marked):
        if inspect.iscoroutinefunction(functions[name]) or inspect.isasyncgenfunction(functions[name]):
            raise PluginFault(f"its hook {name} is `async`, and hooks are plain functions that only register")
    if not marked:
        raise PluginFault(f"it has no hooks; hooks are {', '.join(sorted(known))}")


def _members(module: object) -> Iterable[tuple[str, Any]]:
    for name in dir(module):
        if name.startswith("berty_"):
            yield name, getattr(module, name, None)
