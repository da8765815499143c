"""Reads from the ledger what may leave over a route now. Imports nothing of the network.

The publisher asks before each step. The preview asks too, in processes that have only the base
install.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from methrics.node.clock import Clock
from methrics.node.consent.apps import newest_types
from methrics.node.consent.decide import PRODUCTION, forbidden
from methrics.node.consent.ledger import policy_off, read_answers
from methrics.node.consent.switch import ConsentSwitch
from methrics.node.paths import Paths
from methrics.node.report.prepare import Allowed
from methrics.schema.errors import StoreError


@dataclass(frozen=True, slots=True)
class Consent:
    """The person's consent at one moment.

    `allowed`: types whose reports may be sent over the route in use. `withdrawn`: types to which
    the person answered no; their waiting rows are deleted. Rows of all other types wait: the person
    allows them only over another route, or a rule of this environment forbids them. `erasing`:
    whether erasures may be sent. The person asked for each erasure, so an answer about an event
    type does not stop them; only a rule for the whole machine does.
    """

    allowed: Allowed
    withdrawn: frozenset[str] = frozenset()
    erasing: bool = True


AskConsent = Callable[[], Consent]
"""Returns the current consent. Called before each step, so that a withdrawal takes effect at once
(METH-15)."""


def consent_of(paths: Paths, namespace: str, route: str, clock: Clock) -> AskConsent:
    """Return a function that reads from the ledger what `namespace` may send over `route` now.

    The function compares the person's answers with the newest catalog in the outbox: fields that
    the catalog added since an answer are not sent.
    """
    newest = newest_types(paths.outbox(namespace), clock)
    switch = ConsentSwitch(paths, namespace, PRODUCTION, clock)

    def ask() -> Consent:
        nonlocal switch
        if (types := newest()) != switch.types:
            switch = ConsentSwitch(paths, namespace, PRODUCTION, clock, types)
        switch.refresh()
        allowed: Allowed = {
            name: effective.fields
            for name, effective in switch.on_types.items()
            if route in effective.routes
        }
        erasing = may_erase(paths)
        try:
            answers = read_answers(paths.ledger).get(namespace, {})
        except StoreError:
            # An unreadable ledger allows nothing, but withdraws nothing either: no row is deleted.
            return Consent({}, erasing=erasing)
        withdrawn = frozenset(name for name, answer in answers.items() if not answer.on)
        return Consent(allowed, withdrawn, erasing)

    return ask


def may_erase(paths: Paths) -> bool:
    """Whether this machine may send erasures now.

    The person asked for each erasure. So answers about event types do not stop it, and neither does
    DO_NOT_TRACK, because an erasure does not track anybody. Rules for the whole machine do stop it:
    the system's policy, METHRICS, and CI.
    """
    env = {name: value for name, value in os.environ.items() if name != "DO_NOT_TRACK"}
    rule = forbidden(policy_off=policy_off(paths.policy), env=env, environment=PRODUCTION)
    return rule is None
