"""The wire format: encoding, signed items, bundles, topics, limits. Bytes in, values out."""

__all__: list[str] = []
