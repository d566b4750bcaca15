"""The rules of the Store contract as a pytest class that the author of a store subclasses.

Each check carries the number of its rule in `docs/reference/store-contract.md`; its docstring is the rule.
Run as a module, it is the child process that the suite kills.
"""

from __future__ import annotations

import importlib.util
import inspect
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import ClassVar

from ..contracts.store import MAX_KEY, MAX_VALUE, Store
from ..errors import StoreError, StoreLocked
from .rules import Condition, RuleBroken, Suite, equal, expect, rule

__all__ = ["ALL", "RuleBroken", "StoreSuite", "equal", "expect", "refused", "rule", "rules"]

ALL = (b"", b"\xff" * (MAX_KEY + 1))
BATCH = 50

SURVIVES_KILL = Condition("no survives_kill: the store ends with its process", lambda suite: suite.survives_kill)


def rules() -> dict[int, tuple[str, str]]:
    """Return for each rule its words and the name of its check."""
    return {rule.number: (rule.words, rule.check) for rule in StoreSuite.rules()}


class StoreSuite(Suite):
    """Subclass as `class TestMine(StoreSuite)` at the top of a test file and give it `open_store`.

    `survives_kill` is False for a store that ends with its process: rules 20 and 21 are then skipped.
    """

    contract: ClassVar[str] = "store"
    level = "emulated"
    survives_kill = True

    def open_store(self, directory: Path) -> Store:
        """Open or create the store in `directory`; called again after `close`, and in other processes."""
        raise NotImplementedError

    @rule(1)
    def test_put_and_get(self, tmp_path: Path) -> None:
        """`get` gives the value that was last put under the key."""
        with closing(self.open_store(tmp_path)) as store:
            store.commit({b"a": b"1", b"b": b"2"}, durable=False)
            store.commit({b"a": b"3"}, durable=True)
            equal([b"3", b"2"], [store.get(b"a"), store.get(b"b")])

    @rule(2, needs=(1,))
    def test_missing(self, tmp_path: Path) -> None:
        """`get` of a key that was never put, or was deleted, gives None."""
        with closing(self.open_store(tmp_path)) as store:
            equal(None, store.get(b"a"))
            store.commit({b"ab": b"1"}, durable=False)
            equal(None, store.get(b"a"))

    @rule(3, needs=(1,))
    def test_order(self, tmp_path: Path) -> None:
        """`scan` gives its pairs in order of key: bytes compared as unsigned, a prefix before what extends it."""
        keys = [b"\x00", b"\x00\x00", b"\x00\x01", b"a", b"a\x00", b"ab", b"b", b"\x7f", b"\x80", b"\xff", b"\xff\xff"]
        with closing(self.open_store(tmp_path)) as store:
            store.commit(dict.fromkeys(random.Random(3).sample(keys, len(keys)), b"1"), durable=False)  # noqa: S311
            equal(keys, [key for key, _ in store.scan(*ALL)])

    @rule(4, needs=(3,))
    def test_half_open(self, tmp_path: Path) -> None:
        """`scan` includes `start` and excludes `stop`; where `start` is not below `stop` there is nothing."""
        with closing(self.open_store(tmp_path)) as store:
            store.commit(dict.fromkeys([b"a", b"b", b"c"], b"1"), durable=False)
            equal({b"a", b"b"}, {key for key, _ in store.scan(b"a", b"c")})
            equal({b"b"}, {key for key, _ in store.scan(b"a\x00", b"b\x00")})
            equal([], store.scan(b"b", b"b"))
            equal([], store.scan(b"c", b"a"))

    @rule(5, needs=(3,))
    def test_reverse(self, tmp_path: Path) -> None:
        """`scan` with `reverse` gives the same pairs in the opposite order."""
        with closing(self.open_store(tmp_path)) as store:
            store.commit({bytes([n]): bytes([n]) for n in range(20)}, durable=False)
            start, stop = b"\x05", b"\x10"
            equal(store.scan(start, stop)[::-1], store.scan(start, stop, reverse=True))

    @rule(6, needs=(3,))
    def test_limit(self, tmp_path: Path) -> None:
        """`scan` with `limit` gives at most so many pairs, the first ones in the order of the scan; 0 gives none."""
        with closing(self.open_store(tmp_path)) as store:
            store.commit({bytes([n]): b"1" for n in range(20)}, durable=False)
            for reverse in (False, True):
                whole = store.scan(b"\x02", b"\x10", reverse=reverse)
                for limit in (0, 1, 5, 100):
                    equal(whole[:limit], store.scan(b"\x02", b"\x10", reverse=reverse, limit=limit))

    @rule(7, needs=(1,))
    def test_binary_keys(self, tmp_path: Path) -> None:
        """A key is any string of 0 to 512 bytes, and two that differ anywhere are two keys."""
        keys = [b"", b"\x00", b"\x00\x00", b"a", b"a\x00", b"A", b"\xff", b"\xff\x00", b"\xc3\x28", b"x" * MAX_KEY]
        keys.append(b"x" * (MAX_KEY - 1) + b"y")
        with closing(self.open_store(tmp_path)) as store:
            store.commit({key: str(n).encode() for n, key in enumerate(keys)}, durable=False)
            equal([str(n).encode() for n in range(len(keys))], [store.get(key) for key in keys])

    @rule(8, needs=(1,))
    def test_values(self, tmp_path: Path) -> None:
        """A value is any string of 0 to 8 MiB; an empty one is not a missing one."""
        values = {b"a": b"", b"b": bytes(range(256)), b"c": random.Random(8).randbytes(MAX_VALUE)}  # noqa: S311
        with closing(self.open_store(tmp_path)) as store:
            store.commit(values, durable=False)
            for key, value in values.items():
                expect(store.get(key) == value, f"a value of {len(value)} bytes is given back as it was put")
            equal([(b"a", b"")], store.scan(b"", b"aa"))

    @rule(9, needs=(1,))
    def test_delete(self, tmp_path: Path) -> None:
        """A deleted key is gone; to delete what is not there is no error; `deletes` may be an iterator."""
        with closing(self.open_store(tmp_path)) as store:
            store.commit({b"a": b"1", b"b": b"2"}, durable=False)
            store.commit({b"c": b"3"}, iter([b"a", b"missing"]), durable=False)
            equal({b"b", b"c"}, {key for key, _ in store.scan(*ALL)})

    @rule(10, needs=(9,))
    def test_put_wins(self, tmp_path: Path) -> None:
        """A key that one commit both puts and deletes is put."""
        with closing(self.open_store(tmp_path)) as store:
            store.commit({b"a": b"1"}, [b"a"], durable=False)
            store.commit({b"a": b"1"}, [b"a"], durable=False)
            equal([(b"a", b"1")], store.scan(*ALL))

    @rule(11, needs=(1,))
    def test_atomic(self, tmp_path: Path) -> None:
        """A commit that fails has changed nothing, whatever stood before or after what made it fail."""
        with closing(self.open_store(tmp_path)) as store:
            store.commit({b"b": b"old", b"gone": b"1"}, durable=False)
            for bad in ({b"k" * (MAX_KEY + 1): b"1"}, {b"k": bytes(MAX_VALUE + 1)}):
                before, failed = store.scan(*ALL), False
                try:
                    store.commit({b"a": b"1", b"b": b"new", **bad, b"z": b"1"}, [b"gone"], durable=False)
                except StoreError:
                    failed = True
                expect(not failed or store.scan(*ALL) == before, "a failed commit left something behind")

    @rule(12, needs=(1,))
    def test_long_key(self, tmp_path: Path) -> None:
        """A key above 512 bytes is a StoreError."""
        with closing(self.open_store(tmp_path)) as store, refused():
            store.commit({b"k" * (MAX_KEY + 1): b"1"}, durable=False)

    @rule(13, needs=(1,))
    def test_long_value(self, tmp_path: Path) -> None:
        """A value above 8 MiB is a StoreError."""
        with closing(self.open_store(tmp_path)) as store, refused():
            store.commit({b"k": bytes(MAX_VALUE + 1)}, durable=False)

    @rule(14, needs=(3,))
    def test_snapshot(self, tmp_path: Path) -> None:
        """What a call was given or gave back is apart from the store: later commits and changes to it alter nothing."""
        with closing(self.open_store(tmp_path)) as store:
            puts = {b"a": b"1", b"b": b"2"}
            store.commit(puts, durable=False)
            puts[b"a"] = b"changed"
            found = store.scan(*ALL)
            store.commit({b"c": b"3"}, durable=False)
            equal({b"a": b"1", b"b": b"2"}, dict(found))
            found.clear()
            equal({b"a": b"1", b"b": b"2", b"c": b"3"}, dict(store.scan(*ALL)))

    @rule(15, needs=(3,))
    def test_many(self, tmp_path: Path) -> None:
        """Ten thousand records in commits of any size are all there, and only they."""
        chance = random.Random(15)  # noqa: S311
        records = {
            chance.randbytes(chance.randrange(8, 60)): chance.randbytes(chance.randrange(1, 60)) for _ in range(9999)
        }
        items = list(records.items())
        with closing(self.open_store(tmp_path)) as store:
            for start, stop in ((0, 1), (1, 1000), (1000, 9999)):
                store.commit(dict(items[start:stop]), durable=False)
            expect(dict(store.scan(*ALL)) == records, "records are missing, changed or invented")
            expect(all(store.get(key) == value for key, value in items[::7]), "get and scan disagree")

    @rule(16, needs=(1,))
    def test_reopen(self, tmp_path: Path) -> None:
        """After `close` a store opened in the same directory has every commit, durable or not."""
        with closing(self.open_store(tmp_path)) as store:
            store.commit({b"a": b"1"}, durable=True)
            store.commit({b"b": b""}, durable=False)
        with closing(self.open_store(tmp_path)) as store:
            equal([(b"a", b"1"), (b"b", b"")], sorted(store.scan(*ALL)))

    @rule(17, needs=(1,))
    def test_close_twice(self, tmp_path: Path) -> None:
        """`close` may be called again, and does nothing then."""
        store = self.open_store(tmp_path)
        store.close()
        store.close()

    @rule(18, needs=(17,))
    def test_closed(self, tmp_path: Path) -> None:
        """After `close` every other call is a StoreError."""
        store = self.open_store(tmp_path)
        store.commit({b"a": b"1"}, durable=False)
        store.close()
        with refused():
            store.get(b"a")
        with refused():
            store.scan(*ALL)
        with refused():
            store.commit({b"a": b"2"}, durable=True)

    @rule(19, needs=(1,))
    def test_threads(self, tmp_path: Path) -> None:
        """Calls may come from any thread, one at a time, and another thread than the one that opened may close."""
        store = self.open_store(tmp_path)
        for n in range(4):
            in_new_thread(partial(store.commit, {b"a%d" % n: b"1"}, durable=n == 0))
            equal(b"1", in_new_thread(partial(store.get, b"a%d" % n)))
        in_new_thread(store.close)

    @rule(20, needs=(16,), when=(SURVIVES_KILL,))
    def test_kill(self, tmp_path: Path) -> None:
        """When its process is killed, each durable commit that returned is there, and any other is whole or absent."""
        with self._child("write", tmp_path) as child:
            confirmed = [int(line) for _, line in zip(range(5), lines(child), strict=False)]
            child.kill()
            confirmed += [int(line) for line in lines(child)]
        with closing(self.open_store(tmp_path)) as store:
            judge_batches(store, confirmed)

    @rule(21, needs=(16,), when=(SURVIVES_KILL,))
    def test_lock(self, tmp_path: Path) -> None:
        """While a process has the store open, opening it in another is StoreLocked; a killed process holds nothing."""
        with self._child("hold", tmp_path) as child:
            equal("ready", next(lines(child), None))
            locked = False
            try:
                self.open_store(tmp_path).close()
            except StoreLocked:
                locked = True
            child.kill()
            child.wait()
        expect(locked, "two processes had the store open at once")
        self.open_store(tmp_path).close()

    @rule(22, needs=(1,))
    def test_apart(self, tmp_path: Path) -> None:
        """Stores in two directories share nothing, and may be open at once."""
        with closing(self.open_store(tmp_path / "one")) as one:
            one.commit({b"a": b"1"}, durable=False)
            with closing(self.open_store(tmp_path / "two")) as two:
                two.commit({b"b": b"2"}, durable=False)
                equal([(b"b", b"2")], two.scan(*ALL))
            equal([(b"a", b"1")], one.scan(*ALL))

    @contextmanager
    def _child(self, task: str, directory: Path) -> Iterator[subprocess.Popen[str]]:
        suite = type(self)
        arguments = [inspect.getfile(suite), suite.__qualname__, task, str(directory)]
        command = [sys.executable, "-m", __name__, *arguments]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:  # noqa: S603
            try:
                yield child
            finally:
                child.kill()


