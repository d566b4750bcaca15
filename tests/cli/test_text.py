"""Text from others cannot act on a terminal, and none of it can pass for something else."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from berty_core.cli.output import message_text
from berty_core.cli.text import message_lines, pad, safe, safe_lines, width

ISOLATES = "\u2068", "\u2069"
TEXTS = st.text(st.characters(), max_size=40) | st.text(
    "ab\x1b\x07\r\n\t\u202e\u2066\u2069\u05d0\u0627 漢é", max_size=20
)
MESSAGE = {
    "sender": "Ann", "state": None, "sent": 0, "received": 1e9, "kind": "text", "mine": False, "group_name": "Hikers",
    "id": "bafyreia", "invited_to": None, "text": "hi", "sent_implausible": False,
}  # fmt: skip


@given(TEXTS)
def test_safe_is_one_line_without_controls(text: str) -> None:
    """Whatever the text is, one line comes out that holds no control, no override and only whole isolates."""
    shown = safe(text)
    inner = shown.removeprefix(ISOLATES[0]).removesuffix(ISOLATES[1])
    assert (shown == inner) or (shown == f"{ISOLATES[0]}{inner}{ISOLATES[1]}")
    for character in inner:
        assert unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"}
        assert character not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@given(TEXTS, TEXTS)
def test_a_message_begins_one_line(sender: str, text: str) -> None:
    """Only the first line of a message begins with what the program says; all others bear a mark."""
    first, *rest = message_lines(f"12:00 {safe(sender)}: ", text).split("\n")
    assert first.startswith("12:00 ")
    assert all(line.startswith("  | ") for line in rest)
    assert len(rest) == text.replace("\r\n", "\n").count("\n")


def test_escape_sequences_are_shown() -> None:
    """What would clear the screen, set the title or turn letters round is seen instead of done."""
    assert safe("\x1b[2J\x07") == "␛[2J␇"
    assert safe("\u202egnp.exe") == "<U+202E>gnp.exe"
    assert safe("\x7f\x9b") == "␡<U+009B>"


def test_right_to_left_text_is_isolated() -> None:
    """Hebrew turns round nothing outside itself."""
    assert safe("שלום") == "\u2068שלום\u2069"
    assert safe_lines("a\nשלום") == ["a", "\u2068שלום\u2069"]


def test_columns() -> None:
    """Wide letters take two columns, joined marks none."""
    assert (width("ab"), width("漢字"), width("e\u0301")) == (2, 4, 1)
    assert pad("漢", 4) == "漢  "


def test_a_wrong_clock_is_named() -> None:
    """A time that cannot be true is marked as such, and one that no calendar has is not shown."""
    assert "(by a wrong clock)" in message_text({**MESSAGE, "sent_implausible": True})
    assert message_text({**MESSAGE, "sent": 1e300}).startswith("--:--:-- ")


def test_a_late_message_is_marked() -> None:
    """What belongs before messages that were here already says so."""
    assert "(belongs earlier)" in message_text({**MESSAGE, "late": True})


def test_an_invitation_shows_no_link() -> None:
    """The link is a secret: the line names the group and what to type, and neutralises both."""
    shown = message_text({**MESSAGE, "kind": "invitation", "invited_to": "Hi\x1bkers", "text": "https://secret"})
    assert "Hi␛kers" in shown
    assert "`berty group join bafyreia`" in shown
    assert "secret" not in shown
