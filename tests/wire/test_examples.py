"""The programs of docs/examples, run as a reader runs them, without and with consent."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from embedded import agree, home, program, receipts, run, running, waiting
from real_network import EXAMPLES, ROOT, environment, wait_until
from tests.needed import need

from methrics.node.paths import Paths, namespace_of
from methrics.schema.catalog.catalog import load

pytestmark = pytest.mark.wire

BUCKETS = range(5)
"""What is kept of a number of seconds: the number of its bucket."""


@pytest.fixture
def person(tmp_path: Path, nobody: Path) -> Paths:
    """A person who has granted consent."""
    paths = home(nobody.parent, nobody.name)
    agree(paths)
    return paths


def test_the_signed_catalogs_match_their_sources() -> None:
    done = subprocess.run([sys.executable, EXAMPLES / "sign.py", "--check"], check=False)
    assert done.returncode == 0, "run `python docs/examples/sign.py`"


def test_every_example_is_tested_and_explained() -> None:
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    tests = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_ex*.py"))
    guide = (ROOT / "docs" / "embed.md").read_text("utf-8")
    assert {name for name in names if name not in tests} == set()
    assert {name for name in names if f"examples/{name})" not in guide} == set()


@pytest.mark.shows("MIM-2")
@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("plain_script.py", ["a.png", "b.png"], "a.png: smaller\nb.png: smaller\n"),
        ("short_cli.py", ["search", "word"], "nothing found for word\n"),
    ],
)
def test_without_consent_a_program_is_the_same_and_leaves_nothing(
    name: str, arguments: list[str], said: str, tmp_path: Path, nobody: Path
) -> None:
    assert run(program(name, *arguments), tmp_path) == said
    assert list(tmp_path.iterdir()) == []


def test_a_plain_script(person: Paths, tmp_path: Path) -> None:
    run(program("plain_script.py", "a.png"), tmp_path)
    rows = {row.type: row for row in waiting(person)}
    assert set(rows) == {"heartbeat", "command"}
    assert rows["heartbeat"].values["version"] == "1.4"
    assert rows["heartbeat"].values["python"] == f"3.{sys.version_info[1]}"
    assert rows["command"].values.pop("seconds") in BUCKETS
    assert rows["command"].values == {"name": "resize", "worked": True}


def test_a_short_lived_command(person: Paths, tmp_path: Path) -> None:
    for argument in ("here.csv", "there.csv"):
        run(program("short_cli.py", "export", argument), tmp_path)
    assert [row.values["name"] for row in waiting(person)] == ["export"] * 2


def test_a_threaded_app(person: Paths, tmp_path: Path) -> None:
    jobs = ["import a.png", "resize b.png", "dance c.png", "search"] * 25
    with running(program("threaded_app.py"), tmp_path) as app:
        app.say("\n".join(jobs) + "\n")
        assert app.line().startswith("all done")
        assert "recorded=101, dropped={}" in app.stop()
    rows = Counter((row.type, row.values.get("name")) for row in waiting(person))
    assert rows.pop(("heartbeat", None)) == 1
    assert rows == {("command", name): 25 for name in ("import", "resize", "search", "other")}, (
        "each once, and nothing that was not declared"
    )


def get(url: str) -> tuple[int, str]:
    """A real HTTP request: status and body."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def sums(paths: Paths) -> dict[tuple[object, object], int]:
    """The counts per page and answer."""
    found: Counter[tuple[object, object]] = Counter()
    for row in waiting(paths):
        if row.type == "request":
            assert set(row.values) == {"page", "answer"}
            found[row.values["page"], row.values["answer"]] += row.total or 0
    return dict(found)


def test_an_asyncio_server(person: Paths, tmp_path: Path) -> None:
    need("aiohttp")
    with running(program("aiohttp_server.py", "0"), tmp_path) as app:
        found = re.search(r"http://127\.0\.0\.1:\d+", app.line())
        assert found is not None
        for _ in range(3):
            assert get(f"{found[0]}/search")[0] == 200
        assert get(f"{found[0]}/people/jane")[0] == 404
        app.stop()
    assert sums(person) == {("search", "ok"): 3, ("other", "refused"): 1}
    assert [row.values["os"] for row in waiting(person) if row.type == "heartbeat"]
    raw = b"".join(path.read_bytes() for path in Path(person.data).rglob("outbox.db*"))
    assert b"jane" not in raw


