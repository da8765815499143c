"""A small internet on one machine: hosts in network namespaces of their own, and a router between.

    with Lab(folder, ["app-1", "relay"]) as lab:
        lab.hosts["relay"].start("relay", ["python", "-m", "methrics", ...])
        lab.cut(["app-1"], ["relay"])

Each host has one IPv6 address of its own, in a /32 of its own, and one cable to the router. So a
host sees only packets that are from it or to it, as on the internet. The addresses look public, so
that relays dial each other, but nobody has them. They are 16 bytes long, so that a search for one
finds no other bytes.

It needs root, network namespaces, and the programs `ip`, `tc`, `nft` and `tcpdump`. The namespaces
are named after this process; those of one that was killed are deleted by the next.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path

PROGRAMS = ("ip", "tc", "nft", "tcpdump")
ROUTER = "router"
NAME = re.compile(r"methrics(\d+)-[a-z0-9-]+", re.ASCII)
"""The name of a namespace: that of the process that made it, and of the host."""

PAGE = os.sysconf("SC_PAGE_SIZE")

_PR_SET_PDEATHSIG = 1


class LabError(Exception):
    """A program of the lab failed; the text has its words."""


def why_not() -> str:
    """Return why there can be no lab on this machine, "" if there can be one."""
    if os.name != "posix" or os.geteuid() != 0:
        return "network namespaces need root"
    for program in PROGRAMS:
        if shutil.which(program) is None:
            return f"{program} is not installed"
    name = f"methrics{os.getpid()}-probe"
    try:
        run("ip", "netns", "add", name)
        run("ip", "netns", "exec", name, "nft", "add", "table", "inet", "lab")
    except LabError as error:
        return f"network namespaces are not allowed here: {error}"
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    return ""


def run(*command: str, given: str | None = None) -> str:
    """Run a program to its end; returns its output. Raises LabError if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, input=given)
    if done.returncode != 0:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def wait_until(what: str, look: Callable[[], object], seconds: float = 60) -> None:
    """Return once `look()` is true; fail, naming `what`, after `seconds`."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"did not {what} within {seconds:.0f} s"
        time.sleep(0.05)


class Program:
    """A process in a host's namespace. Its output goes to `log`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def said(self) -> str:
        """The output so far."""
        return self.log.read_text("utf-8", errors="replace")

    def wait_for(self, pattern: str, seconds: float = 60) -> str:
        """Return the last match of `pattern` in the output, once there is one."""
        found: list[str] = []

        def look() -> bool:
            found[:] = [one[0] for one in re.finditer(pattern, self.said())]
            if not found:
                assert self.process.poll() is None, self.said()
            return bool(found)

        wait_until(f"say {pattern} ({self.log.name})", look, seconds)
        return found[-1]

    def finish(self, seconds: float = 120) -> str:
        """Wait for the end of the process, which must be a success; returns its output."""
        assert self.process.wait(seconds) == 0, self.said()
        return self.said()

    def stop(self) -> None:
        """Send SIGINT, as Ctrl-C does, and wait for a success."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.finish(60)

    def kill(self) -> None:
        """Kill the process at once, if it still runs."""
        self.process.kill()
        self.process.wait()

    def memory_has(self, patterns: Mapping[str, bytes]) -> set[str]:
        """Return the names of those `patterns` that are somewhere in the memory of the process,
        which stands still meanwhile."""
        found: set[str] = set()
        longest = max((len(one) for one in patterns.values()), default=1)
        self.process.send_signal(signal.SIGSTOP)
        try:
            for data in _writable_memory(self.process.pid, longest):
                found |= {name for name, one in patterns.items() if one in data}
        finally:
            self.process.send_signal(signal.SIGCONT)
        return found


def _writable_memory(pid: int, overlap: int) -> Iterator[bytes]:
    """Yield what a process has written to its memory, in parts that overlap by `overlap` bytes."""
    step = 1 << 24
    process = Path(f"/proc/{pid}")
    with (
        (process / "maps").open() as maps,
        (process / "mem").open("rb", buffering=0) as memory,
        (process / "pagemap").open("rb", buffering=0) as pages,
    ):
        for line in maps:
            region, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            first, last = (int(one, 16) // PAGE for one in region.split("-"))
            pages.seek(8 * first)
            there = [one >> 62 != 0 for one in memoryview(pages.read(8 * (last - first))).cast("Q")]
            for start, end in _runs(there):
                for place in range((first + start) * PAGE, (first + end) * PAGE, step):
                    with suppress(OSError):  # a region of a device
                        memory.seek(place)
                        yield memory.read(min(step + overlap, (first + end) * PAGE - place))


def _runs(there: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Yield (first, after the last) of each run of true values."""
    start = 0
    for is_there, run_of in groupby(there):
        end = start + sum(1 for _ in run_of)
        if is_there:
            yield start, end
        start = end


