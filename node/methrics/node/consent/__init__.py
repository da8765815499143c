"""Consent: the ledger, the decision, the questions, and every way to ask a person."""

__all__: list[str] = []
