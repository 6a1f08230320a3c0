"""A run of these notebooks as rows."""

import numpy as np

from bestofk import artifacts, frozen

from .. import answers
from .grouping import BUILT_IN, Raw, built_in, choose_judge, share

LOSSES = {
    "error": "error (1 - correct)",
    "squared_error": "squared error of the number",
    "squared_log_error": "squared error of sign(x) log(1 + |x|) of the number",
}


def read(name, root, judge, loss):
    run = artifacts.load(name, root=root)
    prompts, size = run.shape
    lengths = run.tokens if (np.asarray(run.tokens, float) >= 0).all() else None
    losses = run.loss if loss == "error" else run.squared_error
    if loss == "squared_log_error":
        gold = np.array([answers.number(value) for value in run.gold], dtype=float)
        losses = (frozen.view(run.y, "log") - frozen.view(gold, "log")[:, None]) ** 2
    judge = choose_judge(judge, list(run.scores), lengths is not None, f"run {name}")
    reward = built_in(judge, losses, lengths)
    if reward is None:
        reward = np.where(np.isneginf(run.scores[judge]), np.nan, run.scores[judge])
    keep = np.isfinite(losses)
    notes = [f"loss is the {LOSSES[loss]}"]
    if not keep.any():
        raise ValueError(f"run {name} has no numeric answers, so loss = {loss!r} has no meaning for it")
    if not keep.all():
        notes.append(f"{share(~keep)} have no number as an answer, so no squared error: left out")
    unreadable = np.array([answer is None for answer in run.answer.ravel()]).reshape(run.shape)
    text, repeats = None, run.manifest.get("summary", {}).get("duplicates_within_prompts")
    if run.texts is not None:
        text = np.unique(run.texts[keep].astype(str), return_inverse=True)[1]
    elif repeats == 0:
        text = np.arange(keep.sum())
    elif repeats:
        notes.append(f"{share(repeats, run.loss.size)} repeat a text of the same prompt; the texts are not published")
    prompt_tokens, judge_tokens = _reading(name, run.manifest, judge, prompts)
    return Raw(
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
