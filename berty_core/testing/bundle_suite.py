"""The rules for carriers of bundles as a pytest class that the author of a carrier subclasses.

Each check carries the number of its rule in `docs/reference/bundle-contract.md`; its docstring is the rule.
Run as a module, it is the child process that the suite kills.
"""

from __future__ import annotations

import importlib.util
import inspect
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import ClassVar, TypeVar

import anyio

from ..codec.cid import Cid
from ..config import CONFIG_FILE, read_config
from ..contracts.bundle import CHUNK_BYTES
from ..ids import GroupId
from ..protocol.group import LogKind
from ..runtime.node import Node, create_home
from .rules import Condition, RuleBroken, Suite, equal, expect, rule

__all__ = ["BundleSuite", "RuleBroken", "rules"]

GROUP = "carried"
PLAINTEXT = "known plaintext, which nobody else may read"
PATIENCE = 60.0

T = TypeVar("T")
SURVIVES_KILL = Condition("no survives_kill: the carrier ends with its process", lambda suite: suite.survives_kill)


def rules() -> dict[int, tuple[str, str]]:
    """Return for each rule its words and the name of its check."""
    return {rule.number: (rule.words, rule.check) for rule in BundleSuite.rules()}


class BundleSuite(Suite):
    """Subclass as `class TestMine(BundleSuite)` at the top of a test file and give it the four methods.

    A *place* is a directory of the test's own; what lies in it is the carrier's business. No node has a home open
    while a method is called. `largest` is the size that no file passes (bytes, at least a chunk). A carrier that ends
    with its process sets `survives_kill` to False: rules 12 and 13 are then skipped.
    """

    contract: ClassVar[str] = "bundle"
    level = "emulated"
    patience = 3.0  # nodes are opened and closed many times
    largest = 64 * 1024
    survives_kill = True
    disabled = ("mdns", "libp2p", "udp")  # plugins that are of no use here

    def export(self, home: Path, place: Path, quota: int | None = None) -> None:
        """Write what others lack of all groups of a home, at most `quota` bytes, to a place."""
        raise NotImplementedError

    def take(self, home: Path, place: Path) -> None:
        """Take in what lies at a place."""
        raise NotImplementedError

    def read(self, place: Path) -> dict[str, bytes]:
        """What a finder of the place sees: every file by its name."""
        return {path.name: path.read_bytes() for path in sorted(place.iterdir())}

    def write(self, place: Path, files: Mapping[str, bytes]) -> None:
        """Make a place of such files, as a copy would."""
        place.mkdir()
        for name, data in files.items():
            (place / name).write_bytes(data)

    # -- what is carried -----------------------------------------------------------------------

    @rule(1)
    def test_converge(self, tmp_path: Path) -> None:
        """What one home exports and another takes in brings it every entry of the groups that both are in."""
        ann, bob = self._two(tmp_path)
        self._carry(ann, bob, tmp_path / "place")
        has_all(bob, ann)

    @rule(2, needs=(1,))
    def test_both_ways(self, tmp_path: Path) -> None:
        """Two homes that exchange exports in turn can read each other."""
        ann, bob = self._two(tmp_path)
        for number in range(2):
            say(ann, f"Ann {number}")
            self._carry(ann, bob, tmp_path / f"there{number}")
            say(bob, f"Bob {number}")
            self._carry(bob, ann, tmp_path / f"back{number}")
        expect({"Ann 1", "Bob 0", "Bob 1"} <= texts(ann) and {"Ann 1", "Bob 1"} <= texts(bob), "a text did not arrive")

    @rule(3, needs=(1,))
    def test_twice(self, tmp_path: Path) -> None:
        """To take in the same once more changes nothing."""
        ann, bob = self._two(tmp_path)
        self._carry(ann, bob, tmp_path / "place")
        before = entries(bob)
        self.take(bob, tmp_path / "place")
        equal(before, entries(bob))

    @rule(4, needs=(1,))
    def test_order(self, tmp_path: Path) -> None:
        """The order in which files are found does not matter."""
        ann, bob = self._two(tmp_path)
        files = self._exported(ann, tmp_path / "place")
        names = list(files)
        mixed = dict(zip(names, random.Random(4).sample([*files.values()], len(files)), strict=True))  # noqa: S311
        self.write(tmp_path / "mixed", mixed)
        self.take(bob, tmp_path / "mixed")
        has_all(bob, ann)

    @rule(5, needs=(1,))
    def test_incremental(self, tmp_path: Path) -> None:
        """What others have said to hold is not written to them again."""
        ann, bob = self._two(tmp_path)
        self._carry(ann, bob, tmp_path / "there")
        self._carry(bob, ann, tmp_path / "back")
        first = sum(map(len, self.read(tmp_path / "there").values()))
        again = sum(map(len, self._exported(ann, tmp_path / "again").values()))
        expect(again < first / 2, f"first {first} bytes were written, and then {again} again")

    @rule(6, needs=(1,))
    def test_quota(self, tmp_path: Path) -> None:
        """No more is written than the quota, and each export within it brings something, until all is there."""
        ann, bob = self._two(tmp_path)
        for number in range(40):
            place = tmp_path / f"there{number}"
            quota = 12 * CHUNK_BYTES
            files = self._exported(ann, place, quota)
            expect(sum(map(len, files.values())) <= quota, "more than the quota was written")
            before = len(entries(bob))
            self.take(bob, place)
            self._carry(bob, ann, tmp_path / f"back{number}")
            if entries(ann) <= entries(bob):
                return
            expect(len(entries(bob)) > before, "an export within the quota brought nothing")
        raise AssertionError("forty exports within the quota did not bring all of it")

    # -- what goes wrong on the way ------------------------------------------------------------

    @rule(7, needs=(1,))
    def test_cut(self, tmp_path: Path) -> None:
        """A file that was cut anywhere costs its end alone, and the whole one brings the rest."""
        ann, bob = self._two(tmp_path)
        files = self._exported(ann, tmp_path / "place")
        chance = random.Random(7)  # noqa: S311
        for number in range(3):
            name = chance.choice([*files])
            cut = {**files, name: files[name][: chance.randrange(len(files[name]))]}
            self.write(tmp_path / f"cut{number}", cut)
            self.take(bob, tmp_path / f"cut{number}")
        self.take(bob, tmp_path / "place")
        has_all(bob, ann)

    @rule(8, needs=(1,))
    def test_flips(self, tmp_path: Path) -> None:
        """A damaged byte costs its chunk alone, and a sound copy brings it."""
        ann, bob = self._two(tmp_path)
        files = self._exported(ann, tmp_path / "place")
        name = max(files, key=lambda name: len(files[name]))
        damaged = bytearray(files[name])
        place = len(damaged) - CHUNK_BYTES // 2
        damaged[place] ^= 0x10
        self.write(tmp_path / "damaged", {**files, name: bytes(damaged)})
        before = entries(bob)
        self.take(bob, tmp_path / "damaged")
        expect(len(entries(bob)) > len(before), "one damaged byte cost everything")
        self.take(bob, tmp_path / "place")
        has_all(bob, ann)

    @rule(9, needs=(1,))
    def test_junk(self, tmp_path: Path) -> None:
        """Bytes of any kind under names like those of the carrier do no harm, and what is sound among them is taken."""
        ann, bob = self._two(tmp_path)
        files = self._exported(ann, tmp_path / "place")
        chance = random.Random(9)  # noqa: S311
        junk = [b"", chance.randbytes(100), chance.randbytes(2 * CHUNK_BYTES + 5), bytes(CHUNK_BYTES)]
        names = [self._other_name(name, number) for number, name in enumerate([next(iter(files))] * len(junk))]
        self.write(tmp_path / "junk", {**dict(zip(names, junk, strict=True)), **files})
        self.take(bob, tmp_path / "junk")
        has_all(bob, ann)

    # -- who finds it --------------------------------------------------------------------------

    @rule(10, needs=(1,))
    def test_strangers(self, tmp_path: Path) -> None:
        """A stranger takes nothing in, and no text, name, group, entry or key is to be seen in files or their names."""
        ann, _ = self._two(tmp_path)
        eve = self._home(tmp_path, "Eve")
        files = self._exported(ann, tmp_path / "place")
        before = entries(eve)
        self.take(eve, tmp_path / "place")
        equal(before, entries(eve))
        seen = b"\n".join([*files.values(), *(name.encode() for name in files)])
        for what, known in run(ann, _identifying).items():
            for form in (known, known.hex().encode()):
                expect(form not in seen, f"{what} can be read")

    @rule(11, needs=(1,))
    def test_look(self, tmp_path: Path) -> None:
        """Every file is of whole chunks and none is larger than it may be; two exports have no chunk in common."""
        ann, _ = self._two(tmp_path)
        both = [self._exported(ann, tmp_path / name) for name in ("one", "two")]
        for name, data in [item for files in both for item in files.items()]:
            expect(len(data) % CHUNK_BYTES == 0, f"{name} has {len(data)} bytes")
            expect(0 < len(data) <= self.largest, f"{name} has {len(data)} bytes, the most is {self.largest}")
        chunks = [{chunk for data in files.values() for chunk in chunks_of(data)} for files in both]
        expect(not chunks[0] & chunks[1], "two exports have a chunk in common")

    # -- what ends in the middle ---------------------------------------------------------------

    @rule(12, needs=(1,), when=(SURVIVES_KILL,))
    def test_kill_export(self, tmp_path: Path) -> None:
        """When an export is killed, the next leaves only whole files at the place, and all of it can be taken in."""
        ann, bob = self._two(tmp_path)
        place = tmp_path / "place"
        for moment in self._moments(lambda place: self._child("export", ann, place), tmp_path / "timed"):
            place.mkdir(exist_ok=True)
            self._killed(self._child("export", ann, place), moment)
        self.export(ann, place)
        for name, data in self.read(place).items():
            expect(len(data) % CHUNK_BYTES == 0, f"{name} is not whole: it has {len(data)} bytes")
        self.take(bob, place)
        has_all(bob, ann)

    @rule(13, needs=(1,), when=(SURVIVES_KILL,))
    def test_kill_take(self, tmp_path: Path) -> None:
        """When taking in is killed, the home is sound, and taking in again brings the rest."""
        ann, bob = self._two(tmp_path)
        place = tmp_path / "place"
        self._exported(ann, place)
        other = self._home(tmp_path, "Carl", like=ann)
        for moment in self._moments(lambda _: self._child("take", other, place), tmp_path / "timed"):
            self._killed(self._child("take", bob, place), moment)
            entries(bob)
        self.take(bob, place)
        has_all(bob, ann)

    # -- parts of the checks -------------------------------------------------------------------

    def _home(self, directory: Path, name: str, like: Path | None = None) -> Path:
        """A home; in the group of another one, if it is like that."""
        home = directory / name
        home.mkdir(mode=0o700)
        names = ", ".join(f'"{plugin}"' for plugin in self.disabled)
        (home / CONFIG_FILE).write_text(f"[node]\nkeyring = false\ndisabled = [{names}]\n")
        create_home(home, name, config=read_config(home), use_keyring=False)
        if like is not None:
            link = run(like, _invite)
            run(home, lambda node: node.store.write(node.actions.group_join, link))
        return home

    def _two(self, directory: Path) -> tuple[Path, Path]:
        """Two homes in one group, which has some history at the first of them."""
        ann = self._home(directory, "Ann")
        run(ann, _begin)
        return ann, self._home(directory, "Bob", like=ann)

    def _exported(self, home: Path, place: Path, quota: int | None = None) -> dict[str, bytes]:
        place.mkdir()
        self.export(home, place, quota)
        files = self.read(place)
        expect(bool(files), "nothing was written")
        return files

    def _carry(self, source: Path, target: Path, place: Path) -> None:
        self._exported(source, place)
        self.take(target, place)

    @staticmethod
    def _other_name(name: str, number: int) -> str:
        stem, dot, suffix = name.rpartition(".")
        return f"{stem or suffix}{number}{dot}{suffix if dot else ''}"

    def _child(self, task: str, home: Path, place: Path) -> subprocess.Popen[bytes]:
        suite = type(self)
        arguments = [inspect.getfile(suite), suite.__qualname__, task, str(home), str(place)]
        return subprocess.Popen([sys.executable, "-m", __name__, *arguments])  # noqa: S603

    def _moments(self, start: Callable[[Path], subprocess.Popen[bytes]], place: Path) -> list[float]:
        """Moments within the time that a process takes which is not killed."""
        place.mkdir()
        begin = time.monotonic()
        with start(place) as child:
            equal(0, child.wait(PATIENCE))
        took, chance = time.monotonic() - begin, random.Random(12)  # noqa: S311
        return [took * chance.uniform(0.4, 1.0) for _ in range(3)]

    @staticmethod
    def _killed(child: subprocess.Popen[bytes], moment: float) -> None:
        with child:
            try:
                child.wait(moment)
            except subprocess.TimeoutExpired:
                child.kill()


