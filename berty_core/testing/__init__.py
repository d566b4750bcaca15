"""Conformance kits, fakes and checkers for those who build on this core; nothing in the product imports it."""
