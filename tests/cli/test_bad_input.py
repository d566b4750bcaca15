"""What people type wrongly, and what others send on purpose: a message that says what, where and what to do."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import attrs
import pytest

from berty_core.codec.base58 import encode_base58
from berty_core.codec.pb import messenger_pb2 as pb
from berty_core.crypto.keys import PrivateKey
from berty_core.ids import AccountId
from berty_core.protocol.group import encode_group
from berty_core.protocol.links import ContactLink, GroupLink, format_web, parse_link
from berty_core.runtime.actions import MAX_ALIAS

from .conftest import Home

NASTY = "a\x1b[2J\x07\u202e\nb"
INSTALLED = ", ".join(sorted(point.name for point in entry_points(group="berty.plugins")))


def link_of(name: str) -> str:
    """A link to a person who does not exist."""
    return format_web(ContactLink(AccountId(PrivateKey(os.urandom(32)).public), os.urandom(32), name))


def false_group_link(home: Home, name: str) -> str:
    """A link to a new group whose signature does not fit."""
    home.berty("group", "new", name)
    link = parse_link(home.berty("group", "invite", name).out)
    assert isinstance(link, GroupLink)
    group = attrs.evolve(link.group, secret_sig=bytes(64))
    message = pb.BertyLink()
    message.berty_group.group.CopyFrom(encode_group(group))
    message.berty_group.group.ClearField("link_key")
    return f"https://berty.tech/id#group/{encode_base58(message.SerializeToString())}/name={name}"


def refused(home: Home, *words: str, stdin: bytes | None = None) -> str:
    """Run what must fail with 1, silently on standard output; what it says."""
    answer = home.berty(*words, stdin=stdin)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("berty: ")
    return answer.err


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda link: link[:70], "is cut off: its end is missing"),
        (lambda link: link[:30], "is cut off right after its beginning|is empty"),
        (lambda link: link[:40] + "0" + link[41:], r"character 41 of this link \('0'\) cannot stand there"),
        (lambda link: link.replace("#contact/", "#contaxt/"), "of an unknown kind"),
        (lambda link: link[:30] + "7" + link[31:], "is damaged or cut off"),
        (lambda _: "hello", "not a Berty link: one begins with https://berty.tech/id#"),
        (lambda _: "x" * 9000, "more than any Berty link"),
        (lambda _: NASTY, "not a Berty link"),
        (lambda _: "", "not a Berty link"),
    ],
)
def test_damaged_links(ann: Home, damage: Callable[[str], str], words: str) -> None:
    """A mistyped or truncated link is refused with the place or the reason, and nobody is asked."""
    assert re.search(words, refused(ann, "contact", "add", damage(link_of("Bob"))))
    assert ann.berty("contact", "list", "--json").data == []


def test_a_link_from_standard_input_need_not_be_text(ann: Home) -> None:
    """Bytes that are no UTF-8 are no link, and no fault of the program."""
    assert "not a Berty link" in refused(ann, "contact", "add", "-", stdin=b"\xff\xfe\x00")
    assert "not a Berty link" in refused(ann, "group", "join", "-", stdin=b"://\xff")


def test_a_link_to_oneself(ann: Home) -> None:
    """Nobody is their own contact."""
    link = ann.berty("contact", "link").out.strip()
    assert refused(ann, "contact", "add", link) == "berty: this is your own link: give it to somebody else\n"


def test_a_contact_that_is_asked_again(ann: Home) -> None:
    """The same link again changes nothing but may be given again; a taken name is refused with the way out."""
    link = link_of("Bob")
    assert ann.berty("contact", "add", link).code == 0
    assert ann.berty("contact", "add", link).code == 0
    assert len(ann.berty("contact", "list", "--json").data) == 1
    assert "the name 'bob' is taken; choose another" in refused(ann, "contact", "add", link_of("x"), "--name", "bob")


@pytest.mark.parametrize(
    "words",
    [
        ("send", "Bob", "hi"),
        ("read", "Bob"),
        ("tail", "Bob"),
        ("chat", "Bob"),
        ("contact", "accept", "Bob"),
        ("contact", "verify", "Bob"),
        ("group", "show", "Bob"),
        ("group", "invite", "Bob"),
        ("group", "leave", "Bob"),
    ],
)
def test_an_unknown_peer(ann: Home, words: tuple[str, ...]) -> None:
    """The name is repeated, and what lists the right ones is named."""
    assert re.fullmatch(r"berty: there is no contact( or group)? 'Bob'; `berty .* shows? them\n", refused(ann, *words))


def test_an_ambiguous_name_lists_the_ids(ann: Home, nobody: Home, tmp_path: Path) -> None:
    """Local names stay in a home; after an import two contacts may have one name, and then only ids will do."""
    for _ in range(2):
        ann.berty("contact", "add", link_of("Max"))
    assert [contact["name"] for contact in ann.berty("contact", "list", "--json").data] == ["Max", "Max 2"]
    ann.berty("account", "export", str(tmp_path / "ann.tar"))
    nobody.berty("account", "import", str(tmp_path / "ann.tar"))
    contacts = nobody.berty("contact", "list", "--json").data
    assert [contact["name"] for contact in contacts] == ["Max", "Max"]
    words = refused(nobody, "send", "max", "hi")
    assert "names several" in words
    assert all(contact["id"] in words for contact in contacts)
    assert nobody.berty("contact", "rename", contacts[0]["id"], "Maxine").code == 0
    assert "has not reached them yet" in refused(nobody, "send", "Max", "hi")


def test_a_false_invitation(ann: Home) -> None:
    """A group whose signature does not fit is refused before anything is written."""
    words = refused(ann, "group", "join", false_group_link(ann, "Hikers"))
    assert "this group link cannot be used" in words
    assert "ask a member for a new one" in words


def test_what_cannot_be_joined(ann: Home) -> None:
    """A word that is neither a link nor an invitation."""
    words = refused(ann, "group", "join", "Hikers")
    assert "is no link, and no invitation of this name has come: see `berty group invitations`" in words
    assert "no invitation" in refused(ann, "group", "join", "b")


@pytest.mark.parametrize(
    ("text", "stdin", "words"),
    [
        ("", None, "there is nothing to send: the text is empty"),
        ("-", b"", "there is nothing to send: the text is empty"),
        ("-", b"\n", "there is nothing to send: the text is empty"),
        ("-", b"a" * 573_441, "over the limit of 573440 bytes for a message: send it in parts"),
        ("é" * 286_721, None, "over the limit of 573440 bytes"),
        ("-", b"ab\xffc", "the text is no UTF-8 at byte 3"),
        ("a\udcff", None, "the text is no UTF-8 at byte 2"),
    ],
    ids=["none", "no input", "an empty line", "too long", "too long in bytes", "no text", "no text as argument"],
)
def test_what_cannot_be_sent(ann: Home, text: str, stdin: bytes | None, words: str) -> None:
    """Nothing is stored of a text that is empty, too long or no text."""
    ann.berty("group", "new", "Diary")
    assert words in refused(ann, "send", "Diary", text, stdin=stdin)
    assert ann.berty("read", "Diary", "--json").data == []


def test_the_longest_message(ann: Home) -> None:
    """What is just below the limit is really stored, and comes back whole."""
    ann.berty("group", "new", "Diary")
    text = "x" * 573_000
    assert ann.berty("send", "Diary", "-", stdin=text.encode()).code == 0
    (message,) = ann.berty("read", "Diary", "--json").data
    assert message["text"] == text


def test_control_characters(ann: Home) -> None:
    """Names and texts full of them are kept as they are, shown harmless, and are data in JSON."""
    assert ann.berty("contact", "add", link_of(NASTY)).code == 0
    assert ann.berty("group", "new", NASTY + "!").code == 0
    (group,) = ann.berty("group", "list", "--json").data
    assert "\x1b" in group["name"]
    assert "\n" not in group["name"]
    assert ann.berty("send", group["id"], NASTY).code == 0
    assert ann.berty("read", group["id"], "--json").data[0]["text"] == NASTY
    for words in (
        ("read", group["id"]),
        ("contact", "list"),
        ("group", "list"),
        ("group", "show", group["id"]),
        ("status",),
    ):
        answer = ann.berty(*words)
        assert answer.code == 0
        assert not set(answer.out) & set("\x1b\x07\u202e")
    assert "\x1b" not in refused(ann, "send", NASTY + "?", "hi")


@pytest.mark.parametrize("name", ["", "   ", "x" * (MAX_ALIAS + 1), "a\udcff"])
def test_names_that_cannot_be(ann: Home, nobody: Home, name: str) -> None:
    """Empty, too long, or no text: of an account, a group or a contact, and no half-made home is left."""
    assert "the display name" in refused(nobody, "init", "--name", name)
    assert not nobody.path.exists()
    for words in (("account", "rename", name), ("group", "new", name)):
        assert re.search("is empty|is too long|no UTF-8 text", refused(ann, *words))


def test_no_home(nobody: Home) -> None:
    """Every command says how to make one, and makes nothing."""
    for words in (("status",), ("send", "Bob", "hi"), ("contact", "link"), ("sync",), ("run",), ("account", "show")):
        assert "`berty init --name YOUR-NAME`" in refused(nobody, *words)
    assert not nobody.path.exists()


def test_a_home_that_is_there(ann: Home, nobody: Home, tmp_path: Path) -> None:
    """Neither `init` nor `import` writes over an account."""
    ann.berty("account", "export", str(tmp_path / "ann.tar"))
    for words in (("init", "--name", "Ann"), ("account", "import", str(tmp_path / "ann.tar"))):
        assert "choose another directory with --home" in refused(ann, *words)
    assert ann.berty("account", "show", "--json").data["name"] == "Ann"
    (tmp_path / "file").write_text("")
    assert Home(tmp_path / "file", nobody.capture).berty("status").code == 2


def test_a_damaged_archive(ann: Home, nobody: Home, tmp_path: Path) -> None:
    """Cut off, changed, or something else: no home is left behind."""
    whole = tmp_path / "ann.tar"
    ann.berty("account", "export", str(whole))
    data = whole.read_bytes()
    (tmp_path / "cut").write_bytes(data[: len(data) // 2])
    (tmp_path / "text").write_text("no archive at all")
    for file in ("cut", "text", "none"):
        words = refused(nobody, "account", "import", str(tmp_path / file))
        assert str(tmp_path / file) in words
        assert not (nobody.path / "mark").exists()


def test_a_copied_home_says_so_once(ann: Home, nobody: Home) -> None:
    """The first command on a copy tells that it is a new device from now on; all messages are there."""
    ann.berty("group", "new", "Diary")
    ann.berty("send", "Diary", "before")
    device = ann.berty("account", "show", "--json").data["device"]
    shutil.copytree(ann.path, nobody.path)
    sent = nobody.berty("send", "Diary", "after")
    assert sent.code == 0
    assert "Notice: this home is a copy" in sent.err
    assert "Notice" not in nobody.berty("send", "Diary", "later").err
    assert nobody.berty("account", "show", "--json").data["device"] != device
    assert [m["text"] for m in nobody.berty("read", "Diary", "--json").data] == ["before", "after", "later"]
    assert "Notice" not in ann.berty("status").err


def test_a_wrong_passphrase(nobody: Home, tmp_path: Path) -> None:
    """The option before the command locks the new home, and only the same passphrase opens it again."""
    for name, text in (
        ("right", "correct horse\nignored\n"),
        ("wrong", "horse\n"),
        ("empty", "\n"),
        ("long", "x" * 5000),
    ):
        (tmp_path / name).write_text(text)
    made = nobody.berty("--passphrase-file", str(tmp_path / "right"), "init", "--name", "Ann", "--json").data
    assert made["key"]["kind"] == "passphrase"
    assert not (nobody.path / "key").exists()
    assert nobody.berty("--passphrase-file", str(tmp_path / "right"), "account", "show").code == 0
    assert "is not the one with which it was made" in refused(
        nobody, "--passphrase-file", str(tmp_path / "wrong"), "account", "show"
    )
    for file, words in (("empty", "it is empty"), ("long", "it is too long"), ("none", "cannot be read: No such file")):
        assert words in refused(nobody, "--passphrase-file", str(tmp_path / file), "account", "show")
    assert "give --passphrase-file" in refused(nobody, "account", "show", stdin=b"")
    assert "descriptor 999 cannot be read" in refused(nobody, "--passphrase-fd", "999", "account", "show")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("[node", "berty.toml:1: no valid TOML: expected ']'"),
        ("node = 1", "berty.toml:1: [node] this is a table, not a single value"),
        ("[nodes]", "berty.toml:1: [nodes] there is no such table, did you mean node?"),
        ('[node]\nprofil = "wesh"', "berty.toml:2: [node] profil: there is no such key, did you mean profile?"),
        ('[node]\nprofile = "go"', "profile: `berty` (as the Berty app has it) or `wesh` is needed, not 'go'"),
        ("[node]\nkeyring = 1", "keyring: true or false is needed, not 1"),
        ('[node]\nacknowledge = "no"', "acknowledge: one of 'never', 'small', 'always' is needed, not 'no'"),
        ('[node]\ndisabled = "mdns"', "disabled: a list in [brackets] is needed, not 'mdns'"),
        ("plugins = 1", "berty.toml:1: [plugins] this is a table, not a single value"),
        ("[node]\n[node]", "berty.toml:2: no valid TOML: this is set a second time (first in line 1)"),
    ],
)
def test_bad_configuration(ann: Home, settings: str, words: str) -> None:
    """Exit code 78, and the file, the line, the table, the key and what would be right."""
    (ann.path / "berty.toml").write_text(settings)
    answer = ann.berty("sync", "--timeout", "0")
    assert (answer.code, answer.out) == (78, "")
    assert words in answer.err


@pytest.mark.parametrize(
    ("settings", "name", "words"),
    [
        ("[plugins.mdsn]", "mdsn", "there is no such plugin, did you mean mdns?"),
        ("[plugins.bluetooth]", "bluetooth", f"there is no such plugin; installed are {INSTALLED}"),
        ("[plugins]\nmdns = 1", "mdns", "berty.toml:4: [plugins.mdns] this is a table"),
        ("[plugins.mdns]\nloopbak = true", "mdns", "loopbak: there is no such key, did you mean loopback?"),
        ("[plugins.mdns]\nport = 70000", "mdns", "berty.toml:4: [plugins.mdns] port: a number from 0"),
    ],
)
def test_a_bad_plugin_table(ann: Home, settings: str, name: str, words: str) -> None:
    """The node runs on without this plugin, and its status says why and what to do."""
    (ann.path / "berty.toml").write_text(f"[node]\nkeyring = false\n{settings}\n")
    assert ann.berty("send", "Bob", "hi").code == 1  # nobody of this name, which an open home tells
    status = ann.berty("status", "--json").data
    left_out = {left["name"]: left for left in status["plugins_not_used"]}
    assert words in left_out[name]["reason"]
    assert left_out[name]["remedy"]
    shown = ann.berty("status").out
    assert words.removesuffix("?") in shown


def test_all_faults_of_a_table_at_once(ann: Home) -> None:
    """Nobody likes to mend one line after the other."""
    (ann.path / "berty.toml").write_text('[node]\nkeyrings = true\nkeyring = "no"\nprofile = 3\n')
    assert len(ann.berty("status").err.splitlines()) == 3


@pytest.mark.parametrize("setting", ["foo", "loopback=true", "plugins..loopback=true", "plugins.mdns.loopback=maybe"])
def test_bad_overrides(ann: Home, setting: str) -> None:
    """The same for what `-s` gives."""
    answer = ann.berty("-s", setting, "sync", "--timeout", "0")
    assert answer.code == 78
    assert "-s" in answer.err


def test_what_cannot_be_written(ann: Home, tmp_path: Path) -> None:
    """An export into a directory that is not there leaves nothing."""
    assert "cannot be written: No such file" in refused(ann, "account", "export", str(tmp_path / "no" / "x.tar"))


def test_wrong_usage(ann: Home) -> None:
    """Options that do not go together are wrong usage, not silently left out."""
    assert ann.berty("tail", "--last", "3").code == 2
    assert ann.berty("group", "invite", "Hikers", "Bob", "--internal").code == 2
    assert ann.berty("read", "Bob", "--last", "0").code == 2
    assert ann.berty("send", "Bob", "hi", "--wait", "stored").code == 2
