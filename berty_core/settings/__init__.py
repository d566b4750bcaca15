"""Settings in layers: where each value comes from, whether it fits its class, and how the file is edited."""
