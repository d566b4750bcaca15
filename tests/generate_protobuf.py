"""Generate the protobuf modules again after a change of a .proto file (needs grpcio-tools, nothing else does)."""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "berty_core/codec/pb").glob("*.proto"))

if __name__ == "__main__":
    sys.exit(
        protoc.main(
            ["protoc", f"-I{ROOT}", f"--python_out={ROOT}", f"--pyi_out={ROOT}", *[str(ROOT / f) for f in FILES]]
        )
    )
