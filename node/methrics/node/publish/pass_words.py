"""Says in words what one pass of the publisher found wrong (pure)."""

from __future__ import annotations

from methrics.node.durations import about
from methrics.node.publish.listing import waiting_words
from methrics.node.publish.results import PassResult
from methrics.schema.wire.limits import EARLY_MAX


def finding(result: PassResult) -> str | None:
    """Return the line that says what was wrong in a pass, "" if it worked, None if it had nothing
    to do (pure)."""
    if result.failed is not None:
        return f"{result.failed.code}: {result.failed}"
    if words := clock_words(result.clock_ahead):
        return f"clock: {words}"
    if result.waiting:
        reason, _ = result.waiting.most_common(1)[0]
        return f"{reason}: {waiting_words(result.waiting)}"
    if words := postponed_words(result):
        return f"postponed: {words}"
    if result.struck["revoked"] and not result.acknowledged:
        return "revoked: the app's owner has revoked the reports' event type; they were not sent"
    return "" if result.acknowledged or result.erased or result.visited else None


def postponed_words(result: PassResult) -> str:
    """Return a sentence about a pass in which nothing was taken and something has to be tried
    again, "" for any other pass."""
    if not result.postponed or result.acknowledged or result.handed:
        return ""
    return "no relay or peer accepted the reports; they are tried again later"


def clock_words(ahead: int) -> str:
    """Return a sentence for a person whose clock is `ahead` seconds ahead of the relays' clocks
    (negative: behind); "" if receivers accept the difference."""
    if abs(ahead) <= EARLY_MAX:
        return ""
    side = "ahead of" if ahead > 0 else "behind"
    return f"your clock seems to be {about(ahead)} {side} the relay's"


def handed_words(handed: int) -> str:
    """Return a sentence about what an entry has taken, "" if that is nothing."""
    if not handed:
        return ""
    many = "report or erasure is" if handed == 1 else "reports and erasures are"
    return f"{handed} {many} handed over; the answers come at later visits"
