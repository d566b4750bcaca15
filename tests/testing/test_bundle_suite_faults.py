"""The rules for carriers of bundles are tested: a plain carrier keeps them, and each broken one breaks its rule."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from berty_core.contracts.bundle import CHUNK_BYTES, BundleReport, ChunkState
from berty_core.runtime.node import Node
from berty_core.testing.bundle_suite import BundleSuite, RuleBroken, chunks_of, rules, run, say
from berty_core.testing.conformance import check_rule
from berty_core.testing.rules import Rule


class Plain(BundleSuite):
    """The simplest sound carrier: chunks into files, files into chunks."""

    whole = False

    def export(self, home: Path, place: Path, quota: int | None = None) -> None:
        """Write files of the largest size."""

        async def exported(node: Node) -> list[bytes]:
            return [chunk async for chunk in await node.export_bundle(whole=self.whole, quota=quota)]

        self.put(place, run(home, exported))

    def put(self, place: Path, chunks: list[bytes]) -> None:
        """Write all files, each whole or not at all."""
        for left in place.glob("*.part"):
            left.unlink()
        start, each = len(list(place.iterdir())), self.largest // CHUNK_BYTES
        for number in range(0, len(chunks), each):
            path = place / f"{start + number:06}"
            path.with_suffix(".part").write_bytes(b"".join(chunks[number : number + each]))
            path.with_suffix(".part").rename(path)

    def take(self, home: Path, place: Path) -> None:
        """Read whole chunks."""
        chunks = [chunk for chunk in self.get(place) if len(chunk) == CHUNK_BYTES]
        self.judge(run(home, lambda node: node.import_bundle(chunks)))

    def get(self, place: Path) -> Iterator[bytes]:
        """All chunks of a place."""
        for path in sorted(place.iterdir()):
            yield from chunks_of(path.read_bytes())

    def judge(self, report: BundleReport) -> None:
        """Nothing to complain of."""


class Forgets(Plain):
    """Takes the first files only."""

    def get(self, place: Path) -> Iterator[bytes]:
        for path in sorted(place.iterdir())[:3]:
            yield from chunks_of(path.read_bytes())


class ReadsNoStatements(Plain):
    """Takes nothing in at the one side, so that the other never reads an answer."""

    def take(self, home: Path, place: Path) -> None:
        if home.name != "Ann":
            super().take(home, place)


class LeavesATrace(Plain):
    """Writes a message whenever it takes something in."""

    def take(self, home: Path, place: Path) -> None:
        super().take(home, place)
        say(home, "I took something in")


class InOrderOnly(Plain):
    """Opens the home anew for each file, and offers none of them again."""

    def take(self, home: Path, place: Path) -> None:
        for path in sorted(place.iterdir()):
            chunks = [chunk for chunk in chunks_of(path.read_bytes()) if len(chunk) == CHUNK_BYTES]
            run(home, lambda node, chunks=chunks: node.import_bundle(chunks))  # type: ignore[misc]


class WritesAll(Plain):
    """Writes everything, always."""

    whole = True


class IgnoresQuota(Plain):
    """Writes more than it may."""

    def export(self, home: Path, place: Path, quota: int | None = None) -> None:
        super().export(home, place)


class WholeFilesOnly(Plain):
    """Cannot bear a file that was cut."""

    def get(self, place: Path) -> Iterator[bytes]:
        for chunk in super().get(place):
            if len(chunk) < CHUNK_BYTES:
                raise ValueError("a file that was cut")
            yield chunk


class AllOrNothing(Plain):
    """Takes nothing where anything is damaged."""

    def take(self, home: Path, place: Path) -> None:
        trial = home.with_name(f"{home.name} trial {place.name}")
        self._home(home.parent, trial.name, like=home)
        chunks = [chunk for chunk in self.get(place) if len(chunk) == CHUNK_BYTES]
        report = run(trial, lambda node: node.import_bundle(chunks))
        if not report.count(ChunkState.UNREADABLE):
            super().take(home, place)


class OursOnly(Plain):
    """Complains of chunks that are for somebody else and not of this account."""

    def judge(self, report: BundleReport) -> None:
        assert report.count(ChunkState.FOREIGN) < 3, "what is this?"


class NamesGroups(Plain):
    """Puts a group's id into a file's name."""

    def export(self, home: Path, place: Path, quota: int | None = None) -> None:
        super().export(home, place, quota)

        async def groups(node: Node) -> list[str]:
            return [group.hex() for group in node.replica.groups]

        (place / "000000").rename(place / run(home, groups)[-1])


class OneLargeFile(Plain):
    """Writes one file, however large."""

    def put(self, place: Path, chunks: list[bytes]) -> None:
        (place / "all").write_bytes(b"".join(chunks))


class Repeats(Plain):
    """Gives the chunks of an earlier export again."""

    def put(self, place: Path, chunks: list[bytes]) -> None:
        kept = place.parent / "kept chunks"
        if not kept.exists():
            kept.write_bytes(b"".join(chunks))
        super().put(place, chunks_of(kept.read_bytes()))


class HalfFiles(Plain):
    """Writes under the final name, and takes its time."""

    def put(self, place: Path, chunks: list[bytes]) -> None:
        with (place / f"{time.time_ns()}").open("wb", buffering=0) as file:
            file.write(chunks[0][:1000])
            time.sleep(1.5)
            file.write(chunks[0][1000:] + b"".join(chunks[1:]))


class RemovesFirst(Plain):
    """Removes the files before what was in them is stored."""

    def take(self, home: Path, place: Path) -> None:
        chunks = list(self.get(place)) if place.exists() else []
        if home.name == "Bob":
            for path in place.iterdir():
                path.unlink()
        time.sleep(1.5)
        run(home, lambda node: node.import_bundle(chunks))


FAULTS = [
    (Forgets, 1),
    (ReadsNoStatements, 2),
    (LeavesATrace, 3),
    (InOrderOnly, 4),
    (WritesAll, 5),
    (IgnoresQuota, 6),
    (WholeFilesOnly, 7),
    (AllOrNothing, 8),
    (OursOnly, 9),
    (NamesGroups, 10),
    (OneLargeFile, 11),
    (Repeats, 11),
    (HalfFiles, 12),
    (RemovesFirst, 13),
]


@pytest.mark.parametrize("rule", BundleSuite.rules(), ids=lambda rule: rule.check)
def test_a_plain_carrier_keeps_every_rule(rule: Rule) -> None:
    """The suite passes a sound carrier."""
    check_rule(Plain, rule, "")


@pytest.mark.parametrize(("fault", "number"), FAULTS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_each_fault_breaks_its_rule(fault: type[Plain], number: int) -> None:
    """A broken carrier is told which rule it breaks, in the rule's words."""
    (rule,) = [rule for rule in BundleSuite.rules() if rule.number == number]
    with pytest.raises(RuleBroken) as caught:
        check_rule(fault, rule, "")
    assert caught.value.number == number
    assert rule.words in str(caught.value)


def test_every_rule_has_a_fault() -> None:
    """No rule is one that nothing can break."""
    assert {number for _, number in FAULTS} == set(rules()) == set(range(1, len(rules()) + 1))
