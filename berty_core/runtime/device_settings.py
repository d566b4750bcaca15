"""Small values that a plugin keeps in the home, sealed. Invariant: they belong to the device, not to its files."""

from __future__ import annotations

from ..crypto.keys import Secret
from ..errors import LocalProtocolError
from .replica.replica import Replica
from .store_worker import StoreWorker

MAX_SETTING = 64 * 1024


class DeviceSettings:
    """The values of one plugin part, by name: a copied home, which is a new device, begins without."""

    def __init__(self, store: StoreWorker, replica: Replica, owner: str) -> None:
        self._store = store
        self._replica = replica
        self._owner = owner

    async def get(self, name: str) -> Secret | None:
        """The value, or None."""
        return await self._store.read(lambda: self._replica.setting(self._key(name)))

    async def put(self, name: str, value: bytes) -> None:
        """Keep a value; durable when this returns. LocalProtocolError above 64 KiB."""
        if len(value) > MAX_SETTING:
            raise LocalProtocolError(f"{self._owner} keeps at most {MAX_SETTING} bytes under a name, not {len(value)}")
        await self._store.write(lambda: self._replica.put_setting(self._key(name), value))

    def _key(self, name: str) -> str:
        return f"{self._owner} {self._replica.account.device_id.hex()} {name}"
