"""Words who sees a person's network address and who opens the reports, from what is known (pure).

Consent is asked before any network exists. So the words state what the person's machine already
knows: nothing at first, and later what relays say about themselves in their descriptors. The name
of an operator is that operator's own claim, which nobody checks, and the words say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NAME_SHOWN = 24
"""Most characters of an operator's name on the first screen, so that the sentence stays short."""

NAMES_SHOWN = 2
"""Most names of operators of exits in a sentence; the others are counted."""

ONE_RELAY, APP, NETWORK, UNNAMED = "relay", "app", "network", "unnamed"

DOUBTS = ("", ONE_RELAY, APP, NETWORK, UNNAMED)
"""No doubt; one relay is entry and exit, as no other is known; the app named both; both are in one
network; the entry does not say which relay it is, so it may be the exit, too."""

_EVERYONE = "Everyone: reports are public, for ever. "
_CLAIM = "The names are what operators say of themselves; nobody checks them."
_APART = (
    "The relay that takes your reports in, the entry, sees your network address and cannot open "
    "them. Another relay, the exit, opens them and does not see the address."
)


@dataclass(frozen=True, slots=True)
class Hops:
    """The relays that this machine knows for a person's reports.

    `entry`: who runs the relay that gets the boxes, as that relay says; "" if it does not say; None
    if no descriptor of it is known yet. `exits`: the same of each relay that may open a box. It is
    () if none is known yet. `doubt`: why both may be run by the same people, whatever they say, one
    of `DOUBTS`.
    """

    entry: str | None = None
    exits: tuple[str, ...] = ()
    doubt: str = ""


NOT_KNOWN = Hops()
"""What is known before the first contact with a relay."""


@dataclass(frozen=True, slots=True)
class RouteWords:
    """`first`: two or three sentences for the first screen. `details`: everything that is known."""

    first: str
    details: str


def route_words(hops: Hops) -> RouteWords:
    """Returns who sees the network address and who opens the reports, as far as `hops` tells."""
    if hops.doubt == ONE_RELAY:
        return _one_relay(hops)
    if hops.doubt == UNNAMED:
        return _unnamed()
    if hops.entry and set(hops.exits) == {hops.entry}:
        return _one_operator(hops.entry)
    if hops.doubt:
        return _doubtful(_DOUBTED[hops.doubt])
    if hops.entry is None or not hops.exits:
        return _not_known()
    if not hops.entry or not any(hops.exits):
        return _doubtful("they do not say who runs them")
    return _two_operators(hops.entry, hops.exits)


def _not_known() -> RouteWords:
    return RouteWords(
        _EVERYONE + "A relay sees your network address, another the report; "
        "an operator of both could join them.",
        f"Everyone can read the report, without your network address. {_APART} Whoever runs both "
        "could join address and report. This machine does not know yet who runs them; if it finds "
        "only one relay, that one sees both.",
    )


def _one_relay(hops: Hops) -> RouteWords:
    who = f" ({_short(hops.entry)})" if hops.entry else ""
    run = f"It says that it is run by {clean(hops.entry)}." if hops.entry else _NOBODY_SAYS
    return RouteWords(
        _EVERYONE + f"The only relay{who} sees your network address together with the report.",
        "Everyone can read the report, without your network address. Only one relay is known. It "
        f"sees the report and your network address together. {run}",
    )


_NOBODY_SAYS = "It does not say who runs it."


def _unnamed() -> RouteWords:
    return RouteWords(
        _EVERYONE + "A relay sees your network address, and may see the report, too.",
        f"Everyone can read the report, without your network address. {_APART} But the entry does "
        "not say which relay it is, so it may be the exit, too, and see the report and your "
        "network address together.",
    )


def _one_operator(name: str) -> RouteWords:
    return RouteWords(
        _EVERYONE + f"All relays are run by {_short(name)}, who could join your network address "
        "and report.",
        f"Everyone can read the report, without your network address. {_APART} But both hops are "
        f"run by {clean(name)}, who could join address and report. {_CLAIM}",
    )


_DOUBTED = {APP: "the app named both", NETWORK: "both are in one network"}


def _doubtful(why: str) -> RouteWords:
    return RouteWords(
        _EVERYONE + f"A relay sees your network address, another the report; {why}.",
        f"Everyone can read the report, without your network address. {_APART} But {why}, so one "
        "operator may run both, who could join address and report.",
    )


def _two_operators(entry: str, exits: Sequence[str]) -> RouteWords:
    others = sorted({one for one in exits if one and one != entry})
    both = entry in exits
    unnamed = " Some exits do not say who runs them." if "" in exits else ""
    chosen = f" Exits of {clean(entry)} are used only if no other answers." if both else ""
    return RouteWords(
        _EVERYONE + f"{_short(entry)} sees your network address, {_names(others)} the report, "
        "as they say.",
        f"Everyone can read the report, without your network address. {_APART} The entry is run by "
        f"{clean(entry)}, exits by {', '.join(map(clean, others))}.{unnamed}{chosen} Together they "
        f"could join address and report. {_CLAIM}",
    )


def _names(names: Sequence[str]) -> str:
    shown = [_short(one) for one in names[:NAMES_SHOWN]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" or {more} more" if more else "")


def _short(name: str) -> str:
    return clean(name if len(name) <= NAME_SHOWN else f"{name[: NAME_SHOWN - 3]}...")


def clean(name: str) -> str:
    """Returns an operator's name as a screen may show it: quoted, so that it reads as a name and
    not as a part of our sentence, and without characters that move the cursor or the direction of
    the text."""
    shown = "".join(one if one.isprintable() and one != '"' else "?" for one in name)
    return f'"{" ".join(shown.split())}"'
