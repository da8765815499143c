"""The publisher's process: the app's import path, no child of the app, never the app itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

import methrics.node
import methrics.schema
from methrics.node.paths import user_paths
from methrics.node.process.lock import FileLock, is_held
from methrics.node.publish import child
from methrics.node.publish.entry import Entry
from methrics.node.publish.launch import main
from methrics.node.publish.publisher import PublisherSettings
from methrics.node.publish.status import (
    LINE_MAX,
    read_status,
    status_path,
    write_status,
)

APP = "shop-abcdefghijklmnop"


def wait_for(file: Path) -> str:
    deadline = time.monotonic() + 60
    while not (file.exists() and file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return file.read_text()


@pytest.mark.parametrize(
    "python", ["", None, "/opt/shop/shop", "/usr/bin/uwsgi", "/opt/pythonista"]
)
def test_an_app_whose_executable_is_not_python_is_never_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str | None
) -> None:
    monkeypatch.setattr(sys, "executable", python)
    argv = child.command(user_paths(tmp_path), APP)
    assert argv is not None, "the Python of the same version next to the app is used"
    assert os.path.basename(argv[0]) == f"python3.{sys.version_info.minor}"
    assert os.path.dirname(argv[0]) in {
        os.path.join(prefix, "bin") for prefix in (sys.prefix, sys.base_prefix)
    }
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    assert child.command(user_paths(tmp_path), APP) is None
    assert child.problem().startswith("no-interpreter: ")


@pytest.mark.parametrize("name", ["frozen", "_MEIPASS", "oxidized"])
def test_a_frozen_app_is_never_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(sys, name, "/tmp/_MEI1", raising=False)
    assert child.interpreter() is None
    assert child.command(user_paths(tmp_path), APP) is None
    assert "start_thread" in child.problem()


@pytest.mark.parametrize("missing", child.NEEDED)
def test_where_a_package_of_the_extra_is_missing_none_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(child, "_present", lambda name: name != missing)
    assert child.command(user_paths(tmp_path), APP) is None
    paths = user_paths(tmp_path)
    assert child.publisher_problem(paths, APP, process=True).startswith(f"no-package: {missing} ")
    assert child.publisher_problem(paths, APP, process=False) == "", "the app publishes itself"


def test_without_libp2p_only_https_relays_are_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, peer = user_paths(tmp_path), "/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWOne"
    url = "https://relay.example/"
    monkeypatch.delenv("METHRICS_RELAYS", raising=False)
    monkeypatch.setattr(child, "_present", lambda name: name not in child.NEEDED_BY_LIBP2P)
    assert child.command(paths, APP, (url,)) is not None
    assert child.reachable([peer, url]) == (url,)
    assert child.publisher_problem(paths, APP, process=True) == "", "no relay is known"
    monkeypatch.setenv("METHRICS_RELAYS", peer)
    assert "methrics[node]" in child.publisher_problem(paths, APP, process=True)
    assert child.publisher_problem(paths, APP, process=False) == ""
    monkeypatch.setenv("METHRICS_RELAYS", f"{peer} {url}")
    assert child.publisher_problem(paths, APP, process=True) == ""
    monkeypatch.setenv("METHRICS_RELAYS", "relay.example")
    assert child.publisher_problem(paths, APP, process=True).startswith("bad-address: ")


def test_the_import_path_is_absolute_and_finds_our_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "lib", "/elsewhere", "/with\nbreak"])
    path = child.import_path()
    assert all(os.path.isabs(one) for one in path)
    assert path[-2:] == [str(tmp_path / "lib"), "/elsewhere"]
    for module in (methrics.node, methrics.schema):
        assert module.__file__ is not None
        assert str(Path(module.__file__).parents[2]) in path
    assert str(tmp_path) not in path, "the working directory of today finds nothing of ours"


WRITE = "import os,sys;open(sys.argv[1],'w').write(f'{os.getpid()} {os.getppid()} {os.getsid(0)}')"


@pytest.mark.shows("KPI-14")
@pytest.mark.wire
def test_what_is_started_is_detached_and_no_child_of_the_app(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, popen = tmp_path / "said", subprocess.Popen
    shells: list[subprocess.Popen[bytes]] = []

    def noted(*given: Any, **named: Any) -> subprocess.Popen[bytes]:
        shells.append(popen(*given, **named))
        return shells[-1]

    monkeypatch.setattr(subprocess, "Popen", noted)
    child.start([sys.executable, "-c", WRITE, str(target)], 60)
    pid, parent, session = map(int, wait_for(target).split())
    assert session != os.getsid(0)
    assert os.getpid() not in (pid, parent)
    (shell,) = shells
    with pytest.raises(ChildProcessError):  # it was waited for
        os.waitpid(shell.pid, os.WNOHANG)


EXITING = """
import sys
from methrics.node.process import exits
from methrics.node.publish import child

