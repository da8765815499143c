"""The log of a long-running command: every line has a time, and nothing else is printed."""

from __future__ import annotations

import json
import logging
import re
import warnings

import pytest

from methrics.node.cli.log import Log, only, stamp
from methrics.node.clock import ManualClock


def test_each_line_begins_with_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(ManualClock(0), as_json=False)
    log.text("one")
    log.both("two", "a second")
    log.event("three")
    assert capsys.readouterr().out == "1970-01-01T00:00:00Z one\n1970-01-01T00:00:00Z a second\n"


def test_each_object_has_time_and_event(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(ManualClock(), as_json=True)
    log.text("one")
    log.both("two", "a second", code="x")
    log.event("three", number=3)
    two, three = map(json.loads, capsys.readouterr().out.splitlines())
    time = stamp(ManualClock().now())
    assert two == {"time": time, "event": "two", "message": "a second", "code": "x"}
    assert three == {"time": time, "event": "three", "number": 3}


@pytest.mark.parametrize("as_json", [False, True])
def test_records_and_warnings_of_python_become_events(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    with only(Log(ManualClock(), as_json=as_json)):
        logging.getLogger("methrics.somewhere").warning("two\nlines %d", 7)
        logging.getLogger("methrics.somewhere").info("not said")
        try:
            raise ValueError("why")
        except ValueError:
            logging.getLogger("other").exception("it failed")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old", stacklevel=1)
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert len(lines) == 3
    assert "two\\nlines 7" in lines[0].replace("\\\\", "\\")
    assert "ValueError('why')" in lines[1]
    assert "old" in lines[2]
    if as_json:
        assert json.loads(lines[0])["logger"] == "methrics.somewhere"
    else:
        assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (warning|error): ", x) for x in lines)
    logging.getLogger("methrics.somewhere").warning("after")
    assert "after" not in capsys.readouterr().out
