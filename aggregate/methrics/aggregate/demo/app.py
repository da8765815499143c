"""One app of the demo: embeds the node like any app, lives a few days, publishes, and exits.

    python -m methrics.aggregate.demo.app --home DIR --catalog FILE --relay ADDRESS
        --number N --today SECONDS --days N

Only two things differ from a real app. The clock is passed in, so several days of use take one
second (only the route asks the machine's clock, as relays do); and the publisher runs in this
process, to save a new process for each day.
The last line of output is JSON: how much was recorded, and how much the relays accepted.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import trio

import methrics.node
from methrics.aggregate.simulate.story import DAY, Person, Visit, person
from methrics.node.clock import Clock, ManualClock
from methrics.node.consent.ledger import grant
from methrics.node.paths import Paths, user_paths
from methrics.node.process.worker import Threads
from methrics.node.publish.entry import Entry
from methrics.node.publish.publisher import PublisherSettings, network_route, run_publisher
from methrics.node.publish.results import PassResult
from methrics.node.publish.routes import Findings
from methrics.node.record.recorder import Recorder
from methrics.schema.errors import LocalError, MethricsError, RemoteError, UnreachableError

PUBLISH_AT = 23 * 3600 + 40 * 60
"""Time of publishing in seconds after midnight: the delays of the day's events are over by then."""

TYPES = ("heartbeat", "system", "signin")


def play(recorder: Recorder, who: Person, visit: Visit, clock: ManualClock) -> None:
    """Record one day of use, with three ordinary calls of the recorder."""
    clock.advance(visit.time - clock.now())
    recorder.record("heartbeat", **recorder.facts("heartbeat"))
    recorder.record(
        "system",
        **recorder.facts("system"),
        uptime=3,
        cluster=1,
        backend="sqlite",
        transport="tls",
    )
    with recorder.sequence("signin", variant=who.variant, email_type="known") as signin:
        for step, seconds in visit.signin:
            clock.advance(seconds)
            signin.step(step)
        signin.set(new_account=visit.signin[-1][0] == "signed_in")


def publish(paths: Paths, namespace: str, relay: str, clock: ManualClock) -> int:
    """Send due reports through the entry `relay`; returns how many were accepted."""
    taken = 0
    settings = PublisherSettings(entry=Entry(relays=(relay,)), once=True)
    rng, worker = random.SystemRandom(), Threads(1)
    route = network_route(paths, settings, Findings(), clock=Clock(), rng=rng, worker=worker)

    async def run() -> None:
        nonlocal taken
        done: list[PassResult] = []
        await run_publisher(
            paths,
            namespace,
            settings,
            clock=clock,
            rng=rng,
            open_route=route,
            worker=worker,
            on_pass=done.append,
        )
        taken = sum(one.acknowledged for one in done)
        for one in done:
            if one.failed is not None:
                raise one.failed
            if left := (one.postponed + one.struck).total():
                raise UnreachableError("demo-refused", f"the relay did not take {left} reports")

    trio.run(run)
    return taken


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the app and return the exit code: 0 done, 3 a problem of this machine, 4 of the relay."""
    parser = argparse.ArgumentParser()
    for name in ("--home", "--catalog"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--relay", required=True)
    for name in ("--number", "--today", "--days"):
        parser.add_argument(name, type=int, required=True)
    options = parser.parse_args(arguments)
    who = person(options.number, today=options.today, days=options.days)
    clock = ManualClock(options.today - options.days * DAY)
    paths = user_paths(options.home)
    try:
        return _live(options.catalog, options.relay, paths, who, clock)
    except MethricsError as error:
        sys.stderr.write(f"{error}\n")
        return 4 if isinstance(error, RemoteError) else 3


def _live(catalog: Path, relay: str, paths: Paths, who: Person, clock: ManualClock) -> int:
    recorder = methrics.node.open(
        catalog,
        app_version=who.version,
        home=paths.data,
        clock=clock,
        publisher="none",
        strict=True,
    )
    assert not recorder.record("heartbeat"), "nothing is recorded before consent"
    grant(paths, recorder.namespace, TYPES, now=clock.now())
    taken = 0
    with recorder:
        for visit in who.visits:
            play(recorder, who, visit, clock)
            midnight = clock.now() - clock.now() % DAY
            clock.advance(midnight + PUBLISH_AT - clock.now())
            taken += publish(paths, recorder.namespace, relay, clock)
        said = recorder.statistics()
    if not said.recorded:
        raise LocalError(
            "demo-off",
            f"nothing could be recorded here (decided by: {said.rule})",
            "the system's policy in /etc/methrics/policy.json has the last word",
        )
    sys.stdout.write(json.dumps({"recorded": said.recorded, "taken": taken}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
