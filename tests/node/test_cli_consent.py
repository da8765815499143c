"""`methrics consent`: look, allow, stop, each with one clear line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from methrics.aggregate.cli import main
from methrics.node.ledger import read_answers

if TYPE_CHECKING:
    from conftest import Shop


@pytest.fixture
def catalog(app: Shop, tmp_path: Path) -> str:
    path = tmp_path / "shop.cbor"
    path.write_bytes(app.catalog.raw)
    return str(path)


def run(app: Shop, *arguments: str) -> int:
    assert app.where.home is not None
    return main(["consent", *arguments, "--home", app.where.home])


def test_from_nothing_to_yes_to_no(
    app: Shop, catalog: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, "show") == 0
    assert "everything is off" in capsys.readouterr().out
    assert run(app, "grant", catalog, "--type", "view", "--field", "color", "--yes") == 0
    assert run(app, "show") == 0
    assert "view: on (color; by relay)" in capsys.readouterr().out
    app.clock.advance(2)
    assert app.recorder.record("view", color="red", size=5)
    assert not app.recorder.record("visit", color="red")
    assert run(app, "withdraw", app.namespace) == 0
    assert "1 waiting rows forgotten" in capsys.readouterr().out
    assert run(app, "show", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["apps"][app.namespace]["view"]["on"] is False
    assert app.journal.pending(1 << 40) == []


def test_all_fields_means_those_of_today(app: Shop, catalog: str) -> None:
    assert run(app, "grant", catalog, "--yes") == 0
    answers = read_answers(app.where.ledger)[app.namespace]
    assert set(answers) == set(app.catalog.types)
    assert answers["view"].fields == {"color", "size", "version"}


@pytest.mark.parametrize(
    "wrong",
    [
        ["grant", "{catalog}", "--type", "ghost", "--yes"],
        ["grant", "{catalog}", "--field", "shoe_size", "--yes"],
        ["grant", "no-such-file", "--yes"],
        ["withdraw", "nobody-knows-it"],
    ],
)
def test_mistakes_change_nothing(app: Shop, catalog: str, wrong: list[str]) -> None:
    assert run(app, *(part.format(catalog=catalog) for part in wrong)) != 0
    assert read_answers(app.where.ledger) == {}


def test_it_says_what_overrides_the_answers(
    app: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    assert run(app, "show") == 0
    assert "DO_NOT_TRACK" in capsys.readouterr().out
