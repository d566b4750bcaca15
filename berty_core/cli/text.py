"""Text from others on a terminal.

Invariant: what these functions return moves no cursor, changes no colour and no title,
hides nothing, begins no line of its own, and reorders nothing outside itself.
"""

from __future__ import annotations

import unicodedata

FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u2068", "\u2069"
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
_UNSAFE = frozenset({"Cc", "Cs", "Zl", "Zp"})
TAB = 4


def safe(text: str) -> str:
    """Make one line of a text: controls are shown as pictures or code points, right-to-left text is isolated."""
    shown = "".join(map(_shown, text))
    return f"{FIRST_STRONG_ISOLATE}{shown}{POP_ISOLATE}" if _is_bidirectional(shown) else shown


def safe_lines(text: str) -> list[str]:
    """The same for a text that may have several lines; each is isolated by itself."""
    return [safe(line.expandtabs(TAB)) for line in text.replace("\r\n", "\n").split("\n")]


def message_lines(prefix: str, text: str) -> str:
    """A message behind its (safe) prefix; further lines are marked, so that none can pass for a message of its own."""
    first, *rest = safe_lines(text)
    return "\n".join([f"{prefix}{first}", *(f"  | {line}" for line in rest)])


def width(text: str) -> int:
    """How many columns a safe text takes."""
    return sum(_columns(character) for character in text)


def pad(text: str, columns: int) -> str:
    """Fill a safe text up with spaces."""
    return text + " " * max(0, columns - width(text))


def _shown(character: str) -> str:
    number = ord(character)
    if number < 0x20:
        return chr(0x2400 + number)
    if number == 0x7F:
        return "\u2421"
    if character in _REORDERING or unicodedata.category(character) in _UNSAFE:
        return f"<U+{number:04X}>"
    return character


def _is_bidirectional(text: str) -> bool:
    return not text.isascii() and any(unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in text)


def _columns(character: str) -> int:
    if character.isascii():
        return 1
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
