"""Random answers: what a node says instead of the truth where a field has `randomize` (pure)

Local differential privacy by RAPPOR's permanent randomised response (Erlingsson, Pihur and Korolova
2014), without a memory: the lot is drawn by a keyed hash of the truth, so the same truth of one
install gets the same answer for ever and nobody can average a thousand reports. The key is the seed
that only the node knows and keeps anyway; after a reset it is another, as if somebody else had
answered.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from methrics.schema.catalog.chance import shares
from methrics.schema.catalog.fields import Field, Wire
from methrics.schema.wire.codec import encode

DRAW_SIZE = 8
"""Bytes of a draw: 2^64 of them."""

_PERSON = b"methrics-answer1"


def respond(field: Field, truth: object, *, seed: bytes, namespace: bytes, type: str) -> object:
    """What the install with this 32-byte `seed` answers where the wire value `truth` is true.

    `truth` as it is if the field is not answered at random. `namespace`: its key; `type`: the event
    type's name. Raises ValueError for what is no wire value of a field that is.
    """
    if field.randomize is None:
        return truth
    if not field.check(truth):
        raise ValueError(f"{field.name}: not a value of this field")
    question = _question(field, namespace, type)
    # CBOR items delimit themselves: no two truths or questions come to the same bytes.
    message = question.asked + encode(truth)
    found = hashlib.blake2b(message, digest_size=DRAW_SIZE, key=seed, person=_PERSON).digest()
    draw = int.from_bytes(found, "big")
    if draw < question.honest:
        return truth
    lot = (draw - question.honest) // question.other  # among all values but the truth
    return question.values[lot + (lot >= question.values.index(truth))]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A field as a question: its values in an order of their own, so that a list in another order
    is not asked anew; the shares of draws; and all that decides what the answers can be, as bytes.

    Values and epsilon are in these bytes: two answers to differing questions from one draw could
    tell together what neither tells alone, while independent ones add up to both epsilons.
    """

    values: tuple[Wire, ...]
    honest: int
    other: int
    asked: bytes


@lru_cache(maxsize=64)
def _question(field: Field, namespace: bytes, type: str) -> _Question:
    values, epsilon = sorted(field.listed()), field.randomize or 0
    honest, other = shares(len(values), epsilon)
    meaning = [field.params.get("edges", []), field.params.get("unit", "")]
    asked = encode([namespace, type, field.name, field.type, epsilon, *meaning, list(values)])
    return _Question(values=tuple(values), honest=honest, other=other, asked=asked)
