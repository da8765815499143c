"""Reads a data set: by SQL, by views, as data frames; and verifies every stored row."""

__all__: list[str] = []
