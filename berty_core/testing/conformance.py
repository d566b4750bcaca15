"""Run a suite: each check on an instance and in a thread of its own, in the order in which rules rest on each other.

Invariant: a run ends, whatever the code under test does: a check that hangs is left behind, and its rule is broken.
"""

from __future__ import annotations

import inspect
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path

import anyio
import attrs

from .report import BROKEN, NOT_RUN, PASSED, SKIPPED, Report, Result
from .rules import NotApplicable, Rule, RuleBroken, Suite, wants_directory

GRACE = 1.0  # seconds that a check has to clean up once its rule is found broken


class Verdict:
    """Where a check says that its rule is broken before it cleans up, since that may hang."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.ended = threading.Event()
        self._passed = False

    def broken(self, error: BaseException) -> BaseException:
        """Keep the first error; give back the error, to be raised."""
        if self.error is None and not self._passed:
            self.error = error
        self.ended.set()
        return error

    def passed(self) -> None:
        """What this rule is about holds: what comes now, while it is cleaned up, is the matter of another rule."""
        self._passed = True
        self.ended.set()


@attrs.define
class Run:
    """What became of the rules of one suite on one backend so far."""

    suite: type[Suite]
    backend: str
    results: dict[int, Result] = attrs.field(factory=dict)

    def judge(self, rule: Rule) -> RuleBroken | None:
        """Check one rule, unless one that it rests on is broken; returns the error if it is broken."""
        root = self.obstacle(rule)
        if root and not self.suite().absent(rule):
            self._put(rule, NOT_RUN, f"not run: needs rule {root}")
            return None
        try:
            check_rule(self.suite, rule, self.backend)
        except NotApplicable as reason:
            self._put(rule, SKIPPED, str(reason))
        except RuleBroken as error:
            self._put(rule, BROKEN, str(error))
            return error
        else:
            self._put(rule, PASSED, "")
        return None

    def obstacle(self, rule: Rule) -> int:
        """The broken rule, first of all, because of which this one is not checked; 0: none."""
        roots = []
        for number in rule.needs:
            result = self.results.get(number)
            if result is not None and result.status == BROKEN:
                roots.append(number)
            if result is not None and result.status == NOT_RUN:
                roots.append(int(result.reason.rsplit(" ", 1)[1]))
        return min(roots, default=0)

    def report(self) -> Report:
        """What is known now."""
        traits = self.suite.traits_or_none()
        return Report(
            title=self.suite.shown_title(),
            contract=self.suite.contract,
            level=self.suite.level,
            backend=self.backend,
            traits={} if traits is None else attrs.asdict(traits),
            results=tuple(self.results[number] for number in sorted(self.results)),
        )

    def _put(self, rule: Rule, status: str, reason: str) -> None:
        self.results[rule.number] = Result(rule.number, rule.words, status, reason)


def run_suite(
    suite: type[Suite],
    *,
    backend: str | None = None,
    numbers: Collection[int] | None = None,
    until_broken: bool = False,
    progress: Callable[[Result], object] = lambda result: None,
) -> Report:
    """Check all rules of a suite, or those with these numbers, on one backend (None: the first that it declares).

    With `until_broken` the first broken rule is the last that is checked. `progress` is given each result.
    """
    run = Run(suite, suite.backends()[0] if backend is None else backend)
    for rule in suite.rules():
        if numbers is not None and rule.number not in numbers:
            continue
        broken = run.judge(rule)
        progress(run.results[rule.number])
        if broken is not None and until_broken:
            break
    return run.report()


def check_rule(suite: type[Suite], rule: Rule, backend: str) -> None:
    """Check one rule on a fresh instance. RuleBroken; NotApplicable where the rule is not about the thing."""
    instance = suite()
    absent = instance.absent(rule)
    if absent:
        raise NotApplicable(absent)
    with tempfile.TemporaryDirectory(prefix="berty-conformance-") as directory:
        error = _watched(instance, rule, backend, Path(directory))
    if error is None:
        return
    for inner in _leaves(error):
        if isinstance(inner, NotApplicable):
            raise inner
    if isinstance(error, KeyboardInterrupt):
        raise error
    raise RuleBroken(suite.contract, rule, error) from error


def _watched(instance: Suite, rule: Rule, backend: str, directory: Path) -> BaseException | None:
    """Run a check in a thread, and leave it behind where it hangs; returns what it raised."""
    verdict = Verdict()
    instance.__dict__["verdict"] = verdict
    done = threading.Event()

    def body() -> None:
        try:
            _call(instance, rule, backend, directory)
        except BaseException as error:  # whatever the code under test raises
            verdict.broken(error)
        finally:
            done.set()
            verdict.ended.set()

    threading.Thread(target=body, name=f"rule {rule.number}", daemon=True).start()
    if not verdict.ended.wait(instance.limit):
        return TimeoutError(f"the check did not end within {instance.limit:g} s")
    done.wait(GRACE)
    return verdict.error


def _call(instance: Suite, rule: Rule, backend: str, directory: Path) -> None:
    check = getattr(instance, rule.check)
    call = partial(check, directory) if wants_directory(check) else check
    if inspect.iscoroutinefunction(check):
        anyio.run(call, backend=backend or "asyncio")
    else:
        call()


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
