"""A person's own reports in public data: find them locally, compare them with others."""

__all__: list[str] = []
