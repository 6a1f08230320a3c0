"""What is a judge worth on a pool: the best k and T, the report card, and what changes without some samples?

`analyse` finds it, `regime` and `recommended` name it; the words are in `wording`, the figures in `picturing`.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bestofk import pool as estimators

from .pools import ENOUGH, Pool, first_of_each
from .pools.grouping import count

FEWEST = 3  # samples that every prompt must have for a report
LONELY = "no prompt has two scored samples"
AGREES = 0.1  # of the change of the loss: how near the expansion must come to the measured curve


@dataclass(frozen=True)
class Selection:
    """What selecting does on a pool.

    Attributes
    ----------
    choice : bestofk.pool.Optimum
    random : bestofk.pool.Estimate
        Mean loss of a random sample.
    harm : bestofk.pool.Estimate
        Mean loss of the largest k at the least T minus that of a random sample, prompt by prompt.
    """

    choice: Any
    random: Any
    harm: Any


@dataclass(frozen=True)
class Without(Selection):
    """What selecting does without some samples, and, on the same prompts and up to the same k, with them.

    Attributes
    ----------
    choice, random, harm
        Without them.
    samples : int
        Samples left out.
    prompts, N : int
        Prompts that keep at least N samples; those with fewer are left out on both sides.
    whole : Selection
        With them.
    at : tuple (k, T)
        What `whole` recommends.
    values : tuple of 2 floats
        Mean loss there without them and with them.
    change : bestofk.pool.Estimate
        The first minus the second, prompt by prompt.
    """

    samples: int
    prompts: int
    N: int
    whole: Selection
    at: tuple
    values: tuple
    change: Any


@dataclass(frozen=True)
class Findings(Selection):
    """What `analyse` found.

    Attributes
    ----------
    choice, random, harm
        As in `Selection`.
    pool : Pool
    unit : float
        Median over prompts of the standard deviation of a prompt's scores.
    card : bestofk.pool.JudgeReport
        At one k, and at the candidates for T and some higher ones.
    perfect : ndarray (len(choice.k),)
        Mean loss that a judge who knows the loss would reach.
    power : bestofk.pool.PowerLaw or str
        The fit at T = 0, or why there is none.
    unflagged, distinct : Without, str or None
        Without the flagged samples, and without those that repeat a text of their prompt: None where there are none,
        a sentence where it cannot be said.
    """

    pool: Pool
    unit: float
    card: Any
    perfect: np.ndarray
    power: Any
    unflagged: Any
    distinct: Any


def counts(N):
    """Candidates for k up to N, about evenly spaced in log k.

    >>> counts(24)
    [1, 2, 3, 4, 6, 8, 12, 16, 24]
    """
    steps = sorted({int(b * 2**n) for n in range(0, 40) for b in (1, 1.5)} | {N})
    return [k for k in steps if k <= N]


def spread(pool):
    """Median over prompts of the standard deviation of the prompt's scores: a unit for T (1 where all are equal)."""
    finite = [row[np.isfinite(row)] for row in pool.reward]
    unit = float(np.median([row.std() for row in finite if len(row)]))
    if unit == 0:  # most prompts have no spread at all
        spreads = [row.std() for row in finite if len(row) and row.std() > 0]
        unit = float(np.median(spreads)) if spreads else 1.0
    return float(f"{unit:.2g}")


def temperatures(unit, factors=(0.25, 0.5, 1.0, 2.0, 4.0)):
    """Candidates for T: best-of-k, and multiples of the scores' spread."""
    return [0.0] + [float(f"{unit * factor:.3g}") for factor in factors]


