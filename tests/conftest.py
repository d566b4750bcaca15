"""What all tests share: property tests have no time limit, for a slow machine is no fault."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("no time limit", deadline=None)
settings.load_profile("no time limit")
