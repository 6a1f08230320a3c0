"""Whose pool is it? Anybody's: a run of ours, stored samples of lm-eval, or a table with a row a sample.

`read` turns each of them into what `bestofk.pool` takes, loss and judge score of
every sample, together with notes on what was missing, repeated or left out.
Large files are read in parts: memory grows with the numbers kept, not with the
texts, of which hashes are kept. A value that cannot be read is refused, naming its row and column.
"""

import glob
import json
from array import array
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bestofk import frozen

from . import answers

ALIASES = {
    "prompt": ("prompt", "prompt_id", "question_id", "problem_id", "doc_id", "task_id", "question", "problem", "id"),
    "sample": ("sample", "sample_index", "sample_id", "sample_idx", "completion_id"),
    "loss": ("loss", "error"),
    "correct": ("correct", "is_correct", "passed", "exact_match"),
    "score": ("score", "reward", "judge_score"),
    "text": ("completion", "completions", "response", "responses", "generation"),
    "tokens": ("completion_tokens", "output_tokens", "n_tokens"),
}
BUILT_IN = ("perfect", "short", "long")
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
PART = 200_000  # rows of a table held as Python objects at a time, and their characters or bytes:
TEXT = 2**22
ENOUGH = 0.9  # share of prompts that must reach the N used; those with fewer samples are left out


@dataclass(frozen=True)
class Pool:
    """A pool of scored samples, ready for `bestofk.pool`.

    Attributes
    ----------
    name : str
    source : str
        Kind of source, in words.
    judge : str
        Name of the judge (of the score column).
    prompt : list of str
        Prompt ids.
    loss, reward : ndarray (prompts, N), or list of 1-D ndarrays where N differs
        Reward is -inf where the judge gave no readable score.
    flagged : same shape, bool
        Samples that were cut off, have no readable answer or no score.
    text : same shape, int, or None
        A number a distinct text; None where texts are not known.
    N : int
        Samples that every prompt has.
    notes : tuple of str
        What was missing, repeated or left out.
    synthetic : bool
    tokens : float or None
        Mean tokens of a sample, where they are known.
    prompt_tokens : float or None
        Mean tokens of a prompt, where they are known.
    judge_tokens : float or None
        Tokens that the judge's model read for all samples of a prompt, on average; 0 for a judge that needs no more
        than the run itself, None where it is not known.
    """

    name: str
    source: str
    judge: str
    prompt: list
    loss: object
    reward: object
    flagged: object
    N: int
    notes: tuple
    synthetic: bool = False
    tokens: float | None = None
    prompt_tokens: float | None = None
    judge_tokens: float | None = None
    text: object = None

    def take(self, prompts):
        """The pool of the prompts at these positions."""
        part = {}
        for name in ("loss", "reward", "flagged") + (() if self.text is None else ("text",)):
            values = getattr(self, name)
            part[name] = values[prompts] if isinstance(values, np.ndarray) else [values[i] for i in prompts]
        return replace(self, prompt=[self.prompt[i] for i in prompts], **part)


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
    if loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
    if hasattr(source, "columns") and hasattr(source, "iloc"):
        raw = _table("the table", [(0, source)], list(source.columns), judge, columns or {})
    else:
        raw = _read_path(str(source), judge, loss, columns or {}, filter)
    return _assemble(raw, limit, samples)


@dataclass
class _Raw:
    """Samples in rows, before they are grouped: arrays of one length, None where the source has no such thing."""

    name: str
    source: str
    judge: str
    prompts: list  # id of every prompt code, in order of appearance
    code: np.ndarray
    loss: np.ndarray
    reward: np.ndarray  # nan where there is no score
    sample: np.ndarray | None = None
    row: np.ndarray | None = None  # to name a row in a message
    truncated: np.ndarray | None = None
    unreadable: np.ndarray | None = None
    text: np.ndarray | None = None  # one number a distinct text
    notes: tuple = ()
    synthetic: bool = False
    tokens: float | None = None
    prompt_tokens: float | None = None
    judge_tokens: float | None = None


