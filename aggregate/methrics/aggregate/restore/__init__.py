"""Takes what a data set has into a DuckDB file: every item is judged again from its bytes."""

__all__: list[str] = []
