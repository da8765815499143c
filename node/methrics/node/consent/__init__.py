"""Consent: the ledger, the decision, the questions, and the surfaces that ask a person."""

__all__: list[str] = []
