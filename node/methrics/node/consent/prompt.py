"""Asks for consent in a terminal, with plain text and the keyboard. Enter alone is never a yes.

The streams are parameters, so that tests can answer. If the input ends, or on Ctrl-C, the answer is
"not now".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TextIO

from methrics.node.consent.answer import EVERY
from methrics.node.consent.asking import Asking
from methrics.node.consent.ledger_format import Edit
from methrics.node.consent.screen import WIDTH, bounded, paragraphs, screen, title
from methrics.node.consent.wording import AGAIN, ROUTE_WORDS, Sheet
from methrics.schema.wire.diagnostic import hexdump

YES, NO, LATER, CHOOSE, BYTES, NEVER = "y", "n", "l", "c", "b", "never"

_WORDS = {
    **dict.fromkeys(("y", "yes"), YES),
    **dict.fromkeys(("n", "no"), NO),
    **dict.fromkeys(("", "l", "later", "not now", "not-now"), LATER),
    **dict.fromkeys(("c", "choose"), CHOOSE),
    **dict.fromkeys(("b", "bytes"), BYTES),
    "never": NEVER,
}
_SAID = {YES: "yes", NO: "keep", LATER: "not-now"}
"""The meanings of the keys. A no to a changed question keeps what the person agreed to before."""

MORE = {False: "", True: "more "}
"""The word between "nothing" and "is recorded". The key is whether the person has allowed anything
before: if so, "nothing more is recorded"."""


class _GoneError(Exception):
    """The person closed the terminal, or pressed Ctrl-C (`interrupted`)."""

    def __init__(self, interrupted: bool) -> None:
        super().__init__(interrupted)
        self.interrupted = interrupted


def prompt(
    asking: Asking,
    sheets: Sequence[Sheet],
    *,
    stdin: TextIO,
    stdout: TextIO,
    width: int = WIDTH,
    unprompted: bool = False,
) -> str:
    """Asks the person about `sheets` and writes the answers. Returns "yes", "no" or "not-now" if
    one answer was given to all of them, "choose" if each got its own, "never" for a no to every
    app.

    `unprompted`: the app asks unprompted. Raises StoreError if the answer cannot be written.
    Ctrl-C writes "not now", then raises KeyboardInterrupt.
    """
    talk = _Talk(stdin, stdout, bounded(width))
    if not sheets:
        talk.say("There is nothing to decide.")
        return "not-now"
    before = any(
        one.answer is not None and one.answer.on for one in asking.questions(everything=True)
    )
    try:
        how, edits = _decide(talk, asking, sheets, before)
    except _GoneError as gone:
        asking.write(_all(asking, sheets, "not-now"), unprompted=unprompted)
        talk.say("", f"Not now. Nothing {MORE[before]}is recorded. To decide: methrics consent ask")
        if gone.interrupted:
            raise KeyboardInterrupt from gone
        return "not-now"
    if how == NEVER:
        asking.refuse_all()
        talk.say("No app that uses methrics will ask again, or record anything. " + AGAIN)
        return NEVER
    asking.write(edits, unprompted=unprompted)
    talk.say(*_summary(edits), AGAIN)
    return how


def _decide(
    talk: _Talk, asking: Asking, sheets: Sequence[Sheet], before: bool
) -> tuple[str, list[Edit]]:
    talk.write(screen(sheets, before=before, width=talk.width))
    talk.write(title("Your answer", talk.width))
    while True:
        talk.say(
            "  y      yes, share all of this, through relays that hide my address",
            "  c      choose for each kind of report, and for each field",
            "  n      no, and do not ask again",
            "  never  no, and no app that uses methrics may ask again",
            "  b      first show the example reports byte for byte",
            f"  Enter  not now; nothing {MORE[before]}is recorded, and no app asks for 90 days",
        )
        how = talk.choice("y/c/n/never/b/[Enter]: ", (YES, CHOOSE, NO, NEVER, BYTES, LATER))
        if how == BYTES:
            for one in sheets:
                talk.write(f"\n{one.title}:\n{hexdump(one.raw)}\n")
            talk.say("")
        elif how == CHOOSE:
            return "choose", _choose(talk, asking, sheets)
        elif how == NEVER:
            return NEVER, []
        else:
            said = _SAID[how]
            return {"keep": "no"}.get(said, said), _all(asking, sheets, said)


def _all(asking: Asking, sheets: Iterable[Sheet], said: str) -> list[Edit]:
    return asking.same_answer([one.question for one in sheets], said)


def _choose(talk: _Talk, asking: Asking, sheets: Sequence[Sheet]) -> list[Edit]:
    """Asks about each type, and after a yes about its fields; then once about the routes of all
    types."""
    answers: list[tuple[Sheet, str, list[str] | None]] = []
    for one in sheets:
        talk.say("", f"{one.title}: {one.asks}")
        how = talk.choice("y = yes, n = no, [Enter] = not now: ", (YES, NO, LATER))
        said = _SAID[how]
        fields = _fields(talk, one) if said == "yes" and one.fields else None
        answers.append((one, said, fields))
    routes: Sequence[str] | None = None
    if any(said == "yes" for _, said, _ in answers):
        talk.say(
            "",
            "How may these reports leave? Through relays, unless you allowed more before.",
            f"  relay   {ROUTE_WORDS['relay']}",
        )
        talk.say(f"  direct  {ROUTE_WORDS['direct']}")
        line = talk.ask(
            "relay = through relays only, direct = also directly, [Enter] = no change: "
        )
        routes = {"relay": ("relay",), "direct": ("relay", "direct")}.get(line.strip().lower())
    return [
        asking.edit(one.title, said, fields=fields, routes=routes, namespace=one.question.namespace)
        for one, said, fields in answers
    ]


def _fields(talk: _Talk, one: Sheet) -> list[str]:
    """Asks which fields to switch on or off, by number, so that the person need not type names.
    Returns the fields to share. A field that the person left out before is off at first."""
    offered = one.question.offered
    for number, field in enumerate(one.fields, 1):
        box = "[x]" if field.name in offered else "[ ]"
        talk.say(f"  {box} {number:2} {field.name}: {field.says}")
    while True:
        line = talk.ask("Numbers of fields to switch, [Enter] = as shown: ")
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


def _summary(edits: Iterable[Edit]) -> list[str]:
    lines = [""]
    for edit in edits:
        if edit.type == EVERY:
            continue
        names = None if edit.fields is None else ", ".join(sorted(edit.fields)) or "no field"
        what = {"yes": f"on ({names or 'every field'})", "no": "off", "not-now": "not now"}
        lines.append(f"{edit.type}: {what[edit.said]}")
    return lines


class _Talk:
    """The conversation with the person, over the two streams."""

    def __init__(self, stdin: TextIO, stdout: TextIO, width: int) -> None:
        self._in = stdin
        self._out = stdout
        self.width = width

    def write(self, text: str) -> None:
        """Writes text without changes."""
        self._out.write(text)

    def say(self, *texts: str) -> None:
        """Writes paragraphs, with lines broken at the width."""
        self._out.write(paragraphs(*texts, width=self.width))

    def ask(self, question: str) -> str:
        """Asks a question. Returns the line that the person types. Raises _GoneError."""
        self._out.write(f"\n{question}")
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

    def choice(self, question: str, allowed: Sequence[str]) -> str:
        """Asks a question until the answer is one of `allowed`. Returns that answer."""
        while True:
            word = _WORDS.get(self.ask(question).strip().lower(), "")
            if word in allowed:
                return word
            self.say("Please type one of the answers above.")
