"""Is this judge worth having, and with which k and T? A report on anybody's pool.

`analyse` does the work of ``report.ipynb``; `verdict`, `advice`, `numbers`, `gaps` and
the figures say it. `to_html` turns the executed notebook into one file that needs
nothing else.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from . import GPU_RUNS
from .analysing import analyse, recommended, regime
from .parameters import Parameters
from .picturing import curves, ranking
from .wording import advice, gaps, numbers, reading, verdict

__all__ = [
    "Report",
    "advice",
    "analyse",
    "curves",
    "gaps",
    "main",
    "numbers",
    "ranking",
    "reading",
    "recommended",
    "regime",
    "to_html",
    "value_of",
    "verdict",
]


class Report(Parameters):
    """Parameters of ``report.ipynb``; what they mean is said there."""

    pool: str
    judge: str | None = None
    loss: str = "error"
    columns: dict = {}
    filter: str | None = None
    limit: Annotated[float, Field(gt=0)] | None = None
    samples: Annotated[int, Field(ge=1)] | None = None
    k_values: list[int] | None = None
    T_values: list[float] | None = None
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seed: Annotated[int, Field(ge=0)] = 0
    resamples: Annotated[int, Field(ge=100)] = 1000
    progress: bool = True


def to_html(notebook, html=None):
    """Write an executed report as one HTML file without code; return its path.

    Parameters
    ----------
    notebook : path
        The executed notebook.
    html : path, optional
        Default: the notebook's name with ``.html``.
    """
    import nbformat
    from nbconvert import HTMLExporter

    path = Path(html) if html else Path(notebook).with_suffix(".html")
    content = nbformat.read(notebook, as_version=4)
    content.cells = [cell for cell in content.cells if "usage" not in cell.metadata.get("tags", [])]
    for cell in content.cells:
        if cell.cell_type == "code":  # progress bars stay in the notebook
            cell.outputs = [output for output in cell.outputs if output.output_type != "stream"]
    exporter = HTMLExporter(
        template_name="basic", exclude_input=True, exclude_output_prompt=True, exclude_anchor_links=True
    )
    body = exporter.from_notebook_node(content)[0]
    path.write_text(PAGE.format(title=path.stem, body=body), encoding="utf-8")
    return path


PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.55 system-ui, sans-serif; color: #1b1b1b; max-width: 56rem; margin: 0 auto;
  padding: 1.5rem 1rem 4rem }}
h2 {{ font-weight: 600; line-height: 1.2; margin: 2.2rem 0 .6rem }}
img {{ max-width: 100%; height: auto; display: block; margin: 1.2rem 0 .4rem }}
.output {{ display: flex; flex-wrap: wrap; column-gap: 1rem }}
.output_area {{ flex: 1 1 100% }}
.output_area:has(img) {{ flex: 1 1 20rem }}
ul {{ padding-left: 1.3rem }}
table {{ border-collapse: collapse; font-size: .92rem; width: 100% }}
td, th {{ text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #ddd; vertical-align: top }}
td:nth-child(1) {{ width: 28% }}
td:nth-child(2) {{ width: 27% }}
@media (max-width: 40rem) {{
  thead {{ display: none }}
  table, tbody, tr, td {{ display: block; width: auto !important }}
  tr {{ border-bottom: 1px solid #ddd; padding: .5rem 0 }}
  td {{ border: 0; padding: 0 }}
  td:nth-child(2) {{ font-weight: 600 }}
}}
code {{ background: #f2f2f2; padding: 0 .25em; border-radius: 3px }}
small {{ color: #555 }}
</style></head><body>
{body}
</body></html>
"""


def value_of(name, text):
    """A parameter's value from the command line: text for names, YAML (so JSON, too) for numbers, lists and mappings.

    >>> value_of("k_values", "[1,2,4]"), value_of("columns", '{"prompt": "q"}'), value_of("judge", "1")
    ([1, 2, 4], {'prompt': 'q'}, '1')
    """
    import yaml

    field = Report.model_fields.get(name)
    if field is not None and field.annotation in (str, str | None):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text  # refused by name when the notebook checks its parameters


def main(arguments=None):
    """Make the report and its HTML: ``python -m bestofk_runs.reporting POOL [--judge NAME] [--out report.html]``."""
    import argparse
    import sys

    import papermill

    parser = argparse.ArgumentParser(prog="python -m bestofk_runs.reporting", description=__doc__.split("\n\n")[0])
    parser.add_argument("pool")
    parser.add_argument("--judge")
    parser.add_argument("--out", default="report.html")
    parser.add_argument("--parameter", "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    options = parser.parse_args(arguments)
    source = GPU_RUNS / "report.ipynb"
    notebook = Path(options.out).with_suffix(".ipynb")
    given = {"pool": options.pool} | ({"judge": options.judge} if options.judge else {})
    given |= {name: value_of(name, text) for name, text in options.parameter}
    try:
        papermill.execute_notebook(source, notebook, parameters=given, log_output=True, progress_bar=False)
    except papermill.PapermillExecutionError as error:
        sys.exit(error.evalue)
    print(f"wrote {notebook} and {to_html(notebook, options.out)}")


if __name__ == "__main__":
    main()
