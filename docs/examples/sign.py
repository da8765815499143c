"""Sign the catalogs of this folder again: `python docs/examples/sign.py [--check]`.

The key is published in this file, so anyone can sign with it: never use these catalogs for real
data. For your app, make a key with `methrics namespace init` and sign with `methrics catalog sign`.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from methrics.schema import parse_source, sign

SEED = hashlib.sha256(b"the published key of the examples").digest()
HERE = Path(__file__).parent
CATALOGS = {
    HERE / "app.toml": HERE / "app.cbor",
    HERE / "otel.toml": HERE / "otel.cbor",
    HERE / "pytest_plugin/catalog.toml": HERE / "pytest_plugin/pytest_census/catalog.cbor",
}


def main() -> int:
    stale = 0
    for source, signed in CATALOGS.items():
        raw = sign(parse_source(source.read_text("utf-8")), SEED)
        if not signed.exists() or signed.read_bytes() != raw:
            stale += 1
            if "--check" not in sys.argv:
                signed.write_bytes(raw)
            print(signed.relative_to(HERE))
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