def analyse(pool, *, k=None, T=None, level=0.95, seed=0, resamples=1000, progress=False):
    """Find the best k and T of a pool, the judge's report card, and what a perfect judge would reach.

    Parameters
    ----------
    pool : bestofk_runs.pools.Pool
        At least four prompts with three samples each.
    k, T : list, optional
        Candidates; default `counts` and `temperatures`.
    level, seed, resamples, progress
        As for `bestofk.pool.optimum`.

    Returns
    -------
    Findings
    """
    if len(pool.prompt) < 4 or pool.N < FEWEST:
        size = f"{count(len(pool.prompt), 'prompt')} with {count(pool.N, 'sample')} each"
        raise ValueError(
            f"pool {pool.name} has {size}: a report resamples prompts and compares samples, so it needs at least 4 "
            f"prompts with {FEWEST} samples"
        )
    if trouble := _no_difference(pool):
        cause = "its loss or correct column" if pool.source == "a table" else "how its answers are extracted"
        cause = f"the scores by {pool.judge}" if LONELY in trouble else cause
        raise ValueError(f"{pool.name} has {trouble}; check {cause}")
    unit = spread(pool)
    k = counts(pool.N) if k is None else sorted({1, *k})
    T = temperatures(unit) if T is None else sorted(set(T))
    how = {"level": level, "seed": seed, "resamples": resamples, "progress": progress and "best k and T"}
    data = {"loss": pool.loss, "reward": pool.reward, **_named(how, "report card")}
    found = _select(pool, k, T, how)
    high = temperatures(unit, (1.0, 2.0, 4.0, 8.0, 16.0))
    card = estimators.report(min(4, pool.N), sorted({t for t in [*T, *high] if 0 < t < np.inf}), **data)
    opposite = -pool.loss if isinstance(pool.loss, np.ndarray) else [-row for row in pool.loss]
    perfect = estimators.curve(found.choice.k, 0, **{**data, "reward": opposite, "resamples": 100}).mean
    powers = [n for n in found.choice.k if n & (n - 1) == 0]
    try:
        power = estimators.power_law(powers, **data) if len(powers) > 3 else "a fit needs k = 1, 2, 4 and 8"
    except ValueError as error:
        power = str(error)
    return Findings(
        found.choice,
        found.random,
        found.harm,
        pool=pool,
        unit=unit,
        card=card,
        perfect=perfect,
        power=power,
        unflagged=_without(pool, [~row for row in pool.flagged], found, _named(how, "without flagged samples")),
        distinct=_distinct(pool, found, _named(how, "without repeated texts")),
    )


def _named(how, name):
    return how | {"progress": how["progress"] and name}


def _select(pool, k, T, how):
    """Choose among all k and T, and compare best-of-N with a random sample."""
    data = {"loss": pool.loss, "reward": pool.reward, **how}
    choice = estimators.optimum(k, T, **data)
    ends = estimators.curve([1, max(k)], min(T), **data)
    random = estimators.Estimate(*(float(v[0]) for v in (ends.mean, ends.low, ends.high)))
    level = how["level"]
    change = np.quantile(ends.resampled[:, 1] - ends.resampled[:, 0], [(1 - level) / 2, (1 + level) / 2])
    harm = estimators.Estimate(float(ends.mean[1] - ends.mean[0]), *map(float, change))
    return Selection(choice, random, harm)


def _no_difference(pool):
    """Why nothing can be selected: the prompts' scored samples are all alike in loss; empty where they are not."""
    scored = [loss[np.isfinite(reward)] for loss, reward in zip(pool.loss, pool.reward, strict=True)]
    differ = sum(len(row) > 1 and row.min() < row.max() for row in scored)
    if differ >= 2:
        return ""
    losses = np.concatenate(scored)
    if max(map(len, scored)) < 2:
        reason = LONELY
    elif (losses == losses[0]).all() and losses[0] in (0, 1):
        reason = f"all scored answers count as {'wrong' if losses[0] else 'right'}"
    else:
        reason = "elsewhere all scored answers of a prompt have the same loss"
    return f"{count(differ, 'prompt')} whose scored samples differ in loss and a judge needs 2 to be judged: {reason}"


def _distinct(pool, found, how):
    """Keep the first sample of every text of a prompt."""
    if pool.text is None:
        return "the pool has no texts, so the verdict without repeats cannot be checked"
    sizes = np.array([len(row) for row in pool.text])
    first = first_of_each(np.repeat(np.arange(len(sizes)), sizes), np.concatenate(list(pool.text)))
    return _without(pool, np.split(first, np.cumsum(sizes)[:-1]), found, how)


