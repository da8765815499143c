"""The type of a command-line option whose value is a duration, such as `90s`, `10m` or `1w`."""

from __future__ import annotations

import click

from methrics.node.durations import duration_text, read_duration


class Duration(click.ParamType[float]):
    """The type of an option whose value is typed as a duration of `least` to `most` seconds."""

    name = "duration"

    def __init__(self, *, least: float = 0.0, most: float) -> None:
        self._least = least
        self._most = most

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Returns the seconds. Fails with one sentence if the value is not such a duration."""
        try:
            seconds = read_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not self._least <= seconds <= self._most:
            least, most = duration_text(self._least), duration_text(self._most)
            self.fail(f"{value!r} is not between {least} and {most}", param, ctx)
        return seconds
