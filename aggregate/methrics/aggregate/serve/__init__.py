"""The live endpoint over HTTP: state, metrics, and read-only SQL. SQL runs in its own process."""

__all__: list[str] = []
