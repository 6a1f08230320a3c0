"""Chapters are stored in house form and keep the rules of their code cells."""

import re
import statistics
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import house_form  # noqa: E402

CHAPTERS = sorted((ROOT / "book").glob("*.ipynb"))
FORBIDDEN = {
    r"^\s*[!%]": "a shell or magic line",
    r"sys\.path": "sys.path",
    r"https?://": "a network address",
    r"open\(|read_csv|read_parquet|np\.load\(": "a data path",
}


def code_cells(path):
    notebook = nbformat.read(path, as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_chapters():
    assert CHAPTERS


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_house_form(path):
    assert house_form.faults(nbformat.read(path, as_version=4)) == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_cells_are_short(path):
    lengths = [len(source.splitlines()) for source in code_cells(path)]
    assert max(lengths) <= 30, f"longest cell: {max(lengths)} lines"
    assert statistics.median(lengths) <= 6, f"median cell: {statistics.median(lengths)} lines"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_cells_hold_nothing_forbidden(path):
    for source in code_cells(path):
        for pattern, what in FORBIDDEN.items():
            assert not re.search(pattern, source, re.M), f"a cell holds {what}:\n{source}"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_figures_have_caption_and_alt_text(path):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        drawn = any("<Figure" in "".join(output.get("data", {}).get("text/plain", "")) for output in cell.get("outputs", []))
        if drawn:
            settings = cell.metadata.get("mystnb", {})
            assert settings.get("figure", {}).get("caption"), f"no caption:\n{cell.source}"
            assert settings.get("image", {}).get("alt"), f"no alt text:\n{cell.source}"
