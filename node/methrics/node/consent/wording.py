"""Makes the texts that a person reads before deciding, in a terminal, on the page or in an app.

Every text about an event type is generated from its catalog, so that it agrees with the reports
that are sent. The encoder that makes every report also makes the example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from methrics.node.consent.example import Example, example
from methrics.node.consent.ledger_format import Edit, stamp
from methrics.node.consent.questions import Question
from methrics.node.consent.route_words import NOT_KNOWN, Hops, route_words
from methrics.node.outbox.records import ONE_RELAY, Kept
from methrics.schema.catalog.chance import randomized_words
from methrics.schema.catalog.epsilon import total_words
from methrics.schema.catalog.event_type import EventType
from methrics.schema.catalog.fields import Field
from methrics.schema.pages.explain import KIND_WORDS, PSEUDONYM_WORDS, allowed, duration, schedule
from methrics.schema.wire.codec import decode
from methrics.schema.wire.diagnostic import diagnostic
from methrics.schema.wire.envelope import split
from methrics.schema.wire.items import Report
from methrics.schema.wire.limits import ITEM_MAX, STAMP_SIZE

PUBLIC = (
    "What you share is public, for ever. Reports go to an open network where anyone can read, keep "
    "and publish them. You can stop at any time, and ask for your reports to be erased, but a copy "
    "that somebody kept cannot be called back."
)
NAMELESS = (
    "No report holds your name, an account, a number of your device, or any text you typed. Times "
    "are rounded, and each report is signed with a key that is used once."
)
ROUTE_WORDS = {
    "relay": "Through two relays: one sees your network address, the other the report. The usual "
    "way.",
    "direct": "Directly: whoever you are connected to sees your network address.",
}
"""The routes that a person can allow, in plain words. Everybody can read the reports by either."""

_CHARTS = {
    "line": "a line over time",
    "bar": "bars",
    "stack": "stacked bars over time",
    "funnel": "a funnel of the steps",
    "table": "a table",
}

_VALUES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class FieldSheet:
    """The texts about one field: its `name`, its meaning (`says`, as the catalog calls it), the
    values it can have (`can_be`), its value in the `example` report, and whether that value is a
    placeholder (`made_up`)."""

    name: str
    says: str
    can_be: str
    example: str
    made_up: bool


@dataclass(frozen=True, slots=True)
class Sheet:
    """All texts about one question. `facts`: pairs (label, text), in order. `report`: the example
    in CBOR diagnostic notation. `stamped` makes its exact bytes, which `raw` returns."""

    question: Question
    title: str
    asks: str
    news: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    fields: tuple[FieldSheet, ...]
    report: str
    note: str
    stamped: Callable[[], bytes]

    @property
    def raw(self) -> bytes:
        """The exact bytes of the example, b"" if no example can be made.

        The bytes are made on first use: a work stamp of 20 bits takes some seconds, and up to a
        minute on a small machine. Ctrl-C ends that by KeyboardInterrupt, as usual.
        """
        return self.stamped()


def sheet(
    question: Question,
    *,
    now: int,
    seed: bytes,
    values: Mapping[str, object] | None = None,
    app_version: str | None = None,
    hops: Hops = NOT_KNOWN,
) -> Sheet:
    """Returns the texts about `question` at `now` (Unix seconds). `values`: the values that the app
    would record, for the example. `hops`: the relays that this machine knows. Raises ValueError for
    values that the type does not accept."""
    entry = question.event_type

    def made(*, stamped: bool) -> Example | None:
        return example(
            question.catalog,
            entry,
            now=now,
            seed=seed,
            values=values,
            app_version=app_version,
            stamped=stamped,
        )

    @cache
    def raw() -> bytes:
        found = made(stamped=True)
        return found.raw if found is not None else b""

    shown = made(stamped=False)
    reported = shown.report.values if shown else {}
    made_up = shown.made_up if shown else frozenset()
    return Sheet(
        question,
        entry.name,
        entry.question,
        question.changes,
        tuple(_facts(question, hops)),
        tuple(_field(field, reported, made_up) for field in entry.fields),
        diagnostic(decode(split(shown.raw).payload, limit=ITEM_MAX)) if shown else "",
        _note(entry, shown.report, made_up, len(shown.raw)) if shown else "",
        raw,
    )


def _facts(question: Question, hops: Hops) -> list[tuple[str, str]]:
    entry, catalog = question.event_type, question.catalog
    facts = [
        ("Why", entry.why),
        ("Who asks", f"{entry.owner}. Contact: {catalog.contact}. Reviewed at {entry.review}"),
        ("What leaves", f"{KIND_WORDS[entry.kind].capitalize()}.{_more(entry)}"),
        ("When", f"{schedule(entry)} Its time is rounded to {duration(entry.resolution)}."),
        ("Its catalog", catalog_words(question.kept)),
        ("Links", PSEUDONYM_WORDS[entry.pseudonym]),
        ("Kept", f"{entry.retention_days} days by those who follow the rules; for ever by others."),
        ("Ends", f"On {stamp(entry.expires)[:10]}; nothing of this kind is sent after that."),
    ]
    if any(field.randomize is not None for field in entry.fields) and total_words(catalog):
        facts.append(("Together", total_words(catalog)))
    seen = "Anyone can collect the reports and count them, on the topic " + catalog.topic
    facts.append(("Who sees it", route_words(hops).details))
    results = f"See {catalog.results}. {seen}." if catalog.results else f"{seen}."
    facts.append(("Results", results))
    facts.append(("Chart", f"The results are shown as {chart_words(entry.chart)}."))
    return facts


def catalog_words(kept: Kept) -> str:
    """Returns what a report tells by the catalog that it names, in a sentence or two."""
    leaves = "A report names the app's catalog, and leaves only if the app lists it for everyone."
    if kept.listed is None:
        return (
            f"{leaves} The list is not known on this machine yet; with the longest one this tells "
            f"up to {kept.list_bits:.0f} bits."
        )
    many = f"{kept.listed} are listed" if kept.listed > 1 else "Only this one is listed"
    said = f" That is what {ONE_RELAY} says." if kept.relays == 1 else ""
    return f"{leaves} {many}, which tells {kept.list_bits:.1f} bits.{said}"


def chart_words(chart: str) -> str:
    """Returns a catalog's chart in words: "a line over time, by os" for `line:os`."""
    kind, _, field = chart.partition(":")
    return f"{_CHARTS[kind]}, by {field}" if field else _CHARTS[kind]


