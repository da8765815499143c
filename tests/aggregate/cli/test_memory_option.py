"""`methrics aggregate --memory`: what it takes, and that the writer keeps to it."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from methrics.aggregate.cli.space import MEMORY
from methrics.aggregate.store import duck
from methrics.aggregate.store.store import Store


@pytest.mark.parametrize(
    ("text", "size"), [("128MiB", 128 << 20), ("2GiB", 2 << 30), ("1.5 GB", 1_500_000_000)]
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert MEMORY.convert(text, None, None) == size


@pytest.mark.parametrize("text", ["0", "127MiB", "5%", "2GiB or 5%", "much", "-1GiB", "1e9"])
def test_anything_else_is_refused_with_one_sentence(text: str) -> None:
    with pytest.raises(click.BadParameter) as refused:
        MEMORY.convert(text, None, None)
    assert "\n" not in refused.value.message


def test_the_writer_has_the_memory_that_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duck, "_of_writers", {**duck._of_writers})
    duck.limit_writers(200 << 20)
    with Store(tmp_path / "a.duckdb") as store:
        asked = store.cursor().execute("SELECT current_setting('memory_limit')").fetchall()
    assert asked == [("200.0 MiB",)]
