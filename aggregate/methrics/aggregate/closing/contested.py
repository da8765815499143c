"""Keeps contested reports: those of days that are over which no quorum has offered yet.

They are in no number, no digest and no export, and are not sent on. Each trusted peer may fill an
equal part of one half of the room; all others share the other half fairly, by peer and by network.
What finds no room is dropped: a peer that has it offers it again. Memory holds only sums, and the
tables `contested` and `vote` are bounded by the room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa  # type: ignore[import-untyped]

from methrics.aggregate.closing.manifests import About, contradicting
from methrics.aggregate.closing.trust import Trust
from methrics.aggregate.store.duck import Connection, moment
from methrics.aggregate.store.store import Store
from methrics.aggregate.store.waste import Waste
from methrics.aggregate.store.writer import RECEIVED_STEP
from methrics.node.shares import Shares
from methrics.schema.wire.limits import DAY, REPORT_MAX

ROW_BYTES = 128
"""Bytes that a contested report counts for besides its own: its id, key and votes."""

KEPT_DAYS = 30
"""Days after which a contested report is dropped. Whoever has it offers it again."""

_DAY = "date_diff('day', DATE '1970-01-01', day)"

_HELD = (
    "SELECT v.signer, sum(octet_length(c.raw) + ?)::BIGINT FROM contested c LEFT JOIN "
    "(SELECT id, min(signer) AS signer FROM vote GROUP BY id) v ON v.id = c.id GROUP BY v.signer"
)
"""SQL for the bytes of contested reports by the first of their voters."""


@dataclass(frozen=True, slots=True)
class ContestedSettings:
    """How much is kept. With the defaults, at most 256 MiB, and about 750,000 reports."""

    room: int = 256 * 2**20
    """Bytes of all contested reports. Half of them are for trusted peers."""
    per_peer: int = 4 * 2**20
    """Bytes of one stranger. A network of strangers gets an eighth of their half."""


class Offer(NamedTuple):
    """Who offers items. `voter` is its name as a voter (`trust.voter_of`), `origin` an opaque token
    of the network that it comes from."""

    voter: bytes
    origin: bytes = b""


class KeptSince(NamedTuple):
    """The first days (since 1970-01-01) of which reports of a catalog are kept: those of some
    types, and those of every type."""

    some: int
    every: int


class Contest(NamedTuple):
    """A contested report: its namespace key, day (since 1970-01-01), id, the number of its catalog
    in the file, and its exact bytes."""

    key: bytes
    day: int
    id: bytes
    catalog: int
    raw: bytes

    @property
    def size(self) -> int:
        """The bytes that it counts for."""
        return len(self.raw) + ROW_BYTES


class Contested:
    """The contested reports of one file. Only one thread at a time may use it."""

    def __init__(
        self, store: Store, trust: Trust, settings: ContestedSettings | None = None
    ) -> None:
        self._store = store
        self._trust = trust
        self._settings = settings or ContestedSettings()
        self.dropped = 0
        """Reports that found no room, or were larger than any report, since the start."""
        self._held: Counter[bytes] = Counter()
        """Bytes by trusted peer."""
        self._looked: tuple[int, frozenset[bytes]] = -1, frozenset()
        """The day and the newest records for which each contested report was looked at."""
        self._taken = 0
        """Bytes of strangers in the file besides those of `_strangers`, such as those since before
        the start: who sent them is not stored."""
        self._strangers = self._shares()
        self._measure()

    def _shares(self) -> Shares[bytes]:
        half = self._settings.room // 2
        per_peer = min(self._settings.per_peer, half)
        return Shares(half, per_holder=per_peer, evicts=False)

    def _measure(self) -> None:
        """Find out how much of the room is taken, from the file.

        Strangers keep their shares until half of what they sent is gone: else one of them could
        erase a report of its own to get a new share.
        """
        self._held.clear()
        strangers = 0
        with self._store.reading() as con:
            for voter, size in con.execute(_HELD, [ROW_BYTES]).fetchall():
                if voter in self._trust.voters:
                    self._held[voter] = size
                else:
                    strangers += size
        if strangers < self._strangers.used // 2:
            self._strangers = self._shares()
        self._taken = max(0, strangers - self._strangers.used)

    def votes(
        self, wanted: Sequence[tuple[int, bytes]]
    ) -> tuple[dict[bytes, set[bytes]], set[About]]:
        """Return the votes on the contested reports among `wanted`, (day, id) each, by id; and the
        signers that have no vote on a day, because they contradicted themselves."""
        with self._store.reading() as con:
            liars = contradicting(con)
            con.register("offered", _offered(wanted))
            found = con.execute(
                "SELECT c.id, v.signer FROM contested c JOIN offered o ON o.id = c.id AND "
                "o.day = c.day LEFT JOIN vote v ON v.id = c.id"
            ).fetchall()
            con.unregister("offered")
        votes: dict[bytes, set[bytes]] = {}
        for one, voter in found:
            votes.setdefault(one, set()).update(() if voter is None else (voter,))
        return votes, liars

    def erased(self, wanted: Sequence[tuple[int, bytes]]) -> set[bytes]:
        """Return the ids of those reports among `wanted`, (day, id) each, that an erasure names."""
        with self._store.reading() as con:
            con.register("offered", _offered(wanted))
            found = con.execute(
                "SELECT DISTINCT o.id FROM offered o JOIN tombstone t ON t.report = o.id AND "
                "t.day = o.day"
            ).fetchall()
            con.unregister("offered")
        return {one for (one,) in found}

    def keep(
        self, contests: Iterable[Contest], known: dict[bytes, set[bytes]], offer: Offer, now: int
    ) -> int:
        """Keep reports that `offer` brings, with its vote if it has one; return how many are new.

        `known` are the votes on those that are contested already.
        """
        trusted = offer.voter in self._trust.voters
        rows: list[Contest] = []
        votes: list[bytes] = []
        for one in contests:
            if one.id not in known:
                if len(one.raw) > REPORT_MAX or not self._take(offer, one.size, trusted):
                    self.dropped += 1
                    continue
                rows.append(one)
            if trusted and offer.voter not in known.get(one.id, ()):
                votes.append(one.id)
        if rows or votes:
            with self._store.writing() as con:
                _insert(con, rows, votes, offer.voter, now - now % RECEIVED_STEP)
        return len(rows)

    def _take(self, offer: Offer, size: int, trusted: bool) -> bool:
        if trusted:
            share = self._settings.room // 2 // max(1, len(self._trust.voters))
            if self._held[offer.voter] + size > share:
                return False
            self._held[offer.voter] += size
            return True
        if self._taken + self._strangers.used + size > self._settings.room // 2:
            return False
        return self._strangers.take(offer.voter, offer.origin, 0.0, size).granted

    def tidy(
        self,
        now: int,
        kept: Mapping[int, KeptSince],
        over: Callable[[bytes], bool],
        records: Collection[bytes] = frozenset(),
    ) -> int:
        """Drop what is stored, erased or too old; return how many.

        `kept` has the catalogs in the file by their number; reports of others go. `over(raw)` tells
        whether the retention of a report's own type is over, or the type was revoked. It is asked
        once on each UTC day, and again if `records`, the ids of the newest ones, are others.
        """
        with self._store.reading() as con:
            span = con.execute(f"SELECT min({_DAY}), max({_DAY}) FROM contested").fetchone()
        if span is None or span[0] is None:
            self._measure()
            return 0
        columns = {
            "catalog": pa.array(list(kept), pa.int32()),
            "first": pa.array([one.some for one in kept.values()], pa.date32()),
            "every": pa.array([one.every for one in kept.values()], pa.date32()),
        }
        with self._store.writing() as con:
            con.register("kept_since", pa.table(columns))
            state = now // DAY, frozenset(records)
            gone_ids = self._over(con, over) if state != self._looked else []
            self._looked = state
            items = self._store.items_sql(*span, con=con)
            gone = con.execute(
                "DELETE FROM contested WHERE "
                f"received < {moment(max(0, now - KEPT_DAYS * DAY))} "
                "OR id IN (SELECT report FROM tombstone) "
                f"OR id IN (SELECT i.id FROM {items} i) "
                "OR NOT EXISTS (FROM kept_since k WHERE k.catalog = contested.catalog "
                "AND k.first <= contested.day) OR id IN (SELECT unnest(?))",
                [gone_ids],
            ).fetchone()
            con.unregister("kept_since")
            count = int(gone[0]) if gone else 0
            Waste(con).add(count, now)
            if count:
                con.execute("DELETE FROM vote WHERE id NOT IN (SELECT id FROM contested)")
        self._measure()  # erasures have deleted some, too
        return count

    def _over(self, con: Connection, over: Callable[[bytes], bool]) -> list[bytes]:
        """Return the reports that are `over`, of those whose catalog keeps only some types that
        long."""
        rows = con.execute(
            "SELECT c.id, c.raw FROM contested c JOIN kept_since k ON k.catalog = c.catalog "
            "WHERE c.day >= k.first AND c.day < k.every"
        ).fetchall()
        return [one for one, raw in rows if over(raw)]

    def days(self) -> list[tuple[bytes, int, int]]:
        """Return namespace key, day (since 1970-01-01) and number of the contested reports."""
        with self._store.reading() as con:
            return con.execute(
                f"SELECT key, {_DAY} AS n, count(*) FROM contested GROUP BY ALL ORDER BY key, n"
            ).fetchall()

    def of_days(self, days: Iterable[tuple[bytes, int]]) -> list[bytes]:
        """Return the bytes of the contested reports of days, (namespace key, day) each."""
        found: list[bytes] = []
        with self._store.reading() as con:
            for key, day in days:
                rows = con.execute(
                    "SELECT raw FROM contested WHERE key = ? AND day = DATE '1970-01-01' + ?",
                    [key, day],
                ).fetchall()
                found += [raw for (raw,) in rows]
        return found


def _offered(wanted: Sequence[tuple[int, bytes]]) -> pa.Table:
    return pa.table(
        {
            "day": pa.array([day for day, _ in wanted], pa.date32()),
            "id": pa.array([one for _, one in wanted], pa.binary()),
        }
    )


def _insert(
    con: Connection, rows: Sequence[Contest], votes: Sequence[bytes], voter: bytes, received: int
) -> None:
    columns = pa.table(
        {
            "key": pa.array([one.key for one in rows], pa.binary()),
            "day": pa.array([one.day for one in rows], pa.date32()),
            "id": pa.array([one.id for one in rows], pa.binary()),
            "catalog": pa.array([one.catalog for one in rows], pa.int32()),
            "received": pa.array([received] * len(rows), pa.timestamp("s")),
            "raw": pa.array([one.raw for one in rows], pa.binary()),
        }
    )
    con.register("incoming", columns)
    # An erasure may have been committed since the door looked for one.
    con.execute(
        "INSERT INTO contested BY NAME SELECT i.* FROM incoming i "
        "ANTI JOIN tombstone t ON t.report = i.id AND t.day = i.day"
    )
    con.unregister("incoming")
    if votes:
        named = pa.table(
            {
                "id": pa.array(votes, pa.binary()),
                "signer": pa.array([voter] * len(votes), pa.binary()),
            }
        )
        con.register("incoming", named)
        con.execute("INSERT INTO vote BY NAME SELECT * FROM incoming")
        con.unregister("incoming")
