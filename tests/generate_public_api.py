"""Write the tables of docs/reference/public-api.md that list whole modules, from the modules themselves."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "public-api.md"
ROW = re.compile(r"^\| `(berty_core[\w.]*)` \| (.*) \|$", re.MULTILINE)


def defined(module: str) -> list[str]:
    """What a module defines for others: its `__all__`, or all that it assigns and defines without an underscore."""
    imported = importlib.import_module(module)
    if hasattr(imported, "__all__"):
        return sorted(imported.__all__)
    tree = ast.parse(Path(str(imported.__file__)).read_text())
    return sorted({name for node in tree.body for name in _names(node) if not name.startswith("_")})


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    inner = [element for target in targets for element in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return [element.id for element in inner if isinstance(element, ast.Name) and element.id != "logger"]


def section(text: str, heading: str) -> str:
    """A section of the page."""
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str, heading: str) -> dict[str, list[str]]:
    """The names of each module in the table of a section."""
    return {module: re.findall("`([^`]+)`", names) for module, names in ROW.findall(section(text, heading))}


def page(text: str) -> str:
    """The page with the names of whole modules made anew."""
    old = section(text, "Whole modules")

    def row(match: re.Match[str]) -> str:
        return f"| `{match[1]}` | {', '.join(f'`{name}`' for name in defined(match[1]))} |"

    return text.replace(old, ROW.sub(row, old))


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
