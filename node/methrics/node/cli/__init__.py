"""Commands for a person, an app developer and a relay operator."""

__all__: list[str] = []
