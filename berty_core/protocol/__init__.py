"""The Wesh protocol and the private session profile as values and machines: no I/O, no clock, no entropy."""
