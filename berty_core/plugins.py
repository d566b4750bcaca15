"""Find plugins by their entry points. Each is loaded alone: one that is broken is named, and the rest go on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from typing import Any

import attrs
import pluggy

from .calling import IMPORT_TIME, PluginFault
from .contracts import hookspecs
from .contracts.session import SessionSpec
from .contracts.store import StoreSpec
from .contracts.transport import TransportSpec
from .errors import UserError
from .loading import LeftOut, distribution, in_order, load
from .specs import HOOKS, Kind, collect

logger = logging.getLogger("berty.plugins")
GROUP = "berty.plugins"
DEFAULT_STORE = "sqlite"
KNOWN = (
    "file",
    "libp2p",
    "mdns",
    "sqlite",
    "udp",
    "unix",
)  # plugins of this project, for whoever names one that is not installed


@attrs.frozen
class Brought:
    """What the plugins bring: for each plugin its objects by kind, and the plugins whose objects are malformed."""

    by_plugin: Mapping[str, Mapping[Kind, tuple[Any, ...]]]
    left_out: tuple[LeftOut, ...] = ()

    def of(self, kind: Kind) -> dict[str, tuple[str, Any]]:
        """All objects of a kind by name, each with the name of its plugin."""
        return {spec.name: (plugin, spec) for plugin, kinds in self.by_plugin.items() for spec in kinds.get(kind, ())}


@attrs.frozen
class Plugins:
    """What was found: the hooks of the plugins that could be loaded, and those that could not, with reasons."""

    hooks: pluggy.PluginManager
    broken: tuple[LeftOut, ...] = ()
    disabled: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """The names of all that are loaded."""
        return sorted(name for name, plugin in self.hooks.list_name_plugin() if plugin is not None)

    def brought(self) -> Brought:
        """Call the hooks that register, each plugin's alone; one that fails, or takes another's name, is left out."""
        found: dict[str, Mapping[Kind, tuple[Any, ...]]] = {}
        left_out = []
        for name in self.names():
            try:
                brought = {kind: tuple(collect(hook, call)) for hook, kind, call in self._calls(name)}
                _check_taken(name, brought, Brought(found), self.names())
            except PluginFault as fault:
                remedy = fault.remedy or f"update it, or leave it out: `berty plugin disable {name}`"
                left_out.append(LeftOut(name, str(fault), remedy))
                continue
            found[name] = brought
        return Brought(found, tuple(left_out))

    def _calls(self, name: str) -> Iterable[tuple[str, Kind, Callable[[], Any]]]:
        """The registering hooks that a plugin has, each as a call of its own."""
        plugin = self.hooks.get_plugin(name)
        others = [other for _, other in self.hooks.list_name_plugin() if other is not plugin]
        callers = {caller.name for caller in self.hooks.get_hookcallers(plugin) or ()}
        for hook, kind in HOOKS.items():
            if hook in callers:
                yield hook, kind, self.hooks.subset_hook_caller(hook, others)

    def transports(self) -> dict[str, TransportSpec]:
        """All transports by name."""
        return {name: spec for name, (_, spec) in self.brought().of("transport").items()}

    def sessions(self) -> dict[str, SessionSpec]:
        """All session profiles by name."""
        return {name: spec for name, (_, spec) in self.brought().of("session profile").items()}

    def store(self, name: str = DEFAULT_STORE) -> StoreSpec:
        """A store by name; UserError that says what to do to have it."""
        brought = self.brought()
        stores = brought.of("store")
        if name in stores:
            spec: StoreSpec = stores[name][1]
            return spec
        for left in (*self.broken, *brought.left_out):
            if left.name == name:
                raise UserError(f"the store {name!r} cannot be used: {left.reason}; {left.remedy}")
        if name in self.disabled:
            raise UserError(f"the store {name!r} is disabled: `berty plugin enable {name}`")
        raise UserError(f"there is no store {name!r}: pip install berty-{name}")


def _check_taken(name: str, brought: Mapping[Kind, tuple[Any, ...]], before: Brought, plugins: Collection[str]) -> None:
    """PluginFault for a name that is another plugin's own, that one before brings, or that stands there twice."""
    for kind, specs in brought.items():
        taken = {} if kind == "check" else {spec: plugin for spec, (plugin, _) in before.of(kind).items()}
        for spec in specs:
            owner = taken.get(spec.name, spec.name if spec.name in plugins and kind != "check" else name)
            if owner != name or list(specs).count(spec) > 1:
                raise PluginFault(f"the name {spec.name} of its {kind} is taken by the plugin {owner}")


def installed(found: Iterable[EntryPoint] | None = None) -> list[EntryPoint]:
    """The entry points of all plugins, in order of name; nothing is imported."""
    return in_order(_entry_points() if found is None else found)


def _entry_points() -> Iterable[EntryPoint]:
    """All of the group; a distribution whose list is damaged costs its own plugins only."""
    try:
        return entry_points(group=GROUP)
    except Exception:  # whatever a damaged file of metadata makes of the library
        by_name = {_name_of(made): made for made in reversed(list(distributions()))}
        return [point for made in by_name.values() for point in _points_of(made)]


def _name_of(made: Distribution) -> str:
    try:
        return made.name
    except Exception:  # as above
        return ""


def _points_of(made: Distribution) -> Iterable[EntryPoint]:
    try:
        return made.entry_points.select(group=GROUP)
    except Exception:  # as above, and then we know whose
        logger.warning("the plugins of %s are not used: its list of entry points is damaged", _name_of(made))
        return ()


def load_plugins(
    disabled: Collection[str] = (), found: Iterable[EntryPoint] | None = None, *, patience: float = IMPORT_TIME
) -> Plugins:
    """Load every plugin that is installed and not disabled; a disabled one is never imported.

    `patience`: seconds that a module may take to be imported.
    """
    hooks = pluggy.PluginManager(hookspecs.PROJECT)
    hooks.add_hookspecs(hookspecs)
    broken = []
    for point in installed(found):
        if point.name in disabled:
            continue
        try:
            load(point, hooks, patience)
        except PluginFault as fault:
            broken.append(LeftOut(point.name, str(fault), fault.remedy, distribution=distribution(point)))
    return Plugins(hooks, tuple(broken), tuple(disabled))
