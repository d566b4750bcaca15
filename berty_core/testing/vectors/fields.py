"""Recorded protobuf messages: compared field by field with the decoded message, names and nesting as in the schema."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from .recording import Place
from .report import Report


def as_recorded(message: Message) -> dict[str, Any]:
    """The form in which recordings show a message: bytes in hexadecimal, unset fields left out."""
    result: dict[str, Any] = {}
    for field, value in message.ListFields():
        result[field.name] = _shown(value)
    return result


def _shown(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Message):
        return as_recorded(value)
    if isinstance(value, str | int | float | bool):
        return value
    return [_shown(item) for item in value]


def check_message(
    report: Report, kind: str, place: Place, message: Message, ignore: frozenset[str] = frozenset()
) -> None:
    """Compare a recorded object with a message; fields that only one of them has differ too."""
    if not place:
        return
    for field, value in message.ListFields():
        item = place[field.name]
        if field.name in ignore:
            continue
        if not item:
            report.true(kind, place, False, f"the field {field.name} is in the message and not in the recording")
        elif isinstance(value, Message):
            check_message(report, kind, item, value)
        else:
            report.equal(kind, item, value if isinstance(value, bytes) else _shown(value))
    if isinstance(place.value, dict):
        set_fields = {field.name for field, _ in message.ListFields()}
        for name in place.value:
            if name not in set_fields | ignore:
                report.true(kind, place[name], place[name].take() in ("", 0, False, {}), "the message lacks it")
