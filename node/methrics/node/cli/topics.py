"""Checks topics that a person types."""

from __future__ import annotations

from methrics.schema.errors import ConfigError, RefusedError
from methrics.schema.wire.topic import parse_topic


def check_topic(topic: str) -> None:
    """Raises ConfigError `bad-topic` if `topic` is no topic of this network."""
    try:
        parse_topic(topic)
    except RefusedError as error:
        raise ConfigError(
            "bad-topic",
            f"{topic!r} is no topic",
            "it looks like /methrics/1/<label>-<key>/cbor",
        ) from error
