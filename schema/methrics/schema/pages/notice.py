"""Make the privacy notice of a catalog: what is collected, why, by whom, and how to refuse.

No sentence is written by hand for one app, so the policy page cannot contradict the code (MIM-8).
Sentences about an event type are generated from its declaration. All other sentences apply to every
report, because every node enforces them.
"""

from __future__ import annotations

from math import log2

from methrics.schema.catalog.chance import randomized_words
from methrics.schema.catalog.event_type import EventType
from methrics.schema.catalog.fields import Field
from methrics.schema.catalog.lint import UNIQUE_BITS
from methrics.schema.pages.document import (
    Block,
    Bullets,
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
from methrics.schema.wire.limits import ENTROPY_MAX, LISTED_MAX

_VALUES_SHOWN = 6


def notice(catalog: Described) -> Document:
    """Make the notice to people whose apps use `catalog`."""
    types = tuple(entry for _, entry in sorted(catalog.types.items()))
    blocks = [
        *_in_short(types),
        *_collected(types),
        *_asked_by(catalog, types),
        *_public(types),
        *_routes(),
        *_never(types),
        *_choices(),
        *_entropy(types),
    ]
    return Document(f"Privacy notice: usage reports of {catalog.label}", tuple(blocks))


def _in_short(types: tuple[EventType, ...]) -> list[Block]:
    kinds = "is 1 kind of report" if len(types) == 1 else f"are {len(types)} kinds of reports"
    return [
        Heading(2, "In short", "in-short"),
        Bullets(
            (
                (
                    Strong("Off until you say yes."),
                    " Until then nothing is recorded, not even on your machine.",
                ),
                (
                    Strong("Only what this page lists."),
                    f" There {kinds}; each has its own switch, and so has each field.",
                ),
                (
                    Strong("No name, no address, no id."),
                    " Reports hold choices from short lists and rough figures. Each is signed with "
                    "a key that is used once, unless this page states otherwise below.",
                ),
                (
                    Strong("Public, and in practice for ever."),
                    " Anyone may read and copy the reports, and a copy cannot be called back.",
                ),
                (
                    Strong("You can stop at any time, and ask for erasure."),
                    " Stopping works at once. Honest aggregators obey an erasure; others may not.",
                ),
            )
        ),
    ]


def _collected(types: tuple[EventType, ...]) -> list[Block]:
    rows = tuple(
        (
            (Code(entry.name),),
            entry.question,
            entry.why,
            f"{entry.retention_days} days",
            date(entry.expires),
        )
        for entry in types
    )
    head = ("report", "question it answers", "why it is asked", "kept", "asked until")
    blocks: list[Block] = [
        Heading(2, "What is collected, and why", "collected"),
        Paragraph(
            "Each kind of report answers one question. After the date in the last column, reports "
            "of that kind are refused until you have been asked again."
        ),
        Table("Kinds of reports", head, rows),
    ]
    for entry in types:
        blocks += _type(entry)
    return blocks


def _type(entry: EventType) -> list[Block]:
    facts: list[Text] = [
        (Strong("How often:"), f" {KIND_WORDS[entry.kind]}. {schedule(entry)}"),
        (Strong("Time:"), f" rounded to {duration(entry.resolution)}."),
        (Strong("Linking:"), f" {PSEUDONYM_WORDS[entry.pseudonym]}"),
    ]
    if entry.one_in != (1,):
        most = max(entry.one_in)
        facts.append(
            (Strong("Sampled:"), f" an app may choose to report only one in up to {most}.")
        )
    if entry.max_count is not None:
        facts.append(
            (
                Strong("Count:"),
                f" from 1 to {entry.max_count}; larger counts are reported as {entry.max_count}.",
            )
        )
    if entry.sequence is not None:
        edges = ", ".join(map(duration, entry.sequence.offset_edges)) or "no time at all"
        facts.append(
            (
                Strong("Steps:"),
                f" at most {entry.sequence.max_steps} of {', '.join(entry.sequence.steps)}, and "
                f"for each the time since the first step, as a range between these: {edges}.",
            )
        )
    blocks: list[Block] = [
        Heading(3, ("The report ", Code(entry.name)), f"report-{entry.name}"),
        Bullets(tuple(facts)),
    ]
    if entry.fields:
        rows = tuple((Code(field.name), _says(field), _values(field)) for field in entry.fields)
        head = ("field", "what it reveals about you", "possible values")
        blocks.append(Table(f"The fields of a report {entry.name}", head, rows))
    else:
        blocks.append(Paragraph("It has no fields: it shows only that the event happened."))
    return blocks


def _says(field: Field) -> str:
    return f"{field.says} {randomized_words(field)}".rstrip()


def _values(field: Field) -> str:
    found = allowed(field).split(", ")
    if len(found) <= _VALUES_SHOWN + 1:
        return ", ".join(found)
    return f"{', '.join(found[:_VALUES_SHOWN])} and {len(found) - _VALUES_SHOWN} more"


def _asked_by(catalog: Described, types: tuple[EventType, ...]) -> list[Block]:
    owners: dict[str, list[EventType]] = {}
    for entry in types:
        owners.setdefault(entry.owner, []).append(entry)
    rows = tuple((owner, _names(entries), _reviews(entries)) for owner, entries in owners.items())
    return [
        Heading(2, "Who asks", "who"),
        Paragraph(
            (
                f"The makers of {catalog.label} ask. They signed catalog number {catalog.number}, "
                "which this page describes. Contact: ",
                Link(catalog.contact),
            )
        ),
        Table("Who asks for which reports", ("owner", "reports", "reviewed at"), rows),
        Paragraph(
            (
                *(("See the results at ", Link(catalog.results), ". ") if catalog.results else ()),
                "The results are public. Anyone can run an aggregator, which collects the reports, "
                "and all aggregators can have the same data. The makers run no central server.",
            )
        ),
    ]


def _names(entries: list[EventType]) -> Text:
    pieces: list[str | Code] = []
    for entry in entries:
        pieces += [", ", Code(entry.name)] if pieces else [Code(entry.name)]
    return tuple(pieces)


def _reviews(entries: list[EventType]) -> Text:
    pieces: list[str | Link] = []
    for review in dict.fromkeys(entry.review for entry in entries):
        pieces += [", ", Link(review)] if pieces else [Link(review)]
    return tuple(pieces)


def _public(types: tuple[EventType, ...]) -> list[Block]:
    days = sorted({entry.retention_days for entry in types})
    span = f"{days[0]}" if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return [
        Heading(2, "Public for ever", "public"),
        Paragraph(
            "A report that has left is public, like a letter to a newspaper. Strangers can read "
            "it, copy it, count it and keep it. They can combine it with other information, today "
            "or in twenty years, with methods that do not exist yet."
        ),
        Paragraph(
            f"Honest aggregators delete reports after {span} days, as listed above. When you ask "
            "for erasure, they stop showing them at once, and remove them from their disks within "
            "hours. A stranger cannot be forced to delete a copy. If that is not acceptable to "
            "you, say no: it costs you nothing, and the app works the same."
        ),
    ]


def _routes() -> list[Block]:
    rows: tuple[tuple[Text, ...], ...] = (
        (
            Strong("relay"),
            "The operator of the entry, which is the relay that takes your report in; and your "
            "internet provider, who sees that you contact a relay. Nobody else.",
            "The operator of the exit, which is another relay that opens and checks the report; "
            "then everyone. Neither sees your address.",
            "You agreed to the report.",
        ),
        (
            Strong("direct"),
            "Every peer that you connect to, together with the content of your reports.",
            "Everyone; your peers also see which reports are yours.",
            "You agreed to this route separately; apps do not ask for it by default.",
        ),
    )
    head = ("route", "who sees your network address", "who sees the content", "used if")
    return [
        Heading(2, "How reports travel, and who sees what", "routes"),
        Table("Routes", head, rows),
        Paragraph(
            "A report travels encrypted and padded, so all reports look alike from outside. The "
            "entry cannot open it, and the exit does not see where it came from. If one operator "
            "runs both, or if only one relay is known, that operator could join your address and "
            "the report. Relays state who runs them, but nobody checks that, nor that they log no "
            "address; so choose an entry that you trust. The exit keeps each report on its disk "
            "until the report's own random moment, at the latest the end of the next day, and then "
            "publishes it shuffled with other reports."
        ),
    ]


def _never(types: tuple[EventType, ...]) -> list[Block]:
    country = any(field.type == "country" for entry in types for field in entry.fields)
    finest = min((entry.resolution for entry in types), default=600)
    place = (
        "where you are, beyond the country if you share that field" if country else "where you are"
    )
    return [
        Heading(2, "What is never collected", "never"),
        Paragraph(
            "No field can hold the following, and every peer refuses a report that contains it:"
        ),
        Bullets(
            (
                "names, e-mail addresses, telephone numbers, or any text that you or the app write",
                "your network address, device numbers, advertising numbers, cookies",
                "any id that stays the same in several reports",
                place,
                f"times more precise than {duration(finest)}, and exact figures",
                "files, keystrokes, screen contents, pages visited",
            )
        ),
    ]


def _choices() -> list[Block]:
    rows: tuple[tuple[Text, ...], ...] = (
        (
            "see what you allow",
            Code("methrics consent"),
            "Shows your answers and the rule that decides.",
        ),
        (
            "say no to everything",
            (Code("DO_NOT_TRACK=1"), " or ", Code("METHRICS=off")),
            "Set it in the environment. It overrides every yes, for all apps.",
        ),
        (
            "withdraw a yes",
            Code("methrics consent withdraw"),
            "At once; reports that have not left are deleted. Also for single kinds of reports.",
        ),
        (
            "read before it leaves",
            Code("methrics preview"),
            "Shows the exact bytes and their meaning; you can drop reports.",
        ),
        ("see what left", Code("methrics mine"), "Lists each report with its time and route."),
        (
            "see what your reports reveal",
            Code("methrics trail"),
            "Shows how many others report the same, and which of your reports could be linked.",
        ),
        (
            "erase",
            Code("methrics erase"),
            "Asks every aggregator to delete one report, one kind, or all of yours, and to refuse "
            "them if they arrive again.",
        ),
        (
            "start with a new identity",
            Code("methrics reset"),
            "Later reports use new keys, and your install counts as new.",
        ),
    )
    return [
        Heading(2, "Your choices", "choices"),
        Paragraph(
            "You need no reason and no account. Only your machine knows which reports are yours, "
            "so you can list or erase them only there. Keep its data if you want to do that later."
        ),
        Table("Your choices", ("to", "do", "what happens"), rows),
        Paragraph(
            "If the app asks for something else, the changed part is off until you have been asked "
            "again. An update of the app never turns anything on."
        ),
    ]


def _entropy(types: tuple[EventType, ...]) -> list[Block]:
    rows = tuple(
        (
            (Code(entry.name),),
            f"{entry.revealed_bits:.1f}",
            f"{entry.entropy_bits}",
            _alike(entry.bits),
        )
        for entry in types
    )
    head = ("report", "bits at most", "budget", "different reports possible")
    random = (
        " A randomized answer counts only the bits that it can reveal about you. Because it stays "
        "the same, two reports can still be compared by it, as by any other answer."
        if any(field.randomize is not None for entry in types for field in entry.fields)
        else ""
    )
    return [
        Heading(2, "How much one report can reveal", "entropy"),
        Paragraph(
            "The number of different possible reports is given here in bits: each bit doubles the "
            f"number. {UNIQUE_BITS} bits would be enough to identify each person on Earth, if all "
            "answers were equally common and never changed. The rarer your answers, the more they "
            "reveal. "
            f"No kind of report may have more than {ENTROPY_MAX} bits, and the app's maintainers "
            "cannot exceed the budget without asking you again. A report also names the catalog "
            f"that declares it; an app may have {LISTED_MAX} in use at a time, so this adds "
            f"up to {log2(LISTED_MAX):.0f} bits. Which ones are in use is public."
            f"{random}"
        ),
        Table("The most that one report can reveal", head, rows),
    ]


def _alike(bits: float) -> str:
    number = 2**bits
    for size, word in ((1e12, "million million"), (1e9, "thousand million"), (1e6, "million")):
        if number >= size:
            return f"about {number / size:,.0f} {word}"
    return f"{number:,.0f}"
