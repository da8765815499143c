"""The command line of the sample; the guides use the data that it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from methrics.aggregate.demo.sample import main


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["--help"]])
def test_wrong_use_says_how(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="usage: python -m"):
        main(arguments)


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    there = tmp_path / "there.duckdb"
    there.write_bytes(b"mine")
    assert main([str(there)]) == f"{there} is there already, and was left as it is\n"
    assert there.read_bytes() == b"mine"


def test_a_file_that_cannot_be_made_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "methrics.aggregate.demo.sample.write_sample.__kwdefaults__",
        {"people": 1, "days": 1, "today": None},
    )
    assert main([str(tmp_path / "new.duckdb")]).startswith(f"wrote {tmp_path / 'new.duckdb'}: ")
    with pytest.raises(SystemExit, match="cannot be written"):
        main([str(tmp_path / "none" / "new.duckdb")])