def test_a_trio_app_without_a_relay_continues(person: Paths, tmp_path: Path) -> None:
    with running(program("trio_app.py", "0.05"), tmp_path) as app:
        for _ in range(3):
            assert app.line() == "worked"
        app.stop()
    assert len([row for row in waiting(person) if row.type == "command"]) >= 3
    assert receipts(person) == []


def test_an_app_that_measures_with_opentelemetry(tmp_path: Path, nobody: Path) -> None:
    need("opentelemetry.sdk")
    catalog = load((EXAMPLES / "otel.cbor").read_bytes())
    namespace = namespace_of(catalog.label, catalog.short_key)
    paths = home(nobody.parent, nobody.name)
    jobs = "import jane.png\nresize jane.png\ndance jane.png\nimport\n"
    said = "import jane.png: done\nresize jane.png: done\ndance jane.png: done\nimport : done\n"
    assert run(program("otel_app.py"), tmp_path, given=jobs) == said
    assert list(tmp_path.iterdir()) == []
    agree(paths, catalog, ago=60)
    assert run(program("otel_app.py"), tmp_path, given=jobs) == said
    rows = waiting(paths, namespace)
    done = [row for row in rows if row.type == "jobs_done"]
    assert {(row.values["job_kind"], row.values["job_ok"]): row.total for row in done} == {
        ("import", True): 1,
        ("resize", True): 1,
        ("other", True): 1,
        ("import", False): 1,
    }
    assert all(len(row.values) == 2 for row in done)
    lasted = [row for row in rows if row.type == "jobs_duration"]
    assert {*lasted[0].values} == {"seconds"}
    assert all(row.values["seconds"] in BUCKETS for row in lasted)
    assert sum(row.total or 0 for row in lasted) == 4
    (state,) = (row for row in rows if row.type == "memory_used")
    assert state.values.keys() == {"megabytes"}
    assert len(rows) == len(done) + len(lasted) + 1
    assert b"jane" not in Path(paths.outbox(namespace)).read_bytes()


def test_a_pre_fork_server(person: Paths, tmp_path: Path) -> None:
    with running(program("prefork_server.py", "0", "3"), tmp_path) as app:
        port = int(app.line().rpartition(" ")[2])
        asked: Counter[str] = Counter()

        def ask() -> bool:
            asked.update(get(f"http://127.0.0.1:{port}/")[1] for _ in range(60))
            return len(asked) > 1

        wait_until("let a second worker answer", ask)
        app.stop()
    assert sums(person) == {("home", "ok"): asked.total()}
    assert sorted(row.type for row in waiting(person) if row.type != "request") == [
        "command",
        "heartbeat",
    ], "the parent's own, before and after the fork"


EXECUTE = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], 4)
patience = dict.fromkeys(("timeout", "startup_timeout", "iopub_timeout"), 120)
nbclient.NotebookClient(notebook, resources={"metadata": {"path": "."}}, **patience).execute()
nbformat.write(notebook, sys.argv[1])
"""
"""By default, nbclient waits four seconds for the output of a cell, and goes on without it."""


@pytest.mark.parametrize("yes", [False, True])
@pytest.mark.slow
def test_a_notebook(yes: bool, tmp_path: Path, nobody: Path) -> None:
    need("ipykernel")
    need("nbclient")
    nbformat = need("nbformat")
    paths = home(nobody.parent, nobody.name)
    if yes:
        agree(paths)
    notebook = tmp_path / "notebook.ipynb"
    notebook.write_bytes((EXAMPLES / "notebook.ipynb").read_bytes())
    (tmp_path / "app.cbor").write_bytes((EXAMPLES / "app.cbor").read_bytes())
    own = {"JUPYTER_PLATFORM_DIRS": "1", "IPYTHONDIR": str(tmp_path / "ipython")}
    subprocess.run(
        [sys.executable, "-c", EXECUTE, notebook.name],
        cwd=tmp_path,
        env=environment(**own),
        check=True,
        capture_output=True,
        timeout=300,
    )
    said = json.dumps([cell.get("outputs") for cell in nbformat.read(notebook, 4).cells])
    assert f"'text/plain': '{yes}'".replace("'", '"') in said
    assert "#####" in said
    assert ("rule='answer', recorded=2" in said) is yes
    assert sorted(row.type for row in waiting(paths)) == (["command", "heartbeat"] if yes else [])
    assert Path(paths.data).exists() is yes
