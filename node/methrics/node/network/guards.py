"""Runs the validators and request handlers of a swarm, and catches their errors.

Validators and handlers work on bytes that strangers chose. If one raises an error, the swarm and
its process must continue. So the error is logged here, and the caller counts it. A request that
breaks the rules is its sender's fault and is only counted: no stranger can fill the log.
"""

from __future__ import annotations

import logging

import trio

from methrics.node.mesh.rpc import Message
from methrics.node.network.swarm import Handler, Outcome, PeerId, Validator, Wait
from methrics.schema.errors import RefusedError

_log = logging.getLogger(__name__)


def on_topic(topic: str, on: bytes) -> bytes:
    """Return what the mesh calls `on`, so that waiting messages of two topics are kept apart."""
    return topic.encode() + b"\0" + on


async def run_validator(
    validator: Validator, peer: PeerId, message: Message, limit: float
) -> Outcome | None:
    """Return the validator's verdict, or None if it raised, or was cancelled after `limit` seconds.
    A verdict that comes later nevertheless, because a thread cannot be cancelled, counts."""
    size = len(message.data)
    with trio.move_on_after(limit):
        try:
            outcome = await validator(peer, message.data)
        except Exception:  # noqa: BLE001 - a process edge: see the module text
            _log.exception("a validator failed on a message of %d bytes", size)
            return None
        return Wait(on_topic(message.topic, outcome.on)) if isinstance(outcome, Wait) else outcome
    _log.warning("a validator took longer than %g s on a message of %d bytes", limit, size)
    return None


def too_late() -> bool:
    """Whether the time of the validator that calls this is over. The swarm may have given its
    message up, so what the validator has accepted must not be called a duplicate when it arrives
    again."""
    return trio.current_effective_deadline() <= trio.current_time()


async def run_handler(handler: Handler, peer: PeerId, body: bytes, limit: float) -> bytes | None:
    """Return the handler's reply, or None if it raised or took longer than `limit` seconds."""
    with trio.move_on_after(limit):
        try:
            return await handler(peer, body)
        except RefusedError:
            return None
        except Exception:  # noqa: BLE001 - a process edge: see the module text
            _log.exception("a request handler failed on a request of %d bytes", len(body))
            return None
    _log.warning("a request handler took longer than %g s", limit)
    return None
