"""A person's own reports: list, preview, reset, and what trails they leave."""

__all__: list[str] = []
