"""How does a finished pool get one more judge? Settings, resumable shards, one scores file.

Raw verdicts are kept in ``work/raw-...``, named by what determines them, so that judge names that differ in the
noise alone, and the three likelihood kinds, share one pass. ``work/scores-<judge_name>`` holds the identity of the
judge; its file appears in the run when everything is there.
"""

import time
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from bestofk import artifacts

from . import judges, publishing, shards
from .judges import likelihood, prompted, remote, rewards
from .parameters import Name, Parameters, Part

LIKELIHOOD = ("loglik", "loglik_mean", "entropy")
MODEL = ("judge_model", "dtype", "revision", "trust_remote_code")
RUNS_ON = ("engine", "engine_options")
ASKED = (*MODEL, *RUNS_ON, "judge_prompt", "chat")

# which settings each kind reads; the rest must stay at their defaults
READS = {
    "loglik": (*MODEL, *RUNS_ON, "end", "chat", "nodes"),
    "loglik_mean": (*MODEL, *RUNS_ON, "end", "chat", "nodes"),
    "entropy": (*MODEL, "end", "chat", "nodes"),  # vLLM gives no whole distributions
    "yes": (*ASKED, "nodes"),
    "score_expected": (*ASKED, "nodes"),
    "score": (*ASKED, "score_max", "votes", "judge_temperature", "judge_tokens", "pattern", "seed"),
    "prm": (*MODEL, "aggregate", "layout", "separator", "good", "bad", "system_prompt", "batch"),
    "classifier": (*MODEL, "label", "batch"),
    "http": ("http_url", "http_time_limit", "http_attempts", "http_pause", "http_concurrent", "http_token_variable"),
    "length": ("prefer",),
    "stored": ("stored",),
    "numeric": ("estimate_run", "estimate_noise", "estimate_seed", "scale"),
}  # fmt: skip
ALWAYS = ("run", "root", "judge", "judge_name", "shard_size", "shard", "progress", "noise", "noise_seed")
# settings that change how the work is done, not what comes out
HOW = ("root", "run", "judge_name", "shard", "progress", "shard_size", "nodes", "batch", "http_time_limit",
       "http_attempts", "http_pause", "http_concurrent", "http_token_variable")  # fmt: skip

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Judge(Parameters):
    """Parameters of ``judge.ipynb``; what they mean is said there."""

    run: Name = "demo"
    root: str = "gpu_runs/scratch"
    judge: Literal[tuple(judges.KINDS)] = "loglik_mean"
    judge_model: str = "smollm2"
    judge_name: Name | None = None
    engine: Literal["transformers", "vllm"] = "transformers"
    engine_options: dict = {}
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    revision: str | None = None
    trust_remote_code: bool = False
    shard_size: Count = 4
    shard: Part = "0/1"
    progress: bool = True
    noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    noise_seed: Annotated[int, Field(ge=0)] = 0
    nodes: Count = 512
    end: str | None = None
    judge_prompt: str = ""
    chat: bool | None = None
    score_max: Positive = 10
    votes: Count = 1
    judge_temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    judge_tokens: Count = 8
    pattern: str = r"-?\d+(?:\.\d+)?"
    seed: Annotated[int, Field(ge=0)] = 0
    layout: Literal["extra_0", "generic"] = "extra_0"
    aggregate: Literal["mean", "min", "product", "last"] = "mean"
    separator: str = ""
    good: str = "+"
    bad: str = "-"
    system_prompt: str | None = None
    label: int = -1
    batch: Count = 8
    http_url: str = ""
    http_time_limit: Positive = 30.0
    http_attempts: Count = 5
    http_pause: Positive = 1.0
    http_concurrent: Count = 16
    http_token_variable: str = ""
    prefer: Literal["short", "long"] = "short"
    stored: Literal["logprob", "logprob_mean"] = "logprob_mean"
    estimate_run: str = ""
    estimate_noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    estimate_seed: Annotated[int, Field(ge=0)] = 0
    scale: Literal["linear", "log"] = "linear"

    @field_validator("judge", mode="before")
    @classmethod
    def _yaml_yes(cls, value):
        return "yes" if value is True else value  # YAML reads a bare yes as true


