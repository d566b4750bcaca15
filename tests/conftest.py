"""What all tests share: property tests have no time limit, and which tests may run side by side."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("no time limit", deadline=None)  # a slow machine is no fault
settings.load_profile("no time limit")

# Nodes on the loopback interface hear each other's multicast: the tests of these directories run one after the other.
ON_LOOPBACK = ("tests/cli", "tests/docs", "tests/interop", "tests/network", "tests/plugins", "plugins")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where several processes share the tests (`-n`), those of a file stay together, in their order."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        """Gives each process whole files, and one of them all that is on the loopback interface."""

        def _split_scope(self, nodeid: str) -> str:
            return "loopback" if nodeid.startswith(ON_LOOPBACK) else nodeid.partition("::")[0]

    return ByFile(config, log)
