"""Connections to DuckDB say nothing on standard output."""

from __future__ import annotations

import subprocess
import sys

_ASK = """
import duckdb
from methrics.aggregate.store.duck import memory

con, shown = memory(), "SELECT current_setting('enable_progress_bar')"
for one in (con, con.cursor(), duckdb.connect()):
    print(one.execute(shown).fetchall()[0][0])
"""


def test_a_long_query_prints_no_progress_bar() -> None:
    """DuckDB prints one where it takes Python for interactive, as in a program given with -c."""
    done = subprocess.run(
        [sys.executable, "-c", _ASK], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["False", "False", "True"]
