"""The settings page of docs/examples, as a script and as a packaged app, driven over HTTP."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio
from embedded import NAMESPACE, Running, home, receipts, running, waiting
from real_network import EXAMPLES, EXAMPLES_SEED
from tests.listing import record_of
from tests.needed import need

from methrics.node.clock import Clock, ManualClock
from methrics.node.consent.ledger import read_ledger
from methrics.node.outbox.erasures import Erasures
from methrics.node.outbox.journal import Journal
from methrics.node.paths import Paths
from methrics.node.publish.entry import Entry
from methrics.node.publish.publisher import PublisherSettings, run_publisher
from methrics.node.publish.routes import Fate, Outcome, Outgoing, Route
from methrics.schema.catalog.catalog import load

pytestmark = pytest.mark.wire

CATALOG = load((EXAMPLES / "app.cbor").read_bytes())
PROGRAM = EXAMPLES / "settings_page.py"


class Taking:
    """A route that acknowledges everything."""

    name = "relay"

    async def records(self, topic: str, known: Sequence[bytes]) -> list[tuple[bytes, ...]]:
        return [(record_of(CATALOG, seed=EXAMPLES_SEED).raw,)]

    async def deliver(self, outgoing: Outgoing) -> dict[bytes, Outcome]:
        going = await outgoing.leave([item_id for item_id, _ in outgoing.items])
        return {item_id: Outcome(Fate.ACKNOWLEDGED, "ok") for item_id in going}


@asynccontextmanager
async def taking() -> AsyncIterator[Route]:
    yield Taking()


def publish(paths: Paths) -> None:
    """A pass of the publisher two days later."""
    settings = PublisherSettings(entry=Entry(relays=("/ip4/192.0.2.7/tcp/1",)), once=True)
    clock = ManualClock(Clock().now() + 2 * 86_400)
    trio.run(lambda: run_publisher(paths, NAMESPACE, settings, clock=clock, open_route=taking))


class Page:
    """The page, as the browser of the person sees it."""

    def __init__(self, app: Running) -> None:
        self.app = app
        file = Path(app.line().removeprefix("settings: "))
        assert file.parent.stat().st_mode & 0o077 == 0, "no other user can enter the folder"
        found = re.search(r"url=(http://127\.0\.0\.1:\d+/[\w-]+/)", file.read_text("utf-8"))
        assert found is not None
        self.url = found[1]
        self.get()
        assert not file.exists(), "the file is removed as soon as the address was used"

    def get(self, name: str = "") -> str:
        with urllib.request.urlopen(self.url + name, timeout=60) as answer:
            return str(answer.read().decode())

    def press(self, press: str, **more: str) -> str:
        form = urllib.parse.urlencode({"press": press, **more}).encode()
        with urllib.request.urlopen(self.url, form, timeout=60) as answer:
            return str(answer.read().decode())


@contextmanager
def page(command: list[str], tmp_path: Path) -> Iterator[Page]:
    with running([*command, "--no-browser"], tmp_path) as app:
        shown = Page(app)
        yield shown
        assert shown.press("close") == "The app is closed."
        assert app.process.wait(60) == 0


def drive(command: list[str], paths: Paths, tmp_path: Path) -> None:
    """Decides, works, drops a report, saves, erases and stops, and checks what is on disk."""
    with page(command, tmp_path) as shown:
        assert "heartbeat: not shared" in shown.get()
        assert "did its work." in shown.press("work")
        assert not Path(paths.data).exists(), "without a yes, nothing is written"
        for name in ("heartbeat", "command"):
            assert f"{name}: shared" in shown.press("yes", type=name)
        assert "and recorded that" in shown.press("work")
        assert "and recorded that" in shown.press("work")
        listed = re.findall(r'name="id" value="([0-9a-f]{8})"', shown.get())
        assert len(listed) == 3
        assert "command" in {row.type for row in waiting(paths)}
        shown.press("strike", id=listed[0])
        assert len(waiting(paths)) == 2
    publish(paths)
    assert len(receipts(paths)) == 2
    with page(command, tmp_path) as shown:
        assert shown.get().count("(left by relay)") == 2
        rows = list(csv.DictReader(io.StringIO(shown.get("own.csv"))))
        assert {row["id"] for row in rows} == {one.id.hex() for one in receipts(paths)}
        shown.press("work")
        assert "shares nothing any more. Waiting events deleted: 2." in shown.press("stop")
        assert waiting(paths) == []
        answers = read_ledger(paths.ledger).answers[NAMESPACE]
        assert {answers[name].said for name in ("heartbeat", "command", "*")} == {"no"}
        assert "did its work." in shown.press("work")
        assert "Erasures to send: 1." in shown.press("erase", id=rows[0]["id"])
        assert "Erasures to send: 1." in shown.press("erase all")
        assert shown.get().count("(erasure waits to leave)") == 2
        journal = Journal(paths.outbox(NAMESPACE))
        assert len(Erasures(journal).all()) == 2
        journal.close()
        assert "Receipts destroyed: 2." in shown.press("burn")
        assert receipts(paths) == []


def test_the_settings_page(tmp_path: Path, nobody: Path) -> None:
    paths = home(nobody.parent, nobody.name)
    drive([sys.executable, "-W", "error", str(PROGRAM)], paths, tmp_path)


def test_attack_a_request_without_the_secret_sees_and_changes_nothing(
    tmp_path: Path, nobody: Path
) -> None:
    with page([sys.executable, "-W", "error", str(PROGRAM)], tmp_path) as shown:
        secret = urllib.parse.urlsplit(shown.url).path
        for path in ("", "own.csv", secret[1:-2] + "/", secret[1:] + "own.cbor"):
            address = urllib.parse.urljoin(shown.url, "/" + path)
            for form in (None, b"press=yes&type=heartbeat"):
                if form is not None and path == secret[1:]:
                    continue
                with pytest.raises(urllib.error.HTTPError) as caught:
                    urllib.request.urlopen(address, form, timeout=60)
                assert caught.value.code == 404
                caught.value.close()
        assert "heartbeat: not shared" in shown.get()
        assert "no event type" in shown.press("yes", type="<script>")
        assert "<script>" not in shown.get()


@pytest.mark.slow
def test_the_settings_page_in_a_packaged_app(tmp_path: Path, nobody: Path) -> None:
    """Built with PyInstaller, and run without Python, a terminal or the packages of the tests."""
    need("PyInstaller")
    build = tmp_path / "build"
    printed = re.search(r"^    pyinstaller (.*)$", PROGRAM.read_text("utf-8"), re.MULTILINE)
    assert printed is not None
    options = printed[1].replace("app.cbor", str(EXAMPLES / "app.cbor")).split()[:-1]
    command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level=ERROR", *options]
    places = ["--distpath", str(build), "--workpath", str(build / "work"), "--specpath", str(build)]
    done = subprocess.run(
        [*command, *places, str(PROGRAM)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYINSTALLER_CONFIG_DIR": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr
    app = build / "settings_page" / "settings_page"
    names = {path.name for path in app.parent.rglob("*")}
    assert not {"libp2p", "trio", "duckdb", "click"} & names, "only the base install is packaged"
    drive([str(app)], home(nobody.parent, nobody.name), tmp_path)
