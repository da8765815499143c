"""From recorded events to signed reports: day flags, randomized response, keys, pacing, threshold."""

__all__: list[str] = []
