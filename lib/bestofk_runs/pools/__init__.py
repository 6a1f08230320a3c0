"""Whose pool is it? Anybody's: a run of ours, stored samples of lm-eval, or a table with a row a sample.

`read` turns each of them into what `bestofk.pool` takes, loss and judge score of
every sample, together with notes on what was missing, repeated or left out.
Large files are read in parts: memory grows with the numbers kept, not with the
texts, of which hashes are kept. A value that cannot be read is refused, naming its row and column.

One module a kind of source (`runs`, `lm_eval`, `tables`) gives rows; `grouping` makes prompts of them.
"""

import glob
from pathlib import Path

from bestofk import artifacts

from . import lm_eval, runs, tables
from .grouping import ENOUGH, Pool, assemble, first_of_each
from .jsonl import lines

__all__ = ["ENOUGH", "Pool", "first_of_each", "read"]

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


def read(source, *, judge=None, loss="error", columns=None, filter=None, limit=None, samples=None):
    """Read any pool.

    Parameters
    ----------
    source : path, str or pandas.DataFrame
        A run's folder or the name of a published run; a ``samples_*.jsonl`` of lm-eval (or a folder or a glob
        pattern of them); a CSV, TSV, JSONL or Parquet file with a row a sample (or a row a prompt with lists);
        or a DataFrame.
    judge : str, optional
        Name of the judge: a scores file of a run, a column of a table, a field of an lm-eval row that lists one
        number a completion. Always there: ``perfect`` (knows the loss), and where lengths are known ``short``
        and ``long``. Needed where there is more than one.
    loss : {'error', 'squared_error', 'squared_log_error'}
        For runs: 1 - correct, or (answer - gold)^2 of numeric answers, or the same of sign(x) log(1 + |x|), which
        grades by relative distance.
    columns : dict, optional
        For tables whose columns have other names: ``{"prompt": "qid", "correct": "ok"}``; keys prompt, sample,
        correct, loss, score, and, to count repeats and cost, text and tokens.
    filter : str, optional
        For lm-eval: use the rows of this filter only. Default: all, repeats dropped.
    limit : float, optional
        Use the first prompts only: a share of them if below 1, else their number.
    samples : int, optional
        Leave out prompts with fewer samples. Default: the largest number that 90 % of the prompts have.

    Returns
    -------
    Pool

    Raises
    ------
    ValueError
        The source cannot be read as a pool; the message names file, row and column.

    Examples
    --------
    >>> import pandas
    >>> table = pandas.DataFrame({"prompt": list("aabb"), "correct": [1, 0, 0, 1], "score": [7, 5, 2, None]})
    >>> pool = read(table)
    >>> pool.loss, pool.reward
    (array([[0., 1.],
           [1., 0.]]), array([[  7.,   5.],
           [  2., -inf]]))
    >>> pool.notes[-1]
    '1 of 4 samples (25%) has no score: kept only if the whole subset has none'
    """
    if limit is not None and not limit > 0:
        raise ValueError(f"limit must be a share below 1 or a number of prompts, got {limit}")
    if loss not in runs.LOSSES:
        raise ValueError(f"loss must be one of {', '.join(runs.LOSSES)}, got {loss!r}")
    if hasattr(source, "columns") and hasattr(source, "iloc"):
        raw = tables.read("the table", [(0, source)], list(source.columns), judge, columns or {})
    else:
        raw = _read_path(str(source), judge, loss, columns or {}, filter)
    return assemble(raw, limit, samples)


def _read_path(source, judge, loss, columns, filter):
    if not source:
        raise ValueError(
            "parameter pool must be given, got '': a run's folder, the name of a published run, samples_*.jsonl of lm-eval "
            f"(a file, a folder or a pattern), or a table ({', '.join(TABLES)})"
        )
    path = Path(source)
    if (path / "manifest.json").is_file():
        return runs.read(path.name, path.parent, judge, loss)
    if path.is_dir():
        found = sorted(str(file) for file in path.rglob("samples_*.jsonl"))
        if not found:
            raise ValueError(f"folder {source} holds neither a run (manifest.json) nor samples_*.jsonl of lm-eval")
        return lm_eval.read(found, judge, filter)
    if not path.is_file():
        found = sorted(glob.glob(source, recursive=True))
        if found:
            return lm_eval.read(found, judge, filter)
        try:
            known = artifacts.known()
        except ValueError:
            known = []
        if source in known:
            return runs.read(source, None, judge, loss)
        hint = f"; published runs are {', '.join(known)}" if known else ""
        raise ValueError(f"pool {source!r} does not exist (no such file, folder, pattern or published run){hint}")
    suffix = _suffix(path)
    if suffix not in TABLES:
        raise ValueError(
            f"pool {source} must be a run's folder or one of {', '.join(TABLES)}, got {suffix or 'no suffix'!r}"
        )
    if suffix in (".jsonl", ".ndjson"):
        first = next(iter(lines(path)), (0, None))[1]
        if first is None:
            raise ValueError(f"{path} holds no rows")
        if "resps" in first or "filtered_resps" in first:
            return lm_eval.read([source], judge, filter)
        return tables.read(path.name, tables.jsonl_parts(path), list(first), judge, columns)
    names, parts = (tables.parquet_parts if suffix == ".parquet" else tables.csv_parts)(path)
    return tables.read(path.name, parts, names, judge, columns)


def _suffix(path):
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return suffixes[-2] if len(suffixes) > 1 and suffixes[-1] in (".gz", ".bz2", ".zst") else "".join(suffixes[-1:])
