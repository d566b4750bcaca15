"""The kit against transports that are broken on purpose: each must break the intended rule first of all."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from berty_core.testing.conformance import run_suite
from berty_core.testing.transport_suite import TransportSuite

from . import faults
from .bases import Base, Datagrams, FreeBus, FreeUdp, Memory, MemoryBus, Tcp, Udp

STREAMS = (Memory, Tcp)
LINKS = (Tcp, Datagrams)
DATAGRAMS = (Datagrams, Udp)
BUSES = (MemoryBus, Udp)
FREE = (FreeBus, FreeUdp)
ANY = (Memory, Udp)
FAULTS: dict[type[faults.Faulty], tuple[int, tuple[type[Base], ...]]] = {
    faults.NeverStarts: (20, ANY),
    faults.ReturnsAtOnce: (20, ANY),
    faults.SaysNoState: (20, ANY),
    faults.StopsSlowly: (21, ANY),
    faults.IgnoresCancellation: (21, ANY),
    faults.RaisesAtTheEnd: (21, ANY),
    faults.StartsTooEarly: (22, ANY),
    faults.NoReason: (23, ANY),
    faults.RunsTwice: (24, ANY),
    faults.LeaksATask: (25, ANY),
    faults.LeaksAThread: (26, ANY),
    faults.LeaksASocket: (27, ANY),
    faults.LeaksAPipe: (27, ANY),
    faults.SetsTheDefaultTimeout: (28, ANY),
    faults.AddsALogHandler: (28, ANY),
    faults.BlocksTheLoop: (29, ANY),
    faults.LeaksWhenCancelledEarly: (30, ANY),
    faults.DiscoveryNeverEnds: (31, STREAMS),
    faults.FindsNobody: (40, STREAMS),
    faults.CutsTags: (40, STREAMS),
    faults.TellsNewcomersNothing: (41, STREAMS),
    faults.FoundTwice: (42, STREAMS),
    faults.FindsItself: (43, STREAMS),
    faults.NamesAnotherTransport: (44, STREAMS),
    faults.KeepsItsAddress: (45, STREAMS),
    faults.NeverLost: (45, STREAMS),
    faults.StaysVisible: (46, STREAMS),
    faults.ForgetsNobodyAtStop: (47, STREAMS),
    faults.KeepsEveryEvent: (48, STREAMS),
    faults.AdvertisesOnce: (49, STREAMS),
    faults.NeverAccepts: (70, LINKS),
    faults.BothInitiators: (71, LINKS),
    faults.DialHangs: (72, LINKS),
    faults.ForeignErrorFromDial: (72, LINKS),
    faults.DialsAnything: (73, LINKS),
    faults.IgnoresTheTransportName: (73, STREAMS),
    faults.DialLeaksWhenCancelled: (80, LINKS),
    faults.OneDialAtATime: (75, LINKS),
    faults.MixesLinks: (76, LINKS),
    faults.KeepsLinksAfterStop: (79, LINKS),
    faults.LeaksAtClose: (74, LINKS),
    faults.DialsWhenStopped: (81, LINKS),
    faults.OneWay: (90, LINKS),
    faults.CorruptsABit: (91, LINKS),
    faults.StripsZeros: (91, LINKS),
    faults.EmptyReceive: (92, LINKS),
    faults.SwallowsTheEnd: (93, STREAMS),
    faults.DropsTheRestAtClose: (93, STREAMS),
    faults.CloseLeavesReaders: (94, LINKS),
    faults.ClosesOnce: (94, LINKS),
    faults.SendsAfterClose: (95, LINKS),
    faults.ForeignErrorFromLinks: (96, LINKS),
    faults.NeverNoticesTheEnd: (96, LINKS),
    faults.LosesOnCancel: (97, LINKS),
    faults.RepeatsOnCancel: (98, LINKS),
    faults.IgnoresBackPressure: (99, STREAMS),
    faults.OneDirectionAtATime: (113, STREAMS),
    faults.CutsFrames: (110, STREAMS),
    faults.Duplicates: (110, STREAMS),
    faults.Reorders: (110, STREAMS),
    faults.LosesWhenSlow: (112, STREAMS),
    faults.JoinsDatagrams: (120, DATAGRAMS),
    faults.RefusesLess: (120, DATAGRAMS),
    faults.TruncatesSilently: (121, DATAGRAMS),
    faults.TruncatesAndComplains: (121, DATAGRAMS),
    faults.InventsDatagrams: (122, DATAGRAMS),
    faults.TakesEmptyDatagrams: (125, DATAGRAMS),
    faults.SilentBus: (50, (MemoryBus, FreeUdp)),
    faults.OneListener: (50, BUSES),
    faults.BusOfText: (51, BUSES),
    faults.BusTruncates: (52, BUSES),
    faults.Echoes: (53, BUSES),
    faults.BusInvents: (54, BUSES),
    faults.MixesTopics: (55, BUSES),
    faults.PublishesTooLate: (56, BUSES),
    faults.KeepsEveryDatagram: (57, FREE),
    faults.PublishesOnce: (58, FREE),
    faults.TakesNothing: (59, BUSES),
    faults.AnotherBusEachTime: (60, BUSES),
    faults.BusOutlivesItsTransport: (61, BUSES),
    faults.NoLimit: (131, BUSES),
    faults.SpentForEver: (132, BUSES),
    faults.ForgetsItsBudget: (133, BUSES),
    faults.BelievesTheClock: (134, BUSES),
    faults.EndsTheOthers: (32, ANY),
    faults.StartsTwice: (140, ANY),
    faults.DiesOffline: (141, ANY),
}
CASES = [(fault, base) for fault, (_, bases) in FAULTS.items() for base in bases]


def broken_by(base: type[Base], fault: type[faults.Faulty] | None) -> type[TransportSuite]:
    """The suite over a base with a fault in it."""
    return type(f"{base.__name__}With", (base,), {"fault": fault})


@pytest.fixture(autouse=True)
def remains() -> Iterator[None]:
    """What the faults leave open on purpose is closed here, where its warnings are expected."""
    yield
    for fault in FAULTS:
        for kept in getattr(fault, "kept", []):
            kept.close()
        getattr(fault, "kept", []).clear()
    gc.collect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("fault", "base"), CASES, ids=lambda value: value.__name__)
def test_fault(fault: type[faults.Faulty], base: type[Base]) -> None:
    """The first broken rule is the one that the fault was made for."""
    suite = broken_by(base, fault)
    rule = FAULTS[fault][0]
    numbers = [each.number for each in suite.rules() if each.number <= rule]
    report = run_suite(suite, backend="asyncio", numbers=numbers, until_broken=True)
    broken = report.first_broken
    assert broken is not None, report.line()
    assert broken.rule == rule, broken.reason