exits.at_exit("key", lambda: child.start([sys.executable, "-c", "pass"], 0.0))
"""


@pytest.mark.wire
def test_an_app_that_starts_one_as_it_exits_prints_nothing() -> None:
    """In development mode, Python warns on standard error of a process without a `wait`."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", EXITING], capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def vendor(folder: Path) -> Path:
    """A folder with our packages and what they need, as an app brings it along."""
    folder.mkdir()
    for package in (methrics.schema, methrics.node):
        assert package.__file__ is not None
        source = Path(package.__file__).parent
        shutil.copytree(source, folder / "methrics" / source.name)
        beside = source.parent / "_vendor"
        if beside.exists():
            shutil.copytree(beside, folder / "methrics" / "_vendor")
    for entry in sys.path:
        for found in Path(entry).glob("*") if "site-packages" in entry else ():
            if found.suffix != ".pth" and not found.name.startswith("methrics"):
                link = folder / found.name
                if not link.exists():
                    link.symlink_to(found)
    return folder


START = """
import sys
sys.path.insert(0, {folder!r})
from methrics.node.paths import user_paths
from methrics.node.process.lock import FileLock, is_held
from methrics.node.publish import child
argv = child.command(user_paths({home!r}), {app!r}, ("/nonsense",))
child.start(argv)
"""


@pytest.mark.wire
@pytest.mark.parametrize("flags", [["-I"], ["-I", "-S"], ["-E", "-s"], []])
@pytest.mark.parametrize("zipped", [False, True])
def test_an_app_that_brings_its_packages_along_starts_a_publisher(
    tmp_path: Path, flags: list[str], zipped: bool
) -> None:
    """It gets as far as the address that we gave it, which is none."""
    folder, home = vendor(tmp_path / "vendor"), tmp_path / "home"
    (home / APP).mkdir(parents=True)
    code = START.format(folder=str(folder), home=str(home), app=APP)
    if zipped:
        archive = tmp_path / "app.pyz"
        with zipfile.ZipFile(archive, "w") as file:
            for path in [folder / "methrics", *sorted((folder / "methrics").rglob("*"))]:
                if "__pycache__" not in path.parts:
                    file.write(path, path.relative_to(folder))
        shutil.rmtree(folder / "methrics")
        code = code.replace(
            "from methrics", f"sys.path.insert(0, {str(archive)!r})\nfrom methrics", 1
        )
    bare = os.path.join(sys.base_prefix, "bin", "python3")
    done = subprocess.run(
        [bare, *flags, "-c", code], cwd=tmp_path, capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert wait_for(home / APP / "publisher.lock").startswith("bad-address: ")


@pytest.mark.wire
def test_a_publisher_without_its_packages_says_so(tmp_path: Path) -> None:
    (tmp_path / APP).mkdir()
    hide = textwrap.dedent("""
        import sys
        sys.modules["trio"] = None
        from methrics.node.publish.launch import main
        sys.exit(main(sys.argv[1:]))
    """)
    argv = [sys.executable, "-c", hide, "--home", str(tmp_path), "--app", APP]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3
    assert (
        done.stderr == "methrics: no-package: trio is not installed; pip install 'methrics[http]'\n"
    )
    assert read_status(user_paths(tmp_path), APP) == done.stderr.removeprefix("methrics: ").strip()


def test_durations_have_units(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--app", APP, "--idle", "300"])
    assert "300s is seconds" in capsys.readouterr().err


def test_the_status_is_one_line_of_a_known_app(tmp_path: Path) -> None:
    paths = user_paths(tmp_path)
    write_status(paths, APP, "code: words")
    assert read_status(paths, APP) == ""
    assert list(tmp_path.iterdir()) == [], "no folder is made"
    (tmp_path / APP).mkdir()
    write_status(paths, APP, "code:  two\nlines " + "x" * 9999)
    assert read_status(paths, APP).startswith("code: two lines xxx")
    assert len(read_status(paths, APP)) == LINE_MAX
    assert os.stat(status_path(paths, APP)).st_mode & 0o077 == 0
    with FileLock(paths.publisher_lock(APP)):
        write_status(paths, APP, "code: while it is held")
        assert read_status(paths, APP) == "code: while it is held"
        assert is_held(paths.publisher_lock(APP))
    write_status(paths, APP, "")
    assert read_status(paths, APP) == ""
    os.unlink(status_path(paths, APP))
    write_status(paths, APP, "")
    assert os.listdir(tmp_path / APP) == [], "no file is made for nothing"
    os.mkfifo(status_path(paths, APP))
    assert read_status(paths, APP) == ""
    os.unlink(status_path(paths, APP))
    Path(status_path(paths, APP)).write_bytes(b"\xff" * 99_999)
    assert len(read_status(paths, APP)) <= LINE_MAX


@pytest.mark.parametrize("by_app", [True, False])
def test_without_libp2p_only_the_urls_of_a_mixed_list_are_offered(
    monkeypatch: pytest.MonkeyPatch, by_app: bool
) -> None:
    url, other = "https://relay.example/", "/ip4/192.0.2.7/tcp/1/p2p/12D3KooW"
    settings = PublisherSettings(entry=Entry(relays=(other, url), by_app=by_app))
    assert set(settings.offer.addresses) == {url, other}
    assert not settings.offer.urls_only
    monkeypatch.setattr(child, "_present", lambda name: name != "multiaddr")
    assert settings.offer.addresses == (url,)
    assert settings.offer.urls_only
