"""Bytes to values and back, without meaning. The only room that imports cbrrr and protobuf."""
