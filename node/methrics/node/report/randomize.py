"""Randomized response: computes the value that is sent for a field with `randomize` (pure).

This is local differential privacy by RAPPOR's permanent randomized response (Erlingsson, Pihur and
Korolova 2014), without stored state. A keyed hash of the true value replaces the random draw, so
one install always sends the same response for the same true value, and averaging many reports
reveals nothing more. The key is the secret seed of the install. After a reset the seed is new, so
the responses are those of a new install.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from methrics.schema.catalog.chance import shares
from methrics.schema.catalog.fields import Field, Wire
from methrics.schema.wire.codec import encode

DRAW_SIZE = 8
"""Bytes of a draw, which has 2^64 possible values."""

_PERSON = b"methrics-answer1"


def respond(field: Field, truth: object, *, seed: bytes, namespace: bytes, type: str) -> object:
    """Returns the value that the install with this 32-byte `seed` sends if the true wire value is
    `truth`.

    For a field without `randomize`, that is `truth`. `namespace`: the namespace key. `type`: the
    name of the event type. Raises ValueError if the field has `randomize` and `truth` is not one of
    its wire values.
    """
    if field.randomize is None:
        return truth
    if not field.check(truth):
        raise ValueError(f"{field.name}: not a value of this field")
    question = _question(field, namespace, type)
    # CBOR items delimit themselves, so two different questions or values never give equal bytes.
    message = question.asked + encode(truth)
    found = hashlib.blake2b(message, digest_size=DRAW_SIZE, key=seed, person=_PERSON).digest()
    draw = int.from_bytes(found, "big")
    if draw < question.honest:
        return truth
    lot = (draw - question.honest) // question.other  # among all values but the truth
    return question.values[lot + (lot >= question.values.index(truth))]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """The question that a field asks. `values`: its wire values, sorted, so that a catalog with
    another order asks the same question. `honest`: how many of the 2^64 draws give the true value;
    `other`: how many give each other value. `asked`: the bytes that identify the question.

    The values and epsilon are part of `asked`, so two different questions get independent draws. If
    one draw answered both, the two responses together could reveal more than their epsilons allow.
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