def chunks_of(data: bytes) -> list[bytes]:
    """The chunks of a file."""
    return [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]


def run(home: Path, ask: Callable[[Node], Awaitable[T]]) -> T:
    """Open a home without a network, ask its node, and close it."""

    async def asked() -> T:
        async with Node.open(home, network=False) as node:
            return await ask(node)

    return anyio.run(asked)


async def _begin(node: Node) -> None:
    await node.store.write(node.actions.group_new, GROUP)
    await node.send(GROUP, PLAINTEXT)
    for number in range(60):
        await node.send(GROUP, f"{number} " + "x" * 2000)
    await node.send(GROUP, "long " * 12_000)


async def _invite(node: Node) -> str:
    link: str = (await node.store.read(node.actions.group_invite, GROUP))["link"]
    return link


def say(home: Path, text: str) -> None:
    """Write a text into the group."""
    run(home, lambda node: node.send(GROUP, text))


def texts(home: Path) -> set[str]:
    """What can be read of the group."""
    found = run(home, lambda node: node.store.read(node.actions.read, GROUP, 0, False))
    return {view["text"] for view in found}


def entries(home: Path) -> set[Cid]:
    """Every entry of the group, or of all groups where there is no such group."""
    return run(home, lambda node: node.store.read(_entries, node))


