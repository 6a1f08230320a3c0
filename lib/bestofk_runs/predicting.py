"""Write down what the theory predicts of a numeric run, before the other half of its samples is opened.

`freeze` splits every prompt's samples by position, measures the laws of the answers
on the first half, predicts (`bestofk.pool.prediction`) and writes
``predictions/RUN/JUDGE.json`` beside the published runs. `bestofk.frozen` reads it
and confronts it. An existing prediction is never overwritten.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from bestofk import _checks, _quadrature, artifacts, extremes, frozen, gaussian, reranking
from bestofk.pool import prediction

from . import parameters, publishing, shards

K_VALUES = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96]
T_VALUES = [0, 0.1, 0.3, 1, 3, 10, 30, float("inf")]
DIGITS = 6  # significant digits that are written down
CODE = (_checks, _quadrature, extremes, frozen, gaussian, prediction, reranking)  # what predicts, beside this


class Predict(parameters.Parameters):
    """Parameters of ``predict.ipynb``; what they mean is said there."""

    run: parameters.Name = "smollm2-sums"
    root: str | None = None
    judge: parameters.Name = "teacher"
    phase: Literal["predict", "confront"] = "predict"
    split_seed: Annotated[int, Field(ge=0)] = 0
    k_values: list[Annotated[int, Field(ge=1)]] | None = None
    t_values: list[Annotated[float, Field(ge=0)]] | None = None
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    resamples: Annotated[int, Field(ge=100)] = 1000
    seed: Annotated[int, Field(ge=0)] = 0


def judges_of(run):
    """The judges whose target is known: the run's numeric ones on the linear scale, and three that no run needs to store.

    "teacher" prefers the right answer; "shifted-1" and "shifted-3" prefer the right answer plus so many
    standard deviations of the first half's answers: misspecified by a known amount.

    Raises
    ------
    ValueError
        The run's answers are no numbers.
    """
    if not np.isfinite(run.squared_error).any():
        raise ValueError(f"run {run.name!r} has no numeric answers: the theory's loss is not defined on it")
    return ["teacher", "shifted-1", "shifted-3"] + [
        name
        for name, made in run.manifest["judges"].items()
        if made["judge"] == "numeric" and made["settings"]["parameters"].get("scale", "linear") == "linear"
    ]


def freeze(run, judge, *, root=None, split_seed=0, k_values=None, t_values=None):
    """Predict from the first half of a run's samples and write the prediction down.

    Parameters
    ----------
    run : str
        Name of a published run with numeric answers.
    judge : str
        One of `judges_of`.
    root : path, optional
        Folder of published runs. Default: `bestofk.artifacts.default_root`.
    split_seed : int
    k_values, t_values : list, optional
        Grid. Default: 1 to 3/4 of the first half, which leaves room for a few unreadable answers in the other, and
        t = 0 to 30 and inf.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        No such run or judge, a judge without readable targets, or a prediction is there already.
    """
    loaded = artifacts.load(run, root=root)
    if judge not in judges_of(loaded):
        raise ValueError(f"judge must be one of {', '.join(judges_of(loaded))}, got {judge!r}")
    file = frozen.folder(root) / run / f"{judge}.json"
    if file.exists():
        raise ValueError(f"{file} is there already: a prediction is written once (delete it only if it was never compared)")
    samples = loaded.shape[1]
    first = prediction.halves(samples, split_seed)[0]
    y, gold = loaded.y[:, first], loaded.gold.astype(float)
    shift = re.fullmatch(r"shifted-(\d)", judge)
    if judge in loaded.scores:
        target = targets(y, loaded.scores[judge][:, first])
    else:
        target = gold + (int(shift[1]) * np.nanstd(y, axis=1) if shift else 0.0)
    prompts, left_out = _predictable(loaded, y, gold, target)
    k = k_values or [one for one in K_VALUES if one <= 0.75 * len(first)]
    t = t_values or T_VALUES
    record = {
        "schema": frozen.SCHEMA,
        "run": run,
        "judge": judge,
        "written": publishing.now(),
        "revision": {"commit": publishing.environment()["builder"]["commit"], "code_sha256": code_sha256()},
        "completions_sha256": loaded.manifest["files"]["completions.parquet"]["sha256"],
        "half_sha256": frozen.half_sha256(loaded, judge, first),
        "split": {"seed": split_seed, "samples": samples, "first": first.tolist()},
        "unreadable": int(np.isnan(y).sum()),
        "left_out": left_out,
        "prompts": prompts.tolist(),
        "teacher": gold[prompts].tolist(),
        "target": target[prompts].tolist(),
        "k": k,
        "t": ["inf" if np.isinf(one) else one for one in t],
        "scales": {scale: _predict(loaded, prompts, first, scale, gold, target, k, t) for scale in frozen.SCALES},
    }
    with shards.explained(f"writing {file}"):
        file.parent.mkdir(parents=True, exist_ok=True)
        shards.write_file(file, _text(frozen.seal(record)).encode())
    return file


def code_sha256():
    """Hash of the source files that a prediction is computed with."""
    digest = hashlib.sha256()
    for file in sorted([Path(__file__), *(Path(module.__file__) for module in CODE)]):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def targets(y, score):
    """The answer that a judge with score -(y - target)^2 prefers, prompt by prompt; nan where it cannot be told.

    Parameters
    ----------
    y, score : array (prompts, samples)
        Answers (nan: unreadable) and scores in float32 precision.

    Returns
    -------
    ndarray (prompts,)

    Raises
    ------
    ValueError
        The scores of a prompt are not of that form.

    Examples
    --------
    >>> targets([[4.0, 7.0, 5.0]], [[-2.25, -2.25, -0.25]])
    array([5.5])
    """
    return np.array([_target(row, scores, i) for i, (row, scores) in enumerate(zip(np.asarray(y), np.asarray(score)))])


def _target(y, score, prompt):
    known = np.isfinite(y) & np.isfinite(score)
    y, score = y[known], score[known]
    if len(np.unique(y)) < 2:
        return np.nan
    near = score.argmax()
    candidates = y[near] + np.array([-1, 1]) * np.sqrt(max(-score[near], 0.0))
    candidates = np.append(candidates, np.round(2 * candidates) / 2)  # medians of whole numbers are halves
    misfit = [np.abs((y - goal) ** 2 + score).max() / max(1e-12, np.abs(score).max()) for goal in candidates]
    found = int(np.argmin(misfit))
    if misfit[found] > 1e-6:
        raise ValueError(f"the scores of prompt {prompt} are not -(y - target)^2: no target fits within {misfit[found]:.1g}")
    exact = candidates[2:][np.abs(candidates[2:] - candidates[found]) < 1e-3]
    return float(exact[0] if len(exact) else candidates[found])


def _predictable(run, y, gold, target):
    """Positions of the prompts that can be predicted on every scale, and why the others cannot."""
    reason = {}
    for i, prompt in enumerate(run.prompt_id):
        row = y[i][np.isfinite(y[i])]
        if len(np.unique(row)) < 2:
            reason[prompt] = "all answers equal"
        elif not np.isfinite(target[i]):
            reason[prompt] = "the judge's target is not known"
        else:
            for scale in frozen.SCALES:
                one, goal, right = (frozen.view(value, scale) for value in ([row], target[[i]], gold[[i]]))
                if not prediction.predictable(prediction.answer_laws(one, teacher=right, target=goal))[0]:
                    reason[prompt] = "target too far"
    return np.array([i for i, prompt in enumerate(run.prompt_id) if prompt not in reason]), reason


def _predict(run, prompts, first, scale, gold, target, k, t):
    task = {
        "answer": frozen.readable(run.y, prompts, first, scale),
        "teacher": frozen.view(gold[prompts], scale),
        "target": frozen.view(target[prompts], scale),
    }
    laws, found = prediction.answer_laws(**task), prediction.predict(k, t, **task)
    return {
        "laws": {name: _rounded(values, 12) for name, values in vars(laws).items()},
        "models": {name: _rounded(values) for name, values in found.models.items()},
        "wrong": _rounded(found.wrong),
    }


def _rounded(values, digits=DIGITS):
    """Nested lists with few digits; infinities as text, which JSON has no number for."""
    if np.ndim(values):
        return [_rounded(one, digits) for one in values]
    return "inf" if np.isinf(values) else float(f"{values:.{digits}g}")


def _text(record):
    """JSON with one line an entry, and the tables of a prompt on one line each."""
    def lines(value, indent, depth):
        pad = " " * indent
        if isinstance(value, dict) and value:
            inner = [f"{pad} {json.dumps(name)}: {lines(one, indent + 1, depth)}" for name, one in value.items()]
            return "{\n" + ",\n".join(inner) + f"\n{pad}}}"
        if isinstance(value, list) and value and isinstance(value[0], list) and depth:
            return "[\n" + ",\n".join(f"{pad} {json.dumps(one, separators=(',', ':'))}" for one in value) + f"\n{pad}]"
        return json.dumps(value, separators=(",", ":"), allow_nan=False)

    return lines(record, 0, 1) + "\n"


def summary(found):
    """What was predicted, as text: a line a scale and model for best-of-k."""
    text = [
        f"{found.run}, judge {found.judge}: predicted {found.written} from {len(found.first)} of "
        f"{found.record['split']['samples']} samples a prompt, {len(found.prompts)} prompts "
        f"({len(found.record['left_out'])} left out). sha256 {found.record['sha256'][:16]}..."
    ]
    for scale, one in found.predictions.items():
        for model, values in {**one.models, "wrong": one.wrong}.items():
            curve = values.mean(axis=0).reshape(len(one.k), -1)[:, 0]
            text.append(f"{scale}, {model}: {curve[0]:.4g} at k = {one.k[0]}, {curve[-1]:.4g} at k = {one.k[-1]}")
    return "\n".join(text)


def comparison(tests):
    """What came out, as text: a line a scale and model for best of the largest k."""
    text = []
    for scale, test in tests.items():
        for model, values in test.gap.items():
            gap, low, high = (one.reshape(len(test.k), -1)[-1, 0] for one in values)
            seen = test.wrong[-1] if model == "wrong" else test.mean[-1, 0]
            text.append(f"{scale}, {model}, best of {test.k[-1]}: measured {seen:.4g}, predicted {seen + gap:.4g}, "
                        f"gap {gap:+.3g} [{low:+.3g}, {high:+.3g}]")  # fmt: skip
    return "\n".join(text)
