"""`berty file export` and `berty file import`: words for people, and what the options mean."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click

from berty_core.contracts.bundle import CHUNK_BYTES, ChunkState
from berty_core.contracts.command import Invocation, Reached
from berty_core.errors import UserError

from .carrying import Taken, Wish, Written, confirm, export, take
from .reading import BundleFiles, find_files
from .writing import FileWriter, into_archive, into_directory

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class Size(click.ParamType[int]):
    """A number of bytes, such as 500k, 10M or 2G."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d{1,15})\s*([kmgt]?)(i?b)?", str(value).strip().lower())
        if found is None or not int(found[1]):
            self.fail(f"{value!r} is no size: write it as 500k, 10M or 2G", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


@click.group("file")
def file() -> None:
    """Carry messages by hand, as sealed files on any medium.

    \b
    Examples:
      berty file export /media/stick --all    # write what others lack
      berty file import /media/stick          # take in what others wrote
    """


@file.command("export")
@click.argument("destination", type=click.Path(path_type=Path))
@click.option("--for", "reader", metavar="NAME", help="What this contact or member lacks, in all groups you share.")
@click.option("--group", "groups", multiple=True, metavar="NAME", help="This group or contact; may be repeated.")
@click.option("--all", "everything", is_flag=True, help="All groups and contacts, and your own other devices.")
@click.option("--whole", is_flag=True, help="Also what all known readers have: for somebody new.")
@click.option("--since-last", is_flag=True, help="Without what was written last time, whether it arrived or not.")
@click.option("--quota", type=Size(), metavar="SIZE", help="Write no more than this, oldest first, such as 10M.")
@click.option(
    "--file-size",
    type=Size(),
    default="4M",
    show_default=True,
    metavar="SIZE",
    help="No file of a directory is larger.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print data as JSON, for programs.")
@click.pass_obj
def export_command(
    invocation: Invocation,
    destination: Path,
    reader: str | None,
    groups: tuple[str, ...],
    everything: bool,
    whole: bool,
    since_last: bool,
    quota: int | None,
    file_size: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write what others lack to a directory, or to one file.

    An existing directory gets many files with neutral names; any other DESTINATION, with an ending, is one new file.
    Nothing in them can be read or recognised without a group's keys.
    Others lack what they never said to have: in a bundle of theirs, or in a live session.

    \b
    Examples:
      berty file export /media/stick --for Bob
      berty file export bundle.bin --group hikers --quota 10M
      berty file export /media/stick --all --dry-run
    """
    if not (reader or groups or everything) or (everything and groups):
        raise click.UsageError("say what to write: --for NAME, --group NAME, or --all")
    if file_size < CHUNK_BYTES:
        raise UserError(f"--file-size: the smallest file has {CHUNK_BYTES} bytes")
    wish = Wish(groups, reader or "", whole, since_last, quota or 0)
    with invocation.reach() as node:
        if dry_run:
            counter = _Counter()
            _say_exported(invocation, _run_export(invocation, node, wish, counter), destination, counter, as_json)
            return
        with _writer(destination, file_size) as writer:
            written = _run_export(invocation, node, wish, writer)
        confirm(node, written)
    _say_exported(invocation, written, destination, writer, as_json)


class _Counter:
    """A sink that counts only."""

    def __init__(self) -> None:
        self.bytes = 0
        self.files: list[Path] = []

    def write(self, chunk: bytes) -> None:
        """Count a chunk."""
        self.bytes += len(chunk)


def _writer(destination: Path, file_size: int) -> FileWriter:
    if destination.is_dir():
        return into_directory(destination, file_size)
    return into_archive(destination)


def _run_export(invocation: Invocation, node: Reached, wish: Wish, sink: FileWriter | _Counter) -> Written:
    with invocation.progress("Writing") as show:
        return export(node, wish, sink, show)


def _say_exported(
    invocation: Invocation, written: Written, destination: Path, sink: FileWriter | _Counter, as_json: bool
) -> None:
    dry = isinstance(sink, _Counter)
    if as_json:
        view = {
            "dry_run": dry,
            "files": [str(path) for path in sink.files],
            "bytes": sink.bytes,
            "entries": written.entries,
            "left_out": written.left_out,
            "groups": list(written.groups),
        }
        click.echo(json.dumps(view))
        return
    what = f"{_counted(written.entries, 'entry', 'entries')} of {_counted(len(written.groups), 'conversation')}"
    where = invocation.safe(str(destination))
    begin = "Would write" if dry else f"Wrote {_counted(len(sink.files), 'file')} with"
    click.echo(f"{begin} {what} to {where}: {_size(sink.bytes)}.")
    for group in written.groups:
        click.echo(f"  {invocation.safe(group['name'])}: {_counted(group['entries'], 'entry', 'entries')}{_why(group)}")
    if written.left_out:
        left = _counted(written.left_out, "entry", "entries")
        click.echo(f"{left} had no room: export again once these were taken in.", err=True)


def _why(group: dict[str, Any]) -> str:
    if not group["silent"]:
        return ", since what its readers have" if group["told"] else ""
    never = _counted(group["silent"], "device")
    return f", everything: {never} never said what they have" if group["told"] else ""


@file.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print data as JSON, for programs.")
@click.pass_obj
def import_command(invocation: Invocation, source: Path, as_json: bool) -> None:
    """Take in the files of a directory, or one file.

    It may be interrupted and run again; what is here already changes nothing.
    Damaged pieces are left out, and the rest is taken.

    \b
    Examples:
      berty file import /media/stick
      berty file import bundle.bin --json
    """
    files = find_files(source)
    with invocation.reach() as node:
        with invocation.progress("Taking in") as show:
            taken = take(node, files, show)
        gaps = node.call("bundle_gaps")
    if as_json:
        click.echo(json.dumps(_view(taken, files, gaps)))
    else:
        _say_imported(invocation, taken, files, gaps)


def _view(taken: Taken, files: BundleFiles, gaps: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "files": len(files.paths),
        "entries": taken.entries,
        "known": taken.known,
        "refused": taken.refused,
        "groups": [{"id": id_, "name": name, "entries": count} for (id_, name), count in taken.groups.items()],
        "chunks": {state.value: taken.states[state.value] for state in ChunkState},
        "lost": files.lost,
        "cut_files": files.count_ends(),
        "missing": gaps,
    }


def _say_imported(invocation: Invocation, taken: Taken, files: BundleFiles, gaps: list[dict[str, Any]]) -> None:
    groups = "; ".join(f"{invocation.safe(name)}: {count}" for (_, name), count in taken.groups.items())
    new = _counted(taken.entries, "new entry", "new entries")
    click.echo(f"Took in {new}{f' ({groups})' if groups else ''}; {taken.known} were here already.")
    for count, words in (
        (taken.states["foreign"], "for somebody else, or padding"),
        (taken.states["unreadable"], "for a group of yours, but damaged: copy it again from where it was written"),
        (files.lost, "not to be read from the medium"),
    ):
        if count:
            click.echo(f"{_counted(count, 'chunk')} {'is' if count == 1 else 'are'} {words}.")
    if cut := files.count_ends():
        click.echo(f"{_counted(cut, 'file')} {'ends' if cut == 1 else 'end'} too early: copying was interrupted.")
    if taken.refused:
        click.echo(f"{_counted(taken.refused, 'entry', 'entries')} against the rules: left out.")
    for gap in gaps:
        missing = _counted(gap["missing"], "entry", "entries")
        name = invocation.safe(gap["name"])
        click.echo(f"Still missing in {name}: {missing} at the least. Your next export asks for them.", err=True)


def _counted(number: int, what: str, several: str = "") -> str:
    return f"{number} {what if number == 1 else several or what + 's'}"


def _size(count: int) -> str:
    if count < 1 << 20:
        return f"{count / 1024:.0f} KiB"
    return f"{count / (1 << 20):.1f} MiB"
