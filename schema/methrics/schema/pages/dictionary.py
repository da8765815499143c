"""Make the data dictionary of a catalog: a page of all event types, fields and values (KPI-13)."""

from __future__ import annotations

from math import log2

from methrics.schema.catalog.chance import randomized_words
from methrics.schema.catalog.event_type import EventType
from methrics.schema.catalog.fields import Field
from methrics.schema.pages.document import (
    Block,
    Code,
    Document,
    Heading,
    Link,
    Paragraph,
    Strong,
    Table,
    Text,
)
from methrics.schema.pages.explain import (
    KIND_WORDS,
    PSEUDONYM_WORDS,
    Described,
    allowed,
    date,
    duration,
    schedule,
)


def dictionary(catalog: Described) -> Document:
    """Describe every event type of `catalog`: its properties, fields and possible values."""
    about: list[str | Link] = [f"Catalog number {catalog.number}. Contact: ", Link(catalog.contact)]
    if catalog.results:
        about += [". Results: ", Link(catalog.results)]
    blocks: list[Block] = [Paragraph(tuple(about))]
    for _, entry in sorted(catalog.types.items()):
        blocks += _type(entry)
    return Document(f"Data dictionary of {catalog.label}", tuple(blocks))


def _type(entry: EventType) -> list[Block]:
    facts: list[tuple[Text, Text]] = [
        ("kind", f"{entry.kind}: {KIND_WORDS[entry.kind]}"),
        ("release", schedule(entry)),
        ("time", f"rounded to {duration(entry.resolution)}"),
        ("late", f"after {duration(entry.lateness)}"),
        ("links", PSEUDONYM_WORDS[entry.pseudonym]),
        ("kept", f"{entry.retention_days} days"),
        ("expires", date(entry.expires)),
        ("entropy", f"{entry.revealed_bits:.1f} of {entry.entropy_bits} bits"),
        ("size", f"at most {entry.max_report_bytes} bytes"),
        ("chart", entry.chart),
        ("owner", entry.owner),
        ("review", Link(entry.review)),
    ]
    if entry.one_in != (1,):
        facts.append(("sampled", f"one in {', '.join(map(str, entry.one_in))}"))
    if entry.work:
        facts.append(("work", f"{entry.work} bits"))
    blocks: list[Block] = [
        Heading(2, entry.name, f"type-{entry.name}"),
        Paragraph(Strong(entry.question)),
        Paragraph(entry.why),
        Table(f"Properties of every report of {entry.name}", ("", "value"), tuple(facts)),
    ]
    if entry.fields:
        rows = tuple(map(_field, entry.fields))
        head = ("field", "type", "values", "meaning", "bits")
        blocks.append(Table(f"The fields of {entry.name}", head, rows))
    if entry.max_count is not None and entry.window is not None:
        blocks.append(Paragraph(f"Counts 1 to {entry.max_count} per {duration(entry.window)}."))
    if entry.sequence is not None:
        steps, edges = entry.sequence.steps, entry.sequence.offset_edges
        since = ", ".join(map(duration, edges)) or "none"
        blocks.append(
            Paragraph(
                f"Steps, at most {entry.sequence.max_steps}: {', '.join(steps)}. "
                f"Edges of the time since the first step: {since}."
            )
        )
    return blocks


def _field(field: Field) -> tuple[Text, ...]:
    source = f", filled in by the node ({field.source})" if field.source else ""
    kind = f"{field.type}{source}"
    if field.randomize is not None:
        kind += f", randomized response (epsilon {field.randomize / 1000:g})"
    says = f"{field.says} {randomized_words(field)}".rstrip()
    return (Code(field.name), kind, allowed(field), says, f"{log2(field.distinguishable):.1f}")
