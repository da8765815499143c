"""Lists and previews a person's own reports, resets their keys, and shows what could link them."""

__all__: list[str] = []
