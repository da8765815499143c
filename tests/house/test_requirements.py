"""A requirement is marked as met only if a test or a benchmark shows it."""

from __future__ import annotations

from pathlib import Path

import docs
import pytest
import requirements
import source
from requirements import IDS, MET, NOT_YET, PARTLY, Proof, Requirement, RequirementError

pytestmark = pytest.mark.shows("DEB-3")

ROOT = source.ROOT
TEXT = (ROOT / "docs" / "requirements.toml").read_text("utf-8")


def test_every_requirement_is_stated_and_none_claims_what_nothing_shows() -> None:
    stated, shown = requirements.read(TEXT), requirements.by_id(requirements.proofs())
    assert len(stated) == 78
    assert requirements.problems(stated, shown) == []
    assert {path for proofs in shown.values() for path in {one.path for one in proofs}} > {
        "tests/house/test_requirements.py"
    }


def stated(status: str) -> dict[str, Requirement]:
    return {"NEW-1": Requirement(id="NEW-1", promise="It holds.", status=status)}


SHOWN = {"NEW-1": [Proof(path="tests/test_a.py", name="test_b", ids=("NEW-1",))]}


@pytest.mark.parametrize("status", [MET, PARTLY])
def test_a_claim_without_a_test_is_refused(status: str) -> None:
    assert requirements.problems(stated(status), SHOWN) == []
    assert requirements.problems(stated(status), {}) == [
        f"NEW-1 is said to be {status}, and no test or bench shows it"
    ]


def test_a_mark_on_what_is_not_yet_met_is_refused() -> None:
    assert requirements.problems(stated(NOT_YET), {}) == []
    (line,) = requirements.problems(stated(NOT_YET), SHOWN)
    assert "NEW-1 is not yet met" in line
    assert "tests/test_a.py test_b" in line


def test_both_refusals_stop_the_page_and_make_docs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "docs" / "requirements.toml").write_text(TEXT)
    with pytest.raises(RequirementError, match="no test or bench shows it"):
        requirements.page(tmp_path)
    monkeypatch.setattr(docs, "wanted", lambda: {tmp_path: requirements.page(tmp_path)})
    assert docs.main(["--check"]) == 1
    assert "docs: MARS-" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("[KPI-3]", "[KPI-99]", "missing ids: ['KPI-3']; unknown ids: ['KPI-99']"),
        ('\nstatus = "met"', '\nstatus = "done"', "the status 'done' is none of"),
        ('\nstatus = "met"', '\nstate = "met"', "unknown keys"),
        ('\nstatus = "met"', '\nstatus = "partly"', "say what is missing"),
        ('\nstatus = "met"', '\nstatus = "met"\nmissing = "A part."', "say what is missing"),
        ('\npromise = "', '\npromise = ""  # ', "the promise is no sentence"),
    ],
)
def test_a_file_that_cannot_be_right_is_refused(old: str, new: str, complaint: str) -> None:
    assert old in TEXT
    with pytest.raises(RequirementError) as caught:
        requirements.read(TEXT.replace(old, new, 1))
    assert complaint in str(caught.value)


MARKS = """
import pytest

pytestmark = [pytest.mark.wire, pytest.mark.shows("NEW-1")]

@pytest.mark.shows("NEW-2", "NEW-3")
@pytest.mark.slow
def test_one() -> None: ...

@pytest.mark.shows("NEW-4")
class TestTwo:
    @pytest.mark.shows("NEW-5")
    async def test_three(self) -> None: ...

def helper() -> None: ...
"""


def test_marks_are_found_on_modules_classes_and_functions() -> None:
    found = {one.name: one.ids for one in requirements.in_test("tests/test_a.py", MARKS)}
    assert found == {
        "": ("NEW-1",),
        "test_one": ("NEW-2", "NEW-3"),
        "TestTwo": ("NEW-4",),
        "test_three": ("NEW-5",),
    }
    bare = MARKS.replace("[pytest.mark.wire, pytest.mark.shows", "(pytest.mark.shows")
    assert requirements.in_test("a", bare.replace('("NEW-1")]', '("NEW-1"))'))[0].ids == ("NEW-1",)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (MARKS.replace("NEW-3", "NEW-9"), "'NEW-9' is no id"),
        (MARKS.replace('"NEW-3"', "WORD"), "WORD is no id"),
        (MARKS.replace('("NEW-1")', "()"), "names no requirement"),
        (MARKS.replace('("NEW-1")', ""), "names no requirement"),
        (MARKS.replace("def helper", '@pytest.mark.shows("NEW-6")\ndef helper'), "is no test"),
        (MARKS.replace("mark.slow", "mark.skip"), "does not run or may fail"),
        (MARKS.replace("mark.slow", "mark.xfail(reason='')"), "does not run or may fail"),
        (MARKS + 'later = pytest.mark.shows("NEW-6")\n', "put the mark on a test"),
        ('import pytest\npytestmark = pytest.mark.shows("NEW-1")\n', "is no test"),
    ],
)
def test_a_mark_that_shows_nothing_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(RequirementError) as caught:
        requirements.in_test("tests/test_a.py", text)
    assert complaint in str(caught.value)


def test_a_bench_names_what_it_shows() -> None:
    (found,) = requirements.in_bench("benchmarks/bench_a.py", 'SHOWS = ("NEW-1", "NEW-2")\n')
    assert (found.path, found.ids) == ("benchmarks/bench_a.py", ("NEW-1", "NEW-2"))
    assert requirements.in_bench("a", "SETTINGS = 3\n") == []
    for wrong in ('("NEW-9",)', "()", '"NEW-1"'):
        with pytest.raises(RequirementError):
            requirements.in_bench("a", f"SHOWS = {wrong}\n")


def test_the_page_names_every_requirement_with_its_status_and_tests() -> None:
    page = requirements.page()
    for name, one in requirements.read(TEXT).items():
        entry = page.partition(f"### {name}\n")[2].partition("###")[0]
        assert one.promise in entry
        assert f"**{one.status}**" in entry
        assert ("](../" in entry) == (one.status != NOT_YET)
        assert one.missing in entry
    assert IDS[0] == "MARS-1"
