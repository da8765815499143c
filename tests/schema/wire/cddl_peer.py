"""Checks data with the CDDL library `pycddl`, in an environment that has only `pycddl`.

Reads {"cddl": text, "data": [[rule, hex]...]} from stdin, writes [whether it matches...] to stdout.
"""

from __future__ import annotations

import json
import sys

import pycddl


def matches(schema: pycddl.Schema, data: bytes) -> bool:
    try:
        schema.validate_cbor(data)
    except pycddl.ValidationError:
        return False
    return True


def main() -> None:
    order = json.load(sys.stdin)
    rules = {rule for rule, _ in order["data"]}
    schemas = {rule: pycddl.Schema(f"start = {rule}\n{order['cddl']}") for rule in rules}
    found = [matches(schemas[rule], bytes.fromhex(data)) for rule, data in order["data"]]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
