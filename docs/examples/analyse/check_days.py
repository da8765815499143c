"""Checks a published Parquet directory by its signed bytes, without Methrics.

    python check_days.py metrics.parquet

Every item has to be signed, every file has to be the one that manifest.json lists, the reports of
each day have to give the digest that manifest.json says, and no erased report may be there. The
rules are those of schema/SPEC.md, sections 2 (ids and signatures), 3 (erasures) and 14 (digests).
Needs cbor2, pyarrow and PyNaCl. A wrong signature ends the program with an error.
"""

import json
import sys
from collections import defaultdict
from datetime import date, timedelta
from hashlib import sha256
from pathlib import Path

import cbor2
import pyarrow.parquet as pq
from nacl.signing import VerifyKey


def opened(raw):
    """Return key, payload and id of an item. Raises BadSignatureError."""
    protected, _, payload, signature = cbor2.loads(raw)
    header = cbor2.loads(protected)
    key, kind = header[4], header[3] - 65000
    signed = cbor2.dumps(["Signature1", protected, b"methrics/1", payload], canonical=True)
    VerifyKey(key).verify(signed, signature)
    if kind == 1:  # a report: nobody can guess its id from what it says
        inner = sha256(signature + payload).digest()
        return key, cbor2.loads(payload), sha256(key + inner).digest()
    return key, cbor2.loads(payload), sha256(signed).digest()


def digest(namespace, day, ids):
    """Return the digest of a day's reports."""
    number, count = day.to_bytes(8, "big"), len(ids).to_bytes(8, "big")
    joined = b"".join(sorted(ids))
    return sha256(b"methrics/1 digest" + namespace + number + joined + count).hexdigest()


def check(directory, name):
    """Print the days of a manifest and what is wrong with them. Return how much is wrong."""
    manifest = json.loads((directory / name).read_text())
    wrong, raws = [], defaultdict(list)
    for file in manifest["files"]:
        path = directory / file["name"]
        if sha256(path.read_bytes()).hexdigest() != file["sha256"]:
            wrong.append(f"{file['name']} is another file")
        if file["table"] in ("catalog", "item", "tombstone"):
            raws[file["table"]] += pq.read_table(path, columns=["raw"])["raw"].to_pylist()

    namespaces = {found[2]: found[0] for found in map(opened, raws["catalog"])}
    ids = defaultdict(set)
    erased = {
        sha256(key + erasure["inner"]).digest()
        for key, erasure, _ in map(opened, raws["tombstone"])
    }
    for _, report, report_id in map(opened, raws["item"]):
        day = date(1970, 1, 1) + timedelta(days=report["time"] // 86_400)
        ids[namespaces[report["catalog"]], day].add(report_id)
        if report_id in erased:
            wrong.append(f"{report_id.hex()} was erased")

    for app, days in manifest["days"].items():
        for text, said in days.items():
            day, key = date.fromisoformat(text), bytes.fromhex(said["key"])
            own = ids.pop((key, day), set())
            if digest(key, (day - date(1970, 1, 1)).days, own) != said["digest"]:
                wrong.append(f"{app} {day}: the reports are not those of the digest")
            print(f"{app} {day}: {len(own)} reports")
    wrong += [f"{day}: reports that manifest.json does not list" for _, day in ids]
    print("\n".join(wrong) or "Everything agrees.")
    return len(wrong)


def main(directory):
    """Check a directory; where several shards write, each has a manifest of its own."""
    shards = sorted(path.name for path in directory.glob("manifest.*-of-*.json"))
    return sum(check(directory, name) for name in shards or ["manifest.json"])


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1], "manifest.json").is_file():
        sys.exit(f"usage: python {sys.argv[0]} DIRECTORY (the one that holds manifest.json)")
    sys.exit(min(1, main(Path(sys.argv[1]))))