def _read_path(source, judge, loss, columns, filter):
    if not source:
        raise ValueError(
            "parameter pool must be given, got '': a run's folder, the name of a published run, samples_*.jsonl of lm-eval "
            f"(a file, a folder or a pattern), or a table ({', '.join(TABLES)})"
        )
    path = Path(source)
    if (path / "manifest.json").is_file():
        return _run(path.name, path.parent, judge, loss)
    if path.is_dir():
        found = sorted(str(file) for file in path.rglob("samples_*.jsonl"))
        if not found:
            raise ValueError(f"folder {source} holds neither a run (manifest.json) nor samples_*.jsonl of lm-eval")
        return _lm_eval(found, judge, filter)
    if not path.is_file():
        found = sorted(glob.glob(source, recursive=True))
        if found:
            return _lm_eval(found, judge, filter)
        from bestofk import artifacts

        try:
            known = artifacts.known()
        except ValueError:
            known = []
        if source in known:
            return _run(source, None, judge, loss)
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
            return _lm_eval([source], judge, filter)
        return _table(path.name, _jsonl_parts(path), list(first), judge, columns)
    names, parts = (_parquet_parts if suffix == ".parquet" else _csv_parts)(path)
    return _table(path.name, parts, names, judge, columns)


def _suffix(path):
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return suffixes[-2] if len(suffixes) > 1 and suffixes[-1] in (".gz", ".bz2", ".zst") else "".join(suffixes[-1:])


# a run of ours

LOSSES = {
    "error": "error (1 - correct)",
    "squared_error": "squared error of the number",
    "squared_log_error": "squared error of sign(x) log(1 + |x|) of the number",
}


def _run(name, root, judge, loss):
    from bestofk import artifacts

    run = artifacts.load(name, root=root)
    prompts, size = run.shape
    lengths = run.tokens if (np.asarray(run.tokens, float) >= 0).all() else None
    losses = run.loss if loss == "error" else run.squared_error
    if loss == "squared_log_error":
        gold = np.array([answers.number(value) for value in run.gold], dtype=float)
        losses = (frozen.view(run.y, "log") - frozen.view(gold, "log")[:, None]) ** 2
    judge = _judge(judge, list(run.scores), lengths is not None, f"run {name}")
    reward = _built_in(judge, losses, lengths)
    if reward is None:
        reward = np.where(np.isneginf(run.scores[judge]), np.nan, run.scores[judge])
    keep = np.isfinite(losses)
    notes = [f"loss is the {LOSSES[loss]}"]
    if not keep.any():
        raise ValueError(f"run {name} has no numeric answers, so loss = {loss!r} has no meaning for it")
    if not keep.all():
        notes.append(f"{_share(~keep)} have no number as an answer, so no squared error: left out")
    unreadable = np.array([answer is None for answer in run.answer.ravel()]).reshape(run.shape)
    text, repeats = None, run.manifest.get("summary", {}).get("duplicates_within_prompts")
    if run.texts is not None:
        text = np.unique(run.texts[keep].astype(str), return_inverse=True)[1]
    elif repeats == 0:
        text = np.arange(keep.sum())
    elif repeats:
        notes.append(f"{_share(repeats, run.loss.size)} repeat a text of the same prompt; the texts are not published")
    prompt_tokens, judge_tokens = _reading(name, run.manifest, judge, prompts)
    return _Raw(
        name=name,
        source="a run of these notebooks",
        judge=judge,
        prompts=[str(prompt) for prompt in run.prompt_id],
        code=np.repeat(np.arange(prompts), size).reshape(run.shape)[keep],
        sample=np.tile(np.arange(size), (prompts, 1))[keep],
        loss=losses[keep],
        reward=reward[keep],
        truncated=(run.finish_reason == "length")[keep],
        unreadable=unreadable[keep],
        text=text,
        notes=tuple(notes[loss == "error" :]),
        synthetic=run.manifest.get("class") == "synthetic",
        tokens=float(np.mean(lengths)) if lengths is not None else None,
        prompt_tokens=prompt_tokens,
        judge_tokens=judge_tokens,
    )


def _reading(run, manifest, judge, prompts):
    """Tokens of a prompt, and those that the judge's model read for all samples of a prompt; None where not known."""
    read, record = manifest.get("summary", {}).get("tokens_in"), manifest.get("judges", {}).get(judge)
    if record is None:
        judged = 0 if judge in BUILT_IN else None
    else:
        asks = record.get("judge") not in ("stored", "length", "numeric")
        other = record.get("settings", {}).get("parameters", {}).get("estimate_run", run) != run
        judged = (record.get("positions_computed") or None) if asks else None if other else 0
    return tuple(None if total is None else total / prompts for total in (read, judged))


