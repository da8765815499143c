"""Runs a guide as a reader does: its blocks in order, as printed, in one shell and one Python.

A guide is a Markdown file. Its fenced blocks are

- `console`: commands behind `$`, each followed by what it prints, if that is shown;
- `sh`: commands whose output is not shown;
- `python`: code that continues the Python blocks before it;
- any other language: shown only.

A comment in the line before a block, which readers do not see, says what a test needs to know:

- `<!-- not run: REASON -->`: the block cannot run in a test;
- `<!-- file: NAME -->`: the guide tells the reader to save the block as NAME;
- `<!-- after: GUIDE -->`, at any place: the reader has worked through GUIDE (a path from the root).

In shown output, `...` stands for any text, and as a line of its own for any lines. Dates, ports,
durations and long hexadecimal numbers may differ.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

ROOT = Path(__file__).resolve().parent.parent

BLOCK = re.compile(
    r"^(?:<!-- (?P<note>not run|file): (?P<said>.*?) -->\n)?"
    r"```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
AFTER = re.compile(r"^<!-- after: (\S+) -->$", re.MULTILINE)
RUNNABLE = ("console", "sh", "python")
VARIES = (
    (re.compile(r"\d{4}-\d{2}-\d{2}"), "DATE"),
    (re.compile(r"/tcp/\d+|127\.0\.0\.1:\d+"), "PORT"),
    (re.compile(r"\b[0-9a-f]{12,}\b"), "HEX"),
    (re.compile(r"\b\d+(\.\d+)? s\b"), "SECONDS"),
)
LONGEST = 400
"""Seconds after which a command has failed. The longest is the demo with its installation."""

DRIVER = """
import sys, traceback
names = {"__name__": "__main__"}
for line in sys.stdin:
    try:
        exec(compile(bytes.fromhex(line), "<guide>", "exec"), names)
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        print("\\0bad", flush=True)
    else:
        print("\\0good", flush=True)
