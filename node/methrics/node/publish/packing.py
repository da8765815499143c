"""Fills the boxes of one visit: always as many, whatever is due (pure).

Each box is for an exit that is drawn for it alone. Boxes without an item contain nothing; nobody
but their exit can tell them from the others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from methrics.node.ohttp import inner
from methrics.node.ohttp.envelope import Sealed, seal
from methrics.node.ohttp.key_config import decode_key_config
from methrics.node.publish.ways import KnownRelay, draw_exit
from methrics.node.relay.visits import VISIT_ASKED, VISIT_BOXES, handle_of
from methrics.schema.errors import RefusedError, UnreachableError

Pair = tuple[bytes, bytes]
"""The id and the exact bytes of an item."""

Tried = Callable[[bytes], Collection[bytes]]
"""Returns the ids of the exits that were handed the item with this id before."""

EARLIER_MAX = VISIT_ASKED - VISIT_BOXES
"""Most boxes of earlier visits for whose answers a visit asks."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A sealed box for `exit`. `item_id`: what is in it, None if nothing is."""

    exit: KnownRelay
    sealed: Sealed
    item_id: bytes | None = None

    @property
    def handle(self) -> bytes:
        """The name under which its answer is asked for."""
        return handle_of(self.sealed.box)

    def emptied(self) -> Packed:
        """Return an empty box for the same exit, in place of one that must not leave."""
        return packed(self.exit, None)


def packed(exit_: KnownRelay, item: Pair | None) -> Packed:
    """Return a box with an item, or with nothing. Raises RefusedError if the exit's key cannot be
    used."""
    question = inner.encode_question(inner.BOX, b"" if item is None else item[1])
    sealed = seal(decode_key_config(exit_.key), question)
    return Packed(exit_, sealed, None if item is None else item[0])


def pack(
    items: Sequence[Pair], pool: Sequence[KnownRelay], tried: Tried, rng: random.Random
) -> list[Packed]:
    """Return the boxes of a visit, in random order. `items`: at most `VISIT_BOXES`.

    An item goes to an exit that was not handed it before, if there is one. Raises UnreachableError
    `no-exit` if no exit has a key that can be used."""
    contents: list[Pair | None] = [*items, *[None] * (VISIT_BOXES - len(items))]
    usable = {one.id: one for one in pool}
    boxes: list[Packed] = []
    for item in rng.sample(contents, len(contents)):
        before = frozenset[bytes]() if item is None else frozenset(tried(item[0]))
        while True:
            exits = list(usable.values())
            exit_ = draw_exit(exits, rng, before) or draw_exit(exits, rng)
            if exit_ is None:
                raise UnreachableError("no-exit", "no exit has a key that can be used")
            try:
                boxes.append(packed(exit_, item))
                break
            except RefusedError:
                del usable[exit_.id]
    return boxes


def questions(
    boxes: Sequence[Packed], earlier: Sequence[bytes], rng: random.Random, pad: Callable[[], bytes]
) -> list[bytes]:
    """Return the handles for which a visit asks, always as many, in random order: those of its own
    boxes, those of earlier ones, and random ones that `pad` returns."""
    handles = [*(one.handle for one in boxes), *earlier]
    handles += [pad() for _ in range(VISIT_ASKED - len(handles))]
    return rng.sample(handles, len(handles))
