"""`berty file`: what people type, and what they are told."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from berty_core.contracts.bundle import CHUNK_BYTES

from .conftest import Home, Make


def test_three_rounds(two: tuple[Home, Home], stick: Path) -> None:
    """Two homes that never share a network talk by a directory, in both directions."""
    ann, bob = two
    for number in range(3):
        for home, other in ((ann, bob), (bob, ann)):
            home.berty("send", "hikers", f"{home.path.name} {number}")
            assert home.berty("file", "export", stick, "--group", "hikers").code == 0
            taken = other.berty("file", "import", stick, "--json").data
            assert taken["entries"] > 0
            assert taken["chunks"]["unreadable"] == taken["chunks"]["waiting"] == 0
    assert bob.berty("file", "export", stick, "--all").code == 0
    ann.berty("file", "import", stick)
    assert set(ann.texts()) == {f"{name} {number}" for name in ("Ann", "Bob") for number in range(3)}
    assert {"Ann 1", "Ann 2", "Bob 0", "Bob 1", "Bob 2"} <= set(bob.texts())
    states = ann.berty("read", "hikers").out
    assert "[acknowledged]" in states
    assert "[stored]" not in states


def test_again_and_in_any_order(two: tuple[Home, Home], stick: Path, tmp_path: Path) -> None:
    """The same files once more bring nothing; their names and order mean nothing."""
    ann, bob = two
    for number in range(8):
        ann.berty("send", "hikers", f"{number} " + "x" * 2000)
    ann.berty("file", "export", stick, "--all", "--file-size", "16k")
    names = sorted(path.name for path in stick.iterdir())
    assert len(names) > 3
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for number, name in enumerate(random.Random(4).sample(names, len(names))):
        (stick / name).rename(mixed / f"{number:04}.BIN")
    first = bob.berty("file", "import", mixed, "--json").data
    again = bob.berty("file", "import", mixed, "--json").data
    assert first["entries"] > 8 and again["entries"] == 0
    assert first["chunks"]["waiting"] == again["chunks"]["waiting"] == 0
    assert again["missing"] == []


def test_dry_run_writes_nothing(two: tuple[Home, Home], stick: Path) -> None:
    """It tells what would be written, and the real run writes as much."""
    ann, _ = two
    told = ann.berty("file", "export", stick, "--all", "--dry-run", "--json").data
    assert list(stick.iterdir()) == []
    assert told["dry_run"] is True
    done = ann.berty("file", "export", stick, "--all", "--json").data
    assert (told["entries"], told["bytes"]) == (done["entries"], done["bytes"])
    assert sum(path.stat().st_size for path in stick.iterdir()) == done["bytes"]
    assert "Would write" in ann.berty("file", "export", stick, "--all", "--dry-run").out


def test_quota(two: tuple[Home, Home], stick: Path) -> None:
    """Nothing is written beyond the quota, and what is left out is told."""
    ann, _ = two
    for number in range(5):
        ann.berty("send", "hikers", f"{number} " + "x" * 30_000)
    answer = ann.berty("file", "export", stick, "--group", "hikers", "--quota", "128k")
    assert answer.code == 0
    assert "had no room" in answer.err
    assert 0 < sum(path.stat().st_size for path in stick.iterdir()) <= 128 * 1024
    assert ann.berty("file", "export", stick, "--all", "--quota", "1k").code == 1
    assert ann.berty("file", "export", stick, "--all", "--quota", "much").code == 2


def test_for_a_person(two: tuple[Home, Home], stick: Path) -> None:
    """`--for` names a member; a name that nobody has is told."""
    ann, bob = two
    bob.berty("file", "export", stick, "--all")
    ann.berty("file", "import", stick)
    assert ann.berty("file", "export", stick, "--for", "Bob").code == 0
    nobody = ann.berty("file", "export", stick, "--for", "Dora")
    assert nobody.code == 1
    assert "'Dora'" in nobody.err
    assert ann.berty("file", "export", stick, "--group", "nobody").code == 1
    assert ann.berty("file", "export", stick).code == 2


def test_words_of_an_import(two: tuple[Home, Home], make: Make, stick: Path) -> None:
    """New and known entries, chunks of others, damaged ones and cut files are told apart."""
    ann, bob = two
    eve = make("Eve")
    for number in range(6):
        ann.berty("send", "hikers", f"{number} " + "x" * 9000)
    ann.berty("file", "export", stick, "--group", "hikers", "--file-size", "16k")
    files = sorted(stick.iterdir())
    sound = files[2].read_bytes()
    files[2].write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    whole = files[3].read_bytes()
    files[3].write_bytes(whole[:5000])
    words = bob.berty("file", "import", stick)
    assert words.code == 0
    assert "1 chunk is for a group of yours, but damaged" in words.out
    assert "1 file ends too early" in words.out
    assert "Still missing in hikers" in words.err
    files[2].write_bytes(sound)
    files[3].write_bytes(whole)
    words = bob.berty("file", "import", stick)
    assert "damaged" not in words.out and "missing" not in words.err
    assert "Took in 0 new entries" in bob.berty("file", "import", stick).out
    assert f"{len(files)} chunks are for somebody else" in eve.berty("file", "import", stick).out


def test_hostile_files(two: tuple[Home, Home], stick: Path) -> None:
    """Files of any content do no harm, and what is sound among them is taken in."""
    ann, bob = two
    ann.berty("send", "hikers", "x")
    ann.berty("file", "export", stick, "--group", "hikers")
    chance = random.Random(9)
    (stick / "noise.bin").write_bytes(chance.randbytes(5 * CHUNK_BYTES + 17))
    (stick / "empty.bin").write_bytes(b"")
    with (stick / "sparse.bin").open("wb") as file:
        file.truncate(20 << 20)
    (stick / "archive.bin").write_bytes(b"PK\3\4" + chance.randbytes(CHUNK_BYTES))
    (stick / "..\u202eevil\n.bin").write_bytes(b"x")
    data = bob.berty("file", "import", stick, "--json").data
    assert data["entries"] > 0
    assert data["chunks"]["unreadable"] == 0
    assert bob.berty("file", "import", stick / "noise.bin").code == 0
    assert bob.berty("file", "import", stick / "none.bin").code == 1


def test_nothing_to_be_read_on_the_medium(two: tuple[Home, Home], stick: Path) -> None:
    """Files look like noise: no text, name, id or format, and each byte about as often as any other."""
    ann, _ = two
    ann.berty("send", "hikers", "known plaintext " * 400)
    group = ann.berty("group", "show", "hikers", "--json").data
    ann.berty("file", "export", stick, "--all")
    data = b"".join(path.read_bytes() for path in stick.iterdir())
    for known in (b"known plaintext", b"hikers", b"orbitdb", bytes.fromhex(group["id"]), group["id"].encode()):
        assert known not in data
    counts = [data.count(value) for value in range(256)]
    mean = len(data) / 256
    assert all(abs(count - mean) < 8 * mean**0.5 for count in counts)
    assert len({data[start : start + 16] for start in range(0, len(data), 16)}) == len(data) // 16


def test_while_a_node_runs(two: tuple[Home, Home], stick: Path) -> None:
    """The commands work beside `berty run`, by its socket."""
    ann, bob = two
    running = bob.start("run")
    try:
        while not (bob.path / "socket").exists():
            assert running.poll() is None, running.communicate()
            time.sleep(0.02)
        ann.berty("send", "hikers", "over the fence")
        ann.berty("file", "export", stick, "--all")
        assert bob.berty("file", "import", stick, "--json").data["entries"] > 0
        assert bob.berty("file", "export", stick, "--all").code == 0
        assert ann.berty("file", "import", stick, "--json").data["entries"] > 0
    finally:
        running.terminate()
        running.communicate()


def test_help_loads_little() -> None:
    """`berty --help` lists the command and imports neither it nor the node."""
    program = (
        "import sys; from berty_core.cli.main import run; run(['--help']);"
        "print(*{'berty_file.command', 'berty_file.carrying', 'anyio', 'nacl'} & set(sys.modules),"
        "file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Carry messages by hand" in done.stdout
    assert done.stderr.split() == []


def test_groups_that_come_along(two: tuple[Home, Home], stick: Path, tmp_path: Path) -> None:
    """One import brings an own second device a group that it learns of by the same files, and the group's texts."""
    ann, _ = two
    archive = tmp_path / "account.tar"
    assert ann.berty("account", "export", archive).code == 0
    second = Home(tmp_path / "second", ann.capture)
    second.path.mkdir(mode=0o700)
    (second.path / "berty.toml").write_text((ann.path / "berty.toml").read_text())
    assert second.berty("account", "import", archive).code == 0
    second.berty("file", "export", stick, "--all")
    ann.berty("file", "import", stick)
    ann.berty("group", "new", "secret valley")
    ann.berty("file", "export", stick, "--all")
    taken = second.berty("file", "import", stick, "--json").data
    assert "secret valley" in {group["name"] for group in second.berty("group", "list", "--json").data}
    assert len([group for group in taken["groups"] if group["entries"]]) >= 2
    assert taken["chunks"]["waiting"] == 0
