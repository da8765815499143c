"""The types of options that say how much of a disk stays free, or how much memory is used."""

from __future__ import annotations

import click

from methrics.aggregate.collect.disk import KeepFree, read_space
from methrics.aggregate.store.duck import WRITER_MEMORY_LEAST


class Space(click.ParamType[KeepFree]):
    """The type of an option such as `500MiB`, `5%` or `1GiB or 5%`."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> KeepFree:
        """Return what stays free. Fails with one sentence if the value says nothing of that."""
        if isinstance(value, KeepFree):
            return value
        try:
            return read_space(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Memory(click.ParamType[int]):
    """The type of an option such as `1GiB`: bytes, and as many as a writer needs."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the bytes. Fails with one sentence if they are no size, or too few."""
        if isinstance(value, int):
            return value
        try:
            found = read_space(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if found.share < 1 or found.size < WRITER_MEMORY_LEAST:
            self.fail(f"{value!r} is no size of {WRITER_MEMORY_LEAST >> 20}MiB or more", param, ctx)
        return int(found.size)
