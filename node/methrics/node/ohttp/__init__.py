"""Envelopes: Oblivious HTTP (RFC 9458) on HPKE (RFC 9180), around Binary HTTP (RFC 9292) (pure)."""

__all__: list[str] = []
