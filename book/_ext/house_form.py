"""Execute chapters and store them in house form.

House form: executed from top to bottom, text outputs kept (pytest --nbval
compares them), images dropped (the book draws them), execution counts 1..n,
no other metadata than tags and figure captions.

    python book/_ext/house_form.py book/gaussian.ipynb ...
"""

import argparse
import os
from pathlib import Path

import nbclient
import nbformat

KEPT_CELL_METADATA = ("tags", "mystnb")
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(notebook, folder):
    """Run `notebook` in place, in `folder`; a failing cell raises."""
    notebook.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    there = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=600, coalesce_streams=True, resources=there).execute()


def to_house_form(notebook):
    """Strip an executed `notebook` in place to what the repository keeps."""
    notebook.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        cell.metadata = {key: cell.metadata[key] for key in KEPT_CELL_METADATA if cell.metadata.get(key)}
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            for kind in [kind for kind in output.get("data", {}) if kind.startswith("image/")]:
                del output["data"][kind]
                output.get("metadata", {}).pop(kind, None)


def faults(notebook):
    """Return what keeps `notebook` from being in house form, a sentence each.

    >>> import nbformat.v4 as v4
    >>> faults(v4.new_notebook(cells=[v4.new_code_cell("1 + 1")]))
    ['cell 0 has execution count None, expected 1', 'metadata differs from the house form']
    """
    found, count = [], 0
    for index, cell in enumerate(notebook.cells):
        extra = sorted(set(cell.metadata) - set(KEPT_CELL_METADATA))
        if extra:
            found.append(f"cell {index} keeps the metadata {', '.join(extra)}")
        if cell.cell_type != "code":
            continue
        count += 1
        if cell.execution_count != count:
            found.append(f"cell {index} has execution count {cell.execution_count}, expected {count}")
        for output in cell.outputs:
            if any(kind.startswith("image/") for kind in output.get("data", {})):
                found.append(f"cell {index} stores an image")
            if output.output_type == "error" or output.get("name") == "stderr":
                found.append(f"cell {index} wrote an error or a warning")
    if notebook.metadata != nbformat.from_dict(NOTEBOOK_METADATA):
        found.append("metadata differs from the house form")
    return found


def main():
    parser = argparse.ArgumentParser(description="Execute chapters and store them in house form.")
    parser.add_argument("chapters", nargs="+", type=Path)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in the built book
    for path in parser.parse_args().chapters:
        print(f"executing {path}", flush=True)
        notebook = nbformat.read(path, as_version=4)
        execute(notebook, path.resolve().parent)
        to_house_form(notebook)
        nbformat.validate(notebook)
        wrong = faults(notebook)
        if wrong:
            raise SystemExit(f"{path}: " + "; ".join(wrong))
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
