"""Check recordings of a Wesh node against this implementation: `python -m berty_core.testing.vectors PATH...`.

Everything that the recorded keys allow is computed again; nothing about a recording (names, counts, keys) is assumed.
"""
