"""The epsilons of one install are added up over all its catalogs, and their sum is bounded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from methrics.node.consent.ledger import withdraw
from methrics.node.consent.questions import NEW, Question
from methrics.node.consent.wording import sheet
from methrics.node.mine.preview import PLANNED, WITHHELD, look
from methrics.node.mine.reset import renew
from methrics.node.outbox.found import read_catalogs
from methrics.node.publish.permission import consent_of
from methrics.node.report.epsilon import answered, epsilon_meter
from methrics.node.report.threshold.meter import Send, Withhold
from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.epsilon import EPSILON_TOTAL_MAX, total_epsilon, total_words
from methrics.schema.catalog.source import parse_source
from methrics.schema.example import example_catalog

if TYPE_CHECKING:
    from conftest import Post, Shop

DAY = 86_400

TYPE = """
[types.{name}]
kind = "state"
question = "What is asked?"
why = "It is needed for a test."
owner = "Test"
review = "https://example.org/review"
expires = 2030-01-01
retention_days = 30
entropy_bits = 20
chart = "bar"
[types.{name}.release]
delay = 300
jitter = 600
every = [86400, 172800]
[types.{name}.fields.daily]
type = "flag"
source = "first_of_day"
says = "Whether it is your first today."
"""
FIELD = """
[types.{name}.fields.{field}]
type = "enum"
values = ["red", "green"]
randomize = {{epsilon = {epsilon}}}
says = "Which color you chose."
"""


def catalog(number: int, *fields: tuple[str, str, str]) -> Catalog:
    """`fields`: type, name and epsilon of each randomized field."""
    text = f'[catalog]\nlabel = "shop"\ncontact = "https://example.org/shop"\nnumber = {number}\n'
    text += f'previous = "{"ab" * 32}"\n' if number > 1 else ""
    for name in dict.fromkeys(name for name, _, _ in fields):
        text += TYPE.format(name=name)
        text += "".join(
            FIELD.format(name=name, field=field, epsilon=epsilon)
            for of, field, epsilon in fields
            if of == name
        )
    return load(sign(parse_source(text), bytes(32)), verify=False)


class Person:
    """A person whose app gets ever new catalogs, and who agreed to everything by a script."""

    def __init__(self, app: Shop, post: Post) -> None:
        self.app, self.post = app, post

    def upgrade(self, number: int, *fields: tuple[str, str, str]) -> None:
        app = self.app
        app.recorder.close()
        app.catalog = catalog(number, *fields)
        app.recorder = app.open()
        app.allow(*{name for name, _, _ in fields})

    def use(self, name: str, **values: str) -> int:
        """How many reports leave after the app was used for a day."""
        before = len(self.post.sent)
        assert self.app.recorder.record(name, **values)
        self.app.clock.advance(3 * DAY)
        self.post.publish()
        return len(self.post.sent) - before

    def total(self) -> int:
        journal = self.app.journal
        return sum(answered(journal.of_seed(), read_catalogs(journal)).values())

    def shown(self) -> list[tuple[str, str]]:
        app = self.app
        consent = consent_of(app.paths, app.namespace, "relay", app.clock)()
        found = look(app.paths, app.namespace, consent, "relay", app.clock)
        assert found is not None
        return [(one.state, one.reason) for one in found.leaving]


@pytest.fixture
def person(app: Shop, post: Post) -> Person:
    return Person(app, post)


def test_attack_one_question_under_ever_new_names_is_answered_up_to_the_bound(
    person: Person,
) -> None:
    left = []
    for number in range(1, 14):
        person.upgrade(number, ("visit", f"color{number}", "1.0"))
        left.append(person.use("visit", **{f"color{number}": "red"}))
    assert left == [1] * 10 + [0] * 3
    assert person.total() == EPSILON_TOTAL_MAX
    state, reason = person.shown()[0]
    assert state == WITHHELD
    assert "add up to epsilon 11; more than 10 could reveal true values" in reason


def test_a_smaller_epsilon_for_the_same_values_adds_nothing(person: Person) -> None:
    for number, epsilon in enumerate(("9.0", "8.999", "5.0", "9.0"), 1):
        person.upgrade(number, ("visit", "color", epsilon))
        assert person.use("visit", color="red") == 1
    assert person.total() == 9000


def test_what_was_answered_before_may_be_answered_again(person: Person) -> None:
    person.upgrade(1, ("visit", "color", "6.0"))
    assert person.use("visit", color="red") == 1
    person.upgrade(2, ("visit", "color", "6.0"), ("click", "shade", "6.0"))
    assert person.use("click", shade="red") == 0
    assert person.use("visit", color="red") == 1


def test_two_reports_of_one_pass_count_together(person: Person) -> None:
    person.upgrade(1, ("visit", "color", "6.0"), ("click", "shade", "6.0"))
    assert person.app.recorder.record("visit", color="red")
    assert person.app.recorder.record("click", shade="red")
    assert sorted(state for state, _ in person.shown()) == [PLANNED, WITHHELD]
    person.app.clock.advance(3 * DAY)
    person.post.publish()
    assert len(person.post.sent) == 1


def test_a_field_that_is_not_shared_is_no_answer(person: Person) -> None:
    person.upgrade(1, ("visit", "color", "6.0"), ("visit", "shade", "6.0"))
    person.app.allow("visit", fields=["color", "daily"])
    assert person.use("visit", color="red", shade="red") == 1
    assert person.total() == 6000


def test_a_reset_forgets_the_answers_and_a_withdrawal_does_not(person: Person) -> None:
    person.upgrade(1, ("visit", "color", "6.0"))
    assert person.use("visit", color="red") == 1
    withdraw(person.app.paths, person.app.namespace, ["visit"], now=person.app.clock.now())
    person.app.journal.purge("visit")
    assert person.total() == 6000
    renew(person.app.journal)
    assert person.total() == 0
    person.upgrade(2, ("click", "shade", "6.0"))
    assert person.use("click", shade="red") == 1
    assert person.total() == 6000, "only what the new seed has answered"


def test_what_never_left_is_no_answer(person: Person) -> None:
    person.upgrade(1, ("visit", "color", "6.0"))
    person.post.cut = True
    assert person.use("visit", color="red") == 0
    journal = person.app.journal
    assert person.total() == 6000, "it may still leave"
    assert journal.strike(journal.receipts()[0].key_index) is not None
    assert person.total() == 0


def test_unreadable_receipts_and_unknown_catalogs_are_left_out(person: Person) -> None:
    person.upgrade(1, ("visit", "color", "6.0"))
    person.use("visit", color="red")
    (receipt,) = person.app.journal.receipts()
    catalogs = read_catalogs(person.app.journal)
    assert answered([replace(receipt, raw=b"damaged")], catalogs) == {}
    assert answered([receipt], {}) == {}


def test_every_other_report_is_left_to_the_threshold(person: Person) -> None:
    asked: list[str] = []

    def threshold(event_type: object, report: object) -> Withhold:
        asked.append("asked")
        return Withhold("the threshold")

    class Unread:
        def of_seed(self) -> Iterable[object]:
            raise AssertionError("read without need")

        catalogs = of_seed

    heartbeat = example_catalog().types["heartbeat"]
    ask = epsilon_meter(Unread(), threshold)  # type: ignore[arg-type]
    assert ask(heartbeat, None) == Withhold("the threshold")  # type: ignore[arg-type]
    assert asked == ["asked"]
    without = epsilon_meter(Unread(), None)  # type: ignore[arg-type]
    assert isinstance(without(heartbeat, None), Send)  # type: ignore[arg-type]


def test_a_person_reads_what_all_answers_reveal_together() -> None:
    several = catalog(1, ("visit", "color", "1.0"), ("click", "shade", "2.0"))
    assert total_epsilon(several) == 3000
    words = "by a factor of at most 20.1."
    assert total_words(several).endswith(words)
    shown = sheet(Question(several, several.types["visit"], NEW), now=0, seed=bytes(32))
    assert dict(shown.facts)["Together"].endswith(words)
    one = catalog(1, ("visit", "color", "1.0"))
    assert total_words(one) == ""
    alone = sheet(Question(one, one.types["visit"], NEW), now=0, seed=bytes(32))
    assert "Together" not in dict(alone.facts)
