"""The checker of recordings: all vectors pass, and every kind of check can fail."""

from __future__ import annotations

import copy
import functools
import gzip
import importlib
import importlib.util
import io
import json
import random
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest
from click.testing import CliRunner

from berty_core.codec.pb import wesh_pb2 as pb
from berty_core.crypto.keys import PrivateKey, Secret
from berty_core.errors import RemoteProtocolError
from berty_core.testing.vectors.__main__ import as_text, main
from berty_core.testing.vectors.checker import check_paths, check_sources, know
from berty_core.testing.vectors.known import Known
from berty_core.testing.vectors.report import Report
from berty_core.testing.vectors.source import Source, Unreadable, expand, read

VECTORS = Path(__file__).parent.parent / "vectors"
RECORDED = [VECTORS / "ipfs-log.json.gz", VECTORS / "libp2p", VECTORS / "wesh"]  # the others are of our own making
PACKAGE = "berty_core.testing.vectors"


def _mutations() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutations", Path(__file__).with_name("mutations.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mutations = _mutations()

# Values that nothing else in a recording contradicts, by section: a name, a choice among equals, a free text.
INDIFFERENT = {
    ("account_of", "A2"),  # who is said to be whose second device
    ("accounts", "[]", "name"),
    ("groups", "[]", "as_seen_by"),
    ("replica_orders", "[]", "node"),
    ("peers", "A2"),  # a peer without events
    ("rendezvous_points", "[]", "at_unix"),  # a second more or less lies in the same period
    ("stores", "[]", "raw_rotation", "now_unix"),
    ("opened_by", "*", "C"),  # the text of Go's error
    ("events", "[]", "kind"),  # unknown kinds are listed, not judged
    ("events", "[]", "data_same_as_n"),
    ("cases", "[]", "kind"),
    ("cases", "[]", "input", "cid"),  # only equal or not equal to others
    ("cases", "[]", "input", "group"),
    ("cases", "[]", "input", "json"),  # read, not verified, by Go as by us
    ("exports", "[]", "tar_file"),
    ("published", "log_X_101", "payload"),  # a remark behind the pattern
}


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    """All recordings of this project."""
    return [read(path) for root in RECORDED for path in expand(root)]


@pytest.fixture(scope="module")
def known(sources: list[Source]) -> Known:
    """What they tell each other."""
    return know(sources)


@pytest.fixture(scope="module")
def judged(sources: list[Source], known: Known) -> dict[str, Report]:
    """A report on each recording, by its name."""
    trimmed = [named(sources, name) for name in [*RECORDINGS, "export-C"]]
    return {source.name: mutations.run(source, known) for source in trimmed}


def named(sources: list[Source], name: str) -> Source:
    """A copy of one recording; of links one of each kind, since each passphrase costs a tenth of a second."""
    source = next(source for source in sources if Path(source.name).name.startswith(f"{name}."))
    root = copy.deepcopy(source.root)
    if source.format == "links":
        root["links"] = root["links"][:4] + root["links"][-1:]
    if name == "messages":
        _keep_small_logs(root)
    return Source(source.name, source.format, root)


def _keep_small_logs(root: dict[str, Any]) -> None:
    big = {log["group_pk"] for log in root["logs"].values() if len(log["entries"]) > 40}
    root["logs"] = {address: log for address, log in root["logs"].items() if log["group_pk"] not in big}
    cids = {entry["cid"] for log in root["logs"].values() for entry in log["entries"]}
    root["replica_orders"] = [order for order in root["replica_orders"] if order["group_pk"] not in big]
    root["sends"] = [sent for sent in root["sends"] if sent["cid"] in cids]
    root["opened_by"] = {cid: nodes for cid, nodes in root["opened_by"].items() if cid in cids}


@pytest.fixture(scope="module")
def swept(sources: list[Source], known: Known) -> Callable[[str], tuple[list[Any], set[str]]]:
    """Corrupts a recording by its name, once: the values that no check found, the kinds of check that failed."""

    @functools.cache
    def sweep(name: str) -> tuple[list[Any], set[str]]:
        found: tuple[list[Any], set[str]] = mutations.sweep(
            named(sources, name), known, 1 if name in ("handshake", "kubo-dial", "kubo-listen") else 24
        )
        return found

    return sweep


