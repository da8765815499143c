"""Makes signed reports of recorded events: flags, randomized response, keys, pacing, threshold."""

__all__: list[str] = []
