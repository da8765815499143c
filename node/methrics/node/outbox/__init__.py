"""The outbox: one SQLite file per app with recorded events, reports and erasures."""

__all__: list[str] = []
