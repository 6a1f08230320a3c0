"""How do rows become prompts? Grouped, ordered, repeats dropped, what is missing noted."""

from dataclasses import dataclass, replace

import numpy as np

from .jsonl import short

BUILT_IN = ("perfect", "short", "long")
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


@dataclass
class Raw:
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


def choose_judge(judge, names, lengths, where):
    """The judge to use; the built-in ones only when they are asked for."""
    if judge is None and len(names) == 1:
        return names[0]
    known = names + [name for name in BUILT_IN if (lengths or name == "perfect") and name not in names]
    if judge in known:
        return judge
    asked = "judge must be said" if judge is None else f"unknown judge {judge!r}"
    raise ValueError(f"{asked}: {where} has {', '.join(known)}")


def built_in(judge, loss, lengths):
    if judge == "perfect":
        return -np.asarray(loss, float)
    if judge in ("short", "long"):
        return (1.0 if judge == "long" else -1.0) * np.asarray(lengths, float)
    return None


def assemble(raw, limit, samples):
    """The `Pool` of some rows; `limit` and `samples` as in `bestofk_runs.pools.read`."""
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
        most = int(np.ceil(limit * len(prompts))) if limit < 1 else int(limit)
        keep &= code < most
        if most < len(prompts):
            notes.append(f"the first {most} of {len(prompts)} prompts (limit = {limit:g})")
    sizes = np.bincount(code[keep], minlength=len(prompts))
    N = samples or int(np.quantile(sizes[sizes > 0], 1 - ENOUGH, method="lower"))
    few = (sizes > 0) & (sizes < N)
    if few.all() or not (sizes >= N).any():
        raise ValueError(f"no prompt has samples = {N} or more, the most is {sizes.max()}")
    if few.any():
        first = raw.prompts[int(few.argmax())]
        notes.append(
            f"{count(few.sum(), 'prompt')} with fewer than {N} samples left out (the first is {short(first, 40)}, "
            f"with {sizes[few.argmax()]})"
        )
        keep &= ~few[code]
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
            notes.append(f"{share(some)} {'has' if some.sum() == 1 else 'have'} {meaning}")
    if raw.text is not None:
        repeated = int((~first_of_each(code[keep], raw.text[order][keep])).sum())
        if repeated:
            notes.append(f"{share(repeated, keep.sum())} repeat a text of the same prompt")
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
            f"{raw.name}: sample {sample[i]} of prompt {short(raw.prompts[code[i]], 40)} occurs twice with different "
            f"values{rows}: number the samples of a prompt, or drop one"
        )
    return again


def count(number, noun):
    return f"{number} {noun}{'' if number == 1 else 's'}"


def share(mask, total=None):
    some, total = (int(mask.sum()), mask.size) if total is None else (int(mask), int(total))
    part = some / total
    percent = "<0.1%" if part < 0.001 else f"{part:.1%}" if part < 0.1 else f"{part:.0%}"
    return f"{some} of {total} samples ({percent})"