def _judge(judge, names, lengths, where):
    """The judge to use; the built-in ones only when they are asked for."""
    if judge is None and len(names) == 1:
        return names[0]
    known = names + [name for name in BUILT_IN if (lengths or name == "perfect") and name not in names]
    if judge in known:
        return judge
    asked = "judge must be said" if judge is None else f"unknown judge {judge!r}"
    raise ValueError(f"{asked}: {where} has {', '.join(known)}")


def _built_in(judge, loss, lengths):
    if judge == "perfect":
        return -np.asarray(loss, float)
    if judge in ("short", "long"):
        return (1.0 if judge == "long" else -1.0) * np.asarray(lengths, float)
    return None


# stored samples of lm-eval


def _lm_eval(paths, judge, wanted):
    """One row a prompt and filter; the completions of all filters are the same and are read once."""

    kinds = {"code": "q", "loss": "d", "reward": "d", "unreadable": "b", "row": "q", "text": "q"}
    seen, prompts, columns = {}, [], {name: array(kind) for name, kind in kinds.items()}
    filters, repeats, own = {}, 0, {}
    for path in paths:
        for line, record in lines(Path(path)):
            where = f"{path} line {line}"
            name = record.get("filter", "none")
            filters[name] = filters.get(name, 0) + 1
            if wanted is not None and name != wanted:
                continue
            doc = record.get("doc") if isinstance(record.get("doc"), dict) else {}
            completions = completions_of(record, where)
            key = (record.get("doc_hash") or hash(json.dumps(doc, sort_keys=True)), str(record.get("doc_id")))
            if key in seen:
                if seen[key][0] != hash(tuple(completions)):
                    raise ValueError(
                        f"{where} repeats document {key[1]} with other completions than {seen[key][1]}: these files "
                        "mix two evaluations; name one file"
                    )
                repeats += 1
                _compare(own, record, name, seen[key][2])
                continue
            gold = gold_of(doc.get("answer", record.get("target")), where)
            found = [answers.extract(text) for text in completions]
            losses = [0.0 if answers.correct(answer, gold) else 1.0 for answer in found]
            seen[key] = (hash(tuple(completions)), where, (1.0 - losses[0], 1.0 - sum(losses) / len(losses)))
            _compare(own, record, name, seen[key][2])
            scores = _lm_eval_scores(record, judge, losses, completions, where)
            columns["code"].extend([len(prompts)] * len(completions))
            columns["loss"].extend(losses)
            columns["reward"].extend(scores)
            columns["unreadable"].extend(answer is None for answer in found)
            columns["row"].extend([line] * len(completions))
            columns["text"].extend(map(hash, completions))
            prompts.append(key[1])
    if wanted is not None and wanted not in filters:
        raise ValueError(f"{paths[0]} has no filter {wanted!r}, only {', '.join(map(str, filters))}")
    if not prompts:
        raise ValueError(f"{', '.join(paths)} hold no rows")
    notes = [
        "correctness is computed from the completions (last boxed, 'answer is' or last number), not from the filters"
    ]
    notes += _disagreements(own)
    if repeats:
        kinds = ", ".join(map(str, filters))
        notes.insert(0, f"{repeats} rows repeat a prompt under another filter ({kinds}): each prompt is read once")
    return _Raw(
        name=Path(paths[0]).name if len(paths) == 1 else f"{len(paths)} files like {Path(paths[0]).name}",
        source="samples stored by lm-eval",
        judge=judge,
        prompts=prompts,
        judge_tokens=0.0 if judge in BUILT_IN else None,
        notes=tuple(notes),
        **{name: np.array(values, dtype=bool if name == "unreadable" else None) for name, values in columns.items()},
    )


METRICS = ("exact_match", "acc", "pass_at_1")


def _compare(own, record, filter, correct):
    """Count whether the row's own metric is the first completion's correctness, or the mean over completions."""
    for metric in METRICS:
        value = record.get(metric)
        if isinstance(value, (bool, int, float)) and not str(filter).startswith("maj"):  # a vote is another answer
            rows = own.setdefault((metric, filter), [0, 0])
            rows[0] += all(abs(value - ours) > 1e-6 for ours in correct)
            rows[1] += 1


