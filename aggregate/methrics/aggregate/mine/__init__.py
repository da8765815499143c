"""Finds a person's own reports in public data and compares them, on the person's machine."""

__all__: list[str] = []
