"""The type of a command-line option whose value a function reads from text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

T = TypeVar("T")


class Typed(click.ParamType[T]):
    """The type of an option whose value `read` makes of text. A value of the class `kind`, such as
    a default, is taken as it is. `read` raises ValueError with one sentence for the person."""

    def __init__(self, name: str, kind: type[T], read: Callable[[str], T]) -> None:
        self.name = name
        self._kind = kind
        self._read = read

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> T:
        """Returns the value. Fails with the sentence of `read`."""
        if isinstance(value, self._kind):
            return value
        try:
            return self._read(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
