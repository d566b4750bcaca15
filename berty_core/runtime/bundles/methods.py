"""Bundles by the private socket: chunks as base64, and everything else as plain values."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import attrs

from ...errors import UserError
from ...ids import GroupId
from ...protocol.bundle import CHUNK
from ...protocol.group import GroupKind
from .exporting import ACCOUNT_NAME, BundleExport

if TYPE_CHECKING:
    from ..node import Node

AT_ONCE = 64  # chunks in one answer: 1 MiB
MAX_EXPORTS = 8  # that are not confirmed yet
Json = dict[str, Any]


@attrs.define(eq=False)
class _Running:
    """An export, and its chunks as they are asked for."""

    export: BundleExport
    chunks: AsyncIterator[bytes]


class BundleMethods:
    """The methods of one node that write bundles and take them in. Whoever writes asks for each piece, at its pace."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._exports: dict[int, _Running] = {}
        self._last = 0

    async def export(self, groups: list[str], reader: str, whole: bool, since_last: bool, quota: int) -> Json:
        """Begin an export: its number, and what there is."""
        if not all(isinstance(name, str) for name in groups):
            raise UserError("wrong parameters: groups are named by texts")
        export = await self._node.export_bundle(
            *groups, reader=reader, whole=whole, since_last=since_last, quota=quota or None
        )
        self._last += 1
        self._exports[self._last] = _Running(export, aiter(export))
        if len(self._exports) > MAX_EXPORTS:
            del self._exports[min(self._exports)]
        shares = [
            {"id": str(one.group), "name": one.name, "entries": one.entries, "told": one.told, "silent": one.silent}
            for one in export.shares
        ]
        return {"export": self._last, "groups": shares}

    async def chunks(self, export: int) -> Json:
        """The next chunks; none are left when `data` is empty."""
        running = self._find(export)
        data = bytearray()
        while len(data) < AT_ONCE * CHUNK and (chunk := await anext(running.chunks, None)) is not None:
            data += chunk
        made = running.export
        sums = {"entries": made.entries, "left_out": made.left_out, "chunks": made.chunks}
        return {"data": base64.b64encode(data).decode(), **sums}

    async def confirm(self, export: int) -> Json:
        """Note that what was written is safe."""
        await self._find(export).export.confirm()
        del self._exports[export]
        return {"confirmed": export}

    def _find(self, number: int) -> _Running:
        found = self._exports.get(number)
        if found is None:
            raise UserError("this export is not known to the node any longer: write it again")
        return found

    async def take(self, data: str) -> Json:
        """Take chunks in."""
        try:
            chunks = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise UserError("wrong parameters: data is no base64") from error
        report = await self._node.import_bundle(
            [chunks[start : start + CHUNK] for start in range(0, len(chunks), CHUNK)]
        )
        return {
            "chunks": [state.value for state in report.chunks],
            "entries": report.entries,
            "known": report.known,
            "refused": report.refused,
            "groups": [
                {"id": str(group), "name": await self._name(group), "entries": count}
                for group, count in report.groups.items()
            ],
        }

    async def gaps(self) -> list[Json]:
        """What is known of but not here, by group."""
        found = await self._node.bundle_gaps()
        return [{"id": str(group), "name": await self._name(group), "missing": n} for group, n in found.items()]

    async def _name(self, group: GroupId) -> str:
        return await self._node.store.read(self._read_name, group)

    def _read_name(self, group: GroupId) -> str:
        replica = self._node.replica.groups.get(group)
        if replica is None:
            return group.hex()[:8]
        is_account = replica.group.kind is GroupKind.ACCOUNT
        return ACCOUNT_NAME if is_account else self._node.actions.conversation_name(replica)
