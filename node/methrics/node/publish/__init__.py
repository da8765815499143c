"""The publisher: sends what is due from an outbox by the allowed route."""
