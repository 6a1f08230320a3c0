"""delta against k at fixed T, and against T at fixed k: the two official drivers on one pool.

The official scripts sample afresh for every k. Here every k and T come from the
same pool, as averages over all k-subsets, with intervals over prompts; the numbers
are written beside the picture. Their switches are the parameters of ``sweep.ipynb``.
"""

import glob
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from bestofk import plotting
from bestofk import pool as estimators

from . import analysing, picturing, pools, shards
from .parameters import Parameters
from .pools import jsonl


def _listed(value):
    """``"1,2,4"``, a number or a list as a list."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value if isinstance(value, (list, tuple)) or value is None else [value]


Count = Annotated[int, Field(ge=1)]
Temperature = Annotated[float, Field(ge=0)]
Counts = Annotated[list[Count], BeforeValidator(_listed), Field(min_length=1)]
Temperatures = Annotated[list[Temperature], BeforeValidator(_listed), Field(min_length=1)]


class Sweep(Parameters):
    """Parameters of ``sweep.ipynb``; what they mean is said there."""

    pool: str = ""
    samples_pattern: str | None = None
    judge: str | None = None
    loss: Literal["error", "squared_error", "squared_log_error"] = "error"
    columns: dict = {}
    filter: str | None = None
    limit: Annotated[float, Field(gt=0)] | None = None
    T: Temperatures = [0.0]
    k_values: Counts | None = None
    k_min: Count | None = None
    k_max: Count | None = None
    k_step: Count | None = None
    k: Counts | None = None
    T_values: Temperatures | None = None
    T_min: Temperature | None = None
    T_max: Temperature | None = None
    T_step: Annotated[float, Field(gt=0)] | None = None
    epsilon: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    score_max: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0
    seed: Annotated[int, Field(ge=0)] = 0
    judge_model: str | None = None
    judge_mode: Literal["auto", "gen", "prm"] = "auto"
    reward_api: str = ""
    judge_options: dict = {}
    root: str = "gpu_runs/scratch"
    plot_output: str = "delta_vs_k.png"
    plot_output_T: str = "delta_vs_T.png"
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    resamples: Annotated[int, Field(ge=100)] = 1000
    progress: bool = True


def counts(settings, N):
    """The k of the sweep: ``k_values``, else ``k_min`` to ``k_max`` by ``k_step`` (k_max included when on the step).

    Where nothing is said: about evenly in log k, up to N.

    >>> counts(Sweep(k_min=4, k_max=12, k_step=4), 64), counts(Sweep(k_min=4, k_step=5), 15)
    ([4, 8, 12], [4, 9, 14])
    """
    if settings.k_values:
        return sorted(set(settings.k_values))
    if settings.k_min is settings.k_max is settings.k_step is None:
        return analysing.counts(N)
    low, high, step = settings.k_min or min(4, N), settings.k_max or N, settings.k_step or 4
    if low > high:
        raise ValueError(f"k_min must be at most k_max, got k_min={low} and k_max={high}")
    return list(range(low, high + 1, step))


def temperatures(settings, unit):
    """The T of the sweep: ``T_values``, else ``T_min`` to ``T_max`` by ``T_step`` (T_max included when on the step).

    Where nothing is said: 0 and multiples of the spread of a prompt's scores.

    >>> temperatures(Sweep(T_min=0, T_max=0.3, T_step=0.1), 1.0), temperatures(Sweep(T_max=1, T_step=0.6), 1.0)
    ([0.0, 0.1, 0.2, 0.3], [0.0, 0.6])
    """
    if settings.T_values:
        return sorted(set(settings.T_values))
    if settings.T_min is settings.T_max is settings.T_step is None:
        return [0.0] + [float(f"{unit * 2.0**power:.3g}") for power in range(-3, 4)]
    low = 0.0 if settings.T_min is None else settings.T_min
    high = 10.0 if settings.T_max is None else settings.T_max
    step = settings.T_step or 1.0
    if low > high:
        raise ValueError(f"T_min must be at most T_max, got T_min={low:g} and T_max={high:g}")
    return [round(low + i * step, 12) for i in range(int(np.floor((high - low) / step + 1e-9)) + 1)]


@dataclass(frozen=True)
class Source:
    """Where the samples for each k come from: one pool for all, or a pool a k.

    Attributes
    ----------
    pools : dict
        k -> `bestofk_runs.pools.Pool`; the key None stands for every k.
    """

    pools: dict

    def at(self, k):
        """The pool that answers for k."""
        if None in self.pools:
            return self.pools[None]
        if k not in self.pools:
            raise ValueError(f"k={k} has no file of samples: samples_pattern was filled in for {sorted(self.pools)}")
        return self.pools[k]

    @property
    def first(self):
        """The one pool, or that of the largest k."""
        return self.pools[None] if None in self.pools else self.pools[max(self.pools)]


def load(settings):
    """Read the pool, or one a k where ``samples_pattern`` has ``{k}``; judge and add noise as asked.

    Returns
    -------
    Source
    """
    if bool(settings.pool) == bool(settings.samples_pattern):
        raise ValueError("say one of pool and samples_pattern: what holds the samples?")
    if settings.judge_model and settings.reward_api:
        raise ValueError("say one of judge_model and reward_api: who judges?")
    if settings.judge and (settings.judge_model or settings.reward_api):
        raise ValueError("say judge for scores that are there, or judge_model or reward_api for new ones, not both")
    if settings.samples_pattern is None:
        return Source({None: _noisy(_read(settings, settings.pool), settings, None)})
    if "{k}" not in settings.samples_pattern:
        return Source({None: _noisy(_read(settings, settings.samples_pattern), settings, None)})
    if not settings.k_values and settings.k_max is None:
        raise ValueError("samples_pattern with {k} needs k_values or k_max: which files are there?")
    asked = counts(settings, settings.k_max or max(settings.k_values))
    found = {k: _read(settings, settings.samples_pattern.replace("{k}", str(k))) for k in asked}
    for k, pool in found.items():
        if pool.N < k:
            raise ValueError(f"the samples for k={k} ({pool.name}) hold {pool.N} a prompt")
    return Source({k: _noisy(pool, settings, k) for k, pool in found.items()})


def judge_kind(settings):
    """Kind of judge to run: http, prm or score; in mode auto, prm where the model's name says so.

    >>> judge_kind(Sweep(judge_model="Qwen/Qwen2.5-Math-PRM-7B")), judge_kind(Sweep(judge_model="me/Supreme-7B"))
    ('prm', 'score')
    """
    if settings.reward_api:
        return "http"
    if settings.judge_mode != "auto":
        return {"prm": "prm", "gen": "score"}[settings.judge_mode]
    return "prm" if re.search(r"\bprm\b", settings.judge_model or "", flags=re.IGNORECASE) else "score"


def _read(settings, source):
    options = settings.model_dump(include={"judge", "loss", "columns", "filter", "limit"})
    if not (settings.judge_model or settings.reward_api):
        return pools.read(source, **options)
    source, judged = _judged(settings, source)
    pool = pools.read(source, **options | {"columns": {}, "filter": None} | judged)
    if judge_kind(settings) != "prm":
        return pool
    note = f"scores are {settings.score_max:g} times the process rewards, as the official scripts report them"
    return _changed(pool, lambda row: settings.score_max * row, notes=(*pool.notes, note))


def _judged(settings, source):
    """Judge stored samples first: import them (up to the limit) if they are not a run yet, then add a scores file.

    Returns the run's folder, and how to read it: the judge's name, and no limit where the import has obeyed it.
    """
    from . import importing, judging

    directory, reading = Path(source), {}
    if not (directory / "manifest.json").is_file():
        found = sorted(glob.glob(source, recursive=True))
        if len(found) != 1 or not found[0].endswith(".jsonl"):
            raise ValueError(
                f"{source!r} must be a run's folder or one samples_*.jsonl of lm-eval to be judged, "
                f"found {len(found)} files"
            )
        stem = re.sub(r"[^A-Za-z0-9._-]", "-", "-".join(Path(found[0]).parts[-2:]).removesuffix(".jsonl"))
        name = f"sweep-{stem}" + (f"-first-{settings.limit:g}" if settings.limit else "")
        first = next(iter(jsonl.lines(Path(found[0]))), (0, {}))[1]
        wanted = importing.ImportCompletions(
            run=name,
            root=settings.root,
            source=found[0],
            limit=settings.limit,
            id="doc_id" if "doc_id" in first else "",
            question="doc.question",
            gold="doc.answer" if jsonl.field(first, "doc.answer") is not None else "target",
            completions="resps.0",
        )
        importing.run(wanted)
        directory, reading = Path(settings.root) / name, {"limit": None}
    kind = judge_kind(settings)
    given = {"run": directory.name, "root": str(directory.parent), "judge": kind, "progress": settings.progress}
    given |= {"http_url": settings.reward_api} if kind == "http" else {"judge_model": settings.judge_model}
    if kind == "score":
        given["score_max"] = settings.score_max
    judge = judging.Judge(**given | settings.judge_options)
    judging.run(judge)
    return str(directory), reading | {"judge": judging.name_of(judge)}


def _noisy(pool, settings, k):
    """The pool with judge noise of standard deviation epsilon * score_max on its scores, not clipped."""
    if settings.epsilon == 0:
        return pool
    rng, std = np.random.default_rng([settings.seed, k or 0]), settings.epsilon * settings.score_max
    judge = f"{pool.judge} + noise {settings.epsilon:g}"
    return _changed(pool, lambda row: row + std * rng.standard_normal(len(row)), judge=judge)


def _changed(pool, change, **said):
    """The pool with `change` done to the scores of every prompt, and what is `said` of it."""
    reward = [change(row) for row in pool.reward]
    return replace(pool, reward=np.array(reward) if isinstance(pool.reward, np.ndarray) else reward, **said)


@dataclass(frozen=True)
class Swept:
    """delta = mean loss - 1 over a grid; arrays (len(k), len(T)).

    Attributes
    ----------
    k, T : list
    delta, low, high : ndarray
        With its percentile interval over prompts.
    standard_error, spread : ndarray
        Of the mean, and the standard deviation over prompts.
    prompts : ndarray (len(k),)
    """

    k: list
    T: list
    delta: np.ndarray
    low: np.ndarray
    high: np.ndarray
    standard_error: np.ndarray
    spread: np.ndarray
    prompts: np.ndarray


def sweep(source, k, T, settings):
    """delta at every k and T, each k from its own pool where there is one a k."""
    options = {
        "level": settings.level,
        "seed": settings.seed,
        "resamples": settings.resamples,
        "progress": settings.progress,
    }
    groups = [k] if None in source.pools else [[one] for one in k]
    found = []
    for group in groups:
        pool = source.at(group[0])
        found.append(estimators.curve(group, T, loss=pool.loss, reward=pool.reward, **options))
    joined = {
        name: np.concatenate([getattr(c, name) for c in found]) for name in ("mean", "low", "high", "standard_error")
    }
    prompts = np.concatenate([np.full(len(c.k), c.prompts) for c in found])
    return Swept(
        list(k),
        list(T),
        joined["mean"] - 1,
        joined["low"] - 1,
        joined["high"] - 1,
        joined["standard_error"],
        joined["standard_error"] * np.sqrt(prompts)[:, None],
        prompts,
    )


def over_k(source, settings):
    """delta against k at the fixed T."""
    pool = source.first
    k = counts(settings, pool.N) if None in source.pools else sorted(source.pools)
    return sweep(source, k, sorted(set(settings.T)), settings)


def over_T(source, settings):
    """delta against T at the fixed k (default: the most samples there are)."""
    pool = source.first
    k = settings.k or [pool.N if None in source.pools else max(source.pools)]
    return sweep(source, sorted(set(k)), temperatures(settings, analysing.spread(pool)), settings)


def table(swept):
    """The numbers as a table, one row a (k, T)."""
    import pandas

    i, j = (index.ravel() for index in np.indices(swept.delta.shape))
    columns = {"k": np.array(swept.k)[i], "T": np.array(swept.T)[j]}
    columns |= {n: getattr(swept, n).ravel() for n in ("delta", "low", "high", "standard_error", "spread")}
    return pandas.DataFrame(columns | {"prompts": swept.prompts[i]})


def draw(swept, against, pool):
    """delta against ``k`` (a line a T) or against ``T`` (a line a k), with bands."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7.0, 3.8))
    along_k = against == "k"
    x = np.array(swept.k if along_k else swept.T, dtype=float)
    others = swept.T if along_k else swept.k
    palette = ["measured", "exact", "harmful", "official", "finite", "alternative", "simulation"]
    labels = []
    for n, other in enumerate(others):
        place = (slice(None), n) if along_k else (n, slice(None))
        colour = palette[n % len(palette)]
        plotting.band(axis, x, swept.low[place], swept.high[place], colour)
        axis.plot(x, swept.delta[place], color=plotting.COLORS[colour], marker="o", ms=3.5)
        labels.append((swept.delta[place][-1], (f"T = {other:g}" if along_k else f"k = {other}"), colour))
    if along_k and len(x) > 1 and x[-1] / x[0] >= 4 and not _even(x):
        axis.set_xscale("log", base=2)
        axis.set_xticks(x, [f"{v:g}" for v in x])
        axis.minorticks_off()
    elif not along_k and len(x) > 2 and x[0] == 0 and not _even(x):
        axis.set_xscale("symlog", linthresh=float(x[1]), linscale=0.5)
        axis.set_xticks(x, [f"{v:g}" for v in x])
        axis.minorticks_off()
    picturing.end_labels(axis, x[-1], labels)
    axis.set_xlabel("samples used, k" if along_k else "selection temperature, T")
    axis.set_ylabel("δ = mean loss − 1")
    if pool.synthetic:
        plotting.synthetic(axis)
    return figure


def _even(x):
    return len(x) < 3 or np.ptp(np.diff(x)) < 1e-9 * np.ptp(x)


def save(figure, swept, path):
    """Write the picture, and its numbers as CSV beside it; return both paths."""
    path = Path(path)
    numbers = path.with_suffix(".csv")
    with shards.explained(f"writing {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            figure.savefig(path)
        except ValueError as error:
            raise ValueError(f"cannot draw to {path}: {error}") from None
        table(swept).to_csv(numbers, index=False)
    return path, numbers