def _disagreements(own):
    """A note for every metric of the file that says otherwise than the correctness computed here."""
    notes = []
    for metric in METRICS:
        found = {filter: rows for (name, filter), rows in own.items() if name == metric}
        differ, rows = (sum(row[i] for row in found.values()) for i in (0, 1))
        if differ:
            kinds = ", ".join(f"{filter} ({row[0]} of {row[1]})" for filter, row in found.items())
            word = "filters" if len(found) > 1 else "filter"
            notes.append(f"{differ} of {rows} rows disagree with the file's own {metric}; the file's {word}: {kinds}")
    return notes


def completions_of(record, where):
    """All completions of an lm-eval row: ``resps`` is a list of texts, or of one list of repeats."""
    resps = record.get("resps", record.get("filtered_resps"))
    if isinstance(resps, list) and len(resps) == 1 and isinstance(resps[0], list):
        resps = resps[0]
    if isinstance(resps, list) and all(isinstance(item, list) and len(item) == 1 for item in resps):
        resps = [item[0] for item in resps]
    if not isinstance(resps, list) or not resps or not all(isinstance(text, str) for text in resps):
        raise ValueError(
            f"{where}: resps must list the completions as texts (a generate_until task), got {_short(resps)}"
        )
    return resps


def gold_of(answer, where):
    """The right answer of a document: what follows ``####``, or the whole, without thousands separators."""
    if answer is None:
        raise ValueError(f"{where}: no right answer (doc.answer or target)")
    return answers.of_solution(answer)


def _lm_eval_scores(record, judge, losses, completions, where):
    built_in = _built_in(judge, losses, [len(text) for text in completions])
    if built_in is not None:
        return list(built_in)
    scores = field(record, judge) if judge else None
    if scores is None:
        asked = f"no judge {judge!r}" if judge else "judge must be said"
        raise ValueError(
            f"{where}: {asked}. lm-eval stores no judge scores: use perfect, short or long, name a field that lists "
            "one number a completion, or import the file (import_completions.ipynb) and judge it (judge.ipynb)"
        )
    if not isinstance(scores, list) or len(scores) != len(completions):
        raise ValueError(f"{where}: {judge} must list {len(completions)} numbers, got {_short(scores)}")
    return [_score(value, f"{where}, {judge}[{i}]") for i, value in enumerate(scores)]


def field(record, path):
    """Value at a dotted path such as ``doc.answer`` or ``resps.0``; None if there is none."""
    if isinstance(record, dict) and path in record:
        return record[path]
    for step in path.split("."):
        try:
            record = record[int(step)] if isinstance(record, list) else record[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return record


def _score(value, where):
    if value is None:
        return np.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value == np.inf:
        raise ValueError(f"{where} must be a number below infinity, or null for no score, got {_short(value)}")
    return np.nan if value == -np.inf else float(value)


def lines(path):
    """Yield (line number, object) of a JSONL file, plain or compressed."""
    for line, _, record in _sized_lines(path):
        yield line, record


def _sized_lines(path):
    """Yield (line number, characters, object)."""
    import io

    import pyarrow

    with pyarrow.input_stream(str(path)) as stream:
        line = 0
        try:
            for line, text in enumerate(io.TextIOWrapper(stream, encoding="utf-8"), 1):
                if not text.strip():
                    continue
                try:
                    record = json.loads(text)
                except ValueError:
                    raise ValueError(f"{path} line {line} is not JSON: {_short(text.strip())}") from None
                if not isinstance(record, dict):
                    raise ValueError(f"{path} line {line} is not an object with named fields: {_short(text.strip())}")
                yield line, len(text), record
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not UTF-8 text (after line {line})") from None
        except OSError as error:
            raise ValueError(f"{path} cannot be read after line {line}: {error}") from None


# tables


def _jsonl_parts(path):
    import pandas

    def parts(columns):
        start, rows, held = 0, [], 0
        for _, characters, record in _sized_lines(path):
            rows.append(record if columns is None else {name: record[name] for name in columns if name in record})
            held += characters
            if len(rows) == PART or held > TEXT:
                yield start, pandas.DataFrame(rows, dtype=object)
                start, rows, held = start + len(rows), [], 0
        if rows:
            yield start, pandas.DataFrame(rows, dtype=object)

    return parts


def _parquet_parts(path):
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except Exception as error:
        raise ValueError(f"{path} is not a readable parquet file: {_short(str(error))}") from None

    def parts(columns):
        start = 0
        bytes_a_row = sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)) / max(
            file.metadata.num_rows, 1
        )
        size = int(np.clip(TEXT / max(bytes_a_row, 1), 1, PART))
        for group in range(file.num_row_groups):  # together, pyarrow would hold several
            for batch in file.iter_batches(batch_size=size, columns=columns, row_groups=[group]):
                yield start, batch.to_pandas()
                start += batch.num_rows

    return file.schema_arrow.names, parts


