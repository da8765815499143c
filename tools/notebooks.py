"""Runs the notebooks and keeps their outputs: `python tools/notebooks.py --write|--check [NAME…]`.

`--write` runs the notebooks in order on new example data, with every warning an error. It stores
the outputs without the parts that change from run to run, and a digest of the code. `--check` runs
nothing: it compares digests and lists the notebooks whose code has changed (exit code 1).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbclient
import nbformat
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
SECONDS = 300
"""Most seconds that the start of a kernel, a cell, or the way of its output may take."""

PRELUDE = """
import warnings

warnings.simplefilter("error")
warnings.simplefilter("ignore", PendingDeprecationWarning)
"""
"""Runs before the first cell and is not stored. ipykernel itself causes the last kind of
warning."""

COLORS = 64
"""Most colours of a stored picture: enough for a chart and its antialiased edges."""

FIXED = {
    "JUPYTER_PLATFORM_DIRS": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
}
"""Environment variables of every run."""

Notebook = Any
"""An `nbformat.NotebookNode`."""


def paths() -> list[Path]:
    """The paths of all notebooks, in order."""
    return sorted(FOLDER.glob("*.ipynb"))


def read(path: Path) -> Notebook:
    """The notebook in a file."""
    return nbformat.read(path, as_version=4)


def code_of(notebook: Notebook) -> list[str]:
    """The sources of its code cells."""
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def digest(notebook: Notebook) -> str:
    """The digest that is stored with the outputs: SHA-256 of the code, in hex."""
    state = hashlib.sha256()
    for source in code_of(notebook):
        text = source.encode()
        state.update(len(text).to_bytes(8, "big") + text)
    return state.hexdigest()


def is_fresh(notebook: Notebook) -> bool:
    """Whether the outputs come from the current code."""
    return notebook.metadata.get("methrics") == {"code": digest(notebook)}


def executed(notebook: Notebook, home: Path) -> Notebook:
    """The notebook with the outputs of a run, ready to be stored. `home` is the METHRICS_HOME of
    the run; the example data are made there if they are missing.

    Raises nbclient.exceptions.CellExecutionError if a cell fails or warns.
    """
    notebook = nbformat.from_dict(notebook)
    own = {"METHRICS_HOME": str(home), "IPYTHONDIR": str(home / "ipython"), **FIXED}
    env = {name: value for name, value in os.environ.items() if not name.startswith("METHRICS")}
    notebook.cells.insert(0, nbformat.v4.new_code_cell(PRELUDE))
    with tempfile.TemporaryDirectory(prefix="methrics-notebook-") as folder:
        client = nbclient.NotebookClient(
            notebook,
            timeout=SECONDS,
            startup_timeout=SECONDS,
            iopub_timeout=SECONDS,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": folder}},
            extra_arguments=["--log-level=ERROR"],
        )
        client.execute(env=env | own)
    del notebook.cells[0]
    return clean(notebook)


def clean(notebook: Notebook) -> Notebook:
    """The notebook without the parts that differ between runs and machines."""
    count = 0
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place}"
        cell.metadata = {}
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            cell.outputs = [_clean_output(one, count) for one in _joined(cell.outputs)]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "methrics": {"code": digest(notebook)},
    }
    notebook.nbformat_minor = 5
    return nbformat.from_dict(notebook)


def _joined(outputs: Sequence[Any]) -> list[Any]:
    """The outputs, with the pieces of each stream joined (a kernel splits them by its speed), and
    without text that is not a result, such as progress."""
    found: list[Any] = []
    for one in outputs:
        if one.get("name") == "stderr":
            continue
        last = found[-1] if found else None
        if one.output_type == "stream" and last and last.get("name") == one.name:
            last.text += one.text
        else:
            found.append(one)
    return found


def _clean_output(output: Any, count: int) -> Any:
    if "execution_count" in output:
        output.execution_count = count
    if "metadata" in output:
        output.metadata = {}
    data = output.get("data", {})
    if "image/png" in data:
        png = base64.b64decode(data["image/png"])
        data["image/png"] = base64.b64encode(small_png(png)).decode()
        data["text/plain"] = "<Figure>"
    return output


def small_png(png: bytes) -> bytes:
    """A PNG with at most `COLORS` colours and without metadata, which is a third of the size. A PNG
    that was converted before stays unchanged."""
    with Image.open(io.BytesIO(png)) as image:
        if image.mode == "P" and not image.info:
            return png
        plain = image.convert("RGB")
    found = io.BytesIO()
    plain.quantize(COLORS, dither=Image.Dither.NONE).save(found, "PNG", optimize=True)
    return found.getvalue()


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0 if all outputs are current or were written, 1 if `--check` found an old one."""
    parser = argparse.ArgumentParser(description="Run the notebooks and keep their outputs.")
    job = parser.add_mutually_exclusive_group(required=True)
    job.add_argument("--write", action="store_true", help="run them and store what they show")
    job.add_argument("--check", action="store_true", help="name those with outputs of older code")
    parser.add_argument("--home", type=Path, help="keep the example data here, to run again sooner")
    parser.add_argument("names", nargs="*", help="only notebooks whose name starts like this")
    options = parser.parse_args(arguments)
    chosen = [p for p in paths() if not options.names or p.name.startswith(tuple(options.names))]
    if options.check:
        old = [path for path in chosen if not is_fresh(read(path))]
        for path in old:
            print(f"out of date (python tools/notebooks.py --write): {path.name}")
        return 1 if old else 0
    with tempfile.TemporaryDirectory(prefix="methrics-notebooks-") as home:
        for path in chosen:
            nbformat.write(executed(read(path), options.home or Path(home)), path)
            print(f"wrote {path.name}: {path.stat().st_size // 1000} KB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
