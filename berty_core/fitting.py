"""Bring plugins and configuration together: what can be used here, with its settings, and what is left out, and why.

Invariant: nothing that a plugin or its table does goes through.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import attrs

from .calling import CALL_TIME, PluginFault, supervised
from .config import NodeConfig, stops
from .contracts.session import SessionProfile, SessionSpec
from .contracts.transport import Probe, Transport, TransportSpec
from .errors import ConfigError
from .loading import LeftOut
from .plugins import KNOWN, Brought, Plugins
from .settings.faults import Fault, KeyPath, did_you_mean
from .settings.structure import structure
from .specs import Kind

CONFIGURED: tuple[Kind, ...] = ("transport", "session profile")


@attrs.frozen
class Fitted:
    """The plugins' objects that can be used, each with its settings; the plugins left out; faults of the tables."""

    transports: tuple[tuple[TransportSpec, Any], ...]
    sessions: tuple[tuple[SessionSpec, Any], ...]
    left_out: tuple[LeftOut, ...]
    faults: tuple[Fault, ...]
    brought: Brought

    def checked(self) -> Fitted:
        """The same; ConfigError if an option of the command is wrong, for it was typed just now."""
        if typed := [str(fault) for fault in self.faults if stops(fault)]:
            raise ConfigError("\n".join(typed))
        return self

    def make_transports(self) -> list[tuple[TransportSpec, Callable[[], Transport]]]:
        """What makes each transport, anew for each start; PluginFault when it is called, if that fails."""
        return [(spec, partial(_create, spec, settings)) for spec, settings in self.transports]

    def make_sessions(self, failed: Callable[[LeftOut], None]) -> list[tuple[SessionSpec, SessionProfile]]:
        """Make every session profile; `failed` is told of one that cannot be made."""
        made = []
        for spec, settings in self.sessions:
            try:
                made.append((spec, _create(spec, settings)))
            except PluginFault as fault:
                failed(LeftOut(spec.name, str(fault), fault.remedy))
        return made


def fit(config: NodeConfig, plugins: Plugins) -> Fitted:
    """Check every plugin's table, and ask each plugin whether it can run; never an error."""
    brought = plugins.brought()
    transports, sessions = [], []
    left_out = [*plugins.broken, *brought.left_out]
    faults: list[Fault] = []
    for name, kinds in brought.by_plugin.items():
        settings, found = plugin_settings(name, brought, config)
        faults += found
        specs = [spec for kind in CONFIGURED for spec in kinds.get(kind, ())]
        reason = _left_out(name, specs, settings, found)
        if reason is not None:
            left_out.append(reason)
            continue
        transports += [(spec, settings[spec.config]) for spec in kinds.get("transport", ())]
        sessions += [(spec, settings[spec.config]) for spec in kinds.get("session profile", ())]
    missing = _missing(config, plugins)
    faults += [fault for fault, _ in missing]
    faults += _misspelt(config, plugins)
    left_out += [left for _, left in missing]
    return Fitted(_by_name(transports), _by_name(sessions), tuple(left_out), tuple(faults), brought)


def _by_name(specs: list[tuple[Any, Any]]) -> tuple[tuple[Any, Any], ...]:
    return tuple(sorted(specs, key=lambda pair: str(pair[0].name)))


def plugin_settings(name: str, brought: Brought, config: NodeConfig) -> tuple[dict[type, Any], list[Fault]]:
    """The settings of a plugin by their classes: all its objects share the table, each has its own keys of it."""
    classes = setting_classes(name, brought)
    fields = {kind: {field.name for field in attrs.fields(kind)} for kind in classes}
    made, faults = {}, []
    for kind in classes:
        others = set[str]().union(*(fields[other] for other in classes if other is not kind))
        made[kind], found = structure(kind, ("plugins", name), config.plugin_layers, others=others)
        faults += [fault for fault in found if fault not in faults]
    if not classes:
        _, faults = _structure_none(name, config)
    return made, faults


def setting_classes(name: str, brought: Brought) -> list[type[Any]]:
    """The classes of a plugin's settings."""
    kinds = brought.by_plugin.get(name, {})
    return list(dict.fromkeys(spec.config for kind in CONFIGURED for spec in kinds.get(kind, ())))


