"""The plugin as the core meets it, and its configuration."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pluggy
import pytest
from berty_mdns import plugin
from berty_mdns.config import MdnsConfig
from berty_mdns.transport import MdnsTransport

from berty_core.contracts import hookspecs
from berty_core.errors import LocalProtocolError


def test_the_entry_point_brings_one_transport():
    """The hook gives a specification that makes a transport out of the default configuration."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    [entry] = entry_points(group="berty.plugins", name="mdns")
    manager.register(entry.load())
    manager.check_pending()
    [[spec]] = manager.hook.berty_transports()

    assert spec.name == "mdns"
    assert plugin.API == (1, 0)
    assert spec.probe(spec.config()).available
    assert isinstance(spec.create(spec.config()), MdnsTransport)


def test_importing_the_plugin_loads_no_platform_library():
    """The plugin module and `probe` work where zeroconf is absent, and the reason names what to type."""
    code = (
        "import sys; sys.modules['zeroconf'] = None; sys.modules['ifaddr'] = None\n"
        "import importlib.util; find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda n, *a: None if n == 'zeroconf' else find(n, *a)\n"
        "from berty_mdns import plugin\n"
        "[spec] = plugin.berty_transports(); probe = spec.probe(spec.config())\n"
        "assert not probe.available and 'zeroconf' in probe.reason and 'pip install' in probe.remedy\n"
        "assert 'berty_mdns.driver' not in sys.modules\n"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_foreign_configuration_is_refused():
    """Only the class that the specification names is a configuration."""
    [spec] = plugin.berty_transports()
    with pytest.raises(LocalProtocolError, match="MdnsConfig"):
        spec.create({"port": 1})


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"interfaces": "eth0"}, "a list"),
        ({"interfaces": ("",)}, "neither"),
        ({"interfaces": ("eth\n0",)}, "neither"),
        ({"interfaces": ("192.0.2.1/24",)}, "prefix"),
        ({"ip": "5"}, "both"),
        ({"port": -1}, "65535"),
        ({"port": 65536}, "65535"),
        ({"port": True}, "65535"),
        ({"loopback": "yes"}, "true or false"),
        ({"loopback": True, "interfaces": ("lo",)}, "excludes"),
        ({"loopback": True, "ip": "6"}, "IPv4 only"),
    ],
)
def test_bad_values_are_refused_with_the_key_and_the_reason(values, says):
    """Each bad value is refused with a text that begins with its key."""
    with pytest.raises(ValueError, match=says) as caught:
        MdnsConfig(**values)
    assert str(caught.value).split(":")[0] in values


def test_interfaces_are_named_by_name_or_address():
    """An address is compared as an address, with its scope only if that is written."""
    config = MdnsConfig(interfaces=("wlan0", "192.0.2.1", "FE80::0001", "fe80::2%3"))

    assert config.names("wlan0", "198.51.100.1")
    assert config.names("eth0", "192.0.2.1")
    assert config.names("eth0", "fe80::1%7")
    assert config.names("eth0", "fe80::2%3")
    assert not config.names("eth0", "fe80::2%4")
    assert not config.names("eth0", "192.0.2.2")
