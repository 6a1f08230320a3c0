"""The book follows the library, the data and its own chapters: no page keeps an old number."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("jupyter_book")
ROOT = Path(__file__).resolve().parents[1]

CHAPTER = 'from pathlib import Path\nfrom myst_nb import glue\nglue("chapter-value", "{value}", display=False)'
LIBRARY = 'from myst_nb import glue\nimport runpy\nglue("library-value", runpy.run_path("../lib/bestofk/number.py")["x"], display=False)'


def write_notebook(path, source):
    cell = nbformat.v4.new_code_cell(source, id="c")
    title = nbformat.v4.new_markdown_cell("# A chapter", id="t")
    notebook = nbformat.v4.new_notebook(cells=[title, cell])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, path)


@pytest.fixture
def house(tmp_path):
    """A house of the same layout: the real extension, a small library, two chapters and an intro that glues."""
    book = tmp_path / "book"
    book.mkdir()
    shutil.copytree(ROOT / "book" / "_ext", book / "_ext")
    (tmp_path / "lib" / "bestofk").mkdir(parents=True)
    (tmp_path / "gpu_runs" / "data").mkdir(parents=True)
    (tmp_path / "lib" / "bestofk" / "number.py").write_text('x = "library-one"\n')
    (book / "_config.yml").write_text(
        "title: t\nonly_build_toc_files: true\nexecute: {execute_notebooks: cache, raise_on_error: true}\n"
        "sphinx: {local_extensions: {bestofk_book: _ext}}\n")
    (book / "_toc.yml").write_text("format: jb-book\nroot: intro\nchapters:\n- file: chapter\n- file: library\n")
    (book / "intro.md").write_text(
        "# Intro\n\n{glue:text}`chapter.ipynb::chapter-value:s`, {glue:text}`library.ipynb::library-value:s`\n")
    write_notebook(book / "chapter.ipynb", CHAPTER.format(value="value-one"))
    write_notebook(book / "library.ipynb", LIBRARY)
    return tmp_path


def build(house):
    command = [str(Path(sys.executable).parent / "jupyter-book"), "build", "book", "-W", "--keep-going"]
    return subprocess.run(command, cwd=house, capture_output=True, text=True,
                          env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"})


def test_pages_follow_a_changed_cell_and_a_changed_library(house):
    done = build(house)
    assert done.returncode == 0, done.stdout + done.stderr
    page = house / "book" / "_build" / "html" / "intro.html"
    assert "value-one" in page.read_text() and "library-one" in page.read_text()

    write_notebook(house / "book" / "chapter.ipynb", CHAPTER.format(value="value-two"))
    assert build(house).returncode == 0
    assert "value-two" in page.read_text() and "value-one" not in page.read_text()

    (house / "lib" / "bestofk" / "number.py").write_text('x = "library-two"\n')
    assert build(house).returncode == 0
    assert "library-two" in page.read_text() and "library-one" not in page.read_text()

    again = build(house)
    assert again.returncode == 0 and "Executing" not in again.stdout + again.stderr


def test_a_failing_cell_fails_the_build(house):
    write_notebook(house / "book" / "chapter.ipynb", "raise RuntimeError('on purpose')")
    assert build(house).returncode != 0


def test_figures_stand_in_a_box_with_their_size():
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    import figure_boxes

    figure = '<figure class="align-default" id="fig-a">\n<img alt="words" src="_images/ab.png" />\n<figcaption>'
    boxed = figure_boxes.box_figures(figure, {"ab.png": (1067, 617)})
    assert '<div class="figure-box" style="--drawn: 1067px">' in boxed
    assert '<img width="1067" height="617" alt="words" src="_images/ab.png" />' in boxed
    assert boxed.startswith(figure[:41]) and boxed.endswith("<figcaption>")
    assert figure_boxes.box_figures(figure, {"other.png": (1, 1)}) == figure
    alone = '<p><img alt="words" src="_images/ab.png" /></p>'
    assert figure_boxes.box_figures(alone, {"ab.png": (1, 1)}) == alone


def test_png_size(tmp_path):
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    import figure_boxes

    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(3, 2), dpi=100)
    figure.savefig(tmp_path / "a.png")
    assert figure_boxes.png_size(tmp_path / "a.png") == (300, 200)
