"""Finds the open questions, words them for a person, and writes the answers, on any surface.

The terminal prompt and the local page use `Asking`. An app with an interface of its own uses it
directly. No file is written before the person answers.

    asking = recorder.asking(examples={"signin": {"variant": "a"}})
    for question in asking.questions():
        show(asking.sheet(question))
        asking.answer(question.event_type.name, "yes", fields=["os", "version"])
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence

from methrics.node.clock import Clock
from methrics.node.consent.answer import Answer, Answers
from methrics.node.consent.decide import PRODUCTION, answer_of, forbidden
from methrics.node.consent.first_screen import FirstScreen, first_screen
from methrics.node.consent.known_hops import load_hops
from methrics.node.consent.ledger import Ledger, policy_off, read_ledger, write
from methrics.node.consent.ledger_format import Edit
from methrics.node.consent.meaning import WORDS, means, with_later_types
from methrics.node.consent.questions import (
    Question,
    Uses,
    every_question,
    question_about,
    questions,
    undecided,
)
from methrics.node.consent.route_words import NOT_KNOWN, Hops
from methrics.node.consent.way_back import way_back
from methrics.node.consent.withdrawal import forget, forget_refused, withdraw_everything
from methrics.node.consent.wording import Sheet, sheet
from methrics.node.outbox.records import kept_of
from methrics.node.paths import Paths, namespace_of
from methrics.node.report.route_names import ROUTES
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import ConfigError, StoreError


class Asking:
    """The open questions of one or more apps to one person.

    `surface`: how the person answers ("app", "terminal", "page"), for the ledger's history.
    `examples`: for each event type, values that the app would record, for the example reports.
    `moved`: if the ledger was damaged when an answer was written, the name under which the damaged
    file was kept; otherwise None. `file`: the file of the only catalog, for commands that a person
    can type. `hops`: the relays that this machine knows, for the words about who sees what; by
    default, what the publisher of each app learned.
    """

    def __init__(
        self,
        catalogs: Iterable[Catalog],
        paths: Paths,
        *,
        environment: str = PRODUCTION,
        app_version: str | None = None,
        examples: Mapping[str, Mapping[str, object]] | None = None,
        surface: str = "app",
        clock: Clock | None = None,
        file: str = "",
        hops: Hops | None = None,
    ) -> None:
        self.catalogs = tuple(catalogs)
        self.paths = paths
        self.surface = surface
        self.moved: str | None = None
        self._environment = environment
        self._app_version = app_version
        self._examples = examples or {}
        self._clock = clock or Clock()
        self._file = file
        self._hops = hops
        self._seed = os.urandom(32)  # keys of example reports derive from it

    def forbidden(self) -> str | None:
        """Returns the rule that forbids everything, even if the person says yes; None if there is
        no such rule."""
        return forbidden(
            policy_off=policy_off(self.paths.policy),
            env=os.environ,
            environment=self._environment,
        )

    def questions(self, uses: Uses | None = None, *, everything: bool = False) -> list[Question]:
        """Returns the questions to ask now. Pass `uses` if the app asks unprompted: then questions
        that should wait are left out. With `everything`, the types that are decided are included,
        for a page of settings.

        A damaged ledger is treated as empty, but then no app asks unprompted. Raises StoreError if
        the ledger cannot be read for another reason.
        """
        ledger = self._ledger()
        now = self._clock.now()
        kept = kept_of(
            self.paths, (namespace_of(one.label, one.short_key) for one in self.catalogs)
        )
        if everything:
            return every_question(self.catalogs, _answers(ledger), now=now, kept=kept)
        if ledger is None and uses is not None:
            return []
        return questions(
            self.catalogs,
            _answers(ledger),
            now=now,
            uses=uses,
            forbidden=self.forbidden(),
            asked=ledger.asked if ledger else "",
            kept=kept,
        )

    def first_screen(self, asked: Sequence[Question]) -> FirstScreen:
        """Returns the texts of the first screen about `asked`: enough to decide by, without the
        details that `sheet` has. Raises StoreError as `questions` does."""
        apps = {one.namespace for one in asked}
        before = any(
            one.namespace in apps and one.answer is not None and one.answer.on
            for one in self.questions(everything=True)
        )
        known = {self._hops_of(namespace) for namespace in apps}
        hops = known.pop() if len(known) == 1 else NOT_KNOWN
        return first_screen(asked, before=before, way_back=way_back(self.paths), hops=hops)

    def sheet(self, question: Question) -> Sheet:
        """Returns the texts to show about `question`, with an example report."""
        return sheet(
            question,
            now=self._clock.now(),
            seed=self._seed,
            values=self._examples.get(question.event_type.name),
            app_version=self._app_version,
            hops=self._hops_of(question.namespace),
        )

    def _hops_of(self, namespace: str) -> Hops:
        return load_hops(self.paths, namespace) if self._hops is None else self._hops

    def answer(
        self,
        type_name: str,
        said: str,
        *,
        fields: Collection[str] | None = None,
        routes: Collection[str] | None = None,
        namespace: str | None = None,
    ) -> None:
        """Writes one answer, `said`: "yes", "no", "not-now", or "keep", which shares what an
        earlier yes covers and nothing more. `fields`: the fields that may be shared, None for all
        that are offered, without those that the person left out earlier. `routes`: None for those
        of the earlier yes, or else relay. `namespace` is needed only if several apps have this
        event type. `meaning.means` decides the answer that is written.

        Raises ConfigError for an unknown type, answer, field or route, StoreError if the ledger
        cannot be written.
        """
        self.write([self.edit(type_name, said, fields=fields, routes=routes, namespace=namespace)])

    def edit(
        self,
        type_name: str,
        said: str,
        *,
        fields: Collection[str] | None = None,
        routes: Collection[str] | None = None,
        namespace: str | None = None,
    ) -> Edit:
        """Checks one answer and returns what it means for `write`, given the answer that is in the
        ledger now. Raises ConfigError as `answer` does, and StoreError as `questions` does."""
        catalog = self._catalog(type_name, namespace)
        event_type = catalog.types[type_name]
        declared = {field.name for field in event_type.fields}
        if said not in WORDS:
            raise ConfigError(
                "unknown-answer", f"no such answer: {said}", f"one of {', '.join(WORDS)}"
            )
        unknown = sorted(set(fields or ()) - declared)
        if unknown:
            raise ConfigError(
                "unknown-field",
                f"no such field: {', '.join(unknown)}",
                f"one of {', '.join(sorted(declared))}",
            )
        astray = sorted(set(routes or ()) - set(ROUTES))
        if astray or (said == "yes" and routes is not None and not routes):
            raise ConfigError(
                "unknown-route",
                f"no such route: {', '.join(astray) or 'none'}",
                f"one of {', '.join(ROUTES)}",
            )
        question = question_about(catalog, event_type, _answers(self._ledger()))
        return means(question, said, fields=fields, routes=routes)

    def same_answer(self, asked: Collection[Question], said: str) -> list[Edit]:
        """Returns the same answer to each question in `asked`, for `write`."""
        return [self.edit(one.event_type.name, said, namespace=one.namespace) for one in asked]

    def write(
        self, edits: Collection[Edit], *, seen: Collection[Question] = (), unprompted: bool = False
    ) -> None:
        """Writes several answers, either all or none. If the person has then said no to every event
        type of an app, a no to its later event types is added. Deletes what has not left of
        types that are refused, or of which a field is switched off. With `unprompted`, the time is
        stored at which an app asked unprompted, so that no other app does so soon after.

        `seen`: the questions that the person had before them. Raises StoreError
        `answered-elsewhere` if one of them has another answer by now, StoreError if the ledger
        cannot be written."""
        now = self._clock.now()
        narrowed: list[tuple[str, str]] = []

        def whole(before: Answers) -> list[Edit]:
            for one in seen:
                if answer_of(before, one.namespace, one.event_type.name) != one.answer:
                    raise StoreError(
                        "answered-elsewhere",
                        f"{one.event_type.name} was answered elsewhere in the meantime",
                        "look at the answers and decide again",
                    )
            # A yes does not cover what an app recorded while there was none.
            for edit in edits:
                known = answer_of(before, edit.namespace, edit.type)
                if edit.said == "yes" and (known is None or not known.on):
                    forget(self.paths, edit.namespace, edit.type, self._clock)
                elif edit.said == "yes" and known is not None and _narrows(edit, known):
                    narrowed.append((edit.namespace, edit.type))
            return with_later_types(edits, every_question(self.catalogs, before, now=now))

        moved = write(self.paths, whole, now=now, through=self.surface, unprompted=unprompted)
        self.moved = self.moved or moved
        refused = [(one.namespace, one.type) for one in edits if one.said == "no"]
        forget_refused(self.paths, [*refused, *narrowed], self._clock)

    def refuse_all(self) -> None:
        """Writes a no for every app, including apps that are installed later. Deletes the
        events of all apps that have not left. Raises StoreError."""
        done = withdraw_everything(self.paths, clock=self._clock, through=self.surface)
        self.moved = self.moved or done.moved

    def status_line(self) -> str | None:
        """Returns a line for a log or a status bar while the person has not decided; otherwise, or
        if a rule forbids everything, None (MIM-1). Raises StoreError as `questions` does."""
        ledger = self._ledger()
        if self.forbidden() is not None or ledger is None:
            return None
        if not undecided(self.catalogs, ledger.answers, now=self._clock.now()):
            return None
        names = ", ".join(dict.fromkeys(catalog.label for catalog in self.catalogs))
        return f"{names}: usage reports are off until you decide: {self.way_to_ask}"

    @property
    def way_to_ask(self) -> str:
        """The command that asks the open questions in a terminal. It names the catalog's file, as
        nothing else on this machine tells of an app before its first report."""
        return way_back(self.paths, "ask", *(("--catalog", self._file) if self._file else ()))

    def _ledger(self) -> Ledger | None:
        try:
            return read_ledger(self.paths.ledger)
        except StoreError as error:
            if error.code != "ledger-damaged":
                raise
            return None

    def _catalog(self, type_name: str, namespace: str | None) -> Catalog:
        found = [
            catalog
            for catalog in self.catalogs
            if type_name in catalog.types
            and namespace in (None, namespace_of(catalog.label, catalog.short_key))
        ]
        if not found:
            known = sorted({name for catalog in self.catalogs for name in catalog.types})
            raise ConfigError(
                "unknown-type",
                f"no event type {type_name} to answer",
                f"one of {', '.join(known)}",
            )
        if len(found) > 1:
            raise ConfigError(
                "ambiguous-type", f"several apps have an event type {type_name}", "name the app"
            )
        return found[0]


def _narrows(edit: Edit, known: Answer) -> bool:
    """Whether a yes switches off a field that an earlier yes allowed."""
    if edit.fields is None:
        return False
    before = known.fields
    if before is None:
        shown = edit.shown.fields if edit.shown is not None else ()
        before = frozenset(field.name for field in shown)
    return not before <= frozenset(edit.fields)


def _answers(ledger: Ledger | None) -> Answers:
    return {} if ledger is None else ledger.answers
