"""Commands for the person, the app developer and the relay operator."""

__all__: list[str] = []
