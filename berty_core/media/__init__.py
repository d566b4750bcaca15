"""What drivers share, so that none has to write it again. All names here are public, and used by this project's own.

Invariant: who hands something in never waits here, and memory is bounded.
"""

from .checks import MAX_TOPIC, check_datagram, check_published, check_topic
from .device_bus import Device, DeviceBus
from .fanout import Fanout
from .sightings import Listener, Sightings

__all__ = [
    "MAX_TOPIC",
    "Device",
    "DeviceBus",
    "Fanout",
    "Listener",
    "Sightings",
    "check_datagram",
    "check_published",
    "check_topic",
]
