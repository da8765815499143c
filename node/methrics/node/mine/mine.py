"""`recorder.mine()`: a person's own reports, for an app that shows them in its own interface.

    mine = recorder.mine()
    for report in mine.reports():
        show(report.name, report.words, report.fate)
    withdrawn = mine.withdraw()
    if withdrawn.left and person_agrees(len(withdrawn.left)):
        mine.erase(withdrawn.left)

The commands `methrics mine`, `preview`, `erase`, `reset` and `consent withdraw` use this class too.
Everything is read from this machine and stored on it; no method uses the network.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from methrics.node.clock import Clock, Rng, system_rng
from methrics.node.consent.answer import EVERY, Answers
from methrics.node.consent.ledger import read_answers
from methrics.node.consent.withdrawal import withdraw_app, withdraw_everything
from methrics.node.mine.erasing import Erased, count_waiting, drop_waiting, erase_reports
from methrics.node.mine.own import OwnReport
from methrics.node.mine.own_file import write_own
from methrics.node.mine.preview import Leaving, look_all, strike
from methrics.node.mine.preview_text import lines
from methrics.node.mine.reports import PLAIN_FORMATS, encoded, form_of, read_mine, set_aside
from methrics.node.mine.reset import Burned, burn, renew, to_burn
from methrics.node.outbox.erasures import Erasures
from methrics.node.outbox.found import namespaces_here
from methrics.node.outbox.journal import Journal
from methrics.node.paths import Paths
from methrics.node.process.lock import is_held
from methrics.node.publish.child import command, start
from methrics.node.publish.entry import entry_peers
from methrics.node.publish.permission import may_erase
from methrics.node.report.pacing import WINDOW, WINDOW_MAX
from methrics.node.report.route_names import ROUTES
from methrics.schema.errors import ConfigError, StoreError


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """The result of `Mine.withdraw`.

    `deleted`: how many waiting events and unsent reports were deleted. `left`: the reports that may
    have left and of which no erasure was asked for; pass them to `Mine.erase`. `moved`: if the
    ledger was damaged, the name under which the damaged file was kept, else None.
    """

    deleted: int
    left: list[OwnReport]
    moved: str | None = None


class Mine:
    """A person's own reports on this machine, and what the person may do with them.

    `apps`: the namespaces of the apps whose reports these are; None for all apps. An app whose
    catalog could not be read has the namespace "". `declared`: the names of the app's event types.
    `relays`: the app's relays, used if the person names none. `through`: how the person acts
    ("app", "command"), for the ledger's history. Every method raises LocalError, with a stable code
    and a hint, and no other error: StoreError if a file cannot be read or written, and ConfigError
    for a wrong argument.
    """

    def __init__(
        self,
        paths: Paths,
        apps: Collection[str] | None,
        declared: Collection[str] = (),
        *,
        clock: Clock | None = None,
        rng: Rng | None = None,
        through: str = "app",
    ) -> None:
        self._paths = paths
        self._apps = apps
        self._declared = frozenset(declared)
        self._clock = clock or Clock()
        self._rng = rng or system_rng()
        self._through = through
        self.relays: tuple[str, ...] = ()

    def reports(self) -> list[OwnReport]:
        """Returns every report that was made on this machine, oldest first, also those that have
        not left. `OwnReport.words` and `.fate` are texts to show."""
        with _readable(self._paths):
            here = self._here()
            return read_mine(self._paths, self._clock, here) if here else []

    def damaged(self) -> list[str]:
        """Returns the paths of outboxes that were damaged and renamed. The reports in them cannot
        be listed. Call this after `reports` or `preview`, which find the damage."""
        with _readable(self._paths):
            found = set_aside(self._paths)
            mine = {f"{self._paths.outbox(name)}.damaged" for name in self._apps or ()}
            return [path for path in found if self._apps is None or path in mine]

    def preview(self, route: str = "relay") -> list[Leaving]:
        """Returns the exact reports that would leave next by `route` ("relay" or "direct"), soonest
        first. Changes nothing. `describe` words an entry."""
        if route not in ROUTES:
            raise ConfigError(
                "unknown-route", f"no such route: {route}", f"one of {', '.join(ROUTES)}"
            )
        with _readable(self._paths):
            found = look_all(self._paths, self._here(), route, self._clock)
        entries = [one for app in found for one in app.leaving]
        return sorted(entries, key=attrgetter("order"))

    def describe(self, entry: Leaving) -> list[str]:
        """Returns an entry of `preview` in words for the person: when it leaves or why it does not,
        and each value with its meaning."""
        return list(lines(entry))

    def strike(self, entry: Leaving) -> str:
        """Strikes an entry of `preview`, so that it is not sent.

        Returns "struck"; "tried" if the report may have left already, so that only a further
        attempt was prevented (see `erase`); or "gone", with nothing changed, if the entry has
        changed since the preview was made.
        """
        with self._journal(entry.namespace) as journal:
            return strike(journal, entry)

    def export(self, form: str = "jsonl") -> bytes:
        """Returns all reports as a file's content: `form` is "jsonl", "csv" or "cbor".

        It has the values, the receipts and the exact bytes, but no key, so a reader cannot erase
        the reports. Anyone who reads it knows which reports are this person's.
        """
        return encoded(self.reports(), form)

    def save(self, path: str | os.PathLike[str], form: str | None = None) -> int:
        """Writes `export` to a file that only this user can read; replaces the file. Returns the
        number of reports. `form`: None to choose it by the ending of the name, else "jsonl"."""
        found, file = self.reports(), Path(path)
        write_own(file, encoded(found, form or form_of(file, PLAIN_FORMATS)))
        return len(found)

    def withdraw(self, *types: str) -> Withdrawn:
        """Stops the event types `types`, or the whole app with the types of its later versions if
        none is given. Takes effect at once: deletes what has not left before it returns.

        The ledger gets the no first. So if StoreError is raised because an outbox cannot be
        changed, the no is written, and the publisher deletes the events at its next pass.
        """
        self._check_types(types)
        clock, through = self._clock, self._through
        if self._apps is None:
            done = [withdraw_everything(self._paths, clock=clock, through=through)]
        else:
            done = [
                withdraw_app(self._paths, app, types, clock=clock, through=through)
                for app in sorted(self._apps)
            ]
        left = [
            one
            for one in self.reports()
            if one.may_have_left
            and one.erasure is None
            and (not types or one.receipt.type in types)
        ]
        moved = next((one.moved for one in done if one.moved is not None), None)
        return Withdrawn(deleted=sum(one.deleted for one in done), left=left, moved=moved)

    def erase(
        self,
        reports: Iterable[OwnReport] | None = None,
        *,
        types: Collection[str] = (),
        over: int = WINDOW,
        again: bool = False,
    ) -> Erased:
        """Erases `reports`; None for all reports, also dropping the events that wait.

        A report that has not left is deleted. For one that may have left, an erasure is signed with
        the report's own key and journaled. The publisher sends the erasures one by one, each at a
        random moment within `over` seconds (0..60 days). Aggregators then delete the report; a copy
        that somebody made remains. Later events are still recorded: `withdraw` stops those.
        `types`: only reports of these event types. `again`: also sends once more the erasures that
        have left before.
        """
        if not 0 <= over <= WINDOW_MAX:
            raise ConfigError(
                "wrong-window", f"erasures cannot be sent within {over} s", f"0..{WINDOW_MAX} s"
            )
        waiting = 0
        if reports is None:
            with _readable(self._paths):
                waiting = drop_waiting(self._paths, self._here(), types, self._clock)
            reports = self.reports()
        chosen = [one for one in reports if not types or one.receipt.type in types]
        done = erase_reports(
            self._paths, chosen, over=over, again=again, clock=self._clock, rng=self._rng
        )
        return done + Erased(waiting=waiting)

    def waiting(self, types: Collection[str] = ()) -> int:
        """Returns how many recorded events of `types` (empty: of all types) wait, because no report
        was made of them yet."""
        with _readable(self._paths):
            return count_waiting(self._paths, self._here(), types, self._clock)

    def may_erase(self) -> bool:
        """Whether this machine may send erasures now. If not, because of the system's policy,
        METHRICS or CI, they wait."""
        return may_erase(self._paths)

    def send_erasures(self) -> bool:
        """Starts the publisher as a process if an erasure is due. Returns whether it did.

        Recording also starts the publisher, but after `withdraw` nothing is recorded. So an app
        whose people use no terminal calls this at each start, or else their erasures do not leave.
        Returns False if no relay is known, a publisher runs already, or the app cannot start one;
        a packaged app cannot, and runs `methrics.node.publisher.start_thread` instead.
        """
        if not self.may_erase():
            return False
        with _readable(self._paths):
            here = self._here()
        started = [self._sends(name) for name in here]
        return any(started)

    def reset(self) -> list[str]:
        """Makes the next report use new keys and a new week of installation, so that later reports
        cannot be joined with earlier ones. The receipts stay, so earlier reports can still be found
        and erased. Returns the names of the apps that had anything to reset."""
        with _readable(self._paths):
            here = self._here()
        for name in here:
            with self._journal(name) as journal:
                renew(journal)
        return here

    def to_burn(self) -> Burned:
        """Counts what `burn` would destroy. Changes nothing."""
        return self._burned(to_burn)

    def burn(self) -> Burned:
        """Does what `reset` does, and destroys every receipt, old key and unsent erasure.

        Then nobody can tell, not even on this machine, which reports were this person's, and nobody
        can erase them. It cannot be undone, so show `to_burn` and ask first. Backups of the disk
        are not changed.
        """
        return self._burned(burn)

    def _here(self) -> list[str]:
        return [
            name
            for name in namespaces_here(self._paths)
            if self._apps is None or name in self._apps
        ]

    def _check_types(self, types: Collection[str]) -> None:
        """Raises ConfigError if there is no app to withdraw from, or if no app has an event type of
        that name."""
        if self._apps is None and not types:
            return
        if not self._apps or "" in self._apps:
            raise ConfigError(
                "no-app",
                "there is no app to withdraw from",
                "open the recorder with the app's signed catalog",
            )
        answers: Answers = {}
        with suppress(StoreError):  # a damaged ledger does not prevent a no
            answers = read_answers(self._paths.ledger)
        known = self._declared.union(*(answers.get(app, {}) for app in self._apps)) - {EVERY}
        if unknown := sorted(set(types) - known):
            raise ConfigError(
                "unknown-type",
                f"no event type {', '.join(unknown)} to withdraw",
                f"one of {', '.join(sorted(known))}",
            )

    def _burned(self, work: Callable[[Journal], Burned]) -> Burned:
        with _readable(self._paths):
            here = self._here()
        done = []
        for name in here:
            with self._journal(name) as journal:
                done.append(work(journal))
        return Burned(
            receipts=sum(one.receipts for one in done),
            unsent=sum(one.unsent for one in done),
            erasures=sum(one.erasures for one in done),
        )

    def _sends(self, namespace: str) -> bool:
        with self._journal(namespace) as journal:
            if not Erasures(journal).due(self._clock.now(), ROUTES):
                return False
        argv = command(self._paths, namespace, self.relays)
        if argv is None or not entry_peers(self._paths, default_relays=self.relays).relays:
            return False
        if is_held(self._paths.publisher_lock(namespace)):
            return False
        try:
            start(argv)
        except OSError:  # no process or descriptor is left; a later start tries again
            return False
        return True

    @contextmanager
    def _journal(self, namespace: str) -> Iterator[Journal]:
        journal = Journal(self._paths.outbox(namespace), clock=self._clock)
        try:
            yield journal
        finally:
            journal.close()


@contextmanager
def _readable(paths: Paths) -> Iterator[None]:
    """Raises StoreError for an OSError, which means that the folder of outboxes cannot be read."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            "folder-unread",
            f"cannot read {paths.data}: {error.strerror}",
            "make the folder readable for this user",
        ) from error
