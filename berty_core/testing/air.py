"""A bus for devices without wires: datagrams of their bus hubs under way through loss, repetition and disorder.

Invariant: time moves only here and everything follows from the world's seed, so a run that fails fails again.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from functools import partial

import attrs

from ..errors import StoreError
from ..ids import GroupId
from ..runtime.bus.hub import BusHub, Outgoing
from ..runtime.replica.effects import Effect
from .simulator import Device, World


@attrs.define(eq=False)
class Station:
    """One device on the air. While it is not `on` it neither hears nor speaks."""

    device: Device
    hub: BusHub
    on: bool = True
    bytes_sent: int = 0
    datagrams_sent: int = 0


class Air:
    """Some devices of a world on one bus. A full datagram takes `unit` seconds; one is lost at each listener alone."""

    def __init__(
        self,
        world: World,
        *,
        mtu: int = 233,
        unit: float = 1.0,
        loss: float = 0.0,
        repeat: float = 0.0,
        delay: float = 0.0,
    ) -> None:
        self.world = world
        self.mtu, self.unit = mtu, unit
        self.loss, self.repeat, self.delay = loss, repeat, delay
        self.stations: list[Station] = []
        self.spoken: list[bytes] = []
        self.log: list[tuple[Station, Outgoing]] = []
        self._under_way: list[tuple[float, int, Station, bytes]] = []
        self._count = 0

    def join(self, *devices: Device) -> list[Station]:
        """Put devices on the air."""
        joined = []
        for device in devices:
            hub = BusHub(
                device.replica,
                "air",
                mtu=self.mtu,
                unit=self.unit,
                entropy=self.world.entropy,
                ready=lambda outgoing: None,
            )
            hub.adjust(self.world.now)
            device.listeners.append(partial(self._spread, hub))
            joined.append(Station(device, hub))
        self.stations += joined
        return joined

    def _spread(self, hub: BusHub, effects: list[Effect]) -> None:
        hub.spread(effects, self.world.now)

    def step(self) -> None:
        """Let everybody speak, move on to the next thing that is due, and deliver what has come by then."""
        self.speak()
        times = [time for time in (station.hub.timeout() for station in self.stations if station.on) if time]
        times += [self._under_way[0][0]] if self._under_way else []
        self.world.now = max(self.world.now, min(times, default=self.world.now + self.unit))
        while self._under_way and self._under_way[0][0] <= self.world.now:
            _, _, station, data = heapq.heappop(self._under_way)
            if station.on:
                self.hear(station, data)
        for station in self.stations:
            if station.on:
                station.hub.wake(self.world.now)

    def hear(self, station: Station, data: bytes) -> None:
        """A datagram comes to one device, whoever sent it."""
        try:
            with station.device.batch():
                station.hub.receive([data], self.world.now)
            station.hub.committed()
        except StoreError:
            station.hub.rolled_back()

    def speak(self) -> None:
        """Put on the air what the devices have to say."""
        for station in self.stations:
            for outgoing in station.hub.collect(self.world.now):
                if station.on:
                    self._put(station, outgoing)

    def _put(self, sender: Station, outgoing: Outgoing) -> None:
        assert 0 < len(outgoing.data) <= self.mtu
        sender.bytes_sent += len(outgoing.data)
        sender.datagrams_sent += 1
        self.spoken.append(outgoing.data)
        self.log.append((sender, outgoing))
        if outgoing.message is not None:
            message = outgoing.message
            sender.device.do(lambda: sender.hub.sent(*message, self.world.now))
        chance = self.world.random.random
        for listener in self.stations:
            if listener is sender or not listener.on or chance() < self.loss:
                continue
            for _ in range(2 if chance() < self.repeat else 1):
                self._count += 1
                at = self.world.now + self.unit * (len(outgoing.data) / self.mtu + chance() * self.delay)
                heapq.heappush(self._under_way, (at, self._count, listener, outgoing.data))

    def until(self, condition: Callable[[], bool], steps: int = 3000) -> None:
        """Let time pass until something is so; an AssertionError if that takes too long."""
        for _ in range(steps):
            if condition():
                return
            self.step()
        raise AssertionError(f"this did not come true in {steps} steps")

    def agree(self, group: GroupId, devices: Iterable[Device] | None = None) -> bool:
        """Whether all devices hold the same entries of a group."""
        members = list(devices or (station.device for station in self.stations if station.on))
        heads = [[dict(log.heads) for log in device.group(group).logs.values()] for device in members]
        return all(one == heads[0] for one in heads)
