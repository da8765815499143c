"""A web server on loopback that serves a folder, and shows each request to a test."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class FolderServer:
    """Serves `folder` at `address` until `close`. `seen` gets each request before its
    `answer`."""

    def __init__(
        self,
        folder: Path,
        seen: Callable[[SimpleHTTPRequestHandler], None],
        answer: Callable[[SimpleHTTPRequestHandler], None] = SimpleHTTPRequestHandler.do_GET,
    ) -> None:
        connections: set[tuple[str, int]] = set()

        class Handler(SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                connections.add(self.client_address)
                super().setup()

            def do_GET(self) -> None:
                seen(self)
                answer(self)

            def log_message(self, *_: object) -> None:
                pass

        handler = partial(Handler, directory=str(folder))
        self.connections = connections
        """The addresses from which clients connected."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
