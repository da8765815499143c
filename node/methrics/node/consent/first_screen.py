"""Makes the content of the first screen: one row per event type, and what a newcomer asks (pure).

Most people decide by this screen alone, in the terminal or on the page. It tells what leaves, who
sees it, whether it can be undone, where the results are, and what a no does (METH-19). The details
and the example reports come after it, for a person who wants them. Each surface lays the texts out
itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from methrics.node.consent.questions import CHANGED, Question
from methrics.node.consent.route_words import NOT_KNOWN, Hops, route_words

NOTHING_YET = "Nothing has been recorded or sent, and nothing will be unless you say yes."
NOTHING_MORE = (
    "Only what you said yes to before is recorded and sent, and nothing more unless you say yes."
)
FOOTNOTE = "what one report tells; 33 bits single out one person. Reports are not linked."
"""Explains the bits of a row. 2**33 is about the number of people on earth."""

TO_STOP = "To stop, type"
"""The label of the fact that is a command to copy, so no surface breaks it into lines."""

IF_NO_LABEL = "If you say no"

_LEAVES = (
    "Reports for these questions, with values from fixed lists. Never your name, an account, a "
    "device number, or text that you typed."
)
_SEEN_DIRECTLY = (
    "Everyone: reports are public, for ever. You allowed direct sending before, so whoever you are "
    "connected to also sees your network address."
)
_UNDO = (
    "Partly: you can stop at any time and ask to erase what was sent, but copies that others kept "
    "stay public."
)
_NO_RESULTS = "The app names no page of charts; anyone can count the reports."
IF_NO = "The app works the same. Nothing leaves, and it will not ask again."
_IF_NO_MORE = "The app works the same. What you said yes to before goes on as it is."


@dataclass(frozen=True, slots=True)
class Row:
    """One event type. `number`: from 1, in the order of the questions. `sends`: the names of the
    fields that a yes shares. `news`: for a question that has changed since a yes, what it asks for
    now, else "". `bits`: the most that one report can tell, with the catalog that it names, rounded
    up. `days`: how many days
    collectors that follow the rules keep a report."""

    number: int
    name: str
    question: str
    sends: tuple[str, ...]
    news: str
    bits: int
    days: int

    @property
    def kept(self) -> str:
        """How long a report is kept, in words: "730 days"."""
        return f"{self.days} day{'' if self.days == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class FirstScreen:
    """The first screen of one or more apps. `lead`: the state so far, in a sentence. `facts`: pairs
    (label, text), in order. `changed`: whether a row has changed since a yes."""

    title: str
    lead: str
    rows: tuple[Row, ...]
    facts: tuple[tuple[str, str], ...]
    changed: bool


def first_screen(
    questions: Sequence[Question], *, before: bool, way_back: str, hops: Hops = NOT_KNOWN
) -> FirstScreen:
    """Returns the content of the first screen about `questions`.

    `before`: whether the person has allowed something of these apps before. `way_back`: the command
    that shows and changes answers on this installation, or other words for the way there. `hops`:
    the relays that this machine knows.
    """
    apps = ", ".join(dict.fromkeys(one.catalog.label for one in questions))
    rows = tuple(_row(number, one) for number, one in enumerate(questions, 1))
    results = dict.fromkeys(one.catalog.results for one in questions if one.catalog.results)
    changed = any(one.state == CHANGED for one in questions)
    direct = any("direct" in one.answer.routes for one in questions if one.answer is not None)
    facts = (
        ("What leaves", _LEAVES),
        ("Who sees it", _SEEN_DIRECTLY if direct else route_words(hops).first),
        ("Can I undo it", _UNDO),
        (TO_STOP, way_back),
        ("Results", " ".join(results) or _NO_RESULTS),
        (IF_NO_LABEL, _IF_NO_MORE if changed else IF_NO),
    )
    title = f"May {apps} share usage reports?"
    return FirstScreen(title, NOTHING_MORE if before else NOTHING_YET, rows, facts, changed)


def _row(number: int, one: Question) -> Row:
    entry = one.event_type
    sends = tuple(field.name for field in entry.fields if field.name in one.offered)
    if entry.max_count is not None:
        sends += ("how often",)
    if entry.sequence is not None:
        sends += ("your steps",)
    return Row(
        number,
        entry.name,
        entry.question,
        sends,
        _news(one),
        ceil(entry.revealed_bits + one.kept.list_bits),
        entry.retention_days,
    )


def _news(one: Question) -> str:
    if one.state != CHANGED:
        return ""
    if one.lapsed:
        return "It has changed so much that it is off until you say yes again."
    more = ", ".join(sorted(one.offered - one.still))
    kept_out = f" Stays off: {', '.join(sorted(one.left_out))}." if one.left_out else ""
    return f"You said yes before. It now asks for more: {more}.{kept_out}"
