"""Measures, on the person's own machine, what their reports reveal before and after sending."""

__all__: list[str] = []
