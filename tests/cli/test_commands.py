"""Every command as its user meets it: what it prints, the shape of its JSON, its exit code.

Two nodes run and meet; the commands are their clients.
"""

from __future__ import annotations

import re
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from berty_core.codec.cid import Cid
from berty_core.protocol.links import ContactLink, GroupLink, parse_link

from .conftest import SETTINGS, Home, until

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "cli.md"


def shapes() -> Iterator[tuple[str, set[str]]]:
    """Each object of the reference page with its keys."""
    known: dict[str, set[str]] = {}
    for name, keys in re.findall(r"^\| ([a-z ]+) \| `.*` \| (.*) \|$", PAGE.read_text(), re.MULTILINE):
        base = re.match(r"those of an? ([a-z]+)", keys)
        known[name] = set(re.findall(r"`([a-z_]+)`", keys)) | (known[base[1]] if base else set())
    yield from known.items()


SHAPES = dict(shapes())


def has_shape(name: str, value: dict[str, Any]) -> bool:
    """Whether a value has the keys that the page gives this object, and no others."""
    assert set(value) == SHAPES[name]
    return True


@pytest.fixture
def people(nodes: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> tuple[Home, Home]:
    """Ann and Bob, contacts of each other."""
    ann, bob = (Home(nodes[name], capsys) for name in ("ann", "bob"))
    if not ann.berty("contact", "list", "--json").data:
        bob.berty("contact", "add", ann.berty("contact", "link").out.strip())
        until(lambda: ann.berty("contact", "list", "--json").data)
        ann.berty("contact", "accept", "Bob")
        until(lambda: [c["state"] for c in bob.berty("contact", "list", "--json").data] == ["added"])
    return ann, bob


People = tuple[Home, Home]


def test_a_request_is_made_and_accepted(people: People) -> None:
    """Both sides list the other as a contact, with the shape that the page gives."""
    for home, other in zip(people, ("Bob", "Ann"), strict=True):
        (contact,) = home.berty("contact", "list", "--json").data
        assert has_shape("contact", contact)
        assert (contact["name"], contact["remote_name"], contact["state"]) == (other, other, "added")
        assert re.match(rf"{other} +contact +.*{contact['id'][:12]}", home.berty("contact", "list").out)


def test_links(people: People) -> None:
    """The link stands alone on standard output, in both of Berty's forms, and the QR code carries the internal one."""
    ann, _ = people
    web = ann.berty("contact", "link")
    internal = ann.berty("contact", "link", "--internal")
    assert (web.code, web.err, web.out.count("\n")) == (0, "", 1)
    assert web.out.startswith("https://berty.tech/id#contact/")
    assert internal.out.startswith("BERTY://PB/")
    link = parse_link(web.out)
    assert isinstance(link, ContactLink)
    assert link == parse_link(internal.out)
    assert link.display_name == "Ann"
    assert has_shape("link", ann.berty("contact", "link", "--json").data)
    rows = ann.berty("contact", "link", "--qr").out.splitlines()
    assert len(rows) > 20
    assert set("".join(rows)) <= set(" █▀▄")


def test_a_protected_link(people: People, tmp_path: Path) -> None:
    """A link with a passphrase hides who it is of, and opens with the passphrase alone."""
    ann, bob = people
    (tmp_path / "right").write_text("correct horse\n")
    (tmp_path / "wrong").write_text("incorrect horse\n")
    link = ann.berty("contact", "link", "--passphrase-file", str(tmp_path / "right")).out.strip()
    assert link.startswith("https://berty.tech/id#enc/")
    assert "give its passphrase with --passphrase" in bob.berty("contact", "add", link).err
    wrong = bob.berty("contact", "add", link, "--passphrase-file", str(tmp_path / "wrong"))
    assert (wrong.code, "wrong passphrase" in wrong.err) == (1, True)
    right = bob.berty("contact", "add", link, "--passphrase-file", str(tmp_path / "right"))
    assert "who is a contact already" in right.err


def test_requests_off_and_on_keep_the_link_and_a_reset_changes_it(ann: Home) -> None:
    """Switched off and on again the link is the same; after a reset it is another."""
    link = ann.berty("contact", "link").out
    assert has_shape("requests", ann.berty("contact", "off", "--json").data)
    assert ann.berty("status", "--json").data["requests"] is False
    assert ann.berty("contact", "on").out == "Requests are on.\n"
    assert ann.berty("status", "--json").data["requests"] is True
    assert ann.berty("contact", "link").out == link
    new = ann.berty("contact", "reset-link").out
    assert new != link
    assert ann.berty("contact", "link").out == new
    assert has_shape("link", ann.berty("contact", "reset-link", "--json").data)


def test_both_read_the_same_fingerprint(people: People) -> None:
    """Six groups of five digits, alike on both sides, alone on standard output."""
    ann, bob = people
    shown = ann.berty("contact", "verify", "Bob")
    assert re.fullmatch(r"(\d{5} ){5}\d{5}\n", shown.out)
    assert shown.out == bob.berty("contact", "verify", "Ann").out
    assert has_shape("verified contact", bob.berty("contact", "verify", "Ann", "--json").data)


def test_names_are_local(people: People) -> None:
    """A contact is renamed here alone, is found in any case of letters, and a taken or empty name is refused."""
    ann, bob = people
    assert ann.berty("contact", "rename", "Bob", "Bob the builder").code == 0
    assert ann.berty("contact", "list", "--json").data[0]["remote_name"] == "Bob"
    assert "calls itself Bob" in ann.berty("contact", "list").out
    assert "the name is empty" in ann.berty("contact", "rename", "Bob the builder", " ").err
    assert "too long: it has 65 characters" in ann.berty("contact", "rename", "Bob the builder", "x" * 65).err
    assert ann.berty("contact", "rename", "bob THE builder", "Bob", "--json").data["name"] == "Bob"
    assert bob.berty("account", "show", "--json").data["name"] == "Bob"


def test_a_message_is_sent_and_read(people: People) -> None:
    """`send` prints the id alone; the other side counts it as unread until it is read, in shape."""
    ann, bob = people
    bob.berty("read", "Ann")
    sent = ann.berty("send", "Bob", "see you at six", "--wait", "acknowledged")
    assert (sent.code, sent.err) == (0, "acknowledged by Bob\n")
    assert str(Cid.parse(sent.out.strip())) == sent.out.strip()
    assert bob.berty("contact", "list", "--json").data[0]["unread"] == 1
    assert "1 unread" in bob.berty("group", "list").out
    (message,) = bob.berty("read", "Ann", "--last", "1", "--keep-unread", "--json").data
    assert has_shape("message", message)
    assert (message["text"], message["id"], message["mine"]) == ("see you at six", sent.out.strip(), False)
    assert message["sent"] <= message["received"]
    assert "1 unread" in bob.berty("contact", "list").out
    assert bob.berty("read", "Ann", "--last", "1").out.endswith(" Ann: see you at six\n")
    assert "unread" not in bob.berty("contact", "list").out
    assert ann.berty("read", "Bob", "--last", "1").out.endswith(" Ann [acknowledged]: see you at six\n")


def test_send_by_id_and_from_standard_input(people: People) -> None:
    """A contact is named by the beginning of its id, too; `-` is a text of several lines."""
    ann, bob = people
    (contact,) = ann.berty("contact", "list", "--json").data
    sent = ann.berty("send", contact["id"][:8], "-", "--json", stdin=b"one\ntwo\n")
    assert has_shape("sent message", sent.data)
    assert sent.data["state"] == "stored"
    waited = ann.berty("send", contact["group"], "three", "--wait", "held", "--json").data
    assert has_shape("sent message", waited)
    assert waited["held"][0]["name"] == "Bob"
    assert [message["text"] for message in bob.berty("read", "Ann", "--last", "2", "--json").data] == [
        "one\ntwo",
        "three",
    ]
    assert bob.berty("read", "Ann", "--last", "2").out.splitlines()[1] == "  | two"


def test_read_is_alike_and_last_counts_messages(people: People) -> None:
    """Both read the same order; `--last N` gives N texts, whatever lies between them."""
    ann, bob = people
    for number in range(3):
        ann.berty("send", "Bob", f"number {number}")
    last = ann.berty("send", "Bob", "the last", "--wait", "acknowledged").out.strip()
    ours, theirs = (
        [message["id"] for message in home.berty("read", name, "--json").data]
        for home, name in ((ann, "Bob"), (bob, "Ann"))
    )
    assert ours == theirs
    assert ours[-1] == last
    assert [m["id"] for m in bob.berty("read", "Ann", "--last", "3", "--json").data] == ours[-3:]


def test_last_counts_texts_where_most_entries_are_receipts(people: People) -> None:
    """More texts than one page of entries holds are asked for, and each text has its receipt beside it."""
    ann, bob = people
    lines = [f"line {number}" for number in range(80)]
    bob.berty("chat", "Ann", "--last", "0", stdin="\n".join(lines).encode())
    until(lambda: ann.berty("read", "Bob", "--last", "1", "--json").data[0]["text"] == "line 79")
    until(lambda: bob.berty("read", "Ann", "--last", "1", "--json").data[0]["state"] == "acknowledged")
    assert [message["text"] for message in ann.berty("read", "Bob", "--last", "80", "--json").data] == lines


def test_a_group(people: People) -> None:
    """Made, invited to by a contact, joined by name, talked in, renamed for all, and left."""
    ann, bob = people
    assert has_shape("group", ann.berty("group", "new", "Hikers", "--json").data)
    assert has_shape("sent invitation", ann.berty("group", "invite", "Hikers", "Bob", "--json").data)
    until(lambda: bob.berty("group", "invitations", "--json").data)
    (invitation,) = bob.berty("group", "invitations", "--json").data
    assert has_shape("invitation", invitation)
    assert (invitation["name"], invitation["from"]) == ("Hikers", "Ann")
    assert f"Hikers  from Ann  {invitation['id']}" in bob.berty("group", "invitations").out
    assert f"`berty group join {invitation['id']}`" in bob.berty("read", "Ann", "--last", "1").out
    assert "an invitation to the group Hikers" in ann.berty("read", "Bob", "--last", "1").out
    assert has_shape("group", bob.berty("group", "join", "Hikers", "--json").data)
    assert "you are in 'Hikers' already" in bob.berty("group", "join", "Hikers").err
    assert bob.berty("group", "invitations").err == "No invitation waits.\n"
    until(lambda: ann.berty("group", "show", "Hikers", "--json").data["members"] == 2)
    shown = bob.berty("group", "show", "Hikers", "--json").data
    assert has_shape("shown group", shown)
    assert {member["name"] for member in shown["member_list"]} == {"Ann", "Bob"}
    assert "Bob (you)" in bob.berty("group", "show", "Hikers").out
    ann.berty("send", "Hikers", "hello all", "--wait", "held")
    assert bob.berty("read", "hikers").out.endswith("Ann: hello all\n")
    assert "for everybody" in ann.berty("group", "rename", "--help").out
    ann.berty("group", "rename", "Hikers", "Climbers")
    until(lambda: "calls itself Climbers" in bob.berty("group", "list").out)
    assert ann.berty("group", "leave", "Climbers").out.startswith("You have left Climbers.")
    assert "no contact or group 'Climbers'" in ann.berty("send", "Climbers", "hi").err


def test_a_group_link(people: People) -> None:
    """Without a contact the link stands alone; it names the group, and joining twice says what it is called here."""
    ann, bob = people
    ann.berty("group", "new", "Readers")
    link = ann.berty("group", "invite", "Readers").out
    parsed = parse_link(link)
    assert isinstance(parsed, GroupLink)
    assert parsed.display_name == "Readers"
    assert bob.berty("group", "join", "-", "--name", "Books", stdin=link.encode()).out.startswith("You are in Books;")
    again = bob.berty("group", "join", link.strip())
    assert (again.code, again.err) == (1, "berty: you are in this group already: it is 'Books' here\n")
    assert "use `berty contact add`" in bob.berty("group", "join", ann.berty("contact", "link").out).err
    assert "use `berty group join`" in bob.berty("contact", "add", link).err
    assert bob.berty("group", "invite", "Books", "Ann", "--qr").code == 2


def test_status(people: People) -> None:
    """Profile, key, peers with their links, and for each group members, heads and what is unsent."""
    ann, _ = people
    until(lambda: [peer["name"] for peer in ann.berty("status", "--json").data["peers"]] == ["Bob"])
    status = ann.berty("status", "--json").data
    assert has_shape("status", status)
    assert has_shape("account", status["account"])
    assert all(has_shape("group", group) for group in status["groups"])
    assert (status["profile"], status["key"]["kind"], status["network"]) == ("berty", "file", True)
    (transport,) = status["transports"]
    assert transport == {"name": "mdns", "state": "active", "reasons": [], "quota": {}, "retry_at": None, "bus": None}
    (peer,) = status["peers"]
    assert (peer["name"], peer["transport"]) == ("Bob", "mdns")
    assert (peer["session"], status["session_profiles"]) == ("private", [])
    until(lambda: _peers_of(ann, "status") == _peers_of(ann, "peer list"))  # a group may be proven between the two
    shown = ann.berty("status").out
    assert "key of this home is in a file in it (0600)" in shown
    assert re.search(r"Near:\n  Bob +dialled (us )?over mdns +\S+.* +since \d\d:\d\d:\d\d ", shown)
    assert re.search(r"Bob +contact +2 members +\d+ entries +\d heads? +\d+ unread +0 unsent", shown)


def test_why(people: People) -> None:
    """What is in use towards a contact and why, and for a message what is proven of each device and what comes next."""
    ann, bob = people
    until(lambda: ann.berty("why", "--peer", "Bob", "--json").data["sessions"])
    view = ann.berty("why", "--peer", "Bob", "--json").data
    assert has_shape("reasons of a peer", view)
    assert [session["transport"] for session in view["sessions"]] == ["mdns"]
    assert view["next"] == "what is written goes over the session that is open"
    until(lambda: [way["used"] for way in ann.berty("why", "--peer", "Bob", "--json").data["ways"]] == [True])
    shown = ann.berty("why", "--peer", "Bob").out
    assert re.search(
        r"^Met over mdns since \d\d:\d\d:\d\d: the only way to this device that is open\.$", shown, re.MULTILINE
    )
    assert re.search(
        r"^  mdns +\S+ +in use: it is free, it needs some energy, a message takes about \d+ ms$", shown, re.MULTILINE
    )
    id = ann.berty("send", "Bob", "why?", "--wait", "acknowledged").out.strip()
    view = ann.berty("why", id, "--json").data
    assert has_shape("reasons of a message", view)
    (device,) = view["devices"]
    assert (device["name"], device["state"], device["next"]) == ("Bob", "acknowledged", "nothing: it is there")
    assert [tried["transport"] for tried in device["tried"]] == ["mdns"]
    assert re.search(r"Bob +\w{12} +acknowledged +sent over mdns at", ann.berty("why", id).out)
    assert bob.berty("why", id).out.startswith("A message of somebody else in Ann, here since")
    assert ann.berty("why", "nonsense").code == 1
    assert ann.berty("why").code == 2


def _peers_of(device: Home, command: str) -> list[dict[str, Any]]:
    data = device.berty(*command.split(), "--json").data
    return [{**peer, "since": 0} for peer in (data["peers"] if command == "status" else data)]


def test_sync_with_a_running_node(people: People) -> None:
    """It asks the node that runs, and says how it went."""
    ann, _ = people
    view = ann.berty("sync", "--until-idle", "--timeout", "20", "--json").data
    assert has_shape("exchange", view)
    assert (view["idle"], view["met"], view["unsent"]) == (True, 1, 0)
    assert ann.berty("sync").out.startswith("Met 1 device; 0 new messages; 0 of yours")


def test_names_are_completed(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the node runs, contacts and groups are completed by name."""
    ann, _ = people
    monkeypatch.setenv("_BERTY_COMPLETE", "bash_complete")
    monkeypatch.setenv("BERTY_HOME", str(ann.path))
    monkeypatch.setenv("COMP_WORDS", "berty send b")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert ann.berty().out == "plain,Bob\n"


def test_block_and_unblock(people: People) -> None:
    """Nothing goes to somebody who is blocked; each refusal says what to do next."""
    ann, bob = people
    link = bob.berty("contact", "link").out.strip()
    assert ann.berty("contact", "block", "Bob").out == "Bob is blocked.\n"
    blocked = ann.berty("send", "Bob", "hi")
    assert (blocked.code, "`berty contact unblock Bob`" in blocked.err) == (1, True)
    assert "who is blocked" in ann.berty("contact", "block", "Bob").err
    assert "adds the other's link" in ann.berty("contact", "unblock", "Bob").out
    assert "`berty contact add LINK`" in ann.berty("send", "Bob", "hi").err
    assert "who is no contact any longer" in ann.berty("contact", "accept", "Bob").err
    assert ann.berty("contact", "add", link, "--json").data["state"] == "added"


def test_a_request_is_discarded(people: People, nobody: Home) -> None:
    """Who asks is shown with what to type, and discarded without a word to them."""
    ann, _ = people
    nobody.berty("init", "--name", "Nobody you know")
    (nobody.path / "berty.toml").write_text(SETTINGS)
    nobody.berty("contact", "add", ann.berty("contact", "link").out.strip())
    assert nobody.berty("contact", "list").out.startswith("Ann  asked, not reached yet")
    assert "has not reached them yet" in nobody.berty("send", "Ann", "hi").err
    assert nobody.berty("sync", "--timeout", "20").out.startswith("Met 1 device;")
    until(lambda: len(ann.berty("contact", "list", "--json").data) == 2)
    listed = ann.berty("contact", "list")
    assert re.search(r"^Nobody you know +asks you ", listed.out, re.MULTILINE)
    assert "`berty contact accept 'Nobody you know'`" in listed.err
    assert "Who asks to be a contact:" in ann.berty("status").out
    assert "discarded" in ann.berty("contact", "discard", "Nobody you know").out
    assert "asks you" not in ann.berty("contact", "list").out


def test_the_account(ann: Home) -> None:
    """Shown and renamed; without a node the command opens the home itself."""
    view = ann.berty("account", "show", "--json").data
    assert has_shape("account", view)
    assert view["devices"] == [view["device"]]
    assert f"id      {view['id']}" in ann.berty("account", "show").out
    assert ann.berty("account", "rename", "  Ann of\tthe hill ", "--json").data["name"] == "Ann of the hill"
    assert ann.berty("account", "rename", "").code == 1


def test_export_and_import(ann: Home, nobody: Home, tmp_path: Path) -> None:
    """The archive is for this user alone, the command warns, and the account lives on in another home."""
    ann.berty("group", "new", "Diary")
    ann.berty("send", "Diary", "dear diary")
    file = tmp_path / "ann.tar"
    exported = ann.berty("account", "export", str(file), "--json")
    assert has_shape("archive", exported.data)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "Whoever has this file is you" in exported.err
    assert tarfile.is_tarfile(file)
    assert "is there already" in ann.berty("account", "export", str(file)).err
    imported = nobody.berty("account", "import", str(file), "--json").data
    assert has_shape("new account", imported)
    assert imported["name"] == "Ann"
    assert len(imported["devices"]) == 2
    assert [m["text"] for m in nobody.berty("read", "Diary", "--json").data] == ["dear diary"]
    assert stat.S_IMODE(nobody.path.stat().st_mode) == 0o700


def test_init(nobody: Home) -> None:
    """It says where the home and its key are; with JSON the same."""
    made = nobody.berty("init", "--name", "No  body", "--no-keyring")
    assert made.out.startswith(
        f"The account of No body is in {nobody.path}.\nRemember: the key of this home is in a file"
    )
    assert stat.S_IMODE((nobody.path / "key").stat().st_mode) == 0o600
    second = Home(nobody.path.parent / "second", nobody.capture)
    view = second.berty("init", "--name", "Two", "--json").data
    assert has_shape("new account", view)
    assert view["key"]["kind"] == "file"


def test_empty_lists_say_what_to_do(ann: Home) -> None:
    """Nothing on standard output, and a hint beside it; programs get an empty list."""
    for words in (("contact", "list"), ("group", "list"), ("group", "invitations")):
        answer = ann.berty(*words)
        assert (answer.code, answer.out) == (0, "")
        assert answer.err
        assert ann.berty(*words, "--json").data == []
    assert "`berty contact link`" in ann.berty("contact", "list").err
    ann.berty("group", "new", "Quiet")
    assert ann.berty("read", "Quiet").err == "There are no messages yet.\n"


def test_without_a_node_it_is_said_that_nothing_travels(ann: Home) -> None:
    """A message is stored all the same; `status` says how to start the node, `stop` that there is none."""
    ann.berty("group", "new", "Diary")
    sent = ann.berty("send", "Diary", "hello")
    assert sent.out.count("\n") == 1
    assert "`berty run`" in sent.err
    assert "does not run: `berty run` starts it" in ann.berty("status").out
    assert ann.berty("stop").out == "No node runs here.\n"


def test_every_documented_object_was_compared() -> None:
    """No row of the page's table is left without a command in these tests that prints it."""
    source = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert set(SHAPES) == set(re.findall(r'has_shape\("([a-z ]+)"', source))
