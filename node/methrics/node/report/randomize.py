"""Randomized response: computes the value that is sent for a field with `randomize` (pure).

This is local differential privacy by RAPPOR's permanent randomized response (Erlingsson, Pihur and
Korolova 2014), without stored state. A keyed hash replaces the random draws, so one install always
sends the same response for the same true value, and averaging many reports reveals nothing more.
The key is the secret seed of the install. After a reset the seed is new, so the responses are those
of a new install.

**Another epsilon of the same question composes.** A smaller epsilon randomizes the response to the
larger one again, it does not draw a new response to the true value. So all responses together
reveal what the response with the largest epsilon reveals, however many catalogs change it, in
whatever order. Randomized response with k values replaces the true value, with some probability
1 - s, by one drawn from all k values. It sends the true value with probability p = s + (1 - s) / k
and each other value with q = (1 - s) / k, so s = p - q. Doing this twice, with s and t, is the same
as doing it once with s * t. Therefore the responses to all epsilons are the states of one process:
as s falls from 1 to 0, the value is replaced at random points, and between two points it stays. The
first point is uniform in 0..1, each next one uniform between 0 and the point before; then no point
lies between s and s * t with probability t. The response for an epsilon is the value at its s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count

from methrics.schema.catalog.chance import shares
from methrics.schema.catalog.epsilon import question_id
from methrics.schema.catalog.fields import Field, Wire
from methrics.schema.wire.codec import encode

DRAW_BITS = 64
"""A point is a multiple of 2^-64, and so is the p - q of `chance.shares`. So a single response has
exactly the declared probabilities."""

_DIGEST = 64
"""Bytes that are drawn for one replacement: 8 for the point, 56 for the value. The remainder of so
large a number by k favours no value by more than 2^-400."""

_PERSON = b"methrics-answer2"

Draw = Callable[[int], tuple[int, int]]
"""Returns the draws of the replacement with this index: a number of DRAW_BITS bits for the point,
and a larger number for the value."""


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

    def draw(index: int) -> tuple[int, int]:
        drawn = hashlib.blake2b(
            message, digest_size=_DIGEST, key=seed, salt=index.to_bytes(16, "big"), person=_PERSON
        ).digest()
        return int.from_bytes(drawn[:8], "big"), int.from_bytes(drawn[8:], "big")

    return replaced(truth, question.values, question.stays, draw)


def replaced(truth: object, values: Sequence[Wire], stays: int, draw: Draw) -> object:
    """Returns the value that the process has when s has fallen from 1 to `stays` / 2^DRAW_BITS.

    `values`: all values of the field. `stays` is at least 1.
    """
    value, point = truth, 1  # the point of replacement n is `point` / 2^(DRAW_BITS * n)
    for index in count():
        drawn, lot = draw(index)
        point *= drawn
        if point < stays << (DRAW_BITS * index):
            return value
        value = values[lot % len(values)]
    raise AssertionError("count() has no end")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """The question that a field asks. `values`: its wire values, sorted, so that a catalog with
    another order asks the same question. `stays`: p - q, in units of 2^-DRAW_BITS. `asked`: its
    namespace key and `question_id`.
    """

    values: tuple[Wire, ...]
    stays: int
    asked: bytes


@lru_cache(maxsize=64)
def _question(field: Field, namespace: bytes, type: str) -> _Question:
    values = sorted(field.listed())
    honest, other = shares(len(values), field.randomize or 0)
    asked = encode([namespace, question_id(type, field)])
    return _Question(values=tuple(values), stays=honest - other, asked=asked)
