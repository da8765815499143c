"""The threshold: how many others must say the same before a report may be sent."""

__all__: list[str] = []
