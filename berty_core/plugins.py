"""Find plugins by their entry points. Each is loaded alone: one that is broken is named, and the rest go on."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from importlib.metadata import EntryPoint, entry_points, version

import attrs
import pluggy

from .contracts import hookspecs
from .contracts.network import NetworkWatcher
from .contracts.session import SessionSpec
from .contracts.store import StoreSpec
from .contracts.transport import TransportSpec
from .errors import UserError

GROUP = "berty.plugins"
DEFAULT_STORE = "sqlite"

logger = logging.getLogger("berty.plugins")


@attrs.frozen
class BrokenPlugin:
    """A plugin that was not loaded, and why."""

    name: str
    reason: str


@attrs.frozen
class Plugins:
    """What was found."""

    hooks: pluggy.PluginManager
    broken: tuple[BrokenPlugin, ...]

    def transports(self) -> dict[str, TransportSpec]:
        """All transports by name."""
        return {spec.name: spec for specs in self.hooks.hook.berty_transports() for spec in specs}

    def sessions(self) -> dict[str, SessionSpec]:
        """All session profiles by name."""
        return {spec.name: spec for specs in self.hooks.hook.berty_sessions() for spec in specs}

    def watchers(self) -> list[NetworkWatcher]:
        """All that tell about the surroundings, in order of their plugins' names."""
        return [watcher for watchers in self.hooks.hook.berty_network() for watcher in watchers]

    def store(self, name: str = DEFAULT_STORE) -> StoreSpec:
        """A store by name; UserError that says what to install."""
        stores: dict[str, StoreSpec] = {spec.name: spec for specs in self.hooks.hook.berty_stores() for spec in specs}
        if name not in stores:
            raise UserError(f"there is no store {name!r}: pip install berty-{name}")
        return stores[name]


def load_plugins(disabled: Collection[str] = (), found: Iterable[EntryPoint] | None = None) -> Plugins:
    """Load every plugin that is installed and not disabled; a disabled one is never imported."""
    hooks = pluggy.PluginManager(hookspecs.PROJECT)
    hooks.add_hookspecs(hookspecs)
    broken = []
    for point in sorted(found if found is not None else entry_points(group=GROUP), key=lambda point: point.name):
        if point.name in disabled:
            continue
        try:
            module = point.load()
            _check_core(getattr(module, "CORE", ""))
            hooks.register(module, point.name)
            hooks.check_pending()
        except Exception as error:  # a stranger's module may raise anything at import
            if hooks.get_plugin(point.name) is not None:
                hooks.unregister(name=point.name)
            broken.append(BrokenPlugin(point.name, f"{type(error).__name__}: {error}"))
            logger.warning("plugin %s is not used: %s: %s", point.name, type(error).__name__, error)
    return Plugins(hooks, tuple(broken))


def _check_core(wanted: str) -> None:
    """Hold a plugin's range (such as `>=0.1,<1`) against this version of the core."""
    if not wanted:
        return
    own = _release(version("berty-core"))
    for condition in wanted.split(","):
        operator = condition.strip()[:2] if condition.strip()[1:2] == "=" else condition.strip()[:1]
        limit = _release(condition.strip()[len(operator) :])
        holds = {">=": own >= limit, "<": own < limit, "==": own == limit}.get(operator, False)
        if not holds:
            raise UserError(f"it wants berty-core {wanted}, this is {version('berty-core')}")


def _release(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())