@attrs.frozen
class _NoSettings:
    """The settings of a plugin that has none."""


def _structure_none(name: str, config: NodeConfig) -> tuple[None, list[Fault]]:
    _, faults = structure(_NoSettings, ("plugins", name), config.plugin_layers)
    return None, list(faults)


def _left_out(
    name: str, specs: Collection[Any], settings: Mapping[type, Any], faults: Collection[Fault]
) -> LeftOut | None:
    """Why a plugin is not used, or None; a table of one without settings changes nothing, and costs nothing."""
    if faults and specs:
        return LeftOut(name, "; ".join(map(str, faults)), _where_to_mend(faults), "refused")
    for spec in specs:
        platforms = getattr(spec, "platforms", None)
        if platforms and sys.platform not in platforms:
            words = f"it runs on {', '.join(sorted(platforms))}, and this is {sys.platform}"
            return LeftOut(name, words, f"`berty plugin disable {name}`", "unusable")
        try:
            probe = supervised(CALL_TIME, f"the probe of {spec.name}", lambda spec=spec: _probe(spec, settings))  # type: ignore[misc]
        except PluginFault as fault:
            return LeftOut(name, str(fault), f"update it, or leave it out: `berty plugin disable {name}`")
        if not probe.available:
            return LeftOut(name, probe.reason, f"`{probe.remedy}`" if probe.remedy else "", "unusable")
    return None


def _where_to_mend(faults: Collection[Fault]) -> str:
    variables = [fault.origin.name for fault in faults if fault.origin.kind == "environment"]
    return f"correct or unset {', '.join(variables)}" if variables else "`berty config edit`"


def _probe(spec: Any, settings: Mapping[type, Any]) -> Probe:
    probe = spec.probe(settings[spec.config])
    if not isinstance(probe, Probe):
        raise PluginFault(f"the probe of {spec.name} returned {type(probe).__name__}, and a Probe is needed")
    return probe


def _missing(config: NodeConfig, plugins: Plugins) -> list[tuple[Fault, LeftOut]]:
    """Tables whose plugin is not installed."""
    known = {*plugins.names(), *(left.name for left in plugins.broken), *plugins.disabled, *config.disabled}
    return [_not_installed(name, known, config) for name in config.plugins if name not in known]


def _misspelt(config: NodeConfig, plugins: Plugins) -> list[Fault]:
    """Names in `[node]` that are nearly those of plugins; one that is near to none may be installed later."""
    known = {*plugins.names(), *(left.name for left in plugins.broken), *plugins.disabled, *config.disabled, *KNOWN}
    named: list[tuple[KeyPath, str]] = [(("node", "prefer"), name) for name in config.prefer]
    named += [(("node", "transports", name), name) for name in config.transports]
    return [
        Fault(config.plugin_layers.origin(path), path, f"there is no plugin {name!r}{hint}")
        for path, name in named
        if name not in known and (hint := did_you_mean(name, known, otherwise=""))
    ]


def _not_installed(name: str, known: Collection[str], config: NodeConfig) -> tuple[Fault, LeftOut]:
    path = ("plugins", name)
    hint = did_you_mean(name, known, otherwise="")
    reason = "there is no such plugin" + (hint or did_you_mean(name, known, otherwise="installed are"))
    if hint:
        remedy = "`berty config edit`"
    elif name in KNOWN:
        remedy = f"`pip install berty-{name}`"
    else:
        remedy = f"install the plugin that is called {name}, or remove the table: `berty config unset plugins.{name}`"
    fault = Fault(config.plugin_layers.origin(path), path, reason if hint else f"{reason}; {remedy}")
    return fault, LeftOut(name, reason, remedy, "missing")


def _create(spec: Any, settings: Any) -> Any:
    """What a spec makes; PluginFault."""
    made = supervised(None, f"making {spec.name}", lambda: spec.create(settings))  # it may look for the event loop
    if made is None:
        raise PluginFault(f"making {spec.name} gave nothing")
    return made
