"""The recorder that an app calls: checks an event and appends it to the outbox."""

__all__: list[str] = []
