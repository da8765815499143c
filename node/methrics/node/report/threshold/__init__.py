"""The threshold: how many other people must share the same values before a report is sent."""

__all__: list[str] = []
