"""The rules of the transport contract."""

from __future__ import annotations

from berty_my_radio.conformance import MyRadioSuite


class TestMyRadio(MyRadioSuite):
    """Three devices that hear each other."""