def has_all(home: Path, other: Path) -> None:
    """Raise AssertionError unless a home has every entry of another one's group."""
    lacking = entries(other) - entries(home)
    expect(not lacking, f"{len(lacking)} entries did not arrive")


def _entries(node: Node) -> set[Cid]:
    groups = [g for g in node.replica.groups.values() if node.actions.conversation_name(g) == GROUP]
    return {
        cid for group in groups or node.replica.groups.values() for log in group.logs.values() for cid in log.cids()
    }


async def _identifying(node: Node) -> dict[str, bytes]:
    return await node.store.read(_read_identifying, node)


def _read_identifying(node: Node) -> dict[str, bytes]:
    """What must not be seen by a finder, by what it is."""
    found = {"the text": PLAINTEXT.encode(), "the name": GROUP.encode(), "the account": bytes(node.replica.account_id)}
    for number, replica in enumerate(node.replica.groups.values()):
        found[f"group {number}"] = bytes(GroupId(replica.group.id))
        found[f"link key {number}"] = bytes(replica.group.link_key)
        found[f"device {number}"] = bytes(replica.device_id)
        for kind in LogKind:
            log = replica.logs[kind]
            found[f"the address of a log {number} {kind}"] = log.address.split("/")[2].encode()
            found.update({f"entry {cid}": cid.digest for cid in log.cids()})
    return found


def _load(file: str, name: str) -> BundleSuite:
    """Import the suite of an author from its file."""
    spec = importlib.util.spec_from_file_location("suite", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules["suite"] = module
    spec.loader.exec_module(module)
    suite: BundleSuite = attrgetter(name)(module)()
    return suite


def main(file: str, name: str, task: str, home: str, place: str) -> None:
    """Do what the suite wants to see killed."""
    suite = _load(file, name)
    (suite.export if task == "export" else suite.take)(Path(home), Path(place))


if __name__ == "__main__":
    main(*sys.argv[1:])
