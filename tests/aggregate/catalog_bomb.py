"""Many catalogs of one namespace owner, all valid and listed, and reports of their types."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import aggregate_making as making
from catalog_text import TYPE

from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.wire.bundle import pack, pack_notice
from methrics.schema.wire.envelope import Kind, seal
from methrics.schema.wire.items import Report, encode_report
from methrics.schema.wire.limits import LISTED_MAX
from methrics.schema.wire.record import sign_record

OWNER = making.seed("owner of many catalogs")


def catalogs(count: int, types: int) -> Iterator[Catalog]:
    """`count` catalogs of one key and label, with `types` event types each, all of other names."""
    for number in range(count):
        text = f'[catalog]\nlabel = "bomb"\ncontact = "https://example.org/{number}"\n'
        for i in range(types):
            name = f"t{number}_{i}"
            text += (
                f'[types.{name}]\nkind = "event"\nchart = "line:os"\n{TYPE}'
                "release = { delay = 600, jitter = 600 }\n"
                f'[types.{name}.fields.os]\ntype = "enum"\nvalues = ["linux", "macos"]\n'
                f'says = "System."\n[types.{name}.fields.country]\ntype = "country"\n'
                'says = "Country."\n'
            )
        yield load(sign(parse_source(text), OWNER))


def notices(some: list[Catalog]) -> Iterator[bytes]:
    """The bundles by which the owner publishes them: a record for as many as fit, and these
    catalogs; then the next record."""
    previous: list[bytes] = []
    for start in range(0, len(some), LISTED_MAX):
        listed = some[start : start + LISTED_MAX]
        item = sign_record(
            [one.id for one in listed],
            OWNER,
            time=making.NOW - 100_000 + start,
            expires=making.NOW + 100 * making.DAY,
            previous=previous,
        )
        previous = [item.id]
        yield pack_notice(item.raw)
        for one in listed:
            yield pack_notice(one.raw)


def reports(catalog: Catalog, types: int) -> bytes:
    """A bundle with a report of each of the first `types` types."""
    return pack(catalog.id, [report(catalog, name) for name in list(catalog.types)[:types]])


def report(catalog: Catalog, type_name: str) -> bytes:
    """A report of one type."""
    body = Report(catalog.id, type_name, making.NOW - 7200, {"os": "linux", "country": "FR"})
    key = sha256(f"{catalog.id.hex()} {type_name}".encode()).digest()
    return seal(Kind.REPORT, encode_report(body), key)
