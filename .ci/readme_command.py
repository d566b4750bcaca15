"""Print a code block of README.md, by its number from 1: the gate runs what the README says, not a copy of it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
FENCED = re.compile(r"^```[a-z]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def command(number: int, text: str | None = None) -> str:
    """Return the one command line of the README's code block `number`; ValueError if there are more lines than one."""
    blocks = FENCED.findall(README.read_text() if text is None else text)
    lines = blocks[number - 1].strip().splitlines()
    if len(lines) != 1:
        raise ValueError(f"code block {number} of README.md has {len(lines)} lines: it should be one command line")
    return str(lines[0])


if __name__ == "__main__":
    print(command(int(sys.argv[1])))
