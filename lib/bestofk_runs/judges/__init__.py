"""How good does a judge think each stored answer is? One kind of judge a name; higher is always better.

A judge sees the question, the whole solution, the extracted answer and what the generator recorded
(log-probability, tokens). It never sees the gold answer. `load` makes one; calling it with the completions of
one `Item`, or of several at once, gives one `Verdict` a completion.
"""

from dataclasses import dataclass

import numpy as np

KINDS = {
    "loglik": "summed log-likelihood of the completion, its end included",
    "loglik_mean": "log-likelihood a token",
    "entropy": "minus the mean entropy of the next-token distributions along the completion",
    "yes": "P(Yes) / (P(Yes) + P(No)) as the next token after the judge's question",
    "score": "a number written by the judge, read by a pattern, mean over votes",
    "score_expected": "expected digit 0-9 of the next-token distribution",
    "prm": "process reward model: one reward a step, aggregated",
    "classifier": "sequence-classification reward model",
    "http": "an endpoint: POST {prompt, cot, final_answer} -> {score}",
    "length": "minus the number of tokens (prefer = short) or plus it (prefer = long)",
    "stored": "the log-probability that the generator recorded (stored = logprob or logprob_mean)",
    "numeric": "-(y - mu)^2 with mu an estimate of the number that does not use the gold answer",
}
NEEDS_MODEL = ("loglik", "loglik_mean", "entropy", "yes", "score", "score_expected", "prm", "classifier")
REASONS = ("too long", "unparsed", "missing", "out of range")


@dataclass(frozen=True)
class Item:
    """What a judge may know of a prompt: never the gold answer.

    Attributes
    ----------
    prompt_id : str or int
    question : str
        The question alone.
    prompt : str
        What the generator read, worked examples or chat template included.
    """

    prompt_id: object
    question: str
    prompt: str


@dataclass(frozen=True)
class Sample:
    """One completion as stored in the pool.

    Attributes
    ----------
    text : str
    answer : str or None
        The extracted final answer.
    y : float or None
        The answer as a number.
    logprob : float or None
        Log-probability under the generator.
    tokens : int or None
    finish_reason : str or None
    """

    text: str
    answer: str | None = None
    y: float | None = None
    logprob: float | None = None
    tokens: int | None = None
    finish_reason: str | None = None


@dataclass(frozen=True)
class Verdict:
    """A score, or nan and the reason (one of `REASONS`) why there is none.

    `mass`, where the judge reads it: the probability of all the answers asked for together, so how far it answers
    the question at all.
    """

    score: float
    reason: str = ""
    mass: float | None = None


def missing(reason):
    """The verdict of a judge that has no score to give."""
    return Verdict(float("nan"), reason)


def load(kind, *, engine=None, **options):
    """Return the judge `kind` as a function ``(items, samples) -> list of Verdict``.

    `items` is one `Item` for all samples or a list with one a sample.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    engine : bestofk_runs.engines engine, or its model's `Source` for ``prm`` and ``classifier``
        For the kinds in `NEEDS_MODEL`.
    options
        What the kind understands; see the modules of this package.

    Raises
    ------
    ValueError
        Unknown kind or a bad option.
    """
    from . import likelihood, plain, prompted, remote, rewards

    makers = {
        "loglik": likelihood.loglik,
        "loglik_mean": likelihood.loglik_mean,
        "entropy": likelihood.entropy,
        "yes": prompted.yes,
        "score": prompted.score,
        "score_expected": prompted.score_expected,
        "prm": rewards.prm,
        "classifier": rewards.classifier,
        "http": remote.http,
        "length": plain.length,
        "stored": plain.stored,
        "numeric": plain.numeric,
    }
    if kind not in makers:
        raise ValueError(f"judge must be one of {', '.join(makers)}, got {kind!r}")
    if kind in NEEDS_MODEL:
        return makers[kind](engine, **options)
    return makers[kind](**options)


def pairs(items, samples):
    """(item, sample) for every sample; `items` is one `Item` or a list."""
    items = [items] * len(samples) if isinstance(items, Item) else items
    return list(zip(items, samples, strict=True))


def once(keys, judge):
    """Judge each distinct completion once: `judge` gets the distinct keys, its verdicts go to all places.

    Examples
    --------
    >>> seen = []
    >>> def judge(texts):
    ...     seen.extend(texts)
    ...     return [len(t) for t in texts]
    >>> once(["a", "bb", "a"], judge), seen
    ([1, 2, 1], ['a', 'bb'])
    """
    keys = list(keys)
    distinct = list(dict.fromkeys(keys))
    verdict = dict(zip(distinct, judge(distinct), strict=True))
    return [verdict[k] for k in keys]


def add_noise(scores, std, seed, row):
    """Add Gaussian noise of standard deviation `std` to scores, unclipped: the judge-noise dial.

    Parameters
    ----------
    scores : array_like of float
        nan stays nan.
    std : float
        In units of the score. The official scripts' epsilon is ``std = 10 * epsilon``, there clipped to [0, 10].
    seed : int
    row : (rows, 2) array_like of int
        Position of the prompt and index of the sample: the noise of a completion depends on these and the
        seed alone, not on the order of the table or on the shards.

    Examples
    --------
    >>> a = add_noise([1.0, 2.0], 0.5, 7, [(0, 0), (0, 1)])
    >>> b = add_noise([2.0, 1.0], 0.5, 7, [(0, 1), (0, 0)])
    >>> bool((a == b[::-1]).all())
    True
    """
    if not (np.isfinite(std) and std >= 0):
        raise ValueError(f"noise must be a finite number >= 0, got {std!r}")
    scores = np.asarray(scores, dtype=float)
    if std == 0:
        return scores
    draws = [np.random.default_rng([seed, *map(int, r)]).standard_normal() for r in row]
    return scores + std * np.array(draws)
