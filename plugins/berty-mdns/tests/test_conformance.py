"""The rules of the transport contract."""

from __future__ import annotations

from berty_mdns.conformance import MdnsSuite

from berty_core.testing.plugin_suite import PluginSuite


class TestMdns(MdnsSuite):
    """On the loopback interface."""


class TestPlugin(PluginSuite):
    """As it is installed."""

    plugin = "berty_mdns.plugin"
    name = "mdns"
    libraries = ("zeroconf", "ifaddr")
