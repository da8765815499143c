"""Add up the epsilons of a namespace: how much all randomized answers of one person can reveal.

One person answers each randomized field of a catalog. If the true values are related, or are one
value under several names, all answers together change the odds between two true values by a factor
of at most e^(sum of the epsilons). Answers to one question in several catalogs do not add up: a
node randomizes the answer with the larger epsilon again, so only the largest epsilon counts
(docs/randomized.md).
"""

from __future__ import annotations

from methrics.schema.catalog.chance import odds
from methrics.schema.catalog.declares import Declares
from methrics.schema.catalog.fields import EPSILON_MAX, Field
from methrics.schema.wire.codec import encode

EPSILON_TOTAL_USUAL = 3000
"""The lint warns (M208) if the epsilons of a catalog add up to more (in thousandths): the answers
could change the odds more than twentyfold."""
EPSILON_TOTAL_MAX = EPSILON_MAX
"""The largest sum of the epsilons of a catalog (in thousandths) that the lint accepts (M110): as
much as one field may have. Split over many fields, more would hide nothing either."""


def total_epsilon(*declared: Declares) -> int:
    """Return the epsilon, in thousandths, of all randomized answers of a person to these catalogs.

    A question that several catalogs ask counts once, with its largest epsilon. The sum is 0 if no
    field uses randomized response.
    """
    largest: dict[bytes, int] = {}
    for one in declared:
        for name, entry in one.types.items():
            for field in entry.fields:
                if field.randomize is not None:
                    question = question_id(name, field)
                    largest[question] = max(field.randomize, largest.get(question, 0))
    return sum(largest.values())


def total_words(declared: Declares) -> str:
    """Explain to the person asked what all randomized answers to a catalog can reveal together.

    Returns "" if fewer than two fields use randomized response: then the words about the one field
    (`chance.randomized_words`) say it all.
    """
    number = sum(
        field.randomize is not None for entry in declared.types.values() for field in entry.fields
    )
    if number < 2:
        return ""
    return (
        f"This app has {number} fields with randomized response. If all of them are about the same "
        "thing, your answers together change the odds between two possible true values by a factor "
        f"of at most {odds(total_epsilon(declared))}."
    )


def question_id(type: str, field: Field) -> bytes:
    """Return the bytes that identify the question of a field within its namespace.

    They are the same for the fields of two catalogs if the names of type and field, the values and
    the meaning of the values are the same, whatever their epsilon, their wording and the order of
    the values. A node treats these fields as one question.
    """
    meaning = [field.params.get("edges", []), field.params.get("unit", "")]
    return encode([type, field.name, field.type, *meaning, sorted(field.listed())])
