"""What did a run of a language model leave behind? A pool as arrays, checked every time it is read.

A published run is a folder with ``prompts.parquet``, ``completions.parquet``,
one ``scores-<judge>.parquet`` a judge, and a ``manifest.json`` that names each
file with its sha256. `load` reads it into tables of shape (prompts, N), which
is what `bestofk.pool` takes.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SCHEMA = "bestofk-run-1"
COLUMNS = {
    "prompts.parquet": ("prompt_id", "difficulty", "gold", "prompt_sha256"),
    "completions.parquet": (
        "prompt_id", "sample_index", "answer", "correct", "y", "loss", "logprob", "tokens", "finish_reason", "seed",
    ),
    "questions.parquet": ("prompt_id", "question"),
    "scores": ("prompt_id", "sample_index", "score", "parsed"),
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A pool of N samples a prompt and its judges' scores; tables have shape (prompts, N).

    Attributes
    ----------
    name : str
    prompt_id : array of str, shape (prompts,)
    difficulty : int array, shape (prompts,)
    gold : array of str, shape (prompts,)
    correct : bool array
        False too where no answer could be read.
    loss : float array
        1 - correct: the paper's loss for a language model, so its 1 + delta is the mean of this.
    answer : object array
        The extracted answer, None where none could be read.
    y : float array
        The answer as a number; nan where it is none.
    squared_error : float array
        (y - gold)^2 where the task's answers are numbers; nan elsewhere.
    logprob : float array
        Log-probability of the whole completion under its own model, temperature 1; nan where not known.
    tokens : int array
        Sampled tokens; -1 where not known.
    finish_reason : object array
        ``stop`` or ``length`` (cut off); None where not known.
    scores : dict of str to float array
        Judge name -> scores, higher is better; -inf where the judge gave no readable score.
    texts : object array or None
        The completions, where the run's licence lets them be published.
    questions : array of str or None, shape (prompts,)
        The questions, published with the texts.
    manifest : dict
    """

    name: str
    prompt_id: np.ndarray
    difficulty: np.ndarray
    gold: np.ndarray
    correct: np.ndarray
    loss: np.ndarray
    answer: np.ndarray
    y: np.ndarray
    squared_error: np.ndarray
    logprob: np.ndarray
    tokens: np.ndarray
    finish_reason: np.ndarray
    scores: dict
    texts: np.ndarray | None
    questions: np.ndarray | None
    manifest: dict

    @property
    def shape(self):
        """(prompts, N)."""
        return self.correct.shape


def default_root():
    """Folder of published runs: the checkout's ``gpu_runs/data``, else ``$BESTOFK_DATA``.

    Raises
    ------
    ValueError
        Neither exists.
    """
    checkout = Path(__file__).resolve().parents[2] / "gpu_runs" / "data"
    if checkout.is_dir():
        return checkout
    if os.environ.get("BESTOFK_DATA"):
        return Path(os.environ["BESTOFK_DATA"])
    raise ValueError("no folder of published runs found: pass root=, or set BESTOFK_DATA")


def known(root=None):
    """Names of the complete runs under `root` (default: `default_root`)."""
    root = _root(root)
    return sorted(file.parent.name for file in root.glob("*/manifest.json"))


def load(run, *, root=None):
    """Read a run; its schema and every file's sha256 are checked each time.

    Parameters
    ----------
    run : str
        Name of the run.
    root : path, optional
        Folder that holds it. Default: the checkout's ``gpu_runs/data``, else ``$BESTOFK_DATA``.

    Returns
    -------
    Run

    Raises
    ------
    ValueError
        Unknown run (the known ones are listed), a missing or damaged file, a hash that does not match, a wrong schema.

    Examples
    --------
    >>> from bestofk import artifacts
    >>> artifacts.load("no-such-run", root="/tmp")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: unknown run 'no-such-run' in /tmp; known: ...
    """
    root = _root(root)
    folder = root / str(run)
    if folder.is_dir() and folder in root.glob("*") and not (folder / "manifest.json").exists():
        raise ValueError(f"{folder} holds no manifest.json, the mark of a complete run: {_way_out(folder)}")
    if not (folder / "manifest.json").is_file():
        raise ValueError(f"unknown run {str(run)!r} in {root}; known: {', '.join(known(root)) or 'none'}")
    manifest = _manifest(folder)
    for required in ("prompts.parquet", "completions.parquet"):
        if required not in manifest["files"]:
            raise ValueError(f"{folder / 'manifest.json'} does not name {required}")
    tables = {name: _table(folder, name, entry) for name, entry in manifest["files"].items()}
    prompts, completions = tables["prompts.parquet"], tables["completions.parquet"]
    ids = prompts["prompt_id"].astype(str)
    place, shape = _places(ids, completions, folder)
    grid = {}
    for name, values in completions.items():
        grid[name] = np.empty(shape, dtype=values.dtype)
        grid[name].ravel()[place] = values
    scores = {}
    for name, table in tables.items():
        if name.startswith("scores-"):
            scores[name[len("scores-") : -len(".parquet")]] = _scores(ids, table, shape, folder / name)
    texts = None
    if "texts.parquet" in tables:
        texts = np.full(shape, None, dtype=object)
        texts.ravel()[_places(ids, tables["texts.parquet"], folder)[0]] = tables["texts.parquet"]["text"]
    questions = None
    if "questions.parquet" in tables:
        asked = dict(zip(tables["questions.parquet"]["prompt_id"], tables["questions.parquet"]["question"]))
        missing = [prompt for prompt in ids if prompt not in asked]
        if missing:
            raise ValueError(f"{folder / 'questions.parquet'} lacks the question of prompt {str(missing[0])!r}")
        questions = np.array([asked[prompt] for prompt in ids], dtype=object)
    correct = grid["correct"].astype(bool)
    return Run(
        name=str(run),
        prompt_id=ids,
        difficulty=prompts["difficulty"].astype(int),
        gold=prompts["gold"].astype(str),
        correct=correct,
        loss=1.0 - correct,
        answer=grid["answer"],
        y=grid["y"].astype(float),
        squared_error=grid["loss"].astype(float),
        logprob=grid["logprob"].astype(float),
        tokens=np.nan_to_num(grid["tokens"].astype(float), nan=-1).astype(int),
        finish_reason=grid["finish_reason"],
        scores=dict(sorted(scores.items())),
        texts=texts,
        questions=questions,
        manifest=manifest,
    )


