"""The wire: encoding, signed items, bundles, topics, and every limit. Bytes in, values out."""

__all__: list[str] = []