def test_all_vectors_pass() -> None:
    """Every recording that the project holds is reproduced without a difference."""
    report = check_paths(RECORDED)
    assert report.differences == []
    assert report.unreadable == []
    assert report.code == 0
    assert sum(report.counts.values()) > 15_000
    assert len(report.counts) > 130


def test_every_deviation_is_met_and_named(judged: dict[str, Report]) -> None:
    """Where our verdict differs from Go's, a named deviation explains it, and none is left without a case."""
    from berty_core.testing.vectors.deviations import DEVIATIONS

    met = {name for report in judged.values() for name in report.deviations}
    assert met <= {deviation.name for deviation in DEVIATIONS}
    assert {"foreign-key", "not-canonical", "null-lists", "other-log", "other-version"} <= met


RECORDINGS = [
    "keys",
    "keys-berty-profile",
    "metadata",
    "messages",
    "heads",
    "handshake",
    "localrecords",
    "links",
    "export",
    "negative",
    "ipfs-log",
    "noise",
    "kubo-dial",
    "kubo-listen",
]


@pytest.mark.parametrize("name", RECORDINGS)
def test_corrupted_values_are_found(
    name: str, sources: list[Source], known: Known, swept: Callable[[str], tuple[list[Any], set[str]]]
) -> None:
    """One changed value in any section that is read gives a difference, but for the values named above."""
    source = named(sources, name)
    assert not mutations.run(source, known).differences
    missed, failed = swept(name)
    assert failed
    assert [path for path in missed if mutations.general(path) not in INDIFFERENT] == []


def _other(value: Any) -> Any:
    if isinstance(value, bytes):
        return value[:-1] + bytes([value[-1] ^ 1]) if value else b"\0"
    if isinstance(value, tuple):
        return (*value[1:], value[0]) if len(value) > 1 and value[0] != value[1] else (*value, *value, *value)
    return f"{value}." if isinstance(value, str) else value


