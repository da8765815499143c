"""Asks for consent in a terminal, with plain text and the keyboard. Enter alone is never a yes.

The first screen of an app fits the terminal; details and the example reports come on request. The
streams are parameters, so that tests can answer. If the input ends, or on Ctrl-C, the answer is
"not now".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TextIO

from methrics.node.consent.asking import Asking
from methrics.node.consent.ledger_format import Edit
from methrics.node.consent.questions import CHANGED
from methrics.node.consent.screen import (
    ANSWER,
    HEIGHT,
    KEYS,
    WIDTH,
    bounded,
    detail,
    details,
    first_pages,
    keys,
    paragraphs,
)
from methrics.node.consent.way_back import way_back
from methrics.node.consent.wording import ROUTE_WORDS, Sheet, answer_lines
from methrics.schema.wire.diagnostic import hexdump

YES, NO, LATER, CHOOSE, DETAILS, BYTES, MORE = "y", "n", "l", "c", "d", "b", "m"
STOP, NEVER = "s", "never"

_WORDS = {
    **dict.fromkeys(("y", "yes"), YES),
    **dict.fromkeys(("n", "no"), NO),
    **dict.fromkeys(("", "l", "later", "not now", "not-now"), LATER),
    **dict.fromkeys(("c", "choose"), CHOOSE),
    **dict.fromkeys(("d", "details"), DETAILS),
    **dict.fromkeys(("b", "bytes"), BYTES),
    **dict.fromkeys(("m", "more"), MORE),
    **dict.fromkeys(("s", "stop"), STOP),
    "never": NEVER,
}

_SAID = {YES: "yes", NO: "keep", LATER: "not-now", STOP: "no"}
"""The meanings of the keys. A no to a changed question keeps what the person agreed to before."""


class _GoneError(Exception):
    """The person closed the terminal, or pressed Ctrl-C (`interrupted`)."""

    def __init__(self, interrupted: bool) -> None:
        super().__init__(interrupted)
        self.interrupted = interrupted
        self.refused: list[Edit] = []
        """What the person had said no to, one by one, before that."""


def prompt(
    asking: Asking,
    sheets: Sequence[Sheet],
    *,
    stdin: TextIO,
    stdout: TextIO,
    width: int = WIDTH,
    height: int = HEIGHT,
    unprompted: bool = False,
) -> str:
    """Asks the person about `sheets`, one app after the other, and writes the answers. Returns
    "yes", "no" or "not-now" if one answer was given to all of them, "choose" if several were,
    "never" for a no to every app.

    `width`, `height`: columns and lines of the terminal. `unprompted`: the app asks unprompted.
    Raises StoreError if the answer cannot be written. Ctrl-C writes "not now" to all questions that
    are left, then raises KeyboardInterrupt.
    """
    talk = _Talk(stdin, stdout, bounded(width), height)
    if not sheets:
        talk.say("There is nothing to decide.")
        return "not-now"
    back = way_back(asking.paths)
    apps = list(dict.fromkeys(one.question.namespace for one in sheets))
    given = []
    for place, app in enumerate(apps):
        own = [one for one in sheets if one.question.namespace == app]
        try:
            how, edits = _decide(talk, asking, own)
        except _GoneError as gone:
            known = {(edit.namespace, edit.type) for edit in gone.refused}
            left = [
                one
                for one in sheets
                if one.question.namespace in apps[place:]
                and (one.question.namespace, one.question.event_type.name) not in known
            ]
            edits = [*gone.refused, *_all(asking, left, "not-now")]
            asking.write(edits, unprompted=unprompted)
            talk.write(f"\nNot now; your answers so far stay. To decide: {asking.way_to_ask}\n")
            if gone.interrupted:
                raise KeyboardInterrupt from gone
            given.append("not-now")
            break
        if how == NEVER:
            asking.refuse_all()
            talk.say("", "No app that uses methrics will ask again, or record anything.")
            talk.write(f"To change your mind: {back}\n")
            return NEVER
        asking.write(edits, unprompted=unprompted)
        talk.say("", *answer_lines(edits))
        given.append(how)
    talk.write(f"To change your mind: {back}\n")
    return given[0] if len(set(given)) == 1 else "choose"


def _decide(talk: _Talk, asking: Asking, sheets: Sequence[Sheet]) -> tuple[str, list[Edit]]:
    """Asks about the types of one app. Returns how the person answered, and the answers."""
    first = asking.first_screen([one.question for one in sheets])
    pages = first_pages(first, width=talk.width, height=talk.height - KEYS)
    shown = 0
    talk.write(pages[0])
    while True:
        more = len(pages) - 1 - shown
        talk.say(*keys(first, more))
        allowed = (MORE if more else YES, CHOOSE, NO, NEVER, DETAILS, BYTES, LATER)
        how, number = talk.choice(ANSWER, allowed, len(sheets))
        if how == MORE:
            shown += 1
            talk.write(f"\n{pages[shown]}")
        elif how == DETAILS:
            talk.write("\n")
            one = [sheets[number - 1]] if number else sheets
            whole = (
                details(one, width=talk.width) if not number else detail(one[0], width=talk.width)
            )
            talk.write(f"{whole}\n")
        elif how == BYTES:
            _show_bytes(talk, [sheets[number - 1]] if number else sheets)
        elif how == CHOOSE:
            return "choose", _choose(talk, asking, sheets)
        elif how == NEVER:
            return NEVER, []
        else:
            said = _SAID[how]
            return {"keep": "no"}.get(said, said), _all(asking, sheets, said)


def _show_bytes(talk: _Talk, sheets: Sequence[Sheet]) -> None:
    """Shows the exact bytes of the examples. Ctrl-C ends the work on them, not the questions."""
    for one in sheets:
        work = one.question.event_type.work
        if work:
            talk.say("", f"{one.title}: making a work stamp; Ctrl-C ends it.")
        try:
            raw = one.raw
        except KeyboardInterrupt:
            talk.say("Ended.")
            return
        talk.write(f"\n{one.title}:\n{hexdump(raw)}\n")
    talk.write("\n")


def _all(asking: Asking, sheets: Iterable[Sheet], said: str) -> list[Edit]:
    return asking.same_answer([one.question for one in sheets], said)


def _choose(talk: _Talk, asking: Asking, sheets: Sequence[Sheet]) -> list[Edit]:
    """Asks about each type, and after a yes about its fields; then once about the routes of all
    types."""
    answers: list[tuple[Sheet, str, list[str] | None]] = []
    try:
        return _chosen(talk, asking, sheets, answers)
    except _GoneError as gone:
        gone.refused = [
            asking.edit(one.title, said, namespace=one.question.namespace)
            for one, said, _ in answers
            if said == "no"
        ]
        raise


def _chosen(
    talk: _Talk,
    asking: Asking,
    sheets: Sequence[Sheet],
    answers: list[tuple[Sheet, str, list[str] | None]],
) -> list[Edit]:
    for one in sheets:
        talk.say("", f"{one.title}: {one.asks}")
        how = DETAILS
        while how == DETAILS:
            how, _ = talk.choice(*_one_by_one(one))
            if how == DETAILS:
                talk.write(detail(one, width=talk.width))
        said = _SAID[how]
        fields = _fields(talk, one) if said == "yes" and one.fields else None
        answers.append((one, said, fields))
    routes: Sequence[str] | None = None
    if any(said == "yes" for _, said, _ in answers):
        routes = _routes(talk)
    return [
        asking.edit(one.title, said, fields=fields, routes=routes, namespace=one.question.namespace)
        for one, said, fields in answers
    ]


def _one_by_one(one: Sheet) -> tuple[str, tuple[str, ...]]:
    """Returns the keys for one type, in words, and those keys."""
    if one.question.state != CHANGED or one.question.lapsed:
        return "y yes, n no, d details, Enter not now: ", (YES, NO, DETAILS, LATER)
    words = "y yes, n no to what is new, s stop all of it, d details, Enter not now: "
    return words, (YES, NO, STOP, DETAILS, LATER)


def _routes(talk: _Talk) -> Sequence[str] | None:
    """Asks how reports may leave; None for the earlier answer."""
    talk.say("", "How may these reports leave?")
    talk.say(f"  relay   {ROUTE_WORDS['relay']}", f"  direct  {ROUTE_WORDS['direct']}")
    known = {"": None, "relay": ("relay",), "direct": ("relay", "direct")}
    while True:
        line = talk.ask("relay, or direct for both, Enter for relay or as you chose before: ")
        word = line.strip().lower()
        if word in known:
            return known[word]
        talk.say("Please type relay, direct or only Enter.")


def _fields(talk: _Talk, one: Sheet) -> list[str]:
    """Asks which fields to switch on or off, by number, so that the person need not type names.
    Returns the fields to share. A field that the person left out before is off at first."""
    offered = one.question.offered
    for number, field in enumerate(one.fields, 1):
        box = "[x]" if field.name in offered else "[ ]"
        talk.say(f"  {box} {number:2} {field.name}: {field.says}")
    while True:
        line = talk.ask("Numbers of fields to switch on or off, Enter for those marked x: ")
        try:
            switched = {int(word) for word in line.replace(",", " ").split()}
        except ValueError:
            switched = {0}
        if switched <= set(range(1, len(one.fields) + 1)):
            return [
                field.name
                for number, field in enumerate(one.fields, 1)
                if (field.name in offered) != (number in switched)
            ]
        talk.say(f"Please give numbers from 1 to {len(one.fields)}.")


class _Talk:
    """The conversation with the person, over the two streams."""

    def __init__(self, stdin: TextIO, stdout: TextIO, width: int, height: int) -> None:
        self._in = stdin
        self._out = stdout
        self.width = width
        self.height = height

    def write(self, text: str) -> None:
        """Writes text without changes."""
        self._out.write(text)

    def say(self, *texts: str) -> None:
        """Writes paragraphs, with lines broken at the width."""
        self._out.write(paragraphs(*texts, width=self.width))

    def ask(self, question: str) -> str:
        """Asks a question. Returns the line that the person types. Raises _GoneError."""
        self._out.write(question)
        self._out.flush()
        try:
            line = self._in.readline()
        except KeyboardInterrupt:
            raise _GoneError(True) from None
        except (OSError, UnicodeDecodeError):
            raise _GoneError(False) from None
        if not line:
            raise _GoneError(False)
        return line

    def choice(self, question: str, allowed: Sequence[str], numbers: int = 0) -> tuple[str, int]:
        """Asks a question until the answer is one of `allowed`. Returns that answer, and the number
        from 1 to `numbers` after "details" or "bytes", such as `d 2`; otherwise 0."""
        while True:
            typed = self.ask(question).strip().lower()
            word, number = _WORDS.get(typed, ""), 0
            key, digits = typed.rstrip("0123456789"), typed.lstrip("abcdefghijklmnopqrstuvwxyz ")
            if not word and digits.isdecimal() and 1 <= int(digits) <= numbers:
                word, number = _WORDS.get(key.strip(), ""), int(digits)
                word = word if word in (DETAILS, BYTES) else ""
            if word in allowed:
                return word, number
            self.say("Please type one of the answers above.")
