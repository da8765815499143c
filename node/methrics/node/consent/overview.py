"""Lists whether each event type of each app is on, and which rule decided it (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from methrics.node.consent.answer import EVERY, Answer, Answers, Effective
from methrics.node.consent.covering import covered
from methrics.node.consent.decide import PRODUCTION, answer_of, decide, variable_of
from methrics.node.paths import namespace_of
from methrics.schema.catalog.catalog import Catalog

RULES = {
    "policy": "the system's policy file says no, so nothing is recorded or sent",
    "do-not-track": "DO_NOT_TRACK is set, so nothing is recorded or sent",
    "methrics-off": "METHRICS is set, and not to on, so nothing is recorded or sent",
    "ci": "this looks like CI, so nothing is recorded or sent (METHRICS=on allows it)",
    "environment": "the app says that it does not run in production",
    "answer": "your answer",
    "changed": "the question has changed since you said yes",
    "not-now": "you said not now",
    "default": "not decided, so off",
}
"""The meaning of each rule of `consent.decide`, in words for a person."""

OVERVIEW_HEAD = ("type", "state", "fields", "routes", "decided by", "since")
HISTORY_HEAD = ("when", "who", "through", "app", "type", "answer", "fields", "routes")
"""The heads of the two tables, whose rows `overview_cells` and `history_cells` make."""

_DECIDED = {"answer": "your answer", "changed": "changed question", "default": "not decided yet"}
"""Names of rules in the table; other rules have their own name there."""


def why(rule: str, env: Mapping[str, str]) -> str:
    """Returns the meaning of `rule` in words. If an environment variable decides, its name and
    value follow."""
    variable = variable_of(rule, env)
    return f"{RULES[rule]} ({variable})" if variable else RULES[rule]


class OverviewRow(NamedTuple):
    """The state of one event type of one app. `declared`: the number of fields in its catalog, None
    if the catalog is not on this machine. `changes`: the changes since the answer that ask for more
    than the person agreed to, in words. `results`: the address of the app's charts, "" if its
    catalog names none or is not on this machine. `revoked`: from when and why the app's owner has
    revoked the event type, "" if they have not."""

    namespace: str
    type: str
    effective: Effective
    answer: Answer | None
    declared: int | None
    changes: tuple[str, ...]
    results: str = ""
    revoked: str = ""


def overview(
    answers: Answers, catalogs: Iterable[Catalog], *, policy_off: bool, env: Mapping[str, str]
) -> list[OverviewRow]:
    """Returns a row for every event type that the person answered or a catalog declares, sorted by
    app and name. It is assumed that the apps run in production."""
    catalogs = list(catalogs)
    types = {
        (namespace_of(catalog.label, catalog.short_key), name): entry
        for catalog in catalogs
        for name, entry in catalog.types.items()
    }
    results = {namespace_of(one.label, one.short_key): one.results for one in catalogs}
    answered = {(app, name) for app, entries in answers.items() for name in entries}
    rows = []
    for namespace, name in sorted(types.keys() | answered):
        declared = types.get((namespace, name))
        answer = answer_of(answers, namespace, name)
        effective = decide(
            policy_off=policy_off,
            env=env,
            environment=PRODUCTION,
            answers=answers,
            namespace=namespace,
            type_name=name,
            declared=declared,
        )
        asks = declared is not None and answer is not None and answer.on and name != EVERY
        changes = covered(answer, declared).changes if asks and answer and declared else ()
        number = None if declared is None else len(declared.fields)
        charts = results.get(namespace, "")
        rows.append(OverviewRow(namespace, name, effective, answer, number, changes, charts))
    return rows


def overview_cells(row: OverviewRow) -> tuple[str, ...]:
    """Returns a row of the overview as texts, under OVERVIEW_HEAD."""
    effective = row.effective
    fields = ""
    if effective.on:
        fields = _listed(None if effective.fields is None else sorted(effective.fields))
        if effective.fields is not None and len(effective.fields) == row.declared:
            fields = f"all {row.declared}"
    return (
        _type_words(row.type),
        "revoked" if row.revoked else "on" if effective.on else "off",
        fields,
        ", ".join(sorted(effective.routes)),
        _DECIDED.get(effective.rule, effective.rule),
        row.answer.time[:10] if row.answer is not None else "",
    )


def history_cells(entry: Mapping[str, object]) -> tuple[str, ...]:
    """Returns one change of an answer (`Ledger.history`) as texts, under HISTORY_HEAD."""

    def text(key: str) -> str:
        return str(entry.get(key, ""))

    return (
        text("time").replace("T", " "),
        text("who"),
        text("through"),
        app_words(text("app")),
        _type_words(text("type")),
        text("answer"),
        _listed(entry.get("fields")) if entry.get("answer") == "yes" else "",
        _listed(entry.get("routes")),
    )


def app_lines(namespace: str, rows: Iterable[OverviewRow], seen: str = "") -> list[str]:
    """Returns the lines above the table of one app: its name, where its results are, and who sees
    the reports and the network address, as `known_hops.seen_words` says it."""
    results = next((row.results for row in rows if row.results), "")
    told = {"results": results, "who sees it": seen}
    return [app_words(namespace), *(f"  {name}: {text}" for name, text in told.items() if text)]


def app_words(namespace: str) -> str:
    """Returns an app's name for a person; "every app" for EVERY."""
    return "every app" if namespace == EVERY else namespace


def _type_words(name: str) -> str:
    return "every other" if name == EVERY else name


def _listed(names: object) -> str:
    if names is None:
        return "every field"
    return ", ".join(map(str, names)) if isinstance(names, list) else ""
