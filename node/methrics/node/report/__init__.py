"""From recorded events to signed reports: day flags, random answers, one-time keys, pacing."""

__all__: list[str] = []
