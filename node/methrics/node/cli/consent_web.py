"""Runs `methrics consent --web`: serves the page, and hands its address to the browser."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from methrics.node.cli.catalog_file import chosen_catalogs
from methrics.node.cli.consent_change import say_moved
from methrics.node.consent.asking import Asking
from methrics.node.consent.overview import why
from methrics.node.paths import Paths

if TYPE_CHECKING:
    from methrics.node.consent.page.server import ConsentPage


def consent_web(
    paths: Paths, apps: tuple[str, ...], files: tuple[Path, ...], *, browser: bool
) -> int:
    """Serves the page until the person has decided or left it. Returns the exit code: 0 if they
    decided, else 1. `browser`: whether to open a browser, if there is a desktop."""
    from methrics.node.consent.page.server import ConsentPage

    asking = Asking(chosen_catalogs(paths, apps, files), paths, surface="page")
    asked = asking.questions(everything=True)
    if not asked:
        click.echo("no app was found to decide about; give its catalog: --catalog app.cbor")
        return 1
    rule = asking.forbidden()
    reason = "" if rule is None else why(rule, os.environ)
    overridden = reason and f"{reason[0].upper()}{reason[1:]}."
    with ConsentPage(asking, asked, overridden=overridden) as page, ExitStack() as stack:
        stack.enter_context(_ended_by_signals())
        if browser and _has_desktop():
            _open_browser(page, stack)
            click.echo("your browser opens a page; if it does not, open the address by hand:")
        click.echo(f"decide here, on this machine only: {page.address}")
        click.echo(f"the page asks for this code: {_grouped(page.code)}")
        saved = page.serve()
    say_moved(asking.moved)
    click.echo("saved" if saved else "nothing was decided, so nothing has changed")
    return 0 if saved else 1


def _open_browser(page: ConsentPage, stack: ExitStack) -> None:
    """Starts the browser with a file that leads to the page. Without such a file the person opens
    the address by hand. `stack` removes the file at the end."""
    import webbrowser

    from methrics.node.consent.page.handover import Handover, folder_for

    try:
        file = stack.enter_context(Handover(page.url, folder_for(os.path.expanduser("~"))))
    except OSError:
        return
    page.entered = file.remove

    def start() -> None:
        with suppress(OSError, webbrowser.Error):
            webbrowser.open(file.uri)

    # In a thread, because some browsers are waited for, and the page has to be served meanwhile.
    threading.Thread(target=start, daemon=True).start()


def _grouped(code: str) -> str:
    """Returns the code with spaces that make it easy to type."""
    half = len(code) // 2
    return f"{code[:half]} {code[half:]}"


def _has_desktop() -> bool:
    """Returns whether a browser can open a window. A text browser would take over this terminal."""
    if sys.platform == "darwin":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP end the command by an exception, so that the file is removed."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    names = ("SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {one: signal.getsignal(one) for one in numbers}
    for one, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(one, end)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