def name_of(settings):
    """The judge's name: as given, else its kind and the model's last part.

    Examples
    --------
    >>> name_of(Judge(judge="yes", judge_model="me/Model-1B")), name_of(Judge(judge="length"))
    ('yes-Model-1B', 'length')
    """
    if settings.judge_name:
        return settings.judge_name
    if settings.judge not in judges.NEEDS_MODEL:
        return settings.judge
    return f"{settings.judge}-{Path(settings.judge_model).name}"


def check(settings):
    """Raise ``ValueError`` if a setting was changed that this kind of judge does not read."""
    reads = {*ALWAYS, *READS[settings.judge]}
    for name, field in Judge.model_fields.items():
        if name not in reads and getattr(settings, name) != field.get_default():
            raise ValueError(
                f"parameter {name} = {getattr(settings, name)!r} has no effect on judge = {settings.judge!r}, "
                f"which reads {', '.join(READS[settings.judge])}"
            )
    if settings.judge == "http":
        if not settings.http_url:
            raise ValueError("judge = 'http' needs http_url")
        remote.check(settings.http_url, settings.http_token_variable)
    if settings.judge == "prm" and settings.layout == "extra_0" and settings.trust_remote_code:
        raise ValueError("layout = 'extra_0' reads the weights without the model's own code: leave trust_remote_code off")
    if settings.judge == "numeric" and not settings.estimate_run:
        raise ValueError("judge = 'numeric' needs estimate_run, a finished run that answers the same questions")


def pool(directory):
    """Read a finished run as a list of (Item, sample indices, samples), without the gold answers.

    Raises
    ------
    ValueError
        The run is not finished, its texts were not kept, or a file is not what the manifest says.
    """
    directory = Path(directory)
    if not (directory / "manifest.json").is_file():
        raise ValueError(
            f"run {directory.name!r} is not finished (no manifest.json in {directory}): generate it first, or give "
            f"run and root of a finished one; those in {directory.parent} are: "
            f"{', '.join(artifacts.known(directory.parent)) or 'none'}"
        )
    prompts, texts, completions = (publishing.read_table(directory, name) for name in ("questions", "texts", "completions"))
    text = {(row["prompt_id"], row["sample_index"]): row["text"] for row in texts}
    columns = ("answer", "y", "logprob", "tokens", "finish_reason")
    groups = {p["prompt_id"]: ([], []) for p in prompts}
    for row in completions:
        index, samples = groups[row["prompt_id"]]
        index.append(row["sample_index"])
        whole = text[row["prompt_id"], row["sample_index"]]
        samples.append(judges.Sample(whole, *(row[c] for c in columns)))
    return [(judges.Item(p["prompt_id"], p["question"], p["prompt"]), *groups[p["prompt_id"]]) for p in prompts]


def _where(run, root):
    """Folder of another run: `run` as a path, else the run of that name under `root`, else the published one."""
    places = [Path(run), Path(root) / run, publishing.DATA / run]
    return next((place for place in places if (place / "manifest.json").is_file()), places[1])


def estimates(directory):
    """Median of the numbers that another finished run answers, by question."""
    directory = Path(directory)
    if not (directory / "manifest.json").is_file():
        raise ValueError(f"estimate_run {str(directory)!r} is not a finished run")
    question = {p["prompt_id"]: p["question"] for p in publishing.read_table(directory, "questions")}
    values = {}
    for row in publishing.read_table(directory, "completions"):
        if row["y"] is not None and np.isfinite(row["y"]):
            values.setdefault(question[row["prompt_id"]], []).append(row["y"])
    return {q: float(np.median(v)) for q, v in values.items()}


