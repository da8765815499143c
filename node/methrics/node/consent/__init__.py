"""Consent: the ledger, the decision, the words a person reads, and every way to ask a person."""

__all__: list[str] = []
