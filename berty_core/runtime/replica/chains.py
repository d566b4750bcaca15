"""The sender chains of one group in the store, and the messages that wait for one of them."""

from __future__ import annotations

from bisect import bisect_left, insort

from ...codec.cid import DAG_CBOR, Cid
from ...codec.dagcbor import decode_dagcbor, encode_dagcbor
from ...ids import DeviceId, GroupId
from ...protocol.ratchet import MAX_COUNTER, Chain, Readability, decode_chain, encode_chain, readability
from .records import CHAIN, WAITING, Records


class StoredChains:
    """One chain for each device that shared one with us, our own among them."""

    def __init__(self, records: Records, group: GroupId) -> None:
        self._records = records
        self._group = group
        self._chains: dict[DeviceId, Chain] = {}
        self._waiting: dict[DeviceId, dict[int, set[Cid]]] = {}
        self._order: dict[DeviceId, list[int]] = {}  # the counters of what waits, lowest first
        self._changed: set[DeviceId] = set()
        self.reload()

    def reload(self) -> None:
        """Read everything again from the store."""
        self._chains, self._waiting, self._order = {}, {}, {}
        self._changed.clear()
        vault = self._records.vault
        for key, sealed in self._records.scan(CHAIN + self._group):
            device, chain = decode_dagcbor(vault.unseal(key, sealed))
            self._chains[DeviceId(device)] = decode_chain(chain)
        for key, sealed in self._records.scan(WAITING + self._group):
            device, counter, digest = decode_dagcbor(vault.unseal(key, sealed))
            self._waiting.setdefault(DeviceId(device), {}).setdefault(counter, set()).add(Cid(DAG_CBOR + digest))
        self._order = {device: sorted(waiting) for device, waiting in self._waiting.items()}

    def get(self, device: DeviceId) -> Chain | None:
        """The chain of a device, or None while it shared none with us."""
        return self._chains.get(device)

    def devices(self) -> tuple[DeviceId, ...]:
        """Whose chains are known."""
        return tuple(self._chains)

    def put(self, device: DeviceId, chain: Chain) -> None:
        """Keep the new state of a chain, within a transaction."""
        self._chains[device] = chain
        self._changed.add(device)

    def flush(self) -> None:
        """Write the chains that the open transaction moved: each once, with the entries that moved them."""
        for device in self._changed:
            key = CHAIN + self._group + self._records.vault.blind(device)
            value = encode_dagcbor([bytes(device), encode_chain(self._chains[device])])
            self._records.put(key, self._records.vault.seal(key, value))
        self._changed.clear()

    def wait(self, device: DeviceId, counter: int, cid: Cid) -> None:
        """Remember a message that cannot be opened yet, within a transaction."""
        waiting = self._waiting.setdefault(device, {})
        if counter not in waiting:
            insort(self._order.setdefault(device, []), counter)
        waiting.setdefault(counter, set()).add(cid)
        key = self._waiting_key(device, counter, cid)
        value = encode_dagcbor([bytes(device), counter, cid.digest])
        self._records.put(key, self._records.vault.seal(key, value))

    def forget(self, device: DeviceId, counter: int, cid: Cid) -> None:
        """A message waits no longer."""
        cids = self._waiting.get(device, {}).get(counter, set())
        if cid not in cids:
            return
        cids.discard(cid)
        if not cids:
            del self._waiting[device][counter]
            del self._order[device][bisect_left(self._order[device], counter)]
        if not self._waiting[device]:
            del self._waiting[device], self._order[device]
        self._records.delete(self._waiting_key(device, counter, cid))

    def next_waiting(self, device: DeviceId) -> tuple[int, Cid] | None:
        """The waiting message with the lowest counter, if the chain can tell by now whether it opens it."""
        chain, order = self._chains.get(device), self._order.get(device)
        if chain is None or not order or readability(chain, order[0]) is Readability.BEYOND:
            return None
        return order[0], min(self._waiting[device][order[0]])

    def waiting(self) -> dict[DeviceId, tuple[int, ...]]:
        """Counters of messages that are here and cannot be opened, by device."""
        return {device: tuple(order) for device, order in self._order.items() if order}

    def gaps(self) -> dict[DeviceId, tuple[int, ...]]:
        """Counters whose messages are missing although later ones of the same device came."""
        return {device: chain.gaps for device, chain in self._chains.items() if chain.skipped}

    def _waiting_key(self, device: DeviceId, counter: int, cid: Cid) -> bytes:
        number = min(counter, MAX_COUNTER).to_bytes(8, "big")
        return WAITING + self._group + self._records.vault.blind(device) + number + cid.digest[:8]
