"""The recorder at the limits of a process: no descriptors, a full disk, an ending interpreter."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from methrics.node.outbox.journal import Journal
from methrics.node.outbox.rows import Pending

if TYPE_CHECKING:
    from conftest import Shop

LATER = 1 << 40

OPEN = """
import os, sys
import methrics.node
def recorder():
    return methrics.node.open(sys.argv[1], home=sys.argv[2], policy=sys.argv[3], publisher="none")
"""


def run(app: Shop, tmp_path: Path, code: str, *before: str) -> subprocess.CompletedProcess[str]:
    catalog = tmp_path / "shop.cbor"
    catalog.write_bytes(app.catalog.raw)
    assert app.paths.home is not None
    return subprocess.run(
        [*before, sys.executable, "-W", "error", "-c", OPEN + code, str(catalog), app.paths.home,
         app.paths.policy, str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def rows(app: Shop) -> list[Pending]:
    """The waiting rows, by the machine's clock, which other processes and copies use."""
    journal = Journal(app.paths.outbox(app.namespace))
    found = journal.pending(LATER, limit=99_999).rows
    journal.close()
    return found


def test_a_copy_and_an_unpickled_recorder_record_on_their_own(app: Shop) -> None:
    app.allow()
    assert app.recorder.record("view", size=1)
    original = app.open()
    for other in (copy.copy(original), copy.deepcopy(original)):
        assert other.namespace == original.namespace
        assert other.record("view", size=2)
    again = pickle.loads(pickle.dumps(original))
    assert again.record("view", size=3)
    assert len(rows(app)) == 4
    sequence = original.sequence("buy")
    assert sequence.step("shown")
    for stand_in in (copy.deepcopy(sequence), pickle.loads(pickle.dumps(sequence))):
        assert not stand_in.step("paid")
        assert not stand_in.finish()
    assert sequence.finish()
    assert len(rows(app)) == 5, "the original alone is recorded"


NO_DESCRIPTORS = """
import resource
first = None if sys.argv[-1] == "unopened" else recorder()
r = recorder()
if first is not None:
    assert first.record("view", size=1)
used = len(os.listdir("/proc/self/fd")) - 1
with open(sys.argv[1], "rb") as file:
    raw = file.read()
resource.setrlimit(resource.RLIMIT_NOFILE, (used, used))
for call in (
    lambda: r.record("view", size=1), lambda: r.count("click", 2), r.statistics,
    lambda: r.sequence("buy").step("shown"), lambda: r.facts("view"), lambda: r.questions(),
    lambda: methrics.node.open(sys.argv[1]).record("view", size=1),
    lambda: methrics.node.open(raw).record("view", size=1), r.close,
):
    call()
from methrics.schema.errors import LocalError
for call in (r.asking, r.mine, lambda: r.asking().questions(), lambda: r.mine().reports()):
    try:
        call()
    except LocalError as error:
        assert error.hint, error
sys.stdout.write("went on")
"""


@pytest.mark.wire
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.parametrize("state", ["opened", "unopened"])
def test_attack_no_descriptor_is_left(app: Shop, tmp_path: Path, state: str) -> None:
    app.allow()
    done = run(app, tmp_path, NO_DESCRIPTORS.replace("sys.argv[-1]", repr(state)))
    assert (done.stderr, done.stdout) == ("", "went on")


ENDING = """
import atexit, threading, time
atexit.register(lambda: sys.stdout.write(f"early {r.record('view', size=1)};"))
r = recorder()
assert r.record("view", size=2)
sequence = r.sequence("buy")
sequence.step("shown")
atexit.register(lambda: sys.stdout.write(f"late {r.record('view', size=3)};"))
class Last:
    def __del__(self):
        r.record("view", size=4)
        r.count("click", 2)
        r.sequence("buy")
        r.statistics()
        r.close()
keep = Last()
sys.modules["keeps_it_to_the_end"] = keep
def busy():
    while True:
        r.record("view", size=5)
        time.sleep(0.0005)
threading.Thread(target=busy, daemon=True).start()
time.sleep(0.05)
"""


@pytest.mark.wire
def test_an_interpreter_that_ends_gets_no_error_and_its_last_events_are_kept(
    app: Shop, tmp_path: Path
) -> None:
    app.allow()
    done = run(app, tmp_path, ENDING)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "late True;early True;"
    assert len([row for row in rows(app) if row.type == "buy"]) == 1


FULL = """
r = recorder()
kept = 0
while r.record("view", size=kept):
    kept += 1
assert kept > 100, kept
assert not r.record("view", size=1)
counted = int(r.count("click", 1))  # there may be room for a slot
assert set(r.statistics().dropped) == {"outbox-full"}, r.statistics()
os.unlink(sys.argv[2] + "/filler")
import time
time.sleep(1.1)
more = sum(r.record("view", size=1) for _ in range(50))
assert more == 50, r.statistics()
assert all(r.count("click", 1) for _ in range(50)), r.statistics()
from methrics.node.outbox.journal import Journal
from methrics.node.paths import user_paths
journal = Journal(user_paths(sys.argv[2]).outbox(r.namespace))
found = journal.pending(1 << 40, limit=99_999).rows
sys.stdout.write(f"{len([1 for one in found if one.type == 'view']) - kept - more} "
                 f"{sum(one.total or 0 for one in found) - counted}")
"""


@pytest.mark.wire
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare, of util-linux")
def test_a_full_disk_loses_no_event_that_was_kept(app: Shop, tmp_path: Path) -> None:
    app.allow()
    assert app.paths.home is not None
    home = Path(app.paths.home)
    ledger = (home / "consent.json").read_bytes()
    (tmp_path / "consent.json").write_bytes(ledger)
    mount = (
        f"mount -t tmpfs -o size=1m tmpfs {home} && cp {tmp_path}/consent.json {home}/ && "
        f'head -c 900000 /dev/zero > {home}/filler && exec "$@"'
    )
    flags = ["-m"] if os.geteuid() == 0 else ["-Urm"]
    if subprocess.run(["unshare", *flags, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    done = run(app, tmp_path, FULL, "unshare", *flags, "sh", "-c", mount, "sh")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "0 50")
