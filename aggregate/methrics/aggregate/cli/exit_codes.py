"""Defines the table of exit codes. `methrics --help` and docs/reference/cli.md list it."""

from __future__ import annotations

from typing import NamedTuple

OK, NO, USAGE, LOCAL, NETWORK, FAULT, INTERRUPTED, PIPE = 0, 1, 2, 3, 4, 70, 130, 141


class ExitCode(NamedTuple):
    """An exit code, with a few words for --help and a sentence for the reference."""

    code: int
    brief: str
    meaning: str


EXIT_CODES = (
    ExitCode(OK, "done", "Done, or the answer is yes."),
    ExitCode(
        NO, "the answer is no", "Done, and the answer is no: things differ, or a check failed."
    ),
    ExitCode(
        USAGE,
        "wrong use",
        "Wrong use: an unknown command, option or name, a missing argument, or a value that an "
        "option does not take.",
    ),
    ExitCode(
        LOCAL,
        "a problem on this machine",
        "A problem on this machine: a file, a setting, a catalog, a missing extra.",
    ),
    ExitCode(
        NETWORK,
        "a problem of the network",
        "A problem of the network or a peer: no peer answered, or its bytes break the rules.",
    ),
    ExitCode(
        FAULT,
        "a fault in methrics",
        "A fault in methrics itself; please report it with what `--debug` prints.",
    ),
    ExitCode(INTERRUPTED, "interrupted", "Interrupted (Ctrl-C)."),
    ExitCode(PIPE, "the output pipe was closed", "The output pipe was closed (`| head`)."),
)
"""Every exit code, ascending."""
