"""Each notebook asks one question, runs offline without warnings, and gives its stored outputs."""

from __future__ import annotations

import base64
import io
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.needed import need

nbformat = need("nbformat")
need("nbclient")
need("PIL")

from nbclient.exceptions import CellExecutionError  # noqa: E402
from PIL import Image, ImageChops  # noqa: E402
from PIL.PngImagePlugin import PngInfo  # noqa: E402

import notebooks  # noqa: E402

PATHS = notebooks.paths()
EACH = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
SIZE_MAX = 200_000


def of_kind(notebook: Any, kind: str) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def outputs(notebook: Any) -> list[Any]:
    return [one for cell in of_kind(notebook, "code") for one in cell.outputs]


def printed(notebook: Any) -> list[list[str]]:
    """The text that each code cell printed, without tables and pictures: these vary by library."""
    return [
        [one.text for one in cell.outputs if one.output_type == "stream"]
        for cell in of_kind(notebook, "code")
    ]


def small(*code: str) -> Any:
    cells = [nbformat.v4.new_code_cell(one) for one in code]
    return nbformat.v4.new_notebook(cells=cells)


def test_they_are_numbered_in_the_order_of_reading() -> None:
    assert [path.name[:3] for path in PATHS] == [f"0{n}-" for n in range(1, len(PATHS) + 1)]
    assert len(PATHS) == 6


@EACH
def test_it_asks_a_question_and_explains_each_step(path: Path) -> None:
    notebook = notebooks.read(path)
    title = notebook.cells[0].source.splitlines()[0]
    assert title.startswith("# ")
    assert title.endswith("?")
    kinds = [cell.cell_type for cell in notebook.cells]
    assert all(before != "code" or kind != "code" for before, kind in pairwise(kinds))
    for cell in of_kind(notebook, "code"):
        assert len(cell.source.splitlines()) <= 20, "longer logic belongs in the package"


@EACH
def test_its_outputs_are_those_of_its_code(path: Path) -> None:
    notebook = notebooks.read(path)
    assert notebooks.is_fresh(notebook), "python tools/notebooks.py --write"
    code = of_kind(notebook, "code")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [one for one in outputs(notebook) if one.output_type == "error"]
    assert any("image/png" in one.get("data", {}) for one in outputs(notebook))


@EACH
def test_the_stored_file_is_small_and_free_of_local_paths(path: Path) -> None:
    assert path.stat().st_size < SIZE_MAX
    notebook = notebooks.read(path)
    assert notebooks.clean(notebook) == notebook, "python tools/notebooks.py --write"
    text = path.read_text("utf-8")
    assert re.findall(r"/tmp/|/home/|/root/|/Users/|site-packages| at 0x", text) == []


@EACH
def test_its_links_lead_somewhere(path: Path) -> None:
    for cell in of_kind(notebooks.read(path), "markdown"):
        for target in re.findall(r"\]\(([^)\s]+)\)", cell.source):
            assert "://" in target or (path.parent / target.partition("#")[0]).exists(), target


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the example data; the first notebook makes them, the others use them."""
    return tmp_path_factory.mktemp("notebooks")


@pytest.mark.shows("METH-18")
@pytest.mark.slow
@EACH
def test_it_runs_and_prints_its_stored_output(path: Path, home: Path) -> None:
    stored = notebooks.read(path)
    assert printed(notebooks.executed(stored, home)) == printed(stored)


@pytest.mark.slow
def test_a_warning_stops_it_and_a_run_leaves_no_trace(home: Path) -> None:
    with pytest.raises(CellExecutionError, match=r"(?s)UserWarning.*: careful"):
        notebooks.executed(small("import warnings", "warnings.warn('careful')"), home)
    told = "import sys\nprint(1)\nprint('fetching …', file=sys.stderr)"
    found = notebooks.executed(small(told, "print(2)\nprint(3)\n4"), home)
    assert printed(found) == [["1\n"], ["2\n3\n"]]
    assert found.cells[1].outputs[1].data == {"text/plain": "4"}
    assert notebooks.is_fresh(found)


def test_code_that_was_changed_is_noticed() -> None:
    found = notebooks.clean(small("print(1)"))
    assert notebooks.is_fresh(found)
    found.cells[0].source += " "
    assert not notebooks.is_fresh(found)
    assert notebooks.digest(small("ab", "c")) != notebooks.digest(small("a", "bc"))


def test_pictures_lose_their_metadata() -> None:
    image = Image.radial_gradient("L").convert("RGB")
    told = PngInfo()
    told.add_text("Software", "Matplotlib on my machine")
    stream = io.BytesIO()
    image.save(stream, "PNG", pnginfo=told, dpi=(80, 80))
    found = small("1")
    data = {"image/png": base64.b64encode(stream.getvalue()).decode(), "text/plain": "<Figure 6>"}
    found.cells[0].outputs = [nbformat.v4.new_output("display_data", data)]
    found = notebooks.clean(found)
    stored = found.cells[0].outputs[0].data
    png = base64.b64decode(stored["image/png"])
    assert stored["text/plain"] == "<Figure>"
    assert b"Matplotlib" in stream.getvalue()
    assert b"Matplotlib" not in png
    assert len(png) < len(stream.getvalue())
    seen = Image.open(io.BytesIO(png))
    assert (seen.size, seen.info) == (image.size, {})
    difference = ImageChops.difference(seen.convert("RGB"), image)
    assert max(high for _, high in difference.getextrema()) < 24
    assert notebooks.clean(found) == found, "storing twice is storing once"


def test_pieces_of_a_stream_are_joined() -> None:
    found = small("print(1)")
    found.cells[0].outputs = [
        nbformat.v4.new_output("stream", name="stdout", text=one) for one in ("1\n", "2\n")
    ]
    assert printed(notebooks.clean(found)) == [["1\n2\n"]]
