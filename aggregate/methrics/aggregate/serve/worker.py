"""The process in which questions run: `python -m methrics.aggregate.serve.worker DIRECTORY LIMITS`.

It opens the public Parquet and nothing else: the writer's file stays closed to it. A crash, or a
question that takes too much memory, ends this process only. Each line on standard input is a
request as a JSON object; the answers are frames on standard output. It ends with its input.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pyarrow as pa  # type: ignore[import-untyped]

from methrics.aggregate.parquet.manifest import MANIFEST
from methrics.aggregate.read.dataset import Dataset, open_dataset
from methrics.aggregate.read.live import ERROR_KEY
from methrics.aggregate.serve.frames import ARROW, END, ERROR, JSON, PIECE, READY, Frame
from methrics.aggregate.serve.limits import Limits
from methrics.aggregate.serve.statement import check
from methrics.aggregate.store.duck import (
    Connection,
    begin_reading,
    limit_process,
    memory,
    translated_query_errors,
)
from methrics.schema.errors import MethricsError, StoreError

BATCH_ROWS = 20_000
"""Rows of one Arrow batch."""

DATASETS_MAX = 4
"""Data sets that are kept open: one for each floor that was asked for."""


class Worker:
    """Answers requests about the data in one directory, one after the other."""

    def __init__(self, directory: Path, limits: Limits, write: Callable[[bytes], object]) -> None:
        self._directory = directory
        self._limits = limits
        self._write = write
        self._parser = memory()
        self._datasets: dict[int, Dataset] = {}
        self._stamp: object = None

    def answer(self, line: bytes) -> None:
        """Answer one request. Raises nothing: every error becomes a frame."""
        try:
            request = json.loads(line)
            dataset = self._dataset(request["floor"])
            if request["ask"] == "sql":
                self._sql(dataset, request["sql"], request["parameters"])
            elif request["ask"] == "contents":
                self._send(JSON, json.dumps(contents(dataset)).encode())
            else:
                view = dataset.find_view(str(request["view"]))
                if view is None:
                    raise StoreError("query", f"there is no view {request['view']}")
                self._send(JSON, json.dumps(dataset.footnote(view)).encode())
        except BrokenPipeError:
            raise
        except (MethricsError, OSError, pa.ArrowException, MemoryError) as error:
            self._send(ERROR, self._error(error))

    def close(self) -> None:
        """Close everything."""
        for one in self._datasets.values():
            one.close()
        self._parser.close()

    def _dataset(self, floor: int) -> Dataset:
        """Return the data set with this floor, opened again if the directory has changed."""
        try:
            found = (self._directory / MANIFEST).stat()
        except FileNotFoundError:
            raise StoreError(
                "store-missing", "there is no Parquet yet", "wait for the first export"
            ) from None
        stamp = found.st_ino, found.st_mtime_ns, found.st_size
        if stamp != self._stamp or len(self._datasets) >= DATASETS_MAX:
            for one in self._datasets.values():
                one.close()
            self._datasets, self._stamp = {}, stamp
        if floor not in self._datasets:
            self._datasets[floor] = open_dataset(
                self._directory, floor=floor, memory_limit=self._limits.memory
            )
        return self._datasets[floor]

    def _sql(self, dataset: Dataset, sql: str, parameters: list[Any]) -> None:
        names = {one.lower() for one in (*dataset.tables(), *dataset.views())}
        check(self._parser, sql, names)
        dataset.bring(sql)
        cursor = dataset.connection.cursor()
        try:
            begin_reading(cursor)
            self._stream(cursor, sql, parameters, dataset)
        finally:
            cursor.close()

    def _stream(
        self, cursor: Connection, sql: str, parameters: list[Any], dataset: Dataset
    ) -> None:
        def begin() -> tuple[Any, Any]:
            with translated_query_errors():
                reader = cursor.sql(sql, params=parameters or None).to_arrow_reader(BATCH_ROWS)
                return reader, next(iter(reader), None)

        reader, first = begin()
        self._send(READY, json.dumps({"written": dataset.written}).encode())
        sink = _Sink(self._send)
        stream = pa.ipc.new_stream(pa.PythonFile(sink, "w"), reader.schema)
        try:
            for batch in self._within(_rest(first, reader)):
                stream.write_batch(batch)
        except (OSError, pa.ArrowException, StoreError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            # Always between two batches, so the stream is whole up to here.
            empty = pa.RecordBatch.from_pylist([], schema=reader.schema)
            stream.write_batch(empty, custom_metadata={ERROR_KEY: self._error(error)})
            sink.flush_frames()
            self._send(ERROR, self._error(error))
            return
        stream.close()
        sink.flush_frames()
        self._send(END, b"")

    def _within(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield batches until the answer is too large. Raises StoreError."""
        size, most = 0, self._limits.answer_bytes
        for batch in batches:
            size += batch.nbytes
            if size > most:
                why = f"the answer is larger than {most:,} bytes"
                raise StoreError("query", why, "ask for fewer rows")
            yield batch

    def _error(self, error: BaseException) -> bytes:
        """Describe an error as JSON, without the path of the directory."""
        text = str(error)
        code, hint = "query", ""
        if isinstance(error, MethricsError):
            code, text, hint = error.code, error.message, error.hint
        elif isinstance(error, MemoryError):
            text = "the question takes more memory than it may"
        found = {"code": code, "message": text.split("\n", 1)[0], "hint": hint}
        path = str(self._directory.absolute())  # as DuckDB is given it
        return json.dumps(
            {what: one.replace(path, self._directory.name) for what, one in found.items()}
        ).encode()

    def _send(self, kind: bytes, content: bytes) -> None:
        self._write(Frame(kind, content).encode())


class _Sink:
    """A file to which Arrow writes: it sends frames."""

    closed = False

    def __init__(self, send: Callable[[bytes, bytes], None]) -> None:
        self._send = send
        self._waiting = bytearray()

    def write(self, data: Any) -> int:
        """Take bytes; send what is enough for a frame."""
        view = memoryview(data)
        self._waiting += view
        if len(self._waiting) >= PIECE:
            self.flush_frames()
        return len(view)

    def flush_frames(self) -> None:
        """Send what waits."""
        for start in range(0, len(self._waiting), PIECE):
            self._send(ARROW, bytes(self._waiting[start : start + PIECE]))
        self._waiting.clear()

    def flush(self) -> None:
        """Arrow calls this; frames go out when they are full."""

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


def _rest(first: object, reader: Any) -> Iterator[Any]:
    if first is not None:
        yield first
        yield from reader


def contents(dataset: Dataset) -> dict[str, Any]:
    """Return the tables and views of a data set, and when it was written."""
    return {
        "written": dataset.written,
        "floor": dataset.floor,
        "tables": dataset.tables(),
        "views": dict(dataset.views()),
    }


def restrict(limits: Limits) -> None:
    """Limit this process for good: its memory, its priority, and no core dumps."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (limits.process_bytes, limits.process_bytes))
    with suppress(OSError):
        os.nice(5)


def end_with(parent: int) -> None:
    """End this process when `parent` is no longer its parent: a question may run for long."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)


def main(directory: str, limits: str) -> None:
    """Serve until standard input ends."""
    given = Limits(**json.loads(limits))
    restrict(given)
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    limit_process(given.spill, given.threads)
    requests: IO[bytes] = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything else prints is no answer

    def write(data: bytes) -> None:
        answers.write(data)
        answers.flush()

    worker = Worker(Path(directory), given, write)
    with suppress(BrokenPipeError):
        for line in requests:
            worker.answer(line)


if __name__ == "__main__":
    main(*sys.argv[1:])