def _changed(real: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **options: _other(real(*arguments, **options))


def _refusing(_: Callable[..., Any]) -> Callable[..., Any]:
    def refuse(*_arguments: Any, **_options: Any) -> Any:
        raise RemoteProtocolError("sabotaged")

    return refuse


def _false(_: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *_arguments, **_options: False


def _giving(value: Any) -> Callable[..., Any]:
    return lambda _real: lambda *_arguments, **_options: value


def _then(change: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda real: lambda *arguments, **options: change(real(*arguments, **options))


def _other_address(found: Any) -> Any:
    return found and (found[0], found[1] + ".")


def _other_chain(chain: Any) -> Any:
    return attrs.evolve(chain, key=Secret(bytes(32)))


def _other_group(link: Any) -> Any:
    return attrs.evolve(link, group=attrs.evolve(link.group, link_key_sig=b"")) if hasattr(link, "group") else link


def _other_web(real: Callable[..., Any]) -> Callable[..., Any]:
    return lambda text: real(text) if text.startswith("BERTY") else None


def _other_link_key(message: Any) -> Any:
    message.link_key = b"other"
    return message


def _unsigned(payload: Any) -> Any:
    return attrs.evolve(payload, payload=pb.GroupReplicating(device_pk=b"other"))


# Checks that corrupted values reach only through others: an implementation with this fault must fail them.
SABOTAGE: list[tuple[str, str, str, str, Callable[..., Any]]] = [
    ("entry: block encoded again", "metadata", "entries", "encode_entry", _changed),
    ("entry: operation", "metadata", "entries", "operation", _changed),
    ("entry: signer", "metadata", "entries", "check_entry", _refusing),
    ("entry: signature", "metadata", "entries", "verify", _false),
    ("entry: made again from its signing key", "metadata", "entries", "sign_entry", _changed),
    ("entry: time, next and refs of the append", "messages", "entries", "references", _changed),
    ("event: sealed again", "metadata", "events_in_log", "seal_event", _changed),
    ("event: made again from its fields", "metadata", "events_in_log", "seal_metadata", _changed),
    ("event: signature rule", "metadata", "events_in_log", "open_metadata", _refusing),
    ("event 2: chain opened", "metadata", "events_in_log", "open_shared_chain", _refusing),
    ("event 2: chain shared again", "metadata", "events_in_log", "share_chain", _changed),
    ("message: opened", "messages", "messages_in_log", "open_message", _refusing),
    ("message: sealed again", "messages", "messages_in_log", "seal_message", _changed),
    ("message: text is what was sent", "messages", "messages_in_log", "open_message", _changed),
    ("heads: JSON written again", "heads", "heads_messages", "encode_heads_json", _changed),
    ("heads: message made again", "heads", "heads_messages", "seal_heads", _changed),
    ("heads: frame", "heads", "heads_messages", "encode_varint", _changed),
    ("heads: pubsub signature", "heads", "heads_messages", "verify", _false),
    ("local record: frame made again", "localrecords", "local_records", "encode_frame", _changed),
    ("contact request: contact", "handshake", "handshakes", "encode_contact", _changed),
    ("contact request: step 4", "handshake", "handshakes", "precompute_box", _changed),
    ("keys: manifest encoded again", "keys", "keys", "encode_dagcbor", _changed),
    ("keys: shareable contact", "keys", "keys", "encode_contact", _changed),
    ("link: internal form written again", "links", "links", "format_internal", _changed),
    ("link: web form written again", "links", "links", "format_web", _changed),
    ("link: opened by its passphrase", "links", "links", "unseal_link", _refusing),
    ("event 1: made again from both keys", "metadata", "events_in_log", "announce_device", _giving(pb.Group())),
    ("event 2: chain is the device's own", "metadata", "events_in_log", "advance", _then(_other_chain)),
    ("event: payload encoded again", "metadata", "events_in_log", "open_metadata", _then(_unsigned)),
    ("export: key", "export", "archive", "decode_private", _giving(PrivateKey(bytes(32)))),
    ("heads: address of the rotation", "heads", "heads_messages", "_find", _then(_other_address)),
    ("heads: topic of a publication", "heads", "heads_messages", "_find", _then(_other_address)),
    ("heads: entry of a head", "heads", "heads_messages", "head_of", _then(lambda h: attrs.evolve(h, clock_time=9))),
    ("keys: invitation", "keys", "keys", "decode_group", _then(lambda g: attrs.evolve(g, secret_sig=bytes(64)))),
    ("link: group", "links", "links", "parse_link", _then(_other_group)),
    ("link: web form read", "links", "links", "parse_link", _other_web),
    ("link: sealed again", "links", "links", "seal_link", _then(lambda x: attrs.evolve(x, checksum=b"00"))),
    ("negative: chain shared again", "negative", "negative", "share_chain", _changed),
    ("negative: metadata", "negative", "negative", "open_metadata", _refusing),
    ("out of store: sealed again", "keys", "out_of_store", "seal_secretbox", _changed),
    ("out of store: signature", "keys", "out_of_store", "verify", _false),
    ("generated: heads JSON", "ipfs-log", "generated", "encode_heads_json", _changed),
    ("archive: key", "export-C", "archive", "encode_private", _changed),
    ("archive: keys of a group", "export-C", "archive", "parse", _then(_other_link_key)),
    ("archive: heads", "export-C", "archive", "parse", _then(_other_link_key)),
]


@pytest.mark.parametrize(("kind", "name", "module", "function", "fault"), SABOTAGE)
def test_faulty_implementations_are_found(
    kind: str,
    name: str,
    module: str,
    function: str,
    fault: Callable[..., Any],
    sources: list[Source],
    known: Known,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fault in what a check rests on makes that check fail."""
    target = importlib.import_module(f"{PACKAGE}.{module}")
    monkeypatch.setattr(target, function, fault(getattr(target, function)))
    report = mutations.run(named(sources, name), known)
    assert report.failed[kind] > 0


def _rewrite(archive: Path, target: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> None:
    with tarfile.open(archive) as old, tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as new:
        for info in old:
            stream = old.extractfile(info)
            changed = change(info.name, stream.read() if stream else b"")
            if changed is not None:
                info.name, info.size = changed[0], len(changed[1])
                new.addfile(info, io.BytesIO(changed[1]))


def _flip(data: bytes) -> bytes:
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


def _without_heads(data: bytes) -> bytes:
    message = pb.GroupHeadsExport.FromString(data)
    del message.metadata_heads_cids[:]
    return message.SerializeToString()


def _first(prefix: str, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> Callable[..., Any]:
    done: list[str] = []

    def apply(name: str, data: bytes) -> tuple[str, bytes] | None:
        if name.startswith(prefix) and not done:
            done.append(name)
            return change(name, data)
        return name, data

    return apply


@pytest.mark.parametrize(
    ("kind", "prefix", "change"),
    [
        ("", "account.key", lambda name, data: (name, _flip(data))),
        ("", "entries/", lambda name, data: (name, _flip(data))),
        (
            "archive: entry under its CID",
            "entries/",
            lambda name, data: (name[:-1] + ("a" if name[-1] != "a" else "e"), data),
        ),
        ("archive: log is complete", "entries/", lambda _name, _data: None),
        ("archive: keys of a group", "heads/", lambda name, data: (name, _flip(data))),
        ("archive: heads of a log", "heads/", lambda name, data: (name, _without_heads(data))),
        ("archive: heads", "heads/", lambda name, data: (name[:-1] + ("A" if name[-1] != "A" else "E"), data)),
    ],
)
def test_corrupted_archives_are_found(
    kind: str, prefix: str, change: Callable[[str, bytes], tuple[str, bytes] | None], tmp_path: Path
) -> None:
    """A changed key, block, name or head, and a missing entry, are found in an archive."""
    target = tmp_path / "export-C.tar"
    _rewrite(VECTORS / "wesh/export-C.tar.gz", target, _first(prefix, change))
    report = check_paths([target, VECTORS / "wesh/keys.json.gz"])
    assert report.code == 1
    assert report.failed[kind] > 0 or kind == ""


def test_every_kind_of_check_can_fail(
    judged: dict[str, Report], swept: Callable[[str], tuple[list[Any], set[str]]]
) -> None:
    """Corrupted values and sabotaged functions together make each kind of check fail that the vectors exercise."""
    kinds = {kind for report in judged.values() for kind in report.counts}
    failed = {kind for kind, *_ in SABOTAGE} | ARCHIVE_KINDS
    for name in RECORDINGS:
        failed |= swept(name)[1]
    assert kinds - failed == set()


# Those that `test_corrupted_archives_are_found` makes fail.
ARCHIVE_KINDS = {"archive: entry under its CID", "archive: log is complete", "archive: heads of a log"}


@pytest.mark.parametrize("name", RECORDINGS)
def test_missing_sections_are_no_difference(name: str, sources: list[Source]) -> None:
    """A recording that lacks any one of its sections, checked alone, passes."""
    whole = named(sources, name)
    for section in list(whole.root):
        root = {key: value for key, value in whole.root.items() if key != section}
        source = Source("part.json", whole.format, root)
        report = mutations.run(source, know([source]))
        assert report.differences == []


WRONG = [None, [], {}, 0, -1, 2**70, 1.5, True, "", "zz", "é", [None], {"a": None}, f"sha256:{'0' * 64}:len:5000"]


QUICKLY_CHECKED = ["keys", "handshake", "localrecords", "export", "negative", "noise", "kubo-dial"]


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where every value of a recording stands."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


@pytest.mark.parametrize("name", QUICKLY_CHECKED)
def test_malformed_recordings_are_reported(name: str, sources: list[Source]) -> None:
    """Any value in the place of another gives a report, never another error."""
    source = named(sources, name)
    chance = random.Random(name)
    for path in chance.choices(list(places(source.root)), k=25):
        value = mutations.value_at(source.root, path)
        mutations.put(source.root, path, chance.choice(WRONG))
        report = check_sources([source])
        mutations.put(source.root, path, value)
        assert report.code in (0, 1)
        assert as_text(report, 5)


def test_shortened_values_are_compared_by_digest(sources: list[Source], known: Known) -> None:
    """A digest in place of a long value passes, and a wrong digest is found."""
    import hashlib

    source = named(sources, "metadata")
    entry = next(iter(source.root["logs"].values()))["entries"][0]
    data = bytes.fromhex(entry["operation_value"])
    entry["operation_value"] = f"sha256:{hashlib.sha256(data).hexdigest()}:len:{len(data)}"
    assert mutations.run(source, known).differences == []
    entry["operation_value"] = f"sha256:{hashlib.sha256(b'other').hexdigest()}:len:{len(data)}"
    assert mutations.run(source, known).differences != []


def test_blocks_may_be_shortened(sources: list[Source], known: Known) -> None:
    """A log whose blocks stand only as digests still has an order that is checked."""
    source = named(sources, "metadata")
    for log in source.root["logs"].values():
        for entry in log["entries"]:
            entry["block"] = f"sha256:{'0' * 64}:len:5000"
    report = mutations.run(source, know([source]))
    assert report.differences == []
    assert report.counts["order: values"] > 0


@pytest.fixture
def runner() -> CliRunner:
    """Runs the command in this process."""
    return CliRunner()


def test_command_prints_counts_and_sections(runner: CliRunner) -> None:
    """The text names each kind of check with its count, and the sections without a check."""
    result = runner.invoke(main, [str(VECTORS / "wesh/keys.json.gz")])
    assert result.exit_code == 0
    assert "keys: store address" in result.output
    assert "No check for these sections" in result.output
    assert "no difference" in result.output


def test_command_as_json_names_the_place(runner: CliRunner, tmp_path: Path) -> None:
    """A difference has its file, its place, what was expected and what we got."""
    root = json.loads(gzip.decompress((VECTORS / "wesh/keys.json.gz").read_bytes()))
    root["accounts"][1]["api_account_pk"] = "00" * 32
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(root))
    result = runner.invoke(main, ["--json", str(file)])
    assert result.exit_code == 1
    (difference,) = json.loads(result.output)["differences"]
    assert difference["file"] == str(file)
    assert difference["place"] == "accounts[1].api_account_pk"
    assert difference["expected"] == "00" * 32
    text = runner.invoke(main, [str(file)]).output
    assert "accounts[1].api_account_pk" in text


def _damaged(directory: Path) -> Iterator[Path]:
    for name, data in (
        ("cut.json.gz", (VECTORS / "wesh/keys.json.gz").read_bytes()[:500]),
        ("text.json", b"not JSON"),
        ("list.json", b"[1, 2]"),
        ("other.json", b'{"something": "else"}'),
        ("cut.tar", gzip.decompress((VECTORS / "wesh/export-C.tar.gz").read_bytes())[:2000]),
    ):
        path = directory / name
        path.write_bytes(data)
        yield path


def test_unreadable_files_end_with_two(runner: CliRunner, tmp_path: Path) -> None:
    """A damaged, foreign or absent file, and a directory without recordings, give exit code 2 and a reason."""
    empty = tmp_path / "empty"
    empty.mkdir()
    for path in [*_damaged(tmp_path), tmp_path / "absent.json", empty]:
        result = runner.invoke(main, [str(path)])
        assert result.exit_code == 2, path
        assert "Cannot read" in result.output


def test_reading_tells_formats_by_content(tmp_path: Path) -> None:
    """A file's name plays no part in what it is taken for."""
    target = tmp_path / "photo.bin"
    target.write_bytes((VECTORS / "wesh/links.json.gz").read_bytes())
    assert read(target).format == "links"
    with pytest.raises(Unreadable):
        read(tmp_path)


def test_help_has_examples(runner: CliRunner) -> None:
    """The help shows how to run it and what the exit codes mean."""
    output = runner.invoke(main, ["--help"]).output
    assert "python -m berty_core.testing.vectors tests/vectors" in output
    assert "Exit code" in output


def test_module_runs_as_a_program() -> None:
    """`python -m` finds the command."""
    assert importlib.util.find_spec(f"{PACKAGE}.__main__") is not None
    assert sys.version_info >= (3, 11)
