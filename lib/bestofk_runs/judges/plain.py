"""Judges that need no model: length, what the generator stored, and a numeric estimate."""

import hashlib

import numpy as np

from bestofk import frozen

from . import Verdict, missing, pairs


def length(*, prefer="short"):
    """Judge by the number of tokens (of characters where no count is stored).

    Examples
    --------
    >>> from bestofk_runs.judges import Item, Sample
    >>> [v.score for v in length(prefer="long")(Item(0, "", ""), [Sample("abc", tokens=2), Sample("abc")])]
    [2.0, 3.0]
    """
    if prefer not in ("short", "long"):
        raise ValueError(f"prefer must be short or long, got {prefer!r}")
    sign = 1.0 if prefer == "long" else -1.0

    def judge(items, samples):
        return [Verdict(sign * (len(s.text) if s.tokens is None else s.tokens)) for s in samples]

    return judge


def stored(*, stored="logprob_mean"):
    """Judge by the log-probability that came with the pool, summed or a token.

    Examples
    --------
    >>> from bestofk_runs.judges import Item, Sample
    >>> [v.score for v in globals()["stored"]()(Item(0, "", ""), [Sample("a", logprob=-3.0, tokens=2)])]
    [-1.5]
    """
    if stored not in ("logprob", "logprob_mean"):
        raise ValueError(f"stored must be logprob or logprob_mean, got {stored!r}")

    def judge(items, samples):
        return [_stored(s, stored == "logprob_mean") for s in samples]

    return judge


def _stored(sample, mean):
    if sample.logprob is None or np.isnan(sample.logprob) or (mean and not sample.tokens):
        return missing("missing")
    return Verdict(sample.logprob / sample.tokens if mean else sample.logprob)


def numeric(*, estimates, estimate_noise=0.0, estimate_seed=0, scale="linear"):
    """The theory's reward, r = -(y - mu)^2, with mu an estimate of the number for each prompt.

    Parameters
    ----------
    estimates : dict
        From question to mu: another model's own estimate (the median of its own samples, say), or another
        number made without the gold answer.
    estimate_noise : float
        Standard deviation of Gaussian noise on mu, one draw a prompt: the misspecification dial.
    estimate_seed : int
    scale : {'linear', 'log'}
        Compare the numbers, or the logarithms of their magnitudes plus one with their signs.

    Examples
    --------
    >>> from bestofk_runs.judges import Item, Sample
    >>> judge = numeric(estimates={"5 + 5?": 10.0})
    >>> [v.score for v in judge(Item("p", "5 + 5?", ""), [Sample("", y=12.0), Sample("", y=None)])]
    [-4.0, nan]
    """
    if scale not in ("linear", "log"):
        raise ValueError(f"scale must be linear or log, got {scale!r}")
    if not (np.isfinite(estimate_noise) and estimate_noise >= 0):
        raise ValueError(f"estimate_noise must be a finite number >= 0, got {estimate_noise!r}")

    def view(y):
        return float(frozen.view(y, scale))

    def target(question):
        mu = estimates.get(question)
        if mu is None or not np.isfinite(mu):
            return None
        key = int.from_bytes(hashlib.sha256(question.encode()).digest()[:8], "big")
        return view(mu) + estimate_noise * np.random.default_rng([estimate_seed, key]).standard_normal()

    def judge(items, samples):
        both = pairs(items, samples)
        mu = {question: target(question) for question in {item.question for item, _ in both}}
        return [_numeric(sample.y, mu[item.question], view) for item, sample in both]

    return judge


def _numeric(y, mu, view):
    if mu is None or y is None or not np.isfinite(y):
        return missing("missing")
    return Verdict(-float((view(y) - mu) ** 2))
