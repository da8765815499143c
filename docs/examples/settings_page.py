"""A desktop app whose people use no terminal: `python settings_page.py`.

It opens a page of settings in the browser, on which a person decides what the app may share, sees
each report before and after it leaves, and can save, erase or stop them. It needs only the base
install, and works when it is packaged:

    pyinstaller --hidden-import _cffi_backend --add-data app.cbor:. settings_page.py

PyInstaller does not see that PyNaCl imports `_cffi_backend`, because compiled code imports it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from contextlib import suppress
from html import escape
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import methrics.node

CATALOG = Path(__file__).with_name("app.cbor")

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem}"
    "pre{white-space:pre-wrap;background:#8882;padding:.5rem}button{font:inherit}"
    "form{display:inline}li{margin:.5rem 0}.said{border:2px solid;padding:.5rem}"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Settings:
    """The page's content and its buttons. Only `recorder.asking()` and `recorder.mine()` are used.

    `said`: the result of the last button, shown once.
    """

    def __init__(self, recorder: methrics.node.Recorder) -> None:
        self.recorder = recorder
        self.asking = recorder.asking(surface="settings")
        self.mine = recorder.mine()
        self.said = ""

    def press(self, form: dict[str, str]) -> None:
        """Does what a button asks for. An error becomes a line on the page."""
        try:
            self.said = self._press(form)
        except methrics.node.LocalError as error:
            self.said = f"That did not work: {error}"

    def _press(self, form: dict[str, str]) -> str:
        mine, reports = self.mine, self.mine.reports()
        match form.get("press"):
            case "yes" | "no" | "not-now" as answer:
                self.asking.answer(form.get("type", ""), answer)
                return f"Your answer was saved: {answer}."
            case "strike":
                for entry in mine.preview():
                    if entry.id == form.get("id"):
                        return f"{entry.type}: {mine.strike(entry)}."
                return "That report has changed meanwhile."
            case "erase":
                chosen = [one for one in reports if one.id.hex() == form.get("id")]
                done = mine.erase(chosen)
            case "erase all":
                done = mine.erase()
            case "stop":
                stopped = mine.withdraw()
                return (
                    f"This app shares nothing any more. Waiting events deleted: {stopped.deleted}. "
                    f"Reports that left before: {len(stopped.left)}; you can erase them."
                )
            case "reset":
                mine.reset()
                return "The next report uses new keys."
            case "burn":
                burned = mine.burn()
                return f"Receipts destroyed: {burned.receipts}."
            case "work":
                started = time.perf_counter()
                self.recorder.record("heartbeat", **self.recorder.facts("heartbeat"))
                took = time.perf_counter() - started
                kept = self.recorder.record("command", name="export", worked=True, seconds=took)
                return "The app did its work" + (", and recorded that." if kept else ".")
            case _:
                return "There is no such button."
        return f"Dropped before they left: {done.dropped}. Erasures to send: {done.journaled}."

    def table(self) -> bytes:
        """All reports as comma-separated values."""
        try:
            return self.mine.export("csv")
        except methrics.node.LocalError as error:
            return f"{error}\n".encode()

    def html(self) -> str:
        """The page. What was said last is shown once."""
        said, self.said = self.said, ""
        note = f"<p class=said role=status>{escape(said)}</p>" if said else ""
        try:
            body = "".join(self._sections())
        except methrics.node.LocalError as error:
            body = f"<p>Your reports cannot be read: {escape(str(error))}</p>"
        return (
            f"<!doctype html><html lang=en><meta charset=utf-8><title>Settings</title>"
            f"<style>{STYLE}</style><h1>What this app may share</h1>{note}{body}"
            f"<p>{button('work', 'Let the app do its work')} {button('close', 'Close the app')}</p>"
        )

    def _sections(self) -> Iterator[str]:
        for question in self.asking.questions(everything=True):
            sheet, answer = self.asking.sheet(question), question.answer
            name = question.event_type.name
            state = "shared" if answer is not None and answer.on else "not shared"
            facts = "".join(f"<li>{escape(label)}: {escape(text)}" for label, text in sheet.facts)
            fields = "".join(f"<li>{escape(one.name)}: {escape(one.says)}" for one in sheet.fields)
            yield f"<h2>{escape(name)}: {state}</h2><p>{escape(sheet.asks)}</p>"
            yield f"<details><summary>Details and an example</summary><ul>{facts}{fields}</ul>"
            yield f"<pre>{escape(sheet.report)}</pre></details>"
            yield button("yes", f"Share {name}", type=name) + " "
            yield button("no", f"Do not share {name}", type=name)
        yield "<h2>What would leave next</h2><ul>"
        for entry in self.mine.preview():
            words = escape("\n".join(self.mine.describe(entry)))
            yield f"<li><pre>{words}</pre>{button('strike', 'Drop it', id=entry.id)}"
        yield "</ul><h2>Your reports</h2><ul>"
        for one in self.mine.reports():
            yield f"<li>{escape(f'{one.name}: {one.words} ({one.fate})')} "
            yield button("erase", "Erase it", id=one.id.hex())
        loss = self.mine.to_burn()
        yield "</ul><p><a href=own.csv download>Save all as a table</a></p>"
        yield f"<h2>Stop, erase, forget</h2>{button('stop', 'Share nothing any more')} "
        yield button("reset", "Use new keys")
        yield "<details><summary>Erase all reports</summary><p>Drops what has not left, and asks "
        yield "every aggregator to delete the rest. A copy that somebody made remains.</p>"
        yield f"{button('erase all', 'Erase all reports')}</details>"
        yield "<details><summary>Forget which reports were yours</summary><p>Receipts to destroy: "
        yield f"{loss.receipts}. Nobody, not even you, can erase those reports then.</p>"
        yield f"{button('burn', 'Destroy the receipts')}</details>"


def button(press: str, label: str, **more: str) -> str:
    """A form that is one button."""
    fields = {"press": press, **more}
    hidden = "".join(
        f'<input type=hidden name="{name}" value="{escape(value)}">'
        for name, value in fields.items()
    )
    return f"<form method=post>{hidden}<button>{escape(label)}</button></form>"


class Handler(BaseHTTPRequestHandler):
    """Answers only requests under the secret path, which other users of the machine do not know."""

    settings: Settings
    secret: str
    page: Path
    open = True
    timeout = 10  # seconds for which a client may say nothing

    def do_GET(self) -> None:
        if self.path == f"/{self.secret}/":
            shutil.rmtree(self.page.parent, ignore_errors=True)  # the address was used
            self.answer("text/html; charset=utf-8", self.settings.html().encode())
        elif self.path == f"/{self.secret}/own.csv":
            self.answer("text/csv; charset=utf-8", self.settings.table())
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        if self.path != f"/{self.secret}/":
            self.send_error(404)
            return
        length = min(int(self.headers.get("Content-Length") or 0), 10_000)
        given = parse_qs(self.rfile.read(length).decode("ascii", "replace"))
        form = {name: words[0] for name, words in given.items()}
        if form.get("press") == "close":
            Handler.open = False
            self.answer("text/plain", b"The app is closed.")
            return
        self.settings.press(form)
        self.send_response(303)
        self.send_header("Location", f"/{self.secret}/")
        self.end_headers()

    def answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        for name, value in {**HEADERS, "Content-Type": kind}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form: str, *words: object) -> None:
        """Nothing is logged: a packaged app may have no standard error."""


def private_file(url: str) -> Path:
    """Writes a page that leads to `url`, in a folder that only its owner can enter.

    The browser gets this file's name on its command line, which any user can see; the secret in
    `url` stays in the file. A browser from a snap can read only visible folders of the home folder.
    """
    folder = Path.home() if os.path.isdir("/snap/bin") else None
    page = Path(tempfile.mkdtemp(prefix="settings-", dir=folder)) / "open.html"
    page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0;url={url}">', "utf-8")
    return page


def main(arguments: list[str]) -> int:
    with methrics.node.open(CATALOG, app_version="1.4") as recorder:
        Handler.settings, Handler.secret = Settings(recorder), secrets.token_urlsafe(32)
        with suppress(methrics.node.LocalError):
            Handler.settings.mine.send_erasures()  # also if nothing is recorded any more
        with HTTPServer(("127.0.0.1", 0), Handler) as server:
            url = f"http://127.0.0.1:{server.server_port}/{Handler.secret}/"
            Handler.page = private_file(url)
            print(f"settings: {Handler.page}", flush=True)
            if "--no-browser" not in arguments:
                webbrowser.open(Handler.page.as_uri())
            while Handler.open:
                server.handle_request()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
