"""`methrics catalog`: the author's way from a key to a signed catalog and its successor."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from methrics.aggregate.cli.main import main
from methrics.node.cli.keyfile import make_key, read_key
from methrics.schema.catalog.catalog import load
from methrics.schema.errors import ConfigError
from methrics.schema.example import example_bytes, example_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.toml").write_text(example_source(), "utf-8")
    assert main(["namespace", "init", str(tmp_path / "key")]) == 0
    return tmp_path


def sign(folder: Path, *options: str, source: str = "app.toml", to: str = "app.cbor") -> int:
    key, source, to = (str(folder / name) for name in ("key", source, to))
    return main(["catalog", "sign", source, "--key", key, "-o", to, *options])


@pytest.mark.shows("METH-9")
def test_from_key_to_signed_catalog(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "lint", str(folder / "app.toml")]) == 0
    assert sign(folder) == 0
    catalog = load((folder / "app.cbor").read_bytes())
    assert catalog.topic in capsys.readouterr().out
    assert main(["catalog", "show", str(folder / "app.cbor"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["id"] == catalog.id.hex()
    assert set(shown["types"]) == set(catalog.types)


def test_a_source_may_begin_with_a_byte_order_mark(folder: Path) -> None:
    (folder / "mark.toml").write_text(example_source(), "utf-8-sig")
    assert main(["catalog", "lint", str(folder / "mark.toml")]) == 0
    assert sign(folder, source="mark.toml", to="mark.cbor") == 0
    assert sign(folder) == 0
    assert (folder / "mark.cbor").read_bytes() == (folder / "app.cbor").read_bytes()


@pytest.mark.parametrize("option", ["--consent", "--schema", "--json"])
def test_show_reads_sources_and_signed_catalogs_alike(
    folder: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    assert main(["catalog", "show", str(folder / "app.toml"), option]) == 0
    assert "heartbeat" in capsys.readouterr().out


def test_a_source_that_is_not_signed_says_so_before_its_consent_text(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["catalog", "show", str(folder / "app.toml"), "--consent"]) == 0
    source = capsys.readouterr().out
    assert source.startswith("example is not signed: its topic and catalog id are placeholders\n")
    assert sign(folder) == 0
    capsys.readouterr()
    assert main(["catalog", "show", str(folder / "app.cbor"), "--consent"]) == 0
    assert capsys.readouterr().out.startswith("May example share usage reports?\n")


def test_show_answers_one_question(folder: Path) -> None:
    assert main(["catalog", "show", str(folder / "app.toml"), "--json", "--consent"]) == 2


def test_a_successor_is_chained_and_diffed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sign(folder) == 0
    wider = example_source().replace("max = [9, 49]", "max = [9, 59]")
    (folder / "next.toml").write_text(wider, "utf-8")
    before = str(folder / "app.cbor")
    assert sign(folder, "--previous", before, source="next.toml", to="next.cbor") == 0
    after = load((folder / "next.cbor").read_bytes())
    assert (after.number, after.previous) == (2, load((folder / "app.cbor").read_bytes()).id)
    capsys.readouterr()
    assert main(["catalog", "diff", before, str(folder / "next.cbor")]) == 1
    assert capsys.readouterr().out.endswith(
        "epsilon of all randomized fields: was 1, is 1; 1 for a person who answers both catalogs\n"
        "to be asked again: heartbeat\n"
    )
    assert main(["catalog", "diff", "--json", before, before]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "asks_again": [],
        "changes": [],
        "epsilon": {"old": 1.0, "new": 1.0, "both": 1.0},
    }


def test_a_source_that_does_not_lint_is_not_signed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = example_source().replace("entropy_bits = 27", "entropy_bits = 23")
    (folder / "app.toml").write_text(bad, "utf-8")
    capsys.readouterr()
    assert main(["catalog", "lint", "--json", str(folder / "app.toml")]) == 1
    assert [one["code"] for one in json.loads(capsys.readouterr().out)] == ["M016"]
    assert sign(folder) == 3
    assert "M016" in capsys.readouterr().err
    assert not (folder / "app.cbor").exists()


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"not = toml = at all", b"[catalog]\n" * 2, b"x" * 300_000]
)
def test_any_source_gets_an_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    assert main(["catalog", "lint", str(path)]) in (1, 3)
    said = capsys.readouterr()
    assert "fault" not in said.err
    assert said.out + said.err


@pytest.mark.parametrize("content", [b"", b"\x84", b"\xff" * 100, b"[catalog]"])
def test_any_catalog_file_gets_an_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    path = tmp_path / "bad.cbor"
    path.write_bytes(content)
    assert main(["catalog", "show", str(path)]) == 3
    assert capsys.readouterr().err.count("\n") == 1


PAGES = ("privacy-notice.md", "privacy-notice.html", "data-dictionary.md", "data-dictionary.html")


@pytest.mark.shows("MIM-8")
def test_mim_8_docs_writes_the_policy_pages_and_notices_drift(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = folder / "app.toml", folder / "policy"
    command = ["catalog", "docs", str(source), "--out", str(out)]
    assert main([*command, "--check"]) == 1
    assert not out.exists(), "a check writes nothing"
    assert main(command) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(PAGES)
    assert main([*command, "--check"]) == 0
    capsys.readouterr()
    source.write_text(example_source().replace("retention_days = 180", "retention_days = 90"))
    assert main([*command, "--check"]) == 1
    assert len(capsys.readouterr().out.splitlines()) == len(PAGES)
    assert main([*command, "--format", "md"]) == 0
    assert main([*command, "--format", "md", "--check"]) == 0
    assert main([*command, "--check"]) == 1, "the html is still the old one"


def test_a_source_and_its_signed_catalog_have_the_same_policy_pages(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sign(folder) == 0
    out = str(folder / "policy")
    assert main(["catalog", "docs", str(folder / "app.toml"), "--out", out]) == 0
    assert main(["catalog", "docs", str(folder / "app.cbor"), "--out", out, "--check"]) == 0


def test_docs_prints_or_reports_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(folder / "app.toml")
    capsys.readouterr()
    assert main(["catalog", "docs", source]) == 0
    assert capsys.readouterr().out.startswith("# Privacy notice")
    assert main(["catalog", "docs", source, "--format", "html"]) == 0
    assert capsys.readouterr().out.startswith("<!DOCTYPE html>")
    assert main(["catalog", "docs", source, "--check"]) == 2
    assert main(["catalog", "docs", source, "--out", "/proc/nowhere"]) == 3
    assert main(["catalog", "docs", str(folder / "gone.toml")]) == 3


def test_a_key_is_private_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "key"
    seed = make_key(path)
    assert read_key(path) == seed
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="already"):
        make_key(path)
    os.chmod(path, 0o644)
    with pytest.raises(ConfigError, match="by others"):
        read_key(path)


@pytest.mark.parametrize("text", ["", "00", "g" * 64, "A" * 64, "0" * 65, "é" * 32])
def test_other_files_are_no_keys(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text, "utf-8")
    os.chmod(path, 0o600)
    with pytest.raises(ConfigError, match="not a key file"):
        read_key(path)
    with pytest.raises(ConfigError, match="cannot read"):
        read_key(tmp_path / "gone")


@pytest.mark.parametrize("command", [["show"], ["lint"], ["docs"], ["diff", "example.cbor"]])
def test_an_error_of_a_file_names_the_file(
    folder: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    wrong = folder / "wrong.cbor"
    wrong.write_bytes(b"not a catalog")
    (folder / "example.cbor").write_bytes(example_bytes())
    name, *others = command
    assert main(["catalog", name, *(str(folder / one) for one in others), str(wrong)]) in (1, 3)
    shown = capsys.readouterr()
    assert f"{wrong}: " in shown.out + shown.err


def test_the_address_of_the_results_is_shown(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "example.cbor").write_bytes(example_bytes())
    assert main(["catalog", "show", str(folder / "example.cbor")]) == 0
    assert "results    https://example.org/methrics/results" in capsys.readouterr().out