def _csv_parts(path):
    import pyarrow
    from pyarrow import csv

    try:
        with pyarrow.input_stream(str(path)) as stream:
            head = stream.read(2**16).decode("utf-8", errors="replace").lstrip("\ufeff").split("\n", 1)[0]
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not head.strip():
        raise ValueError(f"{path} holds no rows: its first line, which should name the columns, is empty")
    delimiter = max(",;\t|", key=head.count)
    options = {
        "read_options": csv.ReadOptions(block_size=TEXT),
        "parse_options": csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
    }
    import csv as reader

    names = next(reader.reader([head.rstrip("\r")], delimiter=delimiter))

    def parts(columns):
        start = 0
        try:
            convert = csv.ConvertOptions(
                include_columns=columns,
                column_types={name: pyarrow.string() for name in columns or names},
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            )
            with csv.open_csv(str(path), **options, convert_options=convert) as stream:
                for batch in stream:
                    yield start, batch.to_pandas()
                    start += batch.num_rows
        except pyarrow.ArrowInvalid as error:
            reason = _short(str(error), 200)
            raise ValueError(f"{path} is not a readable table after data row {start}: {reason}") from None

    return names, parts


def _table(name, parts, names, judge, columns):
    """Rows of a table as samples; `parts` yields (row before the first, frame), or makes that from columns."""
    import pandas

    use = _columns(name, names, judge, columns)
    compare = "sample" not in use  # whole rows: without numbers only they can show that a table was pasted twice
    wanted = [column for column in dict.fromkeys(use.values()) if column in names]
    frames = parts(None if compare else wanted) if callable(parts) else parts
    codes, kept, hashes = {}, {key: [] for key in ("code", "row", "loss", "reward", "sample", "text", "tokens")}, []
    for before, frame in frames:
        row = before + 1 + np.arange(len(frame))
        if compare:
            hashes.append(_row_hashes(frame))
        frame = frame[[column for column in wanted if column in frame.columns]].reindex(columns=wanted)
        frame, row, inner = _exploded(name, frame, row, use)
        prompt = frame[use["prompt"]]
        if prompt.isna().any():
            raise ValueError(f"{name} data row {row[prompt.isna().argmax()]}, column {use['prompt']}: no prompt")
        local, distinct = prompt.astype(str).factorize()
        known = np.array([codes.setdefault(value, len(codes)) for value in distinct], dtype=np.int64)
        kept["code"].append(known[local] if len(known) else np.empty(0, np.int64))
        kept["row"].append(row)
        kept["loss"].append(_losses(name, frame, row, use))
        if use["score"] in frame.columns:
            kept["reward"].append(_numbers(name, frame[use["score"]], row, use["score"], np.nan))
        if "text" in use:
            texts = frame[use["text"]].astype(str).to_numpy(dtype=object)
            kept["text"].append(pandas.util.hash_array(texts).view(np.int64))
        if "tokens" in use:
            kept["tokens"].append(_numbers(name, frame[use["tokens"]], row, use["tokens"], np.nan))
        if inner is not None:
            kept["sample"].append(inner)
        elif "sample" in use:
            kept["sample"].append(_whole(name, frame[use["sample"]], row, use["sample"]))
    if not kept["code"] or not sum(map(len, kept["code"])):
        raise ValueError(f"{name} holds no rows")
    kept = {key: np.concatenate(kept.pop(key)) if kept[key] else None for key in tuple(kept)}
    if kept["reward"] is None:
        kept["reward"] = _built_in(use["score"], kept["loss"], None)
    plus = np.flatnonzero(np.isposinf(kept["reward"]))
    if len(plus):
        raise ValueError(f"{name} data row {kept['row'][plus[0]]}, column {use['score']}: inf is not a score")
    kept["reward"][np.isneginf(kept["reward"])] = np.nan
    notes = () if kept["sample"] is not None else ("no sample column: the rows of a prompt are its samples, in order",)
    notes += _pasted(hashes) if kept["sample"] is None else ()
    if "loss" in use and any(c in names for c in ALIASES["correct"]) and "loss" not in columns:
        notes += (f"there is a column {use['loss']} and one that says correct: {use['loss']} is used",)
    tokens = kept.pop("tokens")
    tokens = None if tokens is None or np.isnan(tokens).all() else float(np.nanmean(tokens))
    judged = 0.0 if use["score"] in BUILT_IN and use["score"] not in names else None
    return _Raw(name, "a table", use["score"], list(codes), notes=notes, tokens=tokens, judge_tokens=judged, **kept)


