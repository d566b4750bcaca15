"""Protobuf messages, generated from the `.proto` files beside them by `python tests/generate_protobuf.py`."""
