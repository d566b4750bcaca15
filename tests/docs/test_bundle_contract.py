"""The page with the rules for carriers of bundles says what the suite checks, rule by rule."""

from __future__ import annotations

import re
from pathlib import Path

from berty_core.testing.bundle_suite import rules

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "bundle-contract.md"


def test_every_rule_is_in_the_page() -> None:
    """Each rule has its number and words there, and no other number is there."""
    shown = re.findall(r"^(\d+)\. (.*)$", PAGE.read_text(), re.MULTILINE)
    assert shown == [(str(number), words) for number, (words, _) in rules().items()]
