"""The types of options that say how much of a disk stays free, or how much memory is used."""

from __future__ import annotations

from methrics.aggregate.collect.disk import KeepFree, read_space
from methrics.aggregate.store.duck import WRITER_MEMORY_LEAST
from methrics.node.cli.typed import Typed


def read_memory(text: str) -> int:
    """Return the bytes of a size such as `1GiB`, as many as a writer needs.

    Raises ValueError with a sentence for the person.
    """
    try:
        found = read_space(text)
    except ValueError:
        found = KeepFree(0, 0)
    if found.share < 1 or found.size < WRITER_MEMORY_LEAST:
        least = WRITER_MEMORY_LEAST >> 20
        raise ValueError(f"{text!r} is no size of {least}MiB or more, such as 1GiB")
    return int(found.size)


SPACE = Typed("size", KeepFree, read_space)
"""The type of an option such as `500MiB`, `5%` or `1GiB or 5%`."""

MEMORY = Typed("size", int, read_memory)
"""The type of an option such as `1GiB`."""
