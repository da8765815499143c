"""Random answers: what a field with `randomize` says instead of the truth (local differential
privacy; RAPPOR's permanent randomised response: Erlingsson, Pihur and Korolova 2014).

Pure, and without a memory: the lot is drawn by a keyed hash of the truth, so the same truth of the
same install gets the same answer for ever and nobody can average a thousand reports. The key is the
seed that only the node knows; the file that holds it already exists, and after a reset it is
another, as if somebody else had answered.
"""

from __future__ import annotations

import hashlib

from methrics.schema.chance import shares
from methrics.schema.codec import encode
from methrics.schema.fields import Field, Wire

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
    # In an order of its own, so that a list in another order is not asked again.
    values = sorted(field.listed())
    honest, other = shares(len(values), field.randomize)
    draw = _draw(field, values, truth, seed, namespace, type)
    if draw < honest:
        return truth
    rest = [value for value in values if value != truth]
    return rest[(draw - honest) // other]


def _draw(
    field: Field, values: list[Wire], truth: object, seed: bytes, namespace: bytes, type: str
) -> int:
    """0..2^64-1, as if by lot, from everything that decides what the answer can be.

    Values and epsilon are among it: two answers to differing questions from one draw could tell
    together what neither tells alone, while independent ones add up to the sum of both epsilons.
    """
    meaning = [field.params.get("edges", []), field.params.get("unit", "")]
    asked = [namespace, type, field.name, field.type, field.randomize, meaning, list(values)]
    message = encode([*asked, truth])
    found = hashlib.blake2b(message, digest_size=DRAW_SIZE, key=seed, person=_PERSON).digest()
    return int.from_bytes(found, "big")