def answer_lines(edits: Iterable[Edit]) -> list[str]:
    """Returns a line for each answer about one type: `signin: on (os, version)`, `signin: off`."""
    lines = []
    for edit in edits:
        names = ", ".join(sorted(edit.fields or ())) or "no field"
        what = {"yes": f"on ({names})", "no": "off", "not-now": "not now"}[edit.said]
        lines.append(f"{edit.type}: {what}")
    return lines


def _more(entry: EventType) -> str:
    if entry.sequence is not None:
        steps = ", ".join(entry.sequence.steps)
        edges = ", ".join(map(duration, entry.sequence.offset_edges)) or "none"
        return (
            f" At most {entry.sequence.max_steps} of these steps: {steps}. For each step, how long "
            f"it came after the first, only as which of these had passed: {edges}."
        )
    if entry.max_count is not None:
        return f" How often: 1 to {entry.max_count}."
    return ""


def _field(field: Field, reported: Mapping[str, object], made_up: frozenset[str]) -> FieldSheet:
    value = reported.get(field.name)
    words = field.label(value) if isinstance(value, str | int) else "left out"
    source = field.source is not None
    says = f"{field.says} Filled in by methrics on your machine." if source else field.says
    if field.randomize is not None:
        says = f"{says} {randomized_words(field)}"
    return FieldSheet(field.name, says, _short(allowed(field)), words, field.name in made_up)


def _short(words: str) -> str:
    listed = words.split(", ")
    if len(listed) <= _VALUES_SHOWN:
        return words
    more = len(listed) - _VALUES_SHOWN + 1
    return f"{', '.join(listed[: _VALUES_SHOWN - 1])} and {more} more"


def _note(entry: EventType, report: Report, made_up: frozenset[str], size: int) -> str:
    random = {one.name for one in entry.fields if one.randomize is not None} & report.values.keys()
    made_up -= random
    note = f"{size} bytes with its signature"
    if entry.work:
        note += f", and up to {STAMP_SIZE} more for its work stamp, which takes a while to make"
    note += f". The time, in seconds since 1970, is {stamp(report.time)}."
    if made_up:
        names = ", ".join(sorted(made_up))
        note += f" Only real use of the app can fill in {names}: shown here with a stand-in."
    if random:
        note += f" {', '.join(sorted(random))}: randomized, so any allowed value can be sent."
    if set(report.values) - made_up - random:
        other = "other " if made_up or random else ""
        note += f" The {other}values are those of this machine, now."
    return note
