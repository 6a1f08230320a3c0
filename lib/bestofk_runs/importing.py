"""How do completions made elsewhere become a run? Field names are options, the rest is as for our own.

One row of a JSONL file a question: the question, the right answer, and a list
of completions, either texts or objects with a text and, where they are known,
log-probability, tokens and finish reason. The result is a run directory that
``judge.ipynb``, ``sweep.ipynb`` and ``report.ipynb`` take like any other.
"""

import hashlib
import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from . import answers, publishing, samples, shards
from .engines.base import Completion
from .parameters import Name, Parameters, identity
from .pools import jsonl
from .tasks import Problem, Task


class ImportCompletions(Parameters):
    """Parameters of ``import_completions.ipynb``; what they mean is said there."""

    run: Name = "imported"
    root: str = "gpu_runs/scratch"
    source: str = ""
    limit: Annotated[float, Field(gt=0)] | None = None
    samples: Annotated[int, Field(ge=1)] | None = None
    id: str = ""
    question: str = "question"
    gold: str = "gold"
    difficulty: str = ""
    completions: str = "completions"
    text: str = "text"
    logprob: str = "logprob"
    logprob_is: Literal["sum", "mean"] = "sum"
    tokens: str = "tokens"
    finish_reason: str = "finish_reason"
    cut_off: str = "length"
    prompt: str = "{question}"
    chat: bool = False
    stop: list[str] | None = None
    model: str = "unknown"
    model_revision: str | None = None
    model_licence: str | None = None
    origin: str | None = None
    origin_revision: str | None = None
    licence: str | None = None
    sampling: dict = {}
    publish_texts: bool = False


def read(settings):
    """Read and check the file.

    Returns
    -------
    problems : list of bestofk_runs.tasks.Problem
    completions : list of lists of Completion
    notes : list of str
        What was repeated or left out.

    Raises
    ------
    ValueError
        A row that cannot be used, by line and field; or different numbers of completions.
    """
    path = Path(settings.source)
    if not path.is_file():
        raise ValueError(_no_file(settings))
    rows, repeats, first = [], 0, {}
    for line, record in jsonl.lines(path):
        problem, completions = _row(settings, f"{path.name} line {line}", record, f"{path.stem}-{len(rows):05d}")
        texts = [c.text for c in completions]
        if problem.prompt_id in first:
            before, known = first[problem.prompt_id]
            if known != texts:
                raise ValueError(
                    f"{path.name} line {line}: id {problem.prompt_id!r} occurs on line {before} with other completions"
                )
            repeats += 1
            continue
        first[problem.prompt_id] = line, texts
        rows.append((line, problem, completions))
    if not rows:
        raise ValueError(f"{path.name} holds no rows")
    notes = (
        [f"{repeats} rows repeat an id with the same completions (lm-eval: a row a filter): read once"]
        if repeats
        else []
    )
    if settings.limit is not None:
        count = math.ceil(settings.limit * len(rows)) if settings.limit < 1 else int(settings.limit)
        rows = rows[:count]
    sizes = [len(completions) for _, _, completions in rows]
    N = settings.samples or max(sizes)
    if settings.samples is None and min(sizes) < N:
        worst = rows[sizes.index(min(sizes))]
        raise ValueError(
            f"{path.name} line {worst[0]} has {min(sizes)} completions and others have {N}: say samples = n to keep "
            "the first n of each question and leave out questions with fewer"
        )
    enough = [(problem, completions[:N]) for _, problem, completions in rows if len(completions) >= N]
    if not enough:
        raise ValueError(f"no question has samples = {N} completions, the most is {max(sizes)}")
    if len(enough) < len(rows):
        notes.append(f"{len(rows) - len(enough)} of {len(rows)} questions have fewer than {N} completions: left out")
    return [problem for problem, _ in enough], [completions for _, completions in enough], notes


def _no_file(settings):
    """What to do where the file to import is not given or not there."""
    what = f"parameter source = {settings.source!r}: " + ("there is no such file; " if settings.source else "")
    what += 'give the file to import, as -p source PATH, or make run RUN=NAME ARGS="-p source PATH"'
    if not settings.origin:
        return what
    revision = f", at revision {settings.origin_revision}" if settings.origin_revision else ""
    return f"{what}; it comes from {settings.origin}{revision}"


def _row(settings, where, record, default_id):
    question = jsonl.field(record, settings.question)
    if not isinstance(question, str) or not question.strip():
        raise ValueError(f"{where}: no text at {settings.question} (question); its fields are {', '.join(record)}")
    gold = jsonl.field(record, settings.gold)
    if gold is None or isinstance(gold, (dict, list)):
        raise ValueError(f"{where}: no right answer at {settings.gold} (gold); its fields are {', '.join(record)}")
    items = jsonl.field(record, settings.completions)
    if not isinstance(items, list) or not items:
        raise ValueError(
            f"{where}: no list at {settings.completions} (completions); its fields are {', '.join(record)}"
        )
    try:
        prompt = settings.prompt.format_map({**record, "question": question})
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise ValueError(f"{where}: prompt = {settings.prompt!r} cannot be filled in: {error}") from None
    level = jsonl.field(record, settings.difficulty) if settings.difficulty else 0
    if not isinstance(level, int):
        raise ValueError(f"{where}: {settings.difficulty} (difficulty) must be a whole number, got {level!r}")
    name = jsonl.field(record, settings.id) if settings.id else default_id
    if name is None:
        raise ValueError(f"{where}: no value at {settings.id} (id); its fields are {', '.join(record)}")
    problem = Problem(str(name), question, prompt, answers.of_solution(gold), level)
    return problem, [_completion(settings, f"{where}, completion {i}", record, item, i) for i, item in enumerate(items)]


