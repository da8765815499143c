"""The outbox: one SQLite file per app with waiting rows, reports and erasures."""

__all__: list[str] = []
