"""The type of a command-line option that says how much of a disk stays free."""

from __future__ import annotations

import click

from methrics.aggregate.collect.disk import KeepFree, read_space


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
