"""Messages carried by hand: bundles of the core as files on any medium."""
