"""The durable store of berty-core: ordered keys and values in one SQLite file."""
