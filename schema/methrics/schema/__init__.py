"""The wire format, catalogs and verdicts: pure functions of bytes. No I/O, no clock, no network.

The public names are for programs that check or sign items: they sign and load catalogs, judge
items, and write items in diagnostic notation. Each name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from methrics.schema.lazy import front

if TYPE_CHECKING:
    from methrics.schema.catalog.catalog import Catalog, load, sign
    from methrics.schema.catalog.source import parse_source
    from methrics.schema.example import example_bytes, example_catalog, example_source
    from methrics.schema.judging.book import CatalogBook
    from methrics.schema.judging.gate import learn
    from methrics.schema.judging.judge import Accepted, Refused, judge
    from methrics.schema.wire.diagnostic import diagnostic, hexdump
    from methrics.schema.wire.envelope import split
    from methrics.schema.wire.record import sign_record
    from methrics.schema.wire.verdict import Decision, Reason

__all__ = [
    "Accepted",
    "Catalog",
    "CatalogBook",
    "Decision",
    "Reason",
    "Refused",
    "diagnostic",
    "example_bytes",
    "example_catalog",
    "example_source",
    "hexdump",
    "judge",
    "learn",
    "load",
    "parse_source",
    "sign",
    "sign_record",
    "split",
]

__getattr__, __dir__ = front(
    __name__,
    {
        "Accepted": "methrics.schema.judging.judge",
        "Catalog": "methrics.schema.catalog.catalog",
        "CatalogBook": "methrics.schema.judging.book",
        "Decision": "methrics.schema.wire.verdict",
        "Reason": "methrics.schema.wire.verdict",
        "Refused": "methrics.schema.judging.judge",
        "diagnostic": "methrics.schema.wire.diagnostic",
        "example_bytes": "methrics.schema.example",
        "example_catalog": "methrics.schema.example",
        "example_source": "methrics.schema.example",
        "hexdump": "methrics.schema.wire.diagnostic",
        "judge": "methrics.schema.judging.judge",
        "learn": "methrics.schema.judging.gate",
        "load": "methrics.schema.catalog.catalog",
        "parse_source": "methrics.schema.catalog.source",
        "sign": "methrics.schema.catalog.catalog",
        "sign_record": "methrics.schema.wire.record",
        "split": "methrics.schema.wire.envelope",
    },
)
