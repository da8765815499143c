"""Servers that send so little that a reader would wait for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest
from serving import FolderServer

from methrics.aggregate.cli.main import main
from methrics.aggregate.parquet import fetching
from methrics.aggregate.parquet.download import local_copy
from methrics.aggregate.parquet.steady import BYTES_LEAST, WINDOW, Pace
from methrics.aggregate.read import live
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.live import live_status, open_live
from methrics.node.clock import Clock
from methrics.schema.errors import UnreachableError

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"


class Steps(Clock):
    """A clock that moves on by some seconds each time it is read."""

    __slots__ = ("read", "times")

    def __init__(self) -> None:
        self.times = 0
        self.read = threading.Condition()

    def monotonic(self) -> float:  # type: ignore[override]
        with self.read:
            self.times += 1
            self.read.notify_all()
            return self.times * 5.0

    def wait(self, times: int) -> None:
        """Wait until the clock was read more often, or nobody reads it any more."""
        with self.read:
            self.read.wait_for(lambda: self.times > times, 5)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Steps:
    made = Steps()
    for module in (fetching, live):
        monkeypatch.setattr(module, "Clock", lambda: made)
    return made


@pytest.fixture(params=["headers", "body", "chunks"])
def address(clock: Steps, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that sends a byte and waits, in the part that `request.param` names."""
    first, rest = {
        "headers": (b"HTTP/1.1 200 OK\r\nX-Name: ", b"x" * 1_000),
        "body": (HEAD, b"[" * 1_000),
        "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n[\r\n" * 300),
    }[request.param]

    def trickle(asked: SimpleHTTPRequestHandler) -> None:
        with suppress(OSError):
            asked.wfile.write(first)
            for i in range(len(rest)):
                times = clock.times
                asked.wfile.write(rest[i : i + 1])
                clock.wait(times)

    server = FolderServer(tmp_path, lambda _: None, answer=trickle)
    yield server.address
    server.close()


@pytest.mark.wire
@pytest.mark.parametrize(
    "ask",
    [
        lambda url, folder: open_dataset(f"{url}/", cache=folder),
        lambda url, folder: open_dataset(f"{url}/a.duckdb", cache=folder),
        lambda url, folder: local_copy(f"{url}/", folder),
        lambda url, _: open_live(url),
    ],
    ids=["directory", "file", "copy", "live"],
)
def test_attack_a_server_trickles_a_byte_now_and_then(
    address: str, tmp_path: Path, ask: Callable[[str, Path], object]
) -> None:
    with pytest.raises(UnreachableError, match="it sends less than 1,000 bytes a second"):
        ask(address, tmp_path / "cache")


@pytest.mark.wire
def test_attack_a_server_trickles_its_state(address: str) -> None:
    with suppress(UnreachableError):
        assert live_status(address) is None


@pytest.mark.wire
def test_attack_a_restore_from_a_server_that_trickles(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new.duckdb"
    assert main(["rebuild", f"{address}/", str(file)]) == 4
    assert "it sends less than 1,000 bytes a second" in capsys.readouterr().err
    assert not file.exists()


def test_a_server_may_take_its_time_for_the_first_byte_and_pause() -> None:
    pace = Pace()
    assert pace.came(1, 25.0)
    assert pace.came(1, WINDOW / 2)
    assert pace.came(BYTES_LEAST * int(WINDOW), WINDOW / 2)
    assert not pace.came(1, WINDOW)
