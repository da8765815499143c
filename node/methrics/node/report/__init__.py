"""From recorded events to signed reports: flags, randomized response, keys, pacing, threshold."""

__all__: list[str] = []
