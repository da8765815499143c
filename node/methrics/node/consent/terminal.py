"""Shows the consent prompt in an app's terminal when questions are due, otherwise a status line."""

from __future__ import annotations

import os
import shutil
from typing import TextIO

from methrics.node.consent.asking import Asking
from methrics.node.consent.decide import in_ci
from methrics.node.consent.prompt import prompt
from methrics.node.consent.questions import Uses
from methrics.node.consent.screen import HEIGHT, WIDTH


def ask_in_terminal(
    asking: Asking, uses: Uses, *, stdin: TextIO | None, stdout: TextIO | None
) -> bool:
    """Asks the questions that are due, if a person is at the terminal. Returns whether it asked.

    Otherwise it logs a line to `methrics.consent` while the person has not decided (MIM-1).
    Raises StoreError if the ledger cannot be read or written, and KeyboardInterrupt after Ctrl-C.
    """
    if stdin is not None and stdout is not None and person_at_terminal(stdin, stdout):
        due = asking.questions(uses)
        if due:
            width, height = shutil.get_terminal_size((WIDTH, HEIGHT))
            prompt(
                asking,
                [asking.sheet(question) for question in due],
                stdin=stdin,
                stdout=stdout,
                width=width,
                height=height,
                unprompted=True,
            )
            return True
    line = asking.status_line()
    if line is not None:
        import logging

        logging.getLogger("methrics.consent").info(line)
    return False


def person_at_terminal(stdin: TextIO, stdout: TextIO) -> bool:
    """Returns whether a person can read and answer: both streams are a terminal, this process is in
    its foreground, and this is not CI, even if METHRICS=on is set."""
    if in_ci(os.environ):
        return False
    try:
        if not (stdin.isatty() and stdout.isatty()):
            return False
        # The system stops a background job that reads from the terminal.
        return os.tcgetpgrp(stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):  # closed, or no real file
        return False
