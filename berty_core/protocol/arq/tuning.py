"""What a reliable stream makes of its medium: windows, delays and time-outs, all from a few plain facts.

Invariant: nothing here is seen on the wire, so two ends with different figures still understand each other.
"""

from __future__ import annotations

import attrs

BUFFERED = 256 * 1024  # bytes that a receiver holds at most for datagrams of full size, or four of those
MAX_WINDOW = 255  # datagrams; one byte says it
SMALL_BURST = 14600  # bytes that may always be under way (RFC 6928), if they take less than half a second
BURST = 6.0  # seconds for which one end of a half-duplex medium may talk before it listens


@attrs.frozen(kw_only=True)
class Tuning:
    """How one end of a stream over datagrams behaves.

    Times are in seconds, windows in datagrams, `buffer` in bytes. `reordering`: as many later datagrams must have
    arrived before one that did not counts as lost.
    """

    mtu: int
    receive_window: int
    buffer: int
    first_burst: int
    least_burst: int
    most_burst: int
    reordering: int
    ack_delay: float
    ack_every: int
    takes_turns: bool
    linger: float
    first_timeout: float
    least_timeout: float
    most_timeout: float
    give_up: float

    @classmethod
    def for_medium(
        cls,
        *,
        mtu: int,
        bitrate: float = 1e6,
        latency: float = 0.05,
        half_duplex: bool = False,
        ordered: bool = False,
        wait: float = 0.0,
    ) -> Tuning:
        """Choose for a medium with these traits (bytes, bit/s, seconds).

        The other end may wait `wait` seconds for its airtime before it answers: that is no silence.
        """
        airtime = 8 * mtu / bitrate
        most = max(2, min(16, int(BURST / airtime))) if half_duplex else MAX_WINDOW
        burst = min(most, 4) if half_duplex else max(4, min(128, int(min(SMALL_BURST, bitrate / 16)) // mtu))
        delay = 1.2 * airtime + 0.01 if half_duplex else max(0.01, min(0.2, airtime / 2))
        first = max(0.3, 1.5 * (2 * latency + (burst + 1 if half_duplex else 2) * airtime + delay))
        return cls(
            mtu=mtu,
            receive_window=max(4, min(MAX_WINDOW, BUFFERED // mtu)),
            buffer=int(max(2 * mtu, min(65536, bitrate / 8))),
            first_burst=burst,
            least_burst=min(burst, 2) if half_duplex else burst,
            most_burst=most,
            reordering=1 if ordered else 3,
            ack_delay=delay,
            ack_every=most if half_duplex else 2 if bitrate >= 1e6 else 4,
            takes_turns=half_duplex,
            linger=min(0.2, airtime / 4) if airtime > 0.005 else 0.0,
            first_timeout=first,
            least_timeout=first if wait else max(0.05, 2 * delay),
            most_timeout=max(1.0, 2 * first, wait / 16),
            give_up=max(30.0, min(600.0, 40 * first)) + wait,
        )
