"""A person's own reports: list, preview, reset, and what could link them to the person."""

__all__: list[str] = []
