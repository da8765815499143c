"""Says what share of the reports known now each aggregator had when it closed their days.

Loss is what is missing to 1. An aggregator counts what a quorum brought it after it had closed a
day: reports that it had not heard, and that several others had. Erasures of such reports make the
number slightly too small, and reports that nobody trusted has heard are in no count.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from methrics.aggregate.store.duck import Connection
from methrics.node.network.peer_ids import peer_id_of
from methrics.schema.wire.envelope import split
from methrics.schema.wire.manifest import decode_manifest
from methrics.schema.wire.shard import WHOLE, Shard


@dataclass(frozen=True, slots=True)
class Coverage:
    """The closed days of one signer and namespace. Days are counted from 1970-01-01. A signer that
    is a shard counts its own ids alone."""

    signer: bytes
    key: bytes
    days: int = 0
    first: int = 0
    last: int = 0
    reports: int = 0
    """Reports of these days, by the newest manifests."""
    late: int = 0
    """Those of them that came in after their day was closed."""
    shard: Shard = WHOLE

    def facts(self) -> dict[str, object]:
        """Return it as JSON: the peer id, the namespace key in hex, counts, and the share."""
        return {
            "peer": peer_id_of(self.signer),
            "namespace": self.key.hex(),
            "days": self.days,
            "reports": self.reports,
            "late": self.late,
            "coverage": round(self.share, 6),
        } | ({} if self.shard.is_whole else {"shard": str(self.shard)})

    @property
    def share(self) -> float:
        """The share of the reports that the signer had when it closed their days: 0 to 1."""
        return 1.0 if not self.reports else 1.0 - self.late / self.reports


def coverage_of(con: Connection) -> list[Coverage]:
    """Return the coverage of each signer and namespace with closed days in the file, in order of
    their keys. Of two manifests that contradict each other, one counts. Raises StoreError."""
    found: dict[tuple[bytes, bytes], Coverage] = {}
    days = con.execute(
        "SELECT signer, key, day, min(raw) FROM manifest WHERE closed GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    for signer, key, _, raw in days:
        one = decode_manifest(split(raw).payload)
        known = found.get((signer, key)) or Coverage(signer, key, first=one.day)
        found[signer, key] = replace(
            known,
            days=known.days + 1,
            last=one.day,
            reports=known.reports + one.count,
            late=known.late + one.late,
            shard=one.shard,
        )
    return list(found.values())
