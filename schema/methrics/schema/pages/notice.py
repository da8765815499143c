"""The privacy notice of a catalog: what is collected, why, by whom, how long, and how to say no.

Nothing in it is written by hand for one app, so the policy page cannot drift from what the code
does (MIM-8): where event types differ, the sentences are made from their declarations; the rest is
true of every report, because every node enforces it.
"""

from __future__ import annotations

from methrics.schema.catalog.chance import at_random
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

_VALUES_SHOWN = 6


def notice(catalog: Described) -> Document:
    """The notice to people whose apps use `catalog`."""
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
                    " Until then nothing is recorded, not even here.",
                ),
                (
                    Strong("Only what this page lists."),
                    f" There {kinds}; each has its own switch, and so has each field.",
                ),
                (
                    Strong("No name, no address, no number for you."),
                    " Reports hold choices from short lists and rough figures; each is signed with "
                    "a key used once, unless said otherwise below.",
                ),
                (
                    Strong("Public, and in practice for ever."),
                    " Anyone may read and copy the reports. That is the point, and the price.",
                ),
                (
                    Strong("You can stop at any time, and ask for erasure."),
                    " Stopping works at once. Erasure is obeyed by those who keep the rules.",
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
            "Each kind of report answers one question. After the last day named here no report of "
            "that kind is accepted by anybody, until you have been asked again."
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
        (Strong("Belonging together:"), f" {PSEUDONYM_WORDS[entry.pseudonym]}"),
    ]
    if entry.one_in != (1,):
        most = max(entry.one_in)
        facts.append(
            (Strong("Sampled:"), f" an app may choose to report only one in up to {most}.")
        )
    if entry.max_count is not None:
        facts.append((Strong("Count:"), f" how often, 1 to {entry.max_count}; more says no more."))
    if entry.sequence is not None:
        edges = ", ".join(map(duration, entry.sequence.offset_edges)) or "no time at all"
        facts.append(
            (
                Strong("Steps:"),
                f" at most {entry.sequence.max_steps} of {', '.join(entry.sequence.steps)}, and "
                f"which of these times had passed since the first: {edges}.",
            )
        )
    blocks: list[Block] = [
        Heading(3, ("The report ", Code(entry.name)), f"report-{entry.name}"),
        Bullets(tuple(facts)),
    ]
    if entry.fields:
        rows = tuple((Code(field.name), _says(field), _values(field)) for field in entry.fields)
        head = ("field", "what it says about you", "what it can say")
        blocks.append(Table(f"What a report {entry.name} can say", head, rows))
    else:
        blocks.append(Paragraph("It has no fields: it says only that it happened."))
    return blocks


def _says(field: Field) -> str:
    return f"{field.says} {at_random(field)}".rstrip()


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
                f"The makers of {catalog.label} ask, by catalog number {catalog.number}, which "
                "they signed. Contact: ",
                Link(catalog.contact),
            )
        ),
        Table("Who asks for which reports", ("owner", "reports", "reviewed at"), rows),
        Paragraph(
            "Nobody owns the results. Anyone can run an aggregator, which collects the reports, "
            "and all of them can hold the same data; there is no server that belongs to the makers."
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
            "A report that has left is public, like a letter to a newspaper. Strangers read it, "
            "copy it, count it and may keep it. They may put it beside other things that they "
            "know, today or in twenty years, with means that nobody has yet."
        ),
        Paragraph(
            f"Aggregators that keep the rules delete reports after {span} days, as listed above, "
            "and at once when you ask for erasure. Nobody can make a stranger delete a copy. If "
            "that is not acceptable to you, say no: it costs you nothing, and the app works the "
            "same."
        ),
    ]