def run(settings):
    """Judge a finished run as `settings` say.

    Parameters
    ----------
    settings : Judge

    Returns
    -------
    dict or None
        What the manifest keeps about the judge; None while parts (``shard = i/n``) are missing.

    Raises
    ------
    ValueError
        Bad settings, an unfinished run, or a judge of this name with other settings.
    """
    from .engines import models

    check(settings)
    directory = Path(settings.root) / settings.run
    items = pool(directory)
    generated = publishing.manifest_of(directory)
    source = None
    if settings.judge in judges.NEEDS_MODEL:
        source = models.resolve(settings.judge_model, revision=settings.revision)
    raw = _identity(settings, generated, source)
    name = name_of(settings)
    own = {**raw, "judge": settings.judge, "noise": settings.noise, "noise_seed": settings.noise_seed}

    def unused(stored):
        done = (directory / f"scores-{name}.parquet").exists()
        return not done and shards.idle(directory / "work" / _phase(_raw(stored)))

    if source is not None and not (directory / "work" / _phase(raw)).exists():
        models.reach(source)
    shards.open_phase(directory, f"scores-{name}", own, unused=unused, advice="Choose another judge_name")
    cut = {**raw, "shard_size": settings.shard_size}
    folder = shards.open_phase(directory, _phase(raw), cut, advice="Judge all of it so")
    plan = shards.plan([item.prompt_id for item, _, _ in items], settings.shard_size)
    part, parts = shards.parse_part(settings.shard)
    mine = plan[part::parts]
    make = None
    if len(shards.finished(folder, mine)) < len(mine) or shards.read_description(folder) is None:
        by_id = {item.prompt_id: (item, i, s) for item, i, s in items}
        make = _maker(settings, source, generated, by_id, proven=_proven(folder, shards.finished(folder, plan)))
        shards.write_description(folder, make.description)
    shards.work(folder, plan, make, part=settings.shard, progress=settings.progress, unit="prompt")
    if len(shards.finished(folder, plan)) < len(plan):
        return None
    scores, account = _scores(settings, shards.read(folder, plan))
    record = {
        "judge": settings.judge,
        "meaning": judges.KINDS[settings.judge],
        "settings": own,
        "model": shards.read_description(folder),
        **account,
    }
    publishing.add_scores(directory, name, scores, record)
    return record


def _phase(raw):
    """Name of the folder of raw verdicts, from what determines them."""
    return f"raw-{raw['judge']}-{shards.identity_hash(raw)[:12]}"


def _raw(own):
    """What determines the raw verdicts, from the identity of a judge."""
    raw = {key: value for key, value in own.items() if key not in ("noise", "noise_seed")}
    return raw | {"judge": "likelihood" if own["judge"] in LIKELIHOOD else own["judge"]}


def _identity(settings, generated, source):
    """What determines the raw verdicts: kind, the settings it reads, the model's weights, the pool's files."""
    read = {name: getattr(settings, name) for name in READS[settings.judge] if name not in HOW and name not in MODEL}
    if settings.engine == "transformers":
        read = {name: value for name, value in read.items() if name not in RUNS_ON}
    if settings.judge in LIKELIHOOD:
        read["end"] = _end(settings, generated)
        if settings.chat is None:
            del read["chat"]  # as the generator was asked, which the pool's files determine
    elif "chat" in read:
        read["chat"] = bool(settings.chat)
    if "judge_prompt" in read:
        read["judge_prompt"] = prompted.template(settings.judge_prompt, settings.judge, settings.score_max)
    files = {**generated["files"], **generated.get("unpublished", {})}
    identity = {
        "judge": "likelihood" if settings.judge in LIKELIHOOD else settings.judge,
        "parameters": read,
        "pool": {name: files[f"{name}.parquet"]["sha256"] for name in ("completions", "texts", "questions")},
    }
    if source is not None:
        identity["model"] = {"id": source.id, "revision": source.revision, "sha256": source.sha256, "dtype": settings.dtype}
    return identity