def _row_hashes(frame):
    """One number a row that is the same only where every column is the same."""
    import pandas

    def plain(value):
        return repr(value.tolist() if isinstance(value, np.ndarray) else value)

    columns = (frame.iloc[:, i] for i in range(frame.shape[1]))
    texts = {i: c.map(plain) if c.dtype == object else c for i, c in enumerate(columns)}
    return pandas.util.hash_pandas_object(pandas.DataFrame(texts), index=False).to_numpy()


def _pasted(hashes):
    """A note on rows that say again what an earlier row of the same prompt says; equal samples are legitimate."""
    _, times = np.unique(np.concatenate(hashes), return_counts=True)
    rows, again = int(times.sum()), int((times - 1).sum())
    if not again:
        return ()
    every = int(np.gcd.reduce(times))
    hint = f", every row occurs {every} times or a multiple of that: was the table pasted twice?" if every > 1 else ""
    return (f"{again} of {rows} rows repeat an earlier row of the same prompt in every column: kept as samples{hint}",)


def _columns(name, names, judge, given):
    """Which column is what: as given, else by the usual names."""
    twice = [column for i, column in enumerate(names) if column in names[:i] and str(column).strip()]
    if twice:
        raise ValueError(f"{name} has two columns {twice[0]!r}: rename or drop one")
    unknown = [key for key in given if key not in ALIASES]
    if unknown:
        raise ValueError(f"columns must use the keys {', '.join(ALIASES)}, got {unknown[0]!r}")
    absent = [column for column in given.values() if column not in names]
    if absent:
        raise ValueError(f"{name} has no column {absent[0]!r}; its columns are {', '.join(map(str, names))}")
    use = {}
    for key, aliases in ALIASES.items():
        hits = [given[key]] if key in given else [alias for alias in aliases if alias in names]
        if hits:
            use[key] = hits[0]
        if key == "score" and len(hits) > 1 and judge is None:
            raise ValueError(f"judge must be said: {name} has {', '.join(hits)}")
    if judge is not None:
        if judge not in names and judge != "perfect":
            raise ValueError(
                f"unknown judge {judge!r}: {name} has the columns {', '.join(map(str, names))}, and perfect"
            )
        use["score"] = judge
    if "loss" in use:
        use.pop("correct", None)
    wanted = [key for key in ("prompt", "score") if key not in use]
    wanted += [] if "loss" in use or "correct" in use else ["correct or loss"]
    if wanted:
        free = [column for column in names if column not in use.values()] or names
        raise ValueError(
            f"{name} has no column for {', '.join(wanted)}; its columns are {', '.join(map(str, names))}. Say which is "
            f'which with columns, such as {{"{wanted[-1].split()[0]}": "{free[0]}"}}'
        )
    return use


def _exploded(name, frame, row, use):
    """A row a prompt with lists becomes a row a sample."""
    import pandas

    listed = [c for c in frame.columns if len(frame) and isinstance(frame[c].iloc[0], (list, np.ndarray))]
    if set(listed) <= {use.get("text")}:  # a completion may be a list of messages
        return frame, row, None
    if use.get("sample") in listed:
        frame = frame.drop(columns=use["sample"])
        listed.remove(use["sample"])
    sizes = {}
    for column in listed:
        is_list = frame[column].map(lambda value: isinstance(value, (list, np.ndarray)))
        if not is_list.all():
            i = int((~is_list).argmax())
            raise ValueError(
                f"{name} data row {row[i]}, column {column}: a list is needed, got {_short(frame[column].iloc[i])}"
            )
        sizes[column] = frame[column].map(len).to_numpy()
    for column in listed[1:]:
        different = sizes[column] != sizes[listed[0]]
        if different.any():
            i = int(different.argmax())
            raise ValueError(
                f"{name} data row {row[i]}: {listed[0]} lists {sizes[listed[0]][i]} values "
                f"and {column} {sizes[column][i]}"
            )
    count = sizes[listed[0]]
    if (count == 0).any():
        raise ValueError(f"{name} data row {row[(count == 0).argmax()]}, column {listed[0]}: the list is empty")
    data = {
        c: np.concatenate([np.asarray(v, dtype=object) for v in frame[c]])
        if c in listed
        else np.repeat(frame[c].to_numpy(dtype=object), count)
        for c in frame.columns
    }
    inner = np.concatenate([np.arange(n) for n in count])
    return pandas.DataFrame(data), np.repeat(row, count), inner


