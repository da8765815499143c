"""Lint a catalog: find problems before anyone is asked to agree to it.

`read_source` finds breaches of the wire rules (M001 to M049, see `reading`), which make a source
unusable. The checks here need today's date, or are advice. A catalog with an error cannot be
signed; a warning does not prevent it. Advice (`advise`) is no finding: it says what would reveal
less, if the author's question allows it. Codes are stable and documented in docs/reference/lint.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from methrics.schema.catalog.chance import odds
from methrics.schema.catalog.declares import Declares, Publishes
from methrics.schema.catalog.epsilon import (
    EPSILON_TOTAL_MAX,
    EPSILON_TOTAL_USUAL,
    total_epsilon,
)
from methrics.schema.catalog.event_type import EventType
from methrics.schema.catalog.source import CatalogSource, read_source
from methrics.schema.wire.limits import TIME_STEP
from methrics.schema.wire.problem import ADVICE, ERROR, WARNING, Problem

__all__ = ["ADVICE", "CODES", "ERROR", "WARNING", "Problem", "advise", "lint", "lint_text"]

EXPIRY_MAX_DAYS = 3 * 366
"""A type may expire at most this many days ahead, so that its use is reviewed regularly."""
UNIQUE_BITS = 33
"""With this many bits, a report could identify each person on Earth: 2^33 is over 8 billion."""
LINKED_BITS = 16
"""If a report has more bits than this, the lint warns about a pseudonym (M203): linked reports
would form a profile."""
RETENTION_USUAL_DAYS = 760
"""Days of retention above which the lint warns (M204): year-on-year charts need two years and a
month."""
NAMED_MAX = 3
"""The most fields that one message names; a catalog can have thousands."""
SLACK_BITS = 4
"""Bits by which an entropy budget may exceed the need; beyond that, the lint warns (M205)."""
JITTER_ENOUGH = 3 * 3600
"""Seconds of jitter that suffice for any resolution: relays let reports rest until another day, so
their arrival does not reveal the hour."""

_DAY = 86_400

_ASKS_HOURS = re.compile(r"\b(hour|hours|hourly|minute|minutes|time of day)\b", re.IGNORECASE)
"""The words of a question that needs finer times than days."""

_HOURS = (
    "times are rounded to {} seconds, so each report tells when in the day it happened, and that "
    "helps to link reports of one person; set 86400, unless the question needs hours and says so"
)

CODES: dict[str, str] = {
    "M001": "the source is not TOML",
    "M002": "an unknown key",
    "M003": "a mandatory key is missing",
    "M004": "a value of the wrong type",
    "M005": "a number out of its range",
    "M006": "a name that is not allowed",
    "M007": "a text that is empty, too long or not one line",
    "M008": "a duplicate entry",
    "M009": "a list that is not in ascending order",
    "M010": "a word that is not in its closed list",
    "M011": "a table that does not fit the kind of the event type, or a missing table",
    "M012": "a name that is reserved",
    "M013": "a list that is too short or too long",
    "M014": "a release delay or interval below the minimum",
    "M015": "a report could exceed the size limit",
    "M016": "a report could hold more bits than the entropy budget",
    "M017": "the number does not fit the previous catalog",
    "M018": "a link or an address of results that is not an https address",
    "M019": "a source that does not fit the type of the field",
    "M020": "randomized response on a field that cannot use it",
    "M021": "a report could have more than 2^28 different contents",
    "M101": "the type has expired",
    "M102": "the type expires more than three years ahead",
    "M103": "reports would be late even if sent on schedule",
    "M104": "the retention is shorter than the allowed lateness",
    "M105": "a first-of-period flag, an install age or a milestone outside a state",
    "M106": "a type that counts days, with a resolution that does not divide a day",
    "M107": "a first-of-period flag in a type that reports on milestones only",
    "M108": "randomized response in a type that cannot count each install once",
    "M109": "no address at which the results can be seen",
    "M110": "randomized responses that together hide nothing",
    "M201": "warning: the jitter is so short that the arrival of a report reveals its time",
    "M202": "warning: a report and its time of day could identify each person on Earth",
    "M203": "warning: a pseudonym on a type with many bits allows profiles",
    "M204": "warning: reports are kept longer than year-on-year charts need",
    "M205": "warning: the entropy budget is far larger than needed",
    "M206": "warning: the question is not a question",
    "M207": "warning: a version with three parts",
    "M208": "warning: randomized responses that together hide little",
    "M301": "advice: reports that tell the time of day, though the question asks for no hours",
}
"""Maps each code to its meaning."""


def lint(declared: Publishes, now: int) -> list[Problem]:
    """Find errors and warnings in a catalog at the time `now` (Unix seconds)."""
    problems: list[Problem] = []
    if not declared.results:
        message = "is missing; add the https address at which people can see the results"
        problems.append(Problem("M109", "catalog.results", message))
    for name, entry in declared.types.items():
        where = f"types.{name}"
        problems += _dates(entry, where, now)
        problems += _schedule(entry, where)
        problems += _privacy(entry, where)
        problems += _random(entry, where)
        problems += _wording(entry, where)
    return problems + _epsilon(declared)


def advise(declared: Publishes) -> list[Problem]:
    """Propose what would reveal less. None of it is wrong, and all of it may stay."""
    return [
        Problem("M301", f"types.{name}.resolution", _HOURS.format(_step(entry)), ADVICE)
        for name, entry in declared.types.items()
        if _step(entry) < _DAY and not _ASKS_HOURS.search(entry.question)
    ]


def _step(entry: EventType) -> int:
    """The seconds to which the times of reports are rounded; a count has the time of its window."""
    return max(entry.resolution, entry.window or 0)


def lint_text(text: str, now: int) -> tuple[CatalogSource | None, list[Problem]]:
    """Read and lint TOML text. Returns the source, None if it cannot be signed, and all
    problems."""
    found = read_source(text)
    if not isinstance(found, CatalogSource):
        return None, found
    problems = lint(found, now)
    bad = any(problem.severity == ERROR for problem in problems)
    return (None if bad else found), problems


def _dates(entry: EventType, where: str, now: int) -> list[Problem]:
    if entry.expires <= now:
        message = "has passed; set a new date, or remove the type"
        return [Problem("M101", f"{where}.expires", message)]
    if entry.expires > now + EXPIRY_MAX_DAYS * _DAY:
        message = "is more than three years ahead; set an earlier date and renew it then"
        return [Problem("M102", f"{where}.expires", message)]
    return []


def _schedule(entry: EventType, where: str) -> list[Problem]:
    problems = []
    release = entry.release
    # A state is read when its report is made, so the interval `every` does not make it late.
    longest = release.delay + release.jitter + (entry.window or 0) + entry.resolution
    if longest > entry.lateness:
        message = (
            f"delay, jitter, window and resolution add up to {longest} seconds, but reports are "
            f"late after {entry.lateness}; shorten them or raise lateness_days"
        )
        problems.append(Problem("M103", f"{where}.release", message))
    if entry.retention_days * _DAY < entry.lateness:
        message = "is shorter than lateness_days; late reports would be deleted on arrival"
        problems.append(Problem("M104", f"{where}.retention_days", message))
    sourced = [field.name for field in entry.fields if field.source is not None]
    if sourced and entry.kind != "state":
        message = f"{', '.join(sourced)} counts reports of a state; use kind state"
        problems.append(Problem("M105", f"{where}.fields", message))
    return problems + _signs(entry, where)


def _signs(entry: EventType, where: str) -> list[Problem]:
    """Find mistakes in a type that should count days or milestones."""
    problems = []
    if entry.daily and _DAY % entry.resolution:
        message = (
            f"is {entry.resolution} seconds, which does not divide a day; use 86400 or a divisor"
        )
        problems.append(Problem("M106", f"{where}.resolution", message))
    flags = [field.name for name, field in entry.sources.items() if name.startswith("first_of_")]
    if entry.milestones is not None and flags:
        message = f"{', '.join(flags)} would count milestones, not people; use a separate type"
        problems.append(Problem("M107", f"{where}.fields", message))
    return problems


def _privacy(entry: EventType, where: str) -> list[Problem]:
    problems = []
    step = min(max(entry.resolution, TIME_STEP), JITTER_ENOUGH)
    if entry.release.jitter < step:
        message = (
            f"is too short for times rounded to {entry.resolution} seconds; set at least {step}"
        )
        problems.append(Problem("M201", f"{where}.release.jitter", message, WARNING))
    moments = max(1, _DAY // entry.resolution)
    if entry.domain * moments > 1 << UNIQUE_BITS:
        message = (
            f"a report can have {entry.bits:.1f} bits and {moments} times of day, and together "
            f"{UNIQUE_BITS} bits suffice to identify each person on Earth; coarsen the type or its "
            "resolution, or split it"
        )
        problems.append(Problem("M202", where, message, WARNING))
    if entry.pseudonym != "none" and entry.domain > 1 << LINKED_BITS:
        message = (
            f"links reports of {entry.bits:.1f} bits to one person for a {entry.pseudonym}; "
            "use none, or coarsen the type"
        )
        problems.append(Problem("M203", f"{where}.pseudonym", message, WARNING))
    if entry.retention_days > RETENTION_USUAL_DAYS:
        message = f"is longer than the {RETENTION_USUAL_DAYS} days that yearly charts need"
        problems.append(Problem("M204", f"{where}.retention_days", message, WARNING))
    if entry.entropy_bits > entry.revealed_bits + SLACK_BITS:
        message = (
            f"is {entry.entropy_bits}, but only {entry.revealed_bits:.1f} are needed; lower it, so "
            "that the lint notices when the type grows"
        )
        problems.append(Problem("M205", f"{where}.entropy_bits", message, WARNING))
    for field in entry.fields:
        if field.type == "version" and len(_parts(field.params)) > 2:
            message = "has three parts; two reveal less about a person and are easier to chart"
            problems.append(Problem("M207", f"{where}.fields.{field.name}", message, WARNING))
    return problems


def _random(entry: EventType, where: str) -> list[Problem]:
    """Find mistakes that make randomized response useless or weak (docs/randomized.md)."""
    problems = []
    random = [field for field in entry.fields if field.randomize is not None]
    names = ", ".join(field.name for field in random)
    once = {"first_of_week", "first_of_month"} & {field.source for field in entry.fields}
    if random and (entry.kind != "state" or not once):
        message = (
            f"{names} uses randomized response, which needs a state with a field of source "
            "first_of_week or first_of_month; add one"
        )
        problems.append(Problem("M108", f"{where}.fields", message))
    return problems


def _epsilon(declared: Declares) -> list[Problem]:
    """Find too large a sum of the epsilons of all types: one person answers all of them."""
    total = total_epsilon(declared)
    if total <= EPSILON_TOTAL_USUAL:
        return []
    fields = [
        f"{name}.{field.name}"
        for name, entry in declared.types.items()
        for field in entry.fields
        if field.randomize is not None
    ]
    if len(fields) > NAMED_MAX:
        fields[NAMED_MAX:] = [f"{len(fields) - NAMED_MAX} more"]
    message = f"epsilon adds up to {total / 1000:g} for {', '.join(fields)}"
    if total > EPSILON_TOTAL_MAX:
        message = f"{message}; choose at most {EPSILON_TOTAL_MAX / 1000:g} for all together"
        return [Problem("M110", "types", message)]
    message = (
        f"{message}, so the answers of one person can change the odds between two true values "
        f"{odds(total)}-fold; choose at most {EPSILON_TOTAL_USUAL / 1000:g} for all together"
    )
    return [Problem("M208", "types", message, WARNING)]


def _parts(params: Mapping[str, object]) -> list[object]:
    most = params["max"]
    return most if isinstance(most, list) else []


def _wording(entry: EventType, where: str) -> list[Problem]:
    if entry.question.rstrip().endswith("?"):
        return []
    message = "does not end in a question mark; write the question that the type answers"
    return [Problem("M206", f"{where}.question", message, WARNING)]