def _end(settings, generated):
    """What ended a completion that stopped by itself: as set, else the generator's first stop string, "" is end of text."""
    if settings.end is not None:
        return settings.end
    stop = generated.get("parameters", {}).get("stop") or []
    return stop[0] if stop else ""


def _proven(folder, done):
    """True if shards that are there hold a score."""
    import pyarrow.compute as pc

    return bool(done) and pc.any(pc.is_valid(shards.read(folder, done, ["score"])["score"])).as_py()


def _maker(settings, source, generated, by_id, proven):
    """Load the judge; return ``make(ids) -> table of raw verdicts``, with a ``description`` of the model."""
    import pyarrow as pa

    questions = {item.question for item, _, _ in by_id.values()}
    judge, description = _load(settings, source, generated, proven, questions)
    scorer = getattr(judge, "scorer", None)

    def make(ids):
        rows = [(item, i, sample) for item, index, samples in map(by_id.get, ids) for i, sample in zip(index, samples)]
        items, index, samples = zip(*rows)
        if scorer:
            scorer.forget()
        start, before = time.monotonic(), (scorer.computed if scorer else 0)
        raw = judge(list(items), list(samples))
        seconds, positions = time.monotonic() - start, (scorer.computed if scorer else 0) - before
        sums = [r or (None, None, None) for r in raw] if settings.judge in LIKELIHOOD else [(None, None, None)] * len(raw)
        verdicts = [likelihood.verdict("loglik", r) for r in raw] if settings.judge in LIKELIHOOD else raw
        columns = {
            "prompt_id": [item.prompt_id for item in items],
            "sample_index": index,
            "score": [None if np.isnan(v.score) else v.score for v in verdicts],
            "reason": [v.reason for v in verdicts],
            **{name: [s[i] for s in sums] for i, name in enumerate(("logprob", "entropy", "tokens"))},
            "mass": [v.mass for v in verdicts],
            "seconds": [seconds / len(rows)] * len(rows),
            "positions": [positions / len(rows)] * len(rows),
        }
        return pa.table(columns, schema=pa.schema([(name, getattr(pa, kind)()) for name, kind in RAW.items()]))

    make.description = description
    return make


RAW = {
    "prompt_id": "string",
    "sample_index": "int32",
    "score": "float64",
    "reason": "string",
    "logprob": "float64",
    "entropy": "float64",
    "tokens": "int32",
    "mass": "float64",
    "seconds": "float64",
    "positions": "float64",
}


def _load(settings, source, generated, proven, questions):
    """The judge as a function and the description of its model (None where it has none)."""
    from . import engines

    kind = settings.judge
    if kind == "numeric":
        known = estimates(_where(settings.estimate_run, settings.root))
        if not questions & known.keys():
            raise ValueError(f"estimate_run {settings.estimate_run!r} has no number for any question of this run")
        return judges.load(
            kind,
            estimates=known,
            **{name: getattr(settings, name) for name in ("estimate_noise", "estimate_seed", "scale")},
        ), None
    if kind == "http":
        names = [name for name in READS[kind] if name.startswith("http_")]
        options = {name.removeprefix("http_"): getattr(settings, name) for name in names}
        return judges.load(kind, proven=proven, **options), None
    options = {n: getattr(settings, n) for n in READS[kind] if n not in (*MODEL, *RUNS_ON)}
    if "chat" in options:
        options["chat"] = bool(settings.chat)
    if source is None:
        return judges.load(kind, **options), None
    if kind in ("prm", "classifier") and settings.layout == "extra_0":
        if kind == "prm" and settings.system_prompt is None:
            options["system_prompt"] = rewards.SYSTEM
        loaded = rewards.RewardModel(source, kind, dtype=settings.dtype, trust_remote_code=settings.trust_remote_code)
        return judges.load(kind, engine=loaded, **options), loaded.describe()
    loaded = engines.load(
        settings.engine,
        settings.judge_model,
        dtype=settings.dtype,
        revision=settings.revision,
        trust_remote_code=settings.trust_remote_code,
        **settings.engine_options,
    )
    if kind in LIKELIHOOD:
        options["end"] = _end(settings, generated)
        if settings.chat is None:
            options["chat"] = generated.get("parameters", {}).get("chat", False)
        return likelihood.measure(loaded, **options), loaded.describe()
    return judges.load(kind, engine=loaded, **options), loaded.describe()


