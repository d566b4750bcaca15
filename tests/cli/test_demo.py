"""`berty demo` stays on the loopback interface; the gate runs it whole."""

from __future__ import annotations

from berty_core.cli.demo import USED, settings

from .conftest import Home
from .test_plugin import INSTALLED


def test_no_other_plugin_takes_part(ann: Home) -> None:
    """Whatever else is installed is off for the demo's devices, and the LAN is the loopback interface."""
    (ann.path / "berty.toml").unlink()
    views = ann.berty(*settings(), "plugin", "list", "--json").data
    assert {view["name"] for view in views if view["state"] == "disabled"} == set(INSTALLED.split(", ")) - USED
    assert {view["name"] for view in views if view["state"] == "used"} == USED
    shown = ann.berty(*settings(), "config", "show", "--json").data
    assert [view["value"] for view in shown if view["key"] == "plugins.mdns.loopback"] == [True]
