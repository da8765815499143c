"""Signs the next record of a namespace: asks the relays, writes the file, submits and prints."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import click

from methrics.node.cli import namespace_asking as asking
from methrics.node.cli.namespace_status import NOT_CARRIED, agreement, carry_hint, record_facts
from methrics.node.cli.record_file import load_record, write_record
from methrics.node.mine.own import moment
from methrics.node.publish.lineage import Lineage
from methrics.node.publish.next_record import Changes, next_record
from methrics.node.publish.record_relays import Told, peer_of
from methrics.node.publish.standing import lineage_of
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import ConfigError, UnreachableError
from methrics.schema.judging.records import KnownRecord
from methrics.schema.wire.envelope import Item, Kind, public_key, sign_item
from methrics.schema.wire.limits import LISTED_MAX
from methrics.schema.wire.record import Record, encode_record
from methrics.schema.wire.topic import short_key

OK, NETWORK = 0, 4
"""Exit codes: done, and a relay did not take the record or a catalog."""

CROWDED = 24
"""Listed catalogs from which on a person is warned that a record lists only `LISTED_MAX`."""


class Signing:
    """One change of the namespace with the key of `seed`, which was read from the file `key`.

    `files`: the catalogs that the person named, by the file. `before`: the records that were found.
    Raises UsageError unless there are either relays or --offline.
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
        if relays and offline:
            raise click.UsageError("--offline asks no relay: give either --relay or --offline")
        if not relays and not offline:
            raise click.UsageError(
                "give --relay ADDRESS; --offline only writes the file, for a key that nobody else "
                "uses"
            )
        self.key = public_key(seed)
        self.files = files
        self.before = Lineage()
        self._seed = seed
        self._file = out or record_path(key)
        self._beside = record_path(key)
        self._relays = relays
        self._told: list[Told] = []
        self._warnings: list[str] = []

    def look(self, topic: str) -> None:
        """Reads the record in the file, and asks the relays for theirs. Without a `topic`, it is
        the relay's topic of the namespace. Raises UnreachableError if no relay has an answer,
        ConfigError for another namespace's file."""
        raws = [*self._own_records()]
        if self._relays:
            self._told = asking.ask(self._relays, topic, short_key(self.key))
            self._check_answers(topic)
        raws += [raw for one in self._told for raw in one.raws]
        self.before = lineage_of(raws, self.key)

    def _check_answers(self, topic: str) -> None:
        if any(one.topic for one in self._told):
            return
        why = "; ".join(f"{one.addr}: {one.error}" for one in self._told)
        if agreement(self._told) == NOT_CARRIED:
            raise UnreachableError(
                "not-carried",
                f"no relay carries this app, so nothing was signed: {why}",
                carry_hint(topic),
            )
        raise UnreachableError(
            "no-answer",
            f"no relay answered, so nothing was signed: {why}",
            "check the address, or use --offline",
        )

    def fetch(self) -> tuple[list[Catalog], bool]:
        """Returns the listed catalogs that are known, by file or from a relay, and whether those
        are all."""
        listed = {one.catalog for _, record in self.before.heads for one in record.catalogs}
        given = {one.id: one for one in self.files.values()}
        fetched = asking.fetch(self._told, listed - set(given), self.key)
        found = given | {one.id: one for one in fetched}
        return list(found.values()), listed <= set(found)

    def sign(self, changes: Changes, now: int, expires: int) -> tuple[Item, Record]:
        """Signs and writes the next record. Raises ConfigError as `next_record`, StoreError."""
        record = next_record(self.before, changes, now=now, expires=expires)
        try:
            item = sign_item(Kind.RECORD, encode_record(record), self._seed)
        except ValueError as error:
            raise ConfigError("bad-record", f"the record cannot be signed: {error}") from error
        write_record(self._file, item.raw)
        self._warnings += self._doubts(record)
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

    def _own_records(self) -> Iterator[bytes]:
        """Yields the record in the file, and that of the same key in the file beside the key."""
        if self._file.exists():
            item = load_record(self._file)
            if item.key != self.key:
                raise ConfigError(
                    "foreign-record",
                    f"{self._file} is the record of another namespace",
                    "name another file with --out",
                )
            yield item.raw
        if self._file.resolve() == self._beside.resolve() or not self._beside.exists():
            return
        with suppress(ConfigError):
            item = load_record(self._beside)
            if item.key == self.key:
                self._warnings.append(f"{self._beside} stays as it is: use one of the two files")
                yield item.raw

    def _doubts(self, record: Record) -> Iterator[str]:
        """Yields what may be wrong with a record that was just signed."""
        found = self.before.found
        if any(one.topic for one in self._told) and not any(one.raws for one in self._told):
            when = f"since {moment(found[0].record.time)} UTC" if found else "before"
            yield (
                f"no relay has a record. If one was signed {when}, these two contradict each "
                "other: name a relay that has it, and publish again"
            )
        elif not found:
            for path, one in self.files.items():
                if one.number > 1:
                    yield (
                        f"{catalog_name(path, one)} is not the first catalog. If a record was "
                        "signed before, these two contradict each other: name a relay that has "
                        "it, and publish again"
                    )
                    break
        if not record.catalogs:
            yield "it lists no catalog, so no report counts: methrics namespace publish"

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
            "healed": signed and bool(self.before.proof),
            "apart": [one.item.id.hex() for one in self.before.apart] if signed else [],
            "warnings": self._warnings,
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
            yield (
                "only one relay has it: apps that know only that one send; apps that know two "
                "wait until a second has it"
            )

    def _follows(self) -> Iterator[str]:
        apart = {known.item.id for known in self.before.apart}
        for known in self.before.parents:
            if known.item.id not in apart:
                yield f"it follows {_name(known)}"
        for known in self.before.apart:
            yield (
                f"{_name(known)} is not among the ones before the newest; what it lists and "
                "revokes is kept"
            )
        if self.before.proof:
            yield "it heals the records that contradicted each other"
        if not self.before.found:
            yield "it is the first record of this namespace"
        for warning in self._warnings:
            yield f"warning: {warning}"

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


def _name(known: KnownRecord) -> str:
    return f"record {known.item.id.hex()[:16]} of {moment(known.record.time)} UTC"


def catalog_name(path: Path, catalog: Catalog) -> str:
    """Returns the name of a catalog that a person gave as a file."""
    return f"{path.name} (number {catalog.number})"
