"""Where own messages are: each state is recorded only once it is proven."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import attrs

from ...codec.cid import DAG_CBOR, Cid
from ...codec.dagcbor import decode_dagcbor, encode_dagcbor
from ...ids import DeviceId
from .records import DELIVERY, UNHELD, Records

MAX_TRIED = 4096


@attrs.frozen
class Delivery:
    """Which devices confirmed that they hold a message durably, and which ones acknowledged it."""

    held: tuple[DeviceId, ...] = ()
    acknowledged: tuple[DeviceId, ...] = ()
    sent: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """The furthest state that is proven: stored, sent, held or acknowledged."""
        if self.acknowledged:
            return "acknowledged"
        if self.held:
            return "held"
        return "sent" if self.sent else "stored"


class Deliveries:
    """The states of delivery in one group; `sent` is not proof of anything and so is kept in memory only."""

    def __init__(self, records: Records, log: bytes) -> None:
        self._records = records
        self._log = log
        self._sent: dict[Cid, tuple[str, ...]] = {}
        self._tried: OrderedDict[Cid, dict[DeviceId, dict[str, float]]] = OrderedDict()

    def begin(self, cid: Cid) -> None:
        """An own message is stored and nobody else is known to have it, within a transaction."""
        self._records.put(UNHELD + self._log + cid.digest, b"")

    def unheld(self) -> list[Cid]:
        """Own messages that nobody else is known to hold."""
        prefix = UNHELD + self._log
        return [Cid(DAG_CBOR + key[len(prefix) :]) for key, _ in self._records.scan(prefix)]

    def is_unheld(self, cid: Cid) -> bool:
        """Whether this is an own message that nobody else is known to hold."""
        return self._records.get(UNHELD + self._log + cid.digest) is not None

    def get(self, cid: Cid) -> Delivery:
        """What is proven about a message."""
        sent = self._sent.get(cid, ())
        data = self._records.unseal(DELIVERY + self._log + cid.digest)
        if data is None:
            return Delivery(sent=sent)
        held, acknowledged = decode_dagcbor(bytes(data))
        return Delivery(tuple(map(DeviceId, held)), tuple(map(DeviceId, acknowledged)), sent)

    def sent(self, cid: Cid, transport: str) -> bool:
        """A message was handed to a live session; True if that is news."""
        if transport in self._sent.get(cid, ()) or self._records.get(UNHELD + self._log + cid.digest) is None:
            return False
        self._sent[cid] = (*self._sent.get(cid, ()), transport)
        return True

    def handed_over(self, cid: Cid, device: DeviceId, transport: str) -> None:
        """A message went to a session with a device; the newest of these are remembered, in memory only."""
        self._tried.setdefault(cid, {}).setdefault(device, {})[transport] = time.time()
        self._tried.move_to_end(cid)
        if len(self._tried) > MAX_TRIED:
            self._tried.popitem(last=False)

    def tried(self, cid: Cid) -> Mapping[DeviceId, Mapping[str, float]]:
        """Over what a message went to which device, and when last (Unix seconds), since the node started."""
        return self._tried.get(cid, {})

    def held(self, cids: Iterable[Cid], device: DeviceId) -> list[Cid]:
        """A device confirmed that it has these durably, within a transaction; those for which that is news."""
        news = []
        for cid in cids:
            known = self.get(cid)
            if device in known.held or not self._is_own(cid):
                continue
            self._put(cid, attrs.evolve(known, held=(*known.held, device)))
            self._records.delete(UNHELD + self._log + cid.digest)
            self._sent.pop(cid, None)
            news.append(cid)
        return news

    def _is_own(self, cid: Cid) -> bool:
        """Only messages that were sent here have a state of delivery."""
        places = (UNHELD, DELIVERY)
        return any(self._records.get(place + self._log + cid.digest) is not None for place in places)

    def acknowledged(self, cid: Cid, device: DeviceId) -> bool:
        """A device's Acknowledge was verified, within a transaction; also before the message itself came."""
        known = self.get(cid)
        if device in known.acknowledged:
            return False
        held = known.held if device in known.held else (*known.held, device)  # it could open what it has
        self._put(cid, attrs.evolve(known, held=held, acknowledged=(*known.acknowledged, device)))
        self._records.delete(UNHELD + self._log + cid.digest)
        self._sent.pop(cid, None)
        return True

    def _put(self, cid: Cid, delivery: Delivery) -> None:
        key = DELIVERY + self._log + cid.digest
        value = encode_dagcbor([[bytes(d) for d in delivery.held], [bytes(d) for d in delivery.acknowledged]])
        self._records.put(key, self._records.vault.seal(key, value))