def card(run):
    """What a run is, in a few words from its manifest.

    Parameters
    ----------
    run : Run

    Returns
    -------
    dict of str to str
        "run", "class" (measured or synthetic), "generator", "task", "pool" (prompts x samples), "accuracy" of one sample,
        "distinct" completions, "unreadable" answers, "cut off" completions, "judges", "made" (date) and "licence" of the
        completions; "not known" where the manifest does not say.
    """
    made, summary = run.manifest, run.manifest.get("summary", {})
    model, parameters = made.get("model") or {}, made.get("parameters", {})
    sampling = parameters.get("sampling_temperature")
    generator = model.get("id", "not known").split("/")[-1]
    number = {
        "distinct": summary.get("distinct_completions"),
        "unreadable": summary.get("unreadable_answers"),
        "cut off": summary.get("truncated"),
    }
    return {
        "run": run.name,
        "class": made.get("class", "not known"),
        "generator": generator if sampling is None else f"{generator} at {sampling}",
        "task": (made.get("data") or {}).get("name") or parameters.get("task") or "not known",
        "pool": f"{run.shape[0]} x {run.shape[1]}",
        "accuracy": f"{run.correct.mean():.3f}",
        **{name: "not known" if value is None else f"{value:,}" for name, value in number.items()},
        "judges": ", ".join(run.scores),
        "made": made.get("finished", "not known")[:10],
        "licence": (made.get("licences") or {}).get("completions", "not known"),
    }


def cards(runs):
    """The cards of several runs as a Markdown table, a column a run.

    Parameters
    ----------
    runs : sequence of Run

    Returns
    -------
    str
    """
    every = [card(run) for run in runs]
    if not every:
        raise ValueError("runs must hold at least one run, got none")
    lines = ["| " + " | ".join([name, *(one[name] for one in every)]) + " |" for name in every[0]]
    return "\n".join([lines[0], "|" + "---|" * (len(every) + 1), *lines[1:]])


def _root(root):
    try:
        return Path(root) if root is not None else default_root()
    except TypeError:
        raise ValueError(f"root must be a folder that holds runs, got {root!r}") from None


def _way_out(folder):
    return f"restore it from git, or make it again: make run RUN={folder.name}"


def _manifest(folder):
    file = folder / "manifest.json"
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        schema, files = manifest["schema"], manifest["files"]
        if not all(isinstance(entry["sha256"], str) for entry in files.values()):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{file} is damaged, not a run's manifest: {_way_out(folder)}") from None
    if schema != SCHEMA:
        raise ValueError(f"{file} has schema {schema!r}, this version reads {SCHEMA!r}")
    if any("/" in name or not name.endswith(".parquet") for name in files):
        raise ValueError(f"{file} names files that are not parquet files beside it")
    return manifest


def _table(folder, name, entry):
    """One parquet file as a dict of numpy columns, after checking its sha256 and columns."""
    path = folder / name
    try:
        data = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise ValueError(f"{path} is missing, but the manifest names it: {_way_out(folder)}") from None
    found = hashlib.sha256(data).hexdigest()
    if found != entry["sha256"]:
        raise ValueError(
            f"{path} does not match its manifest (sha256 {found[:12]}... instead of {entry['sha256'][:12]}...): "
            f"{_way_out(folder)}"
        )
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(data))
    except Exception:
        raise ValueError(f"{path} is damaged, not a readable parquet file: {_way_out(folder)}") from None
    wanted = COLUMNS.get("scores" if name.startswith("scores-") else name, ())
    missing = [column for column in wanted if column not in table.column_names]
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}")
    return {column: table[column].to_numpy(zero_copy_only=False) for column in table.column_names}


def _places(ids, table, folder):
    """Place of every row in the (prompts, N) grid, and its shape; each place must be filled exactly once."""
    row = {prompt: i for i, prompt in enumerate(ids)}
    index = table["sample_index"].astype(int)
    if len(row) < len(ids) or not len(ids) or not len(index) or index.min() < 0:
        raise ValueError(f"run {folder} has no prompts, no completions or a repeated prompt id")
    unknown = [p for p in dict.fromkeys(table["prompt_id"]) if p not in row]
    if unknown:
        raise ValueError(f"run {folder} has completions of the unknown prompt {unknown[0]!r}")
    shape = (len(ids), int(index.max()) + 1)
    place = np.array([row[p] for p in table["prompt_id"]]) * shape[1] + index
    if len(place) != shape[0] * shape[1] or len(np.unique(place)) != len(place):
        raise ValueError(
            f"run {folder} has {len(place)} rows, {len(np.unique(place))} of them distinct, "
            f"instead of {shape[0]} prompts x {shape[1]} samples"
        )
    return place, shape


def _scores(ids, table, shape, path):
    place, found = _places(ids, table, path)
    if found != shape:
        raise ValueError(f"{path} scores {found[1]} samples a prompt, the pool has {shape[1]}")
    values = table["score"].astype(float)
    scores = np.full(shape, -np.inf)
    scores.ravel()[place] = np.where(np.isnan(values) | ~table["parsed"].astype(bool), -np.inf, values)
    return scores