def _routes() -> list[Block]:
    rows: tuple[tuple[Text, ...], ...] = (
        (
            Strong("relay"),
            "The relay you hand it to, and your internet provider, who sees that you reach a "
            "relay.",
            "That relay, which opens, checks and mixes it; then everyone, without your address.",
            "The usual way, with your yes.",
        ),
        (
            Strong("direct"),
            "Every peer that you connect to, together with what your reports say.",
            "Everyone; your peers can tell which are yours.",
            "A consent of its own, never asked for by default.",
        ),
    )
    head = ("route", "who sees your network address", "who sees what it says", "used when")
    return [
        Heading(2, "How reports travel, and who sees what", "routes"),
        Table("Routes", head, rows),
        Paragraph(
            "On the way to a relay a report is encrypted and padded, so that all look alike from "
            "outside. Relays keep nothing on disk and log no address; that they keep to it is "
            "their word, so choose relays that you trust. They let each report rest until a moment "
            "of the next day that is drawn for it alone, and publish it shuffled among those of "
            "others."
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
            "There is no kind of field that could hold these, and every peer refuses a report that "
            "tries:"
        ),
        Bullets(
            (
                "names, e-mail addresses, telephone numbers, or any text that you or the app write",
                "your network address, device numbers, advertising numbers, cookies",
                "any number that stays with you from report to report",
                place,
                f"moments finer than {duration(finest)}, and exact figures: only rough ranges",
                "files, keystrokes, screen contents, pages visited",
            )
        ),
    ]


def _choices() -> list[Block]:
    rows: tuple[tuple[Text, ...], ...] = (
        ("see what you allow", Code("methrics consent"), "With the rule that decided it."),
        (
            "say no to everything",
            (Code("DO_NOT_TRACK=1"), " or ", Code("METHRICS=off")),
            "In the environment: stands above every yes, for all apps.",
        ),
        (
            "withdraw a yes",
            Code("methrics consent withdraw"),
            "At once; what has not left is forgotten. Also for single kinds of reports.",
        ),
        (
            "read before it leaves",
            Code("methrics preview"),
            "The very bytes, in plain words; strike out what you do not want sent.",
        ),
        ("see what left", Code("methrics mine"), "Every report, when, and by which route."),
        (
            "see what it tells about you",
            Code("methrics trail"),
            "Who else says the same, and which of your reports could be joined.",
        ),
        (
            "erase",
            Code("methrics erase"),
            "Asks every aggregator to forget a report, a kind, or all of yours, and to refuse it "
            "for good if it comes back.",
        ),
        (
            "begin anew",
            Code("methrics reset"),
            "Later reports have nothing to do with earlier ones.",
        ),
    )
    return [
        Heading(2, "Your choices", "choices"),
        Paragraph(
            "You need not give a reason, and no account. Only your machine knows which reports are "
            "yours, so only from your machine can they be listed or erased: keep its data if you "
            "want to be able to."
        ),
        Table("Your choices", ("to", "do", "what happens"), rows),
        Paragraph(
            "If what is asked for changes, the changed part is off until you have been asked "
            "again. An update of the app never turns anything on."
        ),
    ]


def _entropy(types: tuple[EventType, ...]) -> list[Block]:
    rows = tuple(
        (
            (Code(entry.name),),
            f"{entry.told_bits:.1f}",
            f"{entry.entropy_bits}",
            _alike(entry.bits),
        )
        for entry in types
    )
    head = ("report", "bits at most", "budget", "different reports possible")
    random = (
        " An answer given at random counts with what it can tell about you at most; as it stays "
        "the same, two reports can be compared by it as by any other answer."
        if any(field.randomize is not None for entry in types for field in entry.fields)
        else ""
    )
    return [
        Heading(2, "How much one report can tell", "entropy"),
        Paragraph(
            "A report can only say one of a number of things, counted here in bits: each bit "
            f"doubles the number, and {UNIQUE_BITS} bits would be enough to tell all people on "
            "Earth apart, if all answers were equally common and lasting. The less common your "
            "answers, the more they tell. Whoever maintains the app cannot go over the budget "
            f"without asking you again.{random}"
        ),
        Table("The most that one report can tell", head, rows),
    ]


def _alike(bits: float) -> str:
    number = 2**bits
    for size, word in ((1e12, "million million"), (1e9, "thousand million"), (1e6, "million")):
        if number >= size:
            return f"about {number / size:,.0f} {word}"
    return f"{number:,.0f}"
