"""The publisher: sends due reports from an outbox by the allowed route."""

__all__: list[str] = []
