"""A person's own reports in public data: finding them and comparing them, locally."""

__all__: list[str] = []