def _losses(name, frame, row, use):
    if "loss" in use:
        values = _numbers(name, frame[use["loss"]], row, use["loss"])
        bad = ~np.isfinite(values)
        if bad.any():
            raise ValueError(
                f"{name} data row {row[bad.argmax()]}, column {use['loss']}: must be finite, got {values[bad][0]}"
            )
        return values
    values = _numbers(name, frame[use["correct"]], row, use["correct"])
    bad = ~((values >= 0) & (values <= 1))
    if bad.any():
        raise ValueError(
            f"{name} data row {row[bad.argmax()]}, column {use['correct']}: must be between 0 (wrong) and 1 (right), "
            f"got {values[bad][0]:g}"
        )
    return 1.0 - values


def _numbers(name, column, row, label, blank=None):
    """A column as floats; text among the numbers, and blanks where they have no meaning, are refused."""
    import pandas

    if column.dtype.kind in "iuf" and column.dtype != object:
        values = column.to_numpy(dtype=float)
        missing = np.isnan(values)
    else:
        text = column
        if column.dtype.kind != "b":
            text = column.map(_plain)
        values = pandas.to_numeric(text, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        missing = text.isna().to_numpy()
        bad = np.isnan(values) & ~missing
        if bad.any():
            i = int(bad.argmax())
            raise ValueError(f"{name} data row {row[i]}, column {label}: {_short(column.iloc[i])} is not a number")
    if blank is None and missing.any():
        raise ValueError(
            f"{name} data row {row[missing.argmax()]}, column {label}: no value. An answer that cannot be read "
            "counts as wrong: write 0 for correct (or its loss), or drop the row"
        )
    return np.where(missing, blank if blank is not None else 0.0, values)


def _plain(value):
    """true and false as numbers, blanks and the spellings of nan as missing."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in ("", "nan", "null", "none", "na", "n/a"):
            return None
        return {"true": 1, "false": 0}.get(word, value)
    return value


def _whole(name, column, row, label):
    values = _numbers(name, column, row, label)
    bad = ~(values == np.floor(values))
    if bad.any():
        raise ValueError(f"{name} data row {row[bad.argmax()]}, column {label}: {values[bad][0]} is not a whole number")
    return values.astype(np.int64)


# from rows to prompts


def _assemble(raw, limit, samples):
    notes = list(raw.notes)
    order = _order(raw.code, raw.sample)
    code, loss, reward = raw.code[order], np.asarray(raw.loss[order], float), np.asarray(raw.reward[order], float)
    flagged = np.isnan(reward)
    if flagged.all():
        raise ValueError(f"{raw.name} has no score by {raw.judge} at all: every one is missing")
    keep = np.ones(len(code), bool)
    if raw.sample is not None:
        keep = ~_repeats(raw, order, loss, reward)
        if not keep.all():
            notes.append(f"{int((~keep).sum())} rows repeat another row (same prompt, sample and values): dropped")
    prompts = np.arange(len(raw.prompts))
    if limit is not None:
        count = int(np.ceil(limit * len(prompts))) if limit < 1 else int(limit)
        keep &= code < count
        if count < len(prompts):
            notes.append(f"the first {count} of {len(prompts)} prompts (limit = {limit:g})")
    sizes = np.bincount(code[keep], minlength=len(prompts))
    N = samples or int(np.quantile(sizes[sizes > 0], 1 - ENOUGH, method="lower"))
    short = (sizes > 0) & (sizes < N)
    if short.all() or not (sizes >= N).any():
        raise ValueError(f"no prompt has samples = {N} or more, the most is {sizes.max()}")
    if short.any():
        first = raw.prompts[int(short.argmax())]
        notes.append(
            f"{_count(short.sum(), 'prompt')} with fewer than {N} samples left out (the first is {_short(first, 40)}, "
            f"with {sizes[short.argmax()]})"
        )
        keep &= ~short[code]
    kept_sizes = sizes[(sizes >= N)]
    if kept_sizes.max() > N:
        notes.append(f"prompts have {N} to {kept_sizes.max()} samples: k goes up to {N}, all samples are used")
    for mask, meaning in (
        (np.isnan(raw.reward[order]), "no score: kept only if the whole subset has none"),
        (None if raw.truncated is None else raw.truncated[order], "been cut off"),
        (None if raw.unreadable is None else raw.unreadable[order], "no readable answer: counted as wrong"),
    ):
        if mask is not None and mask[keep].any():
            flagged |= mask
            some = mask[keep]
            notes.append(f"{_share(some)} {'has' if some.sum() == 1 else 'have'} {meaning}")
    if raw.text is not None:
        repeated = int((~first_of_each(code[keep], raw.text[order][keep])).sum())
        if repeated:
            notes.append(f"{_share(repeated, keep.sum())} repeat a text of the same prompt")
    reward = np.where(np.isnan(reward), -np.inf, reward)
    ends = np.cumsum(kept_sizes)[:-1]
    parts = {"loss": loss[keep], "reward": reward[keep], "flagged": flagged[keep]}
    if raw.text is not None:
        parts["text"] = raw.text[order][keep]
    if len(set(kept_sizes.tolist())) == 1:
        parts = {name: values.reshape(len(kept_sizes), -1) for name, values in parts.items()}
    else:
        parts = {name: np.split(values, ends) for name, values in parts.items()}
    names = [raw.prompts[i] for i in np.flatnonzero(sizes >= N)]
    rest = {name: getattr(raw, name) for name in ("synthetic", "tokens", "prompt_tokens", "judge_tokens")}
    return Pool(raw.name, raw.source, raw.judge, names, N=N, notes=tuple(notes), **rest, **parts)


def first_of_each(code, text):
    """Mark the first sample of every (prompt, text); the others repeat it.

    >>> first_of_each(np.array([0, 0, 0, 1]), np.array([5, 7, 5, 5]))
    array([ True,  True, False,  True])
    """
    order = np.lexsort((text, code))  # stable: equal ones stay in order
    new = np.ones(len(code), bool)
    new[order[1:]] = (np.diff(code[order]) != 0) | (np.diff(text[order]) != 0)
    return new


def _order(code, sample):
    """What sorts the rows by prompt and sample: positions, or a slice (which copies nothing) if they are sorted."""
    step = np.diff(code)
    if (step >= 0 if sample is None else (step > 0) | ((step == 0) & (np.diff(sample) >= 0))).all():
        return slice(None)
    return np.argsort(code, kind="stable") if sample is None else np.lexsort((sample, code))


def _repeats(raw, order, loss, reward):
    """Mark rows that say again what another row says; rows that contradict one another are refused."""
    code, sample, row = raw.code[order], raw.sample[order], None if raw.row is None else raw.row[order]
    again = np.zeros(len(code), bool)
    again[1:] = (np.diff(code) == 0) & (np.diff(sample) == 0)
    same = np.r_[
        False, (np.diff(loss) == 0) & ((reward[1:] == reward[:-1]) | (np.isnan(reward[1:]) & np.isnan(reward[:-1])))
    ]
    bad = np.flatnonzero(again & ~same)
    if len(bad):
        i = bad[0]
        rows = "" if row is None else f" (data rows {row[i - 1]} and {row[i]})"
        raise ValueError(
            f"{raw.name}: sample {sample[i]} of prompt {_short(raw.prompts[code[i]], 40)} occurs twice with different "
            f"values{rows}: number the samples of a prompt, or drop one"
        )
    return again


def _count(number, noun):
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _share(mask, total=None):
    count, total = (int(mask.sum()), mask.size) if total is None else (int(mask), int(total))
    share = count / total
    percent = "<0.1%" if share < 0.001 else f"{share:.1%}" if share < 0.1 else f"{share:.0%}"
    return f"{count} of {total} samples ({percent})"


def _short(value, most=60):
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."
