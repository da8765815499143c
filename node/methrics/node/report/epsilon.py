"""Withholds a report if the randomized responses of one install would reveal too much together.

Responses to one question compose (`randomize`), so its largest epsilon counts. Responses to
different questions are independent, so their epsilons add up. The lint bounds the sum of one
catalog. But a developer could ask one question under a new name, or with other values, in each new
catalog, and a person who agreed to everything of an app would not be asked again. So the node adds
up all questions that this install has answered, and withholds a report that would raise the sum
above EPSILON_TOTAL_MAX.

The questions so far are read from the receipts in the outbox. So they are forgotten together with
the seed: by a reset, and if the outbox is lost. The withdrawal of consent does not forget them. A
question of which no receipt is left (`journal.RECEIPTS_MAX`) is forgotten, too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from methrics.node.outbox.found import HasCatalogs, read_catalogs
from methrics.node.outbox.rows import Receipt
from methrics.node.report.threshold.crowd import Crowd
from methrics.node.report.threshold.meter import Meter, Ruling, Send, Withhold
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.catalog.epsilon import EPSILON_TOTAL_MAX, question_id
from methrics.schema.catalog.event_type import EventType
from methrics.schema.errors import RefusedError
from methrics.schema.wire.envelope import split
from methrics.schema.wire.items import Report, decode_report

Epsilons = Mapping[bytes, int]
"""Epsilon in thousandths, by question (`question_id`). All questions are of one namespace."""


class HasReceipts(HasCatalogs, Protocol):
    """What `epsilon_meter` reads of a journal."""

    def of_seed(self) -> list[Receipt]: ...


def epsilons(event_type: EventType, fields: Collection[str]) -> dict[bytes, int]:
    """Returns the questions of those `fields` of a type that use randomized response."""
    return {
        question_id(event_type.name, one): one.randomize
        for one in event_type.fields
        if one.randomize is not None and one.name in fields
    }


def together(found: Iterable[Epsilons]) -> dict[bytes, int]:
    """Returns all questions in `found`, each with its largest epsilon."""
    largest: dict[bytes, int] = {}
    for one in found:
        for question, epsilon in one.items():
            largest[question] = max(epsilon, largest.get(question, 0))
    return largest


def answered(receipts: Iterable[Receipt], catalogs: Mapping[int, Catalog]) -> dict[bytes, int]:
    """Returns the questions that the reports of `receipts` answer. `catalogs`: by their
    `catalog_number`. A report that cannot be read is left out."""
    found = []
    for receipt in receipts:
        catalog = catalogs.get(receipt.catalog)
        event_type = catalog.types.get(receipt.type) if catalog is not None else None
        if event_type is None or not _randomizes(event_type):
            continue
        try:
            report = decode_report(split(receipt.raw).payload)
        except RefusedError:
            continue
        found.append(epsilons(event_type, report.values))
    return together(found)


def epsilon_meter(journal: HasReceipts, then: Meter | None) -> Meter:
    """Returns a meter that withholds a report if its randomized responses would raise the sum of
    all epsilons above EPSILON_TOTAL_MAX, and asks the meter `then` about every other report.

    The journal is read at the first report with a randomized response, because few apps have any.
    The meter is for one pass of the publisher; it raises StoreError as the journal does.
    """
    known: dict[bytes, int] | None = None

    def ask(event_type: EventType, report: Report) -> Ruling:
        nonlocal known
        if _randomizes(event_type):
            if known is None:
                known = answered(journal.of_seed(), read_catalogs(journal))
            wanted = together((known, epsilons(event_type, report.values)))
            total = sum(wanted.values())
            # A sum that is too large already, from an earlier version, grows no further.
            if total > max(EPSILON_TOTAL_MAX, sum(known.values())):
                return Withhold(
                    "its randomized answers and those to earlier questions of this app add up to "
                    f"epsilon {total / 1000:g}; more than {EPSILON_TOTAL_MAX / 1000:g} could "
                    "reveal true values"
                )
            known = wanted
        return Send(Crowd(0, 0)) if then is None else then(event_type, report)

    return ask


def _randomizes(event_type: EventType) -> bool:
    return any(one.randomize is not None for one in event_type.fields)
