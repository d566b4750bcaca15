"""What all tests share: property tests have no time limit, for a slow machine is no fault.

Half as many examples as usual: the suite has some hundred properties, and `tests/fuzz` goes deeper by hand.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("shared", deadline=None, max_examples=50)
settings.load_profile("shared")
