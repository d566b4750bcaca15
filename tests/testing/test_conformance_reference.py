"""The contract page and the kit have the same rules, in the same words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from berty_core.testing.bundle_suite import BundleSuite
from berty_core.testing.plugin_suite import PluginSuite
from berty_core.testing.rules import Rule, Suite, rule
from berty_core.testing.store_suite import StoreSuite
from berty_core.testing.transport_suite import BusSuite, LinkSuite, TransportSuite

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "transport-contract.md"
SUITES: list[type[Suite]] = [TransportSuite, PluginSuite, LinkSuite, BusSuite, StoreSuite, BundleSuite]


def listed() -> dict[int, str]:
    """The rules of the page."""
    found = re.findall(r"^(\d+)\. (.+)$", PAGE.read_text(), re.MULTILINE)
    assert len(found) == len(dict(found)), "a number stands twice"
    return {int(number): words for number, words in found}


def checked() -> dict[int, Rule]:
    """The rules of the kit."""
    return {each.number: each for suite in (TransportSuite, PluginSuite) for each in suite.rules()}


def test_page_and_kit_agree() -> None:
    """No rule lacks a check, no check lacks a rule, and the words are the same."""
    assert listed() == {number: each.words for number, each in checked().items()}
    assert list(listed()) == sorted(listed())


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.__name__)
def test_every_check_is_a_rule(suite: type[Suite]) -> None:
    """No method looks like a check and is none, and no two rules share a method."""
    methods = {name for name in dir(suite) if name.startswith("test_")}
    rules = suite.rules()
    assert methods == {each.check for each in rules}
    assert len(methods) == len(rules)


@pytest.mark.parametrize("suite", [TransportSuite, StoreSuite], ids=lambda suite: suite.__name__)
def test_rules_rest_on_rules(suite: type[Suite]) -> None:
    """What a rule needs is there, with a smaller number."""
    numbers = {each.number for each in suite.rules()}
    for each in suite.rules():
        assert set(each.needs) <= numbers
        assert all(needed < each.number for needed in each.needs)


def test_a_rule_cannot_rest_on_a_later_one() -> None:
    """That is refused where the rule is written."""
    with pytest.raises(ValueError, match="rests on one that comes later"):
        rule(3, needs=(4,))(lambda self: None)
    with pytest.raises(ValueError, match="no words"):
        rule(3)(lambda self: None)
