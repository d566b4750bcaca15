"""Generate the protobuf modules again after a change of a .proto file (needs grpcio-tools, nothing else does)."""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PLACES = {ROOT: "berty_core/codec/pb", ROOT / "plugins" / "berty-libp2p": "berty_libp2p/pb"}


def generate(root: Path, place: str) -> int:
    """Generate the modules beside the .proto files of one distribution."""
    files = sorted(map(str, (root / place).glob("*.proto")))
    return int(protoc.main(["protoc", f"-I{root}", f"--python_out={root}", f"--pyi_out={root}", *files]))


if __name__ == "__main__":
    sys.exit(max(generate(root, place) for root, place in PLACES.items()))