"""
"""Runs one hex-encoded block per line, all in one namespace, as an interpreter session does."""


class Block(NamedTuple):
    """One fenced block; `note` is `not run`, `file` or empty, and `said` what follows the colon."""

    language: str
    code: str
    note: str
    said: str


def blocks(name: str) -> list[Block]:
    """All fenced blocks of a guide, in order."""
    text = (ROOT / name).read_text("utf-8")
    return [
        Block(one["language"], one["code"], one["note"] or "", one["said"] or "")
        for one in BLOCK.finditer(text)
    ]


def runs(block: Block) -> bool:
    """Whether a reader runs this block, and a test can."""
    return block.language in RUNNABLE and block.note != "not run"


def before(name: str) -> str | None:
    """The guide that a reader of this one has worked through."""
    found = AFTER.search((ROOT / name).read_text("utf-8"))
    return found[1] if found else None


def commands(code: str) -> Iterator[tuple[str, str]]:
    """(command, output shown) of a `console` block."""
    for part in re.split(r"^\$ ", code, flags=re.MULTILINE)[1:]:
        lines = part.splitlines(keepends=True)
        end = 1
        while lines[end - 1].rstrip("\n").endswith("\\"):
            end += 1
        yield "".join(lines[:end]), "".join(lines[end:])


def shows(shown: str, printed: str) -> bool:
    """Whether `shown` is `printed`, apart from what `...` leaves out and what varies."""
    for pattern, word in VARIES:
        shown, printed = pattern.sub(word, shown), pattern.sub(word, printed)
    pattern = ""
    for line in shown.rstrip("\n").splitlines():
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += r".*".join(re.escape(part) for part in line.rstrip().split("...")) + r" *\n"
    return re.fullmatch(pattern, printed.rstrip("\n") + "\n") is not None


@dataclass
class Reader:
    """A person with a shell and a Python interpreter, who works in `folder`."""

    folder: Path
    """Holds the checkout (`methrics`), the person's own `app`, and methrics' own files (`home`)."""
    env: Mapping[str, str]
    python: subprocess.Popen[str] | None = None
    sessions: list[int] = field(default_factory=list)
    """The shells whose commands still run."""

    @property
    def _state(self) -> Path:
        return self.folder / "shell-state"

    def start_in(self, name: str) -> None:
        """Open a shell in a folder of `folder`."""
        self._state.write_text(f"cd {shlex.quote(str(self.folder / name))}\n", "utf-8")

    def continue_from(self, other: Reader) -> None:
        """Take over the shell and the files of a reader who has finished a guide, and share the
        virtual environments."""
        left_out = shutil.ignore_patterns(".venv", ".git", "demo-data")
        shutil.copytree(other.folder, self.folder, dirs_exist_ok=True, ignore=left_out)
        for venv in other.folder.glob("*/.venv"):
            (self.folder / venv.relative_to(other.folder)).symlink_to(venv.resolve())
        state = other._state.read_text("utf-8")
        moved = state.replace(f"cd {other.folder}", f"cd {self.folder}")
        self._state.write_text(moved, "utf-8")

    def _bash(self, script: str) -> list[str]:
        home = shlex.quote(str(self.folder / "home"))
        return ["bash", "-c", f". {self._state}; export METHRICS_HOME={home}; {script}"]

    def shell(self, script: str) -> tuple[int, str]:
        """Run commands in the shell; returns the exit code and all that they printed."""
        keep = f"{{ export -p; printf 'cd %q\\n' \"$PWD\"; }} > {self._state}"
        with subprocess.Popen(
            self._bash(f"trap {shlex.quote(keep)} EXIT; set -e\n{script}"),
            env=self.env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            self.sessions.append(process.pid)
            try:
                printed = process.communicate(timeout=LONGEST)[0]
            except BaseException:
                self._end_sessions()
                raise
        if not _end_session(process.pid, 0):
            self.sessions.pop()
        return process.returncode, printed

    def interpret(self, code: str) -> tuple[int, str]:
        """Run a block in the interpreter, where warnings are errors; returns 0 or 1, and all that
        it printed."""
        if self.python is None:
            self.python = subprocess.Popen(
                self._bash(f"exec python -W error -c {shlex.quote(DRIVER)}"),
                env=self.env,
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        into, out = _pipe(self.python.stdin), _pipe(self.python.stdout)
        into.write(code.encode().hex() + "\n")
        into.flush()
        printed = ""
        for line in out:
            if line.startswith("\0"):
                return int(line != "\0good\n"), printed
            printed += line
        return 1, printed

    def _end_sessions(self) -> None:
        for session in self.sessions:
            _end_session(session, signal.SIGKILL)
        self.sessions.clear()

    def leave(self) -> None:
        """End the interpreter, and what commands have left running behind them."""
        self._end_sessions()
        if self.python is not None:
            _pipe(self.python.stdin).close()
            self.python.wait(60)
            _pipe(self.python.stdout).close()
            self.python = None

    def work_through(self, name: str) -> None:
        """Run all blocks of a guide. Fails at the first one that fails or prints something else."""
        try:
            for block in blocks(name):
                self.follow(name, block)
        finally:
            self.leave()

    def follow(self, name: str, block: Block) -> None:
        """Do with one block what a reader does."""
        if block.note == "file":
            where = Path(self.shell("pwd")[1].strip())
            (where / block.said).write_text(block.code, "utf-8")
        elif not runs(block):
            return
        elif block.language == "console":
            for command, shown in commands(block.code):
                code, printed = self.shell(command)
                assert code == 0, f"{name}: {command}{printed}"
                assert not shown or shows(shown, printed), f"{name}: {command}{printed}"
        else:
            run = self.shell if block.language == "sh" else self.interpret
            code, printed = run(block.code)
            assert code == 0, f"{name}:\n{block.code}{printed}"


def _end_session(session: int, number: int) -> bool:
    """Send a signal to what a shell has started; returns whether anything of it still runs."""
    try:
        os.killpg(session, number)
    except ProcessLookupError:
        return False
    return True


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
