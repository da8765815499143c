"""HTML from templates that escape every value, and catalog pages as one web page."""

__all__: list[str] = []