@contextmanager
def refused() -> Iterator[None]:
    """Expect a StoreError."""
    with suppress(StoreError):
        yield
        raise AssertionError("expected a StoreError, but the call was accepted")


def in_new_thread(call: Callable[[], object]) -> object:
    """Run `call` in a thread of its own and give its result or error."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def lines(child: subprocess.Popen[str]) -> Iterator[str]:
    """Give the whole lines that a child prints; a kill may have cut the last one short."""
    assert child.stdout is not None
    while (line := child.stdout.readline()).endswith("\n"):
        yield line.rstrip("\n")


def batch(number: int) -> dict[bytes, bytes]:
    """The records of one numbered commit: new ones, and one that every commit replaces."""
    records = {b"%06d-%02d" % (number, n): b"%d" % number * (n + 1) for n in range(BATCH)}
    return {b"last": b"%d" % number, **records}


def judge_batches(store: Store, confirmed: list[int]) -> None:
    """Check that the store holds the batches 0 to n whole, nothing else, and n is at least what was confirmed."""
    expect(len(confirmed) > 0, "the child wrote nothing: see its error above")
    last = store.get(b"last")
    expect(last is not None and int(last) >= confirmed[-1], f"commit {confirmed[-1]} was confirmed, {last!r} is there")
    expected: dict[bytes, bytes] = {}
    for number in range(int(last or b"0") + 1):
        expected |= batch(number)
    expect(dict(store.scan(*ALL)) == expected, "a commit is there in part")


def write_batches(store: Store) -> None:
    """Commit batch after batch and print the number of each that is durable, until killed."""
    last = store.get(b"last")
    number = 0 if last is None else int(last) + 1
    while True:
        store.commit(batch(number), durable=True)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        number += 1


def main(file: str, name: str, task: str, directory: str) -> None:
    """Open the store that the suite `name` in `file` describes, then write into it or hold it until killed."""
    spec = importlib.util.spec_from_file_location("suite_under_test", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    suite: StoreSuite = attrgetter(name)(module)()
    store = suite.open_store(Path(directory))
    if task == "write":
        write_batches(store)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
