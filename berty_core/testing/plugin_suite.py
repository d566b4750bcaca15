"""The suite of a plugin as it is installed: it can be loaded and judged, also where its library is absent."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys
from collections.abc import Sequence
from typing import ClassVar

import pluggy

from ..contracts import hookspecs
from .rules import Condition, Suite, equal, expect, rule

GROUP = "berty.plugins"
LIBRARIES = Condition("no libraries", lambda suite: bool(suite.libraries))
HIDDEN = """
import sys
hidden = set(sys.argv[2].split(","))
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in hidden else self.finder.find_spec(name, path, target)
sys.meta_path[:] = map(Hiding, sys.meta_path)
import importlib.util
import pluggy
from berty_core.contracts import hookspecs
plugins = pluggy.PluginManager(hookspecs.PROJECT)
plugins.add_hookspecs(hookspecs)
plugins.register(importlib.import_module(sys.argv[1]))
for specs in plugins.hook.berty_transports():
    for spec in specs:
        probe = spec.probe(spec.config())
        if probe.available or not probe.reason or not probe.remedy:
            sys.exit(f"{spec.name}: {probe!r}")
"""


class PluginSuite(Suite):
    """Subclass it as `class TestMyPlugin(PluginSuite)`.

    `plugin` is the module that the entry point names, `name` the entry point's name, and `libraries` are the top-level
    modules of what may be absent.
    """

    contract: ClassVar[str] = "transport"
    level = "emulated"
    plugin: str
    name: str
    libraries: Sequence[str] = ()

    @classmethod
    def shown_title(cls) -> str:
        """The plugin's name."""
        return cls.title or f"plugin {cls.name}"

    @rule(1, when=(LIBRARIES,))
    def test_plugin_without_library(self) -> None:
        """A plugin loads and gives its transports where its libraries are absent; `probe` says what to install."""
        command = [sys.executable, "-c", HIDDEN, self.plugin, ",".join(self.libraries)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
        lines = ended.stderr.strip().splitlines()
        expect(ended.returncode == 0, lines[-1] if lines else "it ended without a word")

    @rule(10)
    def test_plugin_hooks(self) -> None:
        """Its hooks are hooks of the core, by name and parameters."""
        plugins = pluggy.PluginManager(hookspecs.PROJECT)
        plugins.add_hookspecs(hookspecs)
        module = importlib.import_module(self.plugin)
        name = plugins.register(module)
        plugins.check_pending()
        expect(bool(plugins.get_hookcallers(module)), f"{name} has no hook at all")

    @rule(11, needs=(10,))
    def test_plugin_entry_point(self) -> None:
        """Its entry point bears the name of what it brings, which is the name of its table in the configuration."""
        points = importlib.metadata.entry_points(group=GROUP, name=self.name)
        equal([self.plugin], [point.value for point in points])
        plugins = pluggy.PluginManager(hookspecs.PROJECT)
        plugins.add_hookspecs(hookspecs)
        plugins.register(importlib.import_module(self.plugin))
        hooks = (plugins.hook.berty_transports, plugins.hook.berty_stores)
        names = [spec.name for hook in hooks for specs in hook() for spec in specs]
        expect(not names or self.name in names, f"it brings {', '.join(names)}, and its entry point is {self.name}")