def _completion(settings, where, record, item, i):
    """A completion from an object, or from a text and lists beside it in the row."""

    def value(path):
        if isinstance(item, dict):
            return jsonl.field(item, path)
        beside = jsonl.field(record, path)
        return beside[i] if isinstance(beside, list) and i < len(beside) else None

    text = item if isinstance(item, str) else value(settings.text) if isinstance(item, dict) else None
    if not isinstance(text, str):
        raise ValueError(
            f"{where}: no text" + (f" at {settings.text}" if isinstance(item, dict) else f", got {item!r}")
        )
    tokens, logprob, reason = value(settings.tokens), value(settings.logprob), value(settings.finish_reason)
    if tokens is not None and not (isinstance(tokens, int) and tokens >= 0):
        raise ValueError(f"{where}: {settings.tokens} (tokens) must be a whole number, got {tokens!r}")
    if logprob is not None:
        if (
            isinstance(logprob, bool)
            or not isinstance(logprob, (int, float))
            or not math.isfinite(logprob)
            or logprob > 1e-6
        ):
            raise ValueError(f"{where}: {settings.logprob} (logprob) must be a number at most 0, got {logprob!r}")
        if settings.logprob_is == "mean":
            if not tokens:
                raise ValueError(f"{where}: logprob_is = 'mean' needs the number of tokens, got {tokens!r}")
            logprob *= tokens
    if reason is not None:
        reason = "length" if reason == settings.cut_off else str(reason)
    return Completion(text, logprob, tokens, reason, None)


def run(settings):
    """Read, extract the answers, and write the run directory; return the manifest's summary.

    Raises
    ------
    ValueError
        As `read`; or a run of this name exists with other settings or another file.
    """
    problems, completions, notes = read(settings)
    path = Path(settings.source)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    directory = Path(settings.root) / settings.run
    kept = identity(settings) | {"source": path.name}
    begun = directory / "manifest.json"
    shards.open_phase(directory, "import", {"parameters": kept, "file": digest}, unused=lambda _: not begun.exists())
    if (directory / "work" / "generate").exists():
        raise ValueError(f"run {settings.run!r} was made by generate.ipynb: choose another run name")
    table = samples.rows([problem.prompt_id for problem in problems], completions)
    answered, agreement = samples.read_answers(table, problems)
    task = Task(
        name=path.stem,
        problems=tuple(problems),
        template=settings.prompt,
        licence=settings.licence or "not said",
        source=settings.origin or path.name,
        sha256=digest,
        stop=(),
        publish_texts=settings.publish_texts,
    )
    summary, missing = _summary(table, answered, agreement, task)
    record = {
        "class": "measured",
        "imported": True,
        **publishing.environment(),
        "parameters": {**kept, **settings.sampling, "samples": len(completions[0]), "stop": settings.stop or []},
        "model": {"id": settings.model, "revision": settings.model_revision, "licence": settings.model_licence},
        "data": {
            "name": task.name,
            "source": task.source,
            "revision": settings.origin_revision,
            "sha256": digest,
            "licence": task.licence,
            "template": task.template,
        },
        "licences": {"completions": task.licence, "questions": task.licence},
        "texts_published": settings.publish_texts,
        "finished": publishing.now(),
        "summary": summary,
        "gaps": [*notes, *missing, "no seeds were recorded"],
    }
    unpublished = () if settings.publish_texts else ("questions", "texts")
    publishing.publish_generation(directory, samples.tables(problems, table, answered), record, unpublished=unpublished)
    return summary | {"gaps": record["gaps"]}


def _summary(table, answered, agreement, task):
    """The integrity summary, without what imported completions do not tell; and what they do not tell."""
    import pyarrow.compute as pc

    names = {"logprob": "log-probabilities", "tokens": "token counts", "finish_reason": "finish reasons"}
    absent = {name: table[name].null_count for name in names}
    missing = [
        f"{count} of {table.num_rows} completions have no {names[name]}" for name, count in absent.items() if count
    ]
    place = table.column_names.index("tokens")
    counted = table.set_column(place, "tokens", pc.fill_null(table["tokens"], 0))
    nothing = {"tokens_in": None, "parameters": None}, {"seconds": None, "rate": None}
    summary = samples.summarise(counted, answered, agreement, task, *nothing)
    unknown = {"tokens_out"} if absent["tokens"] else set()
    unknown |= {"truncated"} if absent["finish_reason"] else set()
    return {k: v for k, v in summary.items() if v is not None and k not in unknown}, missing
