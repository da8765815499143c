"""Signs the next record of a namespace: asks the relays, writes the file, submits and prints."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from methrics.node.cli import namespace_asking as asking
from methrics.node.cli.namespace_status import record_facts
from methrics.node.cli.record_file import load_record, write_record
from methrics.node.mine.own import moment
from methrics.node.outbox.records import ONE_RELAY
from methrics.node.publish.next_record import Changes, Heads, next_record
from methrics.node.publish.record_relays import Told, peer_of
from methrics.node.publish.standing import heads_of
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import ConfigError, UnreachableError
from methrics.schema.wire.envelope import Item, Kind, public_key, sign_item, split
from methrics.schema.wire.limits import LISTED_MAX
from methrics.schema.wire.record import Record, decode_record, encode_record
from methrics.schema.wire.topic import short_key

OK, NETWORK = 0, 4
"""Exit codes: done, and a relay did not take the record or a catalog."""

CROWDED = 24
"""Listed catalogs from which on a person is warned that a record lists only `LISTED_MAX`."""


class Signing:
    """One change of the namespace with the key of `seed`, which was read from the file `key`.

    `files`: the catalogs that the person named, by the file. `heads`: the records that the next one
    follows. Raises ConfigError if the relays and --offline contradict each other.
    """

    def __init__(
        self,
        seed: bytes,
        key: Path,
        out: Path | None,
        relays: tuple[str, ...],
        files: Mapping[Path, Catalog],
        *,
        offline: bool,
    ) -> None:
        if bool(relays) == offline:
            raise ConfigError(
                "no-relay",
                "--offline asks no relay" if offline else "no relay is given",
                "give either --relay or --offline"
                if offline
                else "give --relay ADDRESS; --offline only writes the file, for a new key",
            )
        self.key = public_key(seed)
        self.files = files
        self.heads: Heads = ()
        self._seed = seed
        self._file = out or record_path(key)
        self._relays = relays
        self._told: list[Told] = []

    def look(self, topic: str) -> None:
        """Reads the record in the file, and asks the relays for theirs. Without a `topic`, it is
        the relay's topic of the namespace. Raises UnreachableError if no relay answers, ConfigError
        for another namespace's file."""
        raws = [] if not self._file.exists() else [self._own_record()]
        short = short_key(self.key)
        if self._relays:
            self._told = asking.ask(self._relays, topic, short)
            if not any(one.topic for one in self._told):
                why = "; ".join(f"{one.addr}: {one.error}" for one in self._told)
                raise UnreachableError(
                    "no-answer", f"no relay answered, so nothing was signed: {why}"
                )
        raws += [raw for one in self._told for raw in one.raws]
        found = map(split, heads_of(raws, short))
        self.heads = [(item, decode_record(item.payload)) for item in found]

    def fetch(self) -> tuple[list[Catalog], bool]:
        """Returns the listed catalogs that are known, by file or from a relay, and whether those
        are all."""
        listed = {one.catalog for _, record in self.heads for one in record.catalogs}
        given = {one.id: one for one in self.files.values()}
        fetched = asking.fetch(self._told, listed - set(given), self.key)
        found = given | {one.id: one for one in fetched}
        return list(found.values()), listed <= set(found)

    def sign(self, changes: Changes, now: int, expires: int) -> tuple[Item, Record]:
        """Signs and writes the next record. Raises ConfigError as `next_record`, StoreError."""
        record = next_record(self.heads, changes, now=now, expires=expires)
        try:
            item = sign_item(Kind.RECORD, encode_record(record), self._seed)
        except ValueError as error:
            raise ConfigError("bad-record", f"the record cannot be signed: {error}") from error
        write_record(self._file, item.raw)
        return item, record

    def hand(
        self,
        item: Item,
        record: Record,
        catalogs: Sequence[Catalog],
        *,
        signed: bool,
        as_json: bool,
    ) -> int:
        """Hands a record and catalogs to the relays, and prints what was done. Returns the exit
        code. `signed`: whether the record is a new one."""
        done = {one.addr: one.error for one in self._told if not one.topic}
        done |= asking.submit(self._told, [item.raw, *(one.raw for one in catalogs)])
        taken = {one.addr: done[one.addr] for one in self._told}
        if as_json:
            click.echo(json.dumps(self._document(item, record, taken, signed=signed)))
        else:
            for line in self._lines(item, record, taken, signed=signed):
                click.echo(line)
        return NETWORK if any(taken.values()) else OK

    def _own_record(self) -> bytes:
        item = load_record(self._file)
        if item.key != self.key:
            raise ConfigError(
                "foreign-record",
                f"{self._file} is the record of another namespace",
                "name another file with --out",
            )
        return item.raw

    def _document(
        self, item: Item, record: Record, taken: Mapping[str, str], *, signed: bool
    ) -> dict[str, object]:
        return {
            "record": item.id.hex(),
            "signed": signed,
            "file": str(self._file),
            "time": record.time,
            "expires": record.expires,
            "previous": [one.hex() for one in record.previous],
            "catalogs": [one.catalog.hex() for one in record.catalogs],
            "revoked": sorted(record.revoked),
            "healed": signed and len(self.heads) > 1,
            "relays": {addr: problem or "ok" for addr, problem in taken.items()},
        }

    def _lines(
        self, item: Item, record: Record, taken: Mapping[str, str], *, signed: bool
    ) -> Iterator[str]:
        if signed:
            yield f"wrote {self._file}: record {item.id.hex()[:16]}"
            yield from self._follows()
        else:
            yield f"record {item.id.hex()[:16]} of {moment(record.time)} UTC"
        named = {one.id: catalog_name(path, one) for path, one in self.files.items()}
        for line in record_facts(record, record.time, named):
            yield f"  {line}"
        if len(record.catalogs) >= CROWDED:
            yield (
                f"{len(record.catalogs)} of at most {LISTED_MAX} catalogs are listed, and one "
                "leaves the list only a year after it was delisted: sign new ones rarely"
            )
        for addr, problem in taken.items():
            yield f"{addr}: {problem or 'ok'}"
        if not taken:
            yield f"no relay has it yet; give it to yours with: {self._relay_command()}"
        elif len({peer_of(addr) for addr, problem in taken.items() if not problem}) == 1:
            yield f"apps that know only this relay send their reports: {ONE_RELAY}"

    def _follows(self) -> Iterator[str]:
        for before, record in self.heads:
            yield f"it follows record {before.id.hex()[:16]} of {moment(record.time)} UTC"
        if len(self.heads) > 1:
            yield "it heals the records that contradicted each other"
        if self.heads:
            return
        yield "it is the first record of this namespace"
        later = [path for path, one in self.files.items() if one.number > 1]
        if later:
            name = catalog_name(later[0], self.files[later[0]])
            yield (
                f"warning: {name} is not the first catalog. If a record was signed before, these "
                "two contradict each other: name a relay that has it, and publish again"
            )

    def _relay_command(self) -> str:
        words = ["methrics", "relay"]
        for path in self.files:
            words += ["--catalog", str(path)]
        if not self.files:
            words += ["--catalog", "app.cbor"]
        return shlex.join([*words, "--record", str(self._file)])


def record_path(key: Path) -> Path:
    """Returns the file of a key's record: `app.record` for `app.key`, `app.prod.record` for
    `app.prod`."""
    name = key.stem if key.suffix == ".key" else key.name
    return key.with_name(f"{name}.record")


def catalog_name(path: Path, catalog: Catalog) -> str:
    """Returns the name of a catalog that a person gave as a file."""
    return f"{path.name} (number {catalog.number})"