class Host:
    """One host of the lab: its namespace, its address, its folder."""

    def __init__(self, lab: Lab, name: str, number: int) -> None:
        self.name = name
        self.space = lab.space(name)
        network = f"2fff:{0x100 + number:x}:5eed:1"
        self.gateway = f"{network}::1"
        self.address = f"{network}:a11:{number:x}:c0de:{0x1000 + 7 * number:x}"
        self.folder = lab.folder / name
        self.folder.mkdir(parents=True)
        self.cable = f"to-{number}"
        self.programs: list[Program] = []

    @property
    def packed(self) -> bytes:
        """The 16 bytes of the address."""
        return ipaddress.IPv6Address(self.address).packed

    def traces(self) -> dict[str, bytes]:
        """The forms in which a program could have kept this address, by a name of the form."""
        text = ipaddress.IPv6Address(self.address)
        return {
            f"{self.name}, packed": self.packed,
            f"{self.name}, as text": text.compressed.encode(),
            f"{self.name}, as long text": text.exploded.encode(),
            f"{self.name}, as UTF-16": text.compressed.encode("utf-16-le"),
        }

    def start(self, name: str, command: Sequence[str], **env: str) -> Program:
        """Start a program here; its output goes to `<folder>/<name>.log`."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.space, *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
                preexec_fn=_die_with_parent,
                cwd=self.folder,
            )
        program = Program(process, log)
        self.programs.append(program)
        return program


class Lab:
    """The hosts `names`, the router, and the packets that they have seen, from `with` to its end.

    `hosts` has each by its name, and `captures` the file of its packets. Raises LabError."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self.hosts = {name: Host(self, name, number) for number, name in enumerate(names, 1)}
        self.captures = {name: folder / f"{name}.pcap" for name in names}
        self._capturing: list[subprocess.Popen[bytes]] = []

    def space(self, name: str) -> str:
        """The namespace of a host."""
        return f"methrics{os.getpid()}-{name}"

    def __enter__(self) -> Lab:
        delete_spaces(lambda pid: not Path(f"/proc/{pid}").exists())
        try:
            self._router("ip", "netns", "add", self.space(ROUTER), inside=False)
            for part in ("all", "default"):
                self._router("sh", "-c", f"echo 1 > /proc/sys/net/ipv6/conf/{part}/forwarding")
            for host in self.hosts.values():
                self._connect(host)
            self._rules("")
            for host in self.hosts.values():
                self._capture(host)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts.values():
            for program in host.programs:
                program.kill()
        for tcpdump in self._capturing:
            tcpdump.kill()
            tcpdump.wait()
        delete_spaces(lambda pid: pid == os.getpid())

    def _router(self, *command: str, inside: bool = True, given: str | None = None) -> str:
        before = ("ip", "netns", "exec", self.space(ROUTER)) if inside else ()
        return run(*before, *command, given=given)

    def _connect(self, host: Host) -> None:
        run("ip", "netns", "add", host.space)
        run("ip", "-n", host.space, "link", "set", "lo", "up")
        own, router = ("ip", "-n", host.space), ("ip", "-n", self.space(ROUTER))
        run(*own, "link", "add", "wan", "type", "veth", "peer", host.cable, "netns", router[2])
        run(*own, "addr", "add", f"{host.address}/64", "dev", "wan", "nodad")
        run(*router, "addr", "add", f"{host.gateway}/64", "dev", host.cable, "nodad")
        run(*own, "link", "set", "wan", "up")
        run(*router, "link", "set", host.cable, "up")
        run(*own, "route", "add", "default", "via", host.gateway)

    def _capture(self, host: Host) -> None:
        said = self.folder / f"{host.name}.tcpdump"
        options = ["-i", "wan", "-Z", "root", "-U", "-s", "0", "-B", "32768", "-n"]
        written = ["-w", str(self.captures[host.name])]
        with said.open("wb") as out:
            process = subprocess.Popen(
                ["ip", "netns", "exec", host.space, "tcpdump", *options, *written],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,
            )
        self._capturing.append(process)
        wait_until(f"capture at {host.name}", lambda: b"listening on" in said.read_bytes())

    def _rules(self, rules: str) -> None:
        chain = "type filter hook forward priority 0; policy accept;"
        table = f"table inet lab {{ chain forwarded {{ {chain}\n{rules}\n}}\n}}\n"
        before = "table inet lab { }\ndelete table inet lab\n"
        self._router("nft", "-f", "-", given=before + table)

    def _between(self, some: Iterable[str], others: Iterable[str]) -> str:
        """The pairs of addresses of two groups, in both directions, as an nftables set."""
        pairs = [(self.hosts[a].address, self.hosts[b].address) for a in some for b in others]
        return ", ".join(f"{a} . {b}, {b} . {a}" for a, b in pairs)

    def cut(self, some: Iterable[str], others: Iterable[str]) -> None:
        """Drop all packets between two groups of hosts, until `heal`."""
        pairs = self._between(some, others)
        self._rules(f"ip6 saddr . ip6 daddr {{ {pairs} }} drop")

    def lose(self, percent: int) -> None:
        """Drop this share of all packets at random, until `heal`."""
        self._rules(f"numgen random mod 100 < {percent} drop")

    def heal(self) -> None:
        """Let all packets through."""
        self._rules("")

    def throttle(self, name: str, kbit: int) -> None:
        """Give a host a slow cable, whose queue delays packets."""
        shape = ("root", "tbf", "rate", f"{kbit}kbit", "burst", "8kb", "latency", "2s")
        run(
            "ip",
            "netns",
            "exec",
            self.hosts[name].space,
            "tc",
            "qdisc",
            "add",
            "dev",
            "wan",
            *shape,
        )
        self._router("tc", "qdisc", "add", "dev", self.hosts[name].cable, *shape)

    def unplug(self, name: str) -> None:
        """Take a host off the network."""
        run("ip", "-n", self.space(ROUTER), "link", "set", self.hosts[name].cable, "down")

    def plug_in(self, name: str) -> None:
        """Put a host on the network again."""
        host, router = self.hosts[name], ("ip", "-n", self.space(ROUTER))
        run(*router, "link", "set", host.cable, "up")
        gateway = f"{host.gateway}/64"
        run(*router, "addr", "replace", gateway, "dev", host.cable, "nodad")


def delete_spaces(whose: Callable[[int], bool]) -> None:
    """Delete the namespaces of a lab of each process for whose number `whose` is true."""
    for line in run("ip", "netns", "list").splitlines():
        name = NAME.match(line)
        if name is not None and whose(int(name[1])):
            with suppress(LabError):  # another process has just deleted it
                run("ip", "netns", "del", name[0])


def _die_with_parent() -> None:
    """In the child: end if this process is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
