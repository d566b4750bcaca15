"""Rules, the checks that hold somebody's code to them, and the suites that checks are collected in.

Invariant: a rule rests only on rules with smaller numbers, so that the first broken one is the one with the smallest.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import attrs

from ..contracts.traits import Traits

Check = TypeVar("Check", bound=Callable[..., Any])
LEVELS = ("simulated", "emulated", "independent software", "hardware")


@attrs.frozen
class Condition:
    """What a rule is about: it is skipped where `holds` says no, and `absent` is the reason that is shown."""

    absent: str
    holds: Callable[[Any], bool] = attrs.field(eq=False, repr=False)


@attrs.frozen
class Rule:
    """A sentence of a contract: its number, its words, the method that checks it, and the rules that it rests on."""

    number: int
    words: str
    check: str
    needs: tuple[int, ...] = ()
    conditions: tuple[Condition, ...] = ()


class RuleBroken(AssertionError):
    """Somebody's code does not do what a rule says; `number` is that of the rule."""

    def __init__(self, contract: str, rule: Rule, cause: BaseException) -> None:
        super().__init__(f"rule {rule.number} of the {contract} contract is broken: {rule.words}\n{_words(cause)}")
        self.number = rule.number


class NotApplicable(Exception):
    """A rule cannot be checked here, and why."""


class Suite:
    """Checks of one contract. An author subclasses a suite for one kind of thing and says how to open it.

    `level` is where the thing runs: one of `LEVELS`. `patience` multiplies every limit of time, for slow media.
    `title` is its name in reports. `options` are what `berty conformance -o name=value` was given.
    """

    conformance_suite: ClassVar[bool] = True  # what the pytest plugin knows a suite by
    contract: ClassVar[str] = ""
    level: str = "simulated"
    patience: float = 1.0
    title: str = ""
    options: ClassVar[dict[str, str]] = {}

    @classmethod
    def backends(cls) -> Sequence[str]:
        """The event loops that the checks run on; a suite without any has one nameless run."""
        return ("",)

    @property
    def limit(self) -> float:
        """Seconds after which a check is taken to hang."""
        return 60.0 * max(1.0, self.patience)

    @classmethod
    def traits_or_none(cls) -> Traits | None:
        """What the thing promises, where it says so by traits."""
        return None

    @classmethod
    def shown_title(cls) -> str:
        """The name in reports: `title`, or that of the class."""
        return cls.title or cls.__name__.removeprefix("Test") or cls.__name__

    @classmethod
    def rules(cls) -> list[Rule]:
        """All rules in the order of their numbers, which is one in which each comes after those that it rests on."""
        found: dict[int, Rule] = {}
        for name in dir(cls):
            mark = getattr(getattr(cls, name, None), "rule", None)
            if isinstance(mark, Rule) and found.setdefault(mark.number, mark) != mark:
                raise TypeError(f"{cls.__name__} has two checks of rule {mark.number}")
        return [found[number] for number in sorted(found)]

    def absent(self, rule: Rule) -> str:
        """Why a rule is not about this thing; empty if it is."""
        return next((c.absent for c in rule.conditions if not c.holds(self)), "")


def rule(number: int, *, needs: Sequence[int] = (), when: Sequence[Condition] = ()) -> Callable[[Check], Check]:
    """Mark a method as the check of a rule; its docstring is the rule."""

    def mark(check: Check) -> Check:
        words = " ".join(inspect.cleandoc(check.__doc__ or "").split())
        if not words or any(needed >= number for needed in needs):
            raise ValueError(f"rule {number} has no words, or rests on one that comes later")
        check.__dict__["rule"] = Rule(number, words, check.__name__, tuple(needs), tuple(when))
        return check

    return mark


def equal(expected: object, actual: object) -> None:
    """Raise AssertionError with both values unless they are equal."""
    expect(expected == actual, f"expected {_short(expected)}, got {_short(actual)}")


def expect(condition: bool, words: str) -> None:
    """Raise AssertionError with `words` unless `condition` holds."""
    if not condition:
        raise AssertionError(words)


def wants_directory(check: Callable[..., Any]) -> bool:
    """Tell whether a check takes a directory of its own."""
    return "tmp_path" in inspect.signature(check).parameters


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:280]}... ({len(text)} characters)"


def _words(cause: BaseException) -> str:
    while isinstance(cause, BaseExceptionGroup) and len(cause.exceptions) == 1:
        cause = cause.exceptions[0]
    return str(cause) if type(cause) is AssertionError else f"{type(cause).__name__}: {cause}"


def suite_file(suite: type[Suite]) -> Path:
    """The file that a suite stands in."""
    return Path(inspect.getfile(suite))
