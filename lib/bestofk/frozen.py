"""What was predicted about a run before its other half was opened?

A frozen prediction is a JSON file: the split of the samples, the predicted
curves of `bestofk.pool.prediction`, when and by which revision of the code they
were made, and the sha256 of everything. `load` refuses a file that was changed;
`confront` refuses a run that is not the one predicted, and only then opens the
other half. `gpu_runs/predict.ipynb` writes the files.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import artifacts
from .pool import prediction

SCHEMA = "bestofk-prediction-1"
SCALES = ("linear", "log")


@dataclass(frozen=True)
class Frozen:
    """A prediction as it was written down.

    Attributes
    ----------
    run, judge : str
    written : str
        UTC time.
    revision : dict
        Commit that was checked out, and the sha256 of the source files that the prediction was computed with.
    first, second : ndarray of int
        Sample positions that were measured, and those that were not opened.
    prompts : ndarray of int
        Positions of the predicted prompts in the run.
    teacher, target : ndarray (prompts,)
        The right answer and the judge's preferred one, as numbers.
    laws : dict of str to AnswerLaws
        By scale: "linear", or "log" (sign(y) ln(1 + |y|)).
    predictions : dict of str to Prediction
    record : dict
        The file itself.
    """

    run: str
    judge: str
    written: str
    revision: dict
    first: np.ndarray
    second: np.ndarray
    prompts: np.ndarray
    teacher: np.ndarray
    target: np.ndarray
    laws: dict
    predictions: dict
    record: dict


def view(answer, scale):
    """The number that is compared: itself, or its magnitude's logarithm plus one with its sign.

    Examples
    --------
    >>> view([0.0, 99.0, -99.0], "log").round(3)
    array([ 0.   ,  4.605, -4.605])
    """
    if scale not in SCALES:
        raise ValueError(f"scale must be linear or log, got {scale!r}")
    answer = np.asarray(answer, dtype=float)
    return answer if scale == "linear" else np.sign(answer) * np.log1p(np.abs(answer))


def readable(answer, prompts, samples, scale):
    """The readable answers of these prompts and sample positions, a list of arrays on `scale`."""
    return [view(row[np.isfinite(row)], scale) for row in answer[np.ix_(prompts, samples)]]


def half_sha256(run, judge, first):
    """Hash of what the first half shows: prompts, gold answers, answers and the judge's scores.

    Parameters
    ----------
    run : artifacts.Run
    judge : str
        A judge of the run; its scores enter the hash. One that the run does not store has none.
    first : int array
        Sample positions.
    """
    parts = ["\n".join(run.prompt_id).encode(), "\n".join(run.gold).encode(), np.ascontiguousarray(run.y[:, first])]
    if judge in run.scores:
        parts.append(np.ascontiguousarray(run.scores[judge][:, first]))
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.astype("<f8").tobytes())
    return digest.hexdigest()


def seal(record):
    """The record with the sha256 of everything else in it.

    Examples
    --------
    >>> seal({"b": 1, "a": [2.5]})["sha256"][:8]
    '11cf7051'
    """
    record = {name: value for name, value in record.items() if name != "sha256"}
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return record | {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def folder(root=None):
    """Where frozen predictions live: ``predictions`` in `root` (default: `artifacts.default_root`)."""
    return Path(root if root is not None else artifacts.default_root()) / "predictions"


def known(root=None):
    """(run, judge) of every frozen prediction under `root`."""
    return sorted((file.parent.name, file.stem) for file in folder(root).glob("*/*.json"))


def load(run, judge, *, root=None):
    """Read a frozen prediction, and check that nobody changed it.

    Parameters
    ----------
    run, judge : str
    root : path, optional
        Folder of published runs. Default: `artifacts.default_root`.

    Returns
    -------
    Frozen

    Raises
    ------
    ValueError
        Unknown (the known ones are listed), damaged, or its sha256 does not match its content.

    Examples
    --------
    >>> load("no-such-run", "teacher", root="/tmp/none")
    Traceback (most recent call last):
    ...
    ValueError: no prediction of run 'no-such-run' with judge 'teacher' in /tmp/none/predictions; known: none
    """
    file = folder(root) / str(run) / f"{judge}.json"
    if not file.is_file():
        names = ", ".join("/".join(pair) for pair in known(root)) or "none"
        raise ValueError(f"no prediction of run {run!r} with judge {judge!r} in {folder(root)}; known: {names}")
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        written = record["sha256"]
        schema = record["schema"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{file} is damaged: it is not a frozen prediction") from None
    if schema != SCHEMA:
        raise ValueError(f"{file} has schema {schema!r}, this version reads {SCHEMA!r}")
    found = seal(record)["sha256"]
    if found != written:
        raise ValueError(f"{file} was changed after it was written: sha256 {found[:12]}... instead of {written[:12]}...")
    k, t = np.array(record["k"]), np.array([np.inf if one == "inf" else one for one in record["t"]])
    first = np.array(record["split"]["first"])
    laws, predictions = {}, {}
    for scale, part in record["scales"].items():
        laws[scale] = prediction.AnswerLaws(**{name: _numbers(values) for name, values in part["laws"].items()})
        models = {name: np.array(values) for name, values in part["models"].items()}
        predictions[scale] = prediction.Prediction(k, t, laws[scale].std, models, np.array(part["wrong"]))
    return Frozen(
        run=record["run"],
        judge=record["judge"],
        written=record["written"],
        revision=record["revision"],
        first=first,
        second=np.setdiff1d(np.arange(record["split"]["samples"]), first),
        prompts=np.array(record["prompts"]),
        teacher=np.array(record["teacher"]),
        target=np.array(record["target"]),
        laws=laws,
        predictions=predictions,
        record=record,
    )


def confront(frozen, run, scale, *, level=0.95, seed, resamples=1000):
    """Open the other half and hold the prediction against it.

    Parameters
    ----------
    frozen : Frozen
    run : artifacts.Run
    scale : {'linear', 'log'}
    level, seed, resamples
        As for `pool.curve`.

    Returns
    -------
    pool.prediction.Confrontation

    Raises
    ------
    ValueError
        If the run is another one, or its completions or the first half's scores are not those predicted from.
    """
    if scale not in frozen.predictions:
        raise ValueError(f"scale must be one of {', '.join(frozen.predictions)}, got {scale!r}")
    answer, teacher, target = other_half(frozen, run, scale)
    return prediction.confront(
        frozen.predictions[scale], answer=answer, teacher=teacher, target=target, level=level, seed=seed,
        resamples=resamples,
    )  # fmt: skip


def other_half(frozen, run, scale):
    """The answers that the prediction has not seen, with teacher and target, after checking that the run is the same.

    Returns
    -------
    answer : list of 1-D arrays, teacher, target : ndarray (prompts,)
        Of the predicted prompts, on `scale`; unreadable answers left out.
    """
    if run.name != frozen.run:
        raise ValueError(f"run must be {frozen.run!r}, whose prediction this is, got {run.name!r}")
    completions = run.manifest["files"]["completions.parquet"]["sha256"]
    same = completions == frozen.record["completions_sha256"]
    if not same or half_sha256(run, frozen.judge, frozen.first) != frozen.record["half_sha256"]:
        raise ValueError(f"run {run.name!r} is not what {frozen.judge!r} was predicted from: its files have changed since")
    teacher, target = view(frozen.teacher, scale), view(frozen.target, scale)
    return readable(run.y, frozen.prompts, frozen.second, scale), teacher, target


def _numbers(values):
    return np.array([np.inf if one == "inf" else one for one in values], dtype=float)
