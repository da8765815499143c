"""The systemd unit and the Containerfile in docs/examples/deploy."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import source

from methrics.aggregate.cli.aggregate import aggregate

FOLDER = source.ROOT / "docs" / "examples" / "deploy"
UNIT = (FOLDER / "methrics-aggregator.service").read_text("utf-8")
CONTAINER = (FOLDER / "Containerfile").read_text("utf-8").replace("\\\n", " ")

EXPOSURE_MAX = 2.0
"""Of 10, by `systemd-analyze security`: "OK". A unit without any restriction has 9.6."""


def unit(**values: str) -> str:
    """The unit with other values for some of its settings."""
    text = UNIT.replace("\\\n", " ")
    for name, value in values.items():
        text, count = re.subn(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
        assert count == 1, name
    return text


def check_command(words: list[str], options: list[str]) -> None:
    """The words are a command line of `methrics aggregate`, with these further options."""
    assert Path(words[0]).name == "methrics"
    assert words[1] == "aggregate"
    aggregate.make_context("methrics aggregate", [*words[2:], *options])


def test_the_command_of_the_unit_is_one() -> None:
    found = re.search(r"^ExecStart=(.*)$", unit(), re.MULTILINE)
    assert found is not None
    words = shlex.split(found[1])
    assert words.pop() == "$METHRICS_OPTIONS"
    given = re.search(r"METHRICS_OPTIONS=(.*)$", UNIT, re.MULTILINE)
    assert given is not None
    check_command(words, shlex.split(given[1]))


def test_the_command_of_the_container_is_one() -> None:
    entry = re.search(r"^ENTRYPOINT (\[.*\])$", CONTAINER, re.MULTILINE)
    assert entry is not None
    check_command(json.loads(entry[1]), ["--topic", "/methrics/1/app-key/cbor"])
    health = re.search(r"^HEALTHCHECK .*CMD (\[.*\])$", CONTAINER, re.MULTILINE)
    assert health is not None
    assert json.loads(health[1])[:2] == ["methrics", "status"]
    assert re.search(r"^USER (?!root)", CONTAINER, re.MULTILINE), "it does not run as root"
    for word in re.findall(r"^COPY (?!--)(.*) \S+$", CONTAINER, re.MULTILINE):
        for name in word.split():
            assert (source.ROOT / name).exists(), f"{name} is copied and does not exist"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_unit_and_calls_it_safe(tmp_path: Path) -> None:
    file = tmp_path / "methrics-aggregator.service"
    file.write_text(unit(ExecStart="/bin/true"), "utf-8")
    command = ["systemd-analyze", "--no-pager", "--man=no", "verify", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    command = ["systemd-analyze", "--no-pager", "security", "--offline=true", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"exposure level for .*: ([\d.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= EXPOSURE_MAX


def builder() -> str:
    """A program that can build a container here, or an empty text."""
    for name in ("podman", "docker"):
        if shutil.which(name) is not None:
            done = subprocess.run([name, "info"], capture_output=True, check=False)
            if done.returncode == 0:
                return name
    return ""


@pytest.mark.wire
@pytest.mark.slow
def test_the_container_builds_and_answers() -> None:
    program = builder()
    if not program:
        pytest.skip("nothing here can build a container")
    file = str(FOLDER / "Containerfile")
    subprocess.run(
        [program, "build", "-t", "methrics-test", "-f", file, "."], cwd=source.ROOT, check=True
    )
    command = [program, "run", "--rm", "methrics-test", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Collect signed reports" in done.stdout
