"""Bytes to values and back, without meaning. The only room that imports libipld and the protobuf runtime."""