FLOAT32 = float(np.finfo(np.float32).max)  # scores files hold float32


def _scores(settings, raw):
    """The scores file of a judge from its raw verdicts, and the account of them for the manifest."""
    import pyarrow as pa

    score = np.array(raw["score"].to_pylist(), dtype=float)
    if settings.judge in ("loglik_mean", "entropy"):
        columns = [np.array(raw[name].to_pylist(), dtype=float) for name in ("logprob", "entropy", "tokens")]
        sums = zip(*columns)
        score = np.array([likelihood.verdict(settings.judge, row).score for row in sums])
    prompt = raw["prompt_id"].to_pylist()
    place = {p: i for i, p in enumerate(dict.fromkeys(prompt))}
    rows = [(place[p], i) for p, i in zip(prompt, raw["sample_index"].to_pylist())]
    score = judges.add_noise(score, settings.noise, settings.noise_seed, rows)
    reasons = [r or ("out of range" if abs(s) > FLOAT32 else "") for r, s in zip(raw["reason"].to_pylist(), score)]
    score = np.where(np.abs(score) > FLOAT32, np.nan, score).astype(np.float32)
    parsed = np.isfinite(score)
    mass = np.array(raw["mass"].to_pylist(), dtype=float)
    seconds = sum(raw["seconds"].to_pylist())
    account = {
        "rows": len(score),
        "scored": int(parsed.sum()),
        "unscored": {reason: reasons.count(reason) for reason in judges.REASONS if reason in reasons},
        "prompts_with_a_tie_at_the_top": _tied(np.array([r[0] for r in rows]), score),
        "seconds": round(seconds, 1),
        "completions_per_second": round(len(score) / seconds, 1) if seconds else None,
        "positions_computed": round(sum(raw["positions"].to_pylist())),
    }
    if np.isfinite(mass).any():
        account["mean_probability_of_an_allowed_answer"] = float(np.nanmean(mass))
    table = pa.table(
        {
            "prompt_id": raw["prompt_id"],
            "sample_index": raw["sample_index"],
            "score": pa.array(score, pa.float32(), mask=~parsed),
            "parsed": parsed,
        }
    )
    return table, account


def _tied(prompt, score):
    """Number of prompts at which two completions share the highest score (equal texts always do)."""
    count = 0
    for p in np.unique(prompt):
        mine = score[(prompt == p) & np.isfinite(score)]
        count += len(mine) > 1 and np.sum(mine == mine.max()) > 1
    return int(count)


def summary(settings, record):
    """The account of a judge in a few lines."""
    unscored = ", ".join(f"{count} {reason}" for reason, count in record["unscored"].items()) or "none"
    lines = [
        f"scores-{name_of(settings)}.parquet: {record['rows']} rows, unscored: {unscored}",
        f"prompts with a tie at the top: {record['prompts_with_a_tie_at_the_top']}",
    ]
    if record["seconds"]:
        lines.append(f"{record['seconds']} s of judging, {record['completions_per_second']} completions a second")
    if "mean_probability_of_an_allowed_answer" in record:
        lines.append(f"probability of an allowed answer: {record['mean_probability_of_an_allowed_answer']:.3f} on average")
    return "\n".join(lines)
