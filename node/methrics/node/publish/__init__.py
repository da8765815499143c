"""The publisher: sends what is due from an outbox by the allowed route."""

__all__: list[str] = []