def _without(pool, keep, found, how):
    """What selecting does on the samples marked in `keep`."""
    sizes = np.array([row.sum() for row in keep])
    samples = sum(len(row) for row in keep) - int(sizes.sum())
    if samples == 0:
        return None
    N = min(pool.N, max(FEWEST, int(np.quantile(sizes, 1 - ENOUGH, method="lower"))))
    prompts = np.flatnonzero(sizes >= N)
    if len(prompts) < 4:
        kept = count(len(prompts), "prompt") + (" keeps" if len(prompts) == 1 else " keep")
        return f"without them only {kept} {N} samples, too few for a verdict"
    all_of = pool if len(prompts) == len(sizes) else pool.take(prompts)
    names = ("loss", "reward", "flagged") + (() if pool.text is None else ("text",))
    rows = {name: [getattr(pool, name)[i][keep[i]] for i in prompts] for name in names}
    part = replace(all_of, N=N, **rows)
    if trouble := _no_difference(part):
        return f"without them there are {trouble}"
    choice = found.choice
    k = sorted({*choice.k[choice.k <= N].tolist(), N}) if choice.k.max() > N else choice.k.tolist()
    same = all_of is pool and len(k) == len(choice.k)
    whole = Selection(choice, found.random, found.harm) if same else _select(all_of, k, choice.T.tolist(), how)
    at = recommended(whole)
    losses = [estimators.reranked_loss(*at, loss=p.loss, reward=p.reward) for p in (part, all_of)]
    gap = (losses[0] - losses[1])[:, None]
    change = estimators.curve(1, 0, loss=gap, reward=np.zeros_like(gap), **how)
    return Without(
        **vars(_select(part, k, choice.T.tolist(), how)),
        samples=samples,
        prompts=len(prompts),
        N=N,
        whole=whole,
        at=at,
        values=tuple(float(values.mean()) for values in losses),
        change=estimators.Estimate(float(change.mean), float(change.low), float(change.high)),
    )


def regime(found):
    """One of ``harmful``, ``finite``, ``helpful``, ``blind``.

    finite: selecting helps, N samples are outside the confidence set of k*, and the
    cross-fitted gain over N samples excludes zero. helpful: selecting helps, and N
    samples were not shown to be worse in both ways. harmful: no setting was shown to
    help, and best-of-N is worse than a random sample. blind: neither gain nor harm was
    shown.
    """
    choice = found.choice
    if choice.over_one_sample.low > 0 and choice.best[0] > 1:
        worse = not k_set(found)[choice.k.argmax()] and choice.over_most_samples.low > 0
        return "finite" if worse else "helpful"
    return "harmful" if found.harm.low > 0 else "blind"


def changed(findings, found):
    """True if the verdict of the whole pool is another one without some samples, prompts and k being equal."""
    return isinstance(found, Without) and regime(findings) == regime(found.whole) != regime(found)


def recommended(found):
    """(k, T) to use: the best of the grid if selecting was shown to help, else one sample."""
    if regime(found) in ("harmful", "blind"):
        return 1, float(found.choice.T.min())
    return found.choice.best


def k_set(found):
    """Which k are in the confidence set at the best T."""
    choice = found.choice
    return choice.k_set[:, list(choice.T).index(choice.best[1])]


def expands_from(card):
    """The least T of the card from which on the expansion holds, None if it never does.

    It holds at a T where its distance from the measured loss is within a tenth of the change of the loss.
    """
    gap, change = np.abs(card.measured - card.expansion)[0], np.abs(card.measured[0] - card.loss.value)
    good = gap <= AGREES * change
    first = len(good) - int(np.argmin(np.r_[good[::-1], False]))
    return float(card.T[first]) if first < len(good) else None


def turns(findings):
    """What the law of the scores predicts at the candidates T > 0 for k -> inf, held against the pool.

    Returns
    -------
    dict : T -> (predicted, excluded)
        predicted is one of "rises", "falls", "open", as in `bestofk.pool.Regimes`; excluded tells whether
        the largest k is outside the confidence set of the best k.
    """
    card, choice = findings.card, findings.choice
    found = {}
    for t, low, high in zip(card.T, card.turn_low, card.turn_high, strict=True):
        if t in choice.T:
            predicted = "rises" if low > 0 else "falls" if high < 0 else "open"
            found[float(t)] = predicted, not choice.k_set[choice.k.argmax(), list(choice.T).index(t)]
    return found
