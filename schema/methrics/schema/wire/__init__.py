"""The wire format: encoding, signed items, bundles, topics, limits. No I/O, no clock."""

__all__: list[str] = []
