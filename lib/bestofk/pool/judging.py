"""A report card of one judge on one pool: how its scores go with the loss, on average and at the top."""

from dataclasses import dataclass

import numpy as np

from .._checks import generator, positive
from ._input import Pool, counts_and_temperatures, read_pool
from .curves import Estimate, check_interval, estimate, interval, resampled_means
from .subsets import subset_averages, tie_averaged

SIGNS = ("negative", "zero", "positive")
MEANS = ("loss", "best", "covariance", "curvature", "top_tied", "top_share", "first", "last", "shared") + tuple(
    f"{name} {sign}" for name in ("covariance", "curvature") for sign in SIGNS
)


@dataclass(frozen=True)
class JudgeReport:
    """What one judge's scores say about the loss.

    Attributes
    ----------
    prompts, samples : int
        Size of the pool.
    unscored : float
        Share of samples without a score. Everything below is about scored samples.
    left_out : int
        Prompts with too few scored samples for the largest k (or for 3), left out below.
    loss, coverage_loss : Estimate
        Mean loss of a random sample, and of the best sample of every prompt (a perfect judge at k = N).
    covariance, curvature : Estimate
        Cov(loss, r) and Cov(loss, (r - mean r)^2) within a prompt, unbiased, averaged
        over prompts: the first two coefficients of the 1/T expansion.
    covariance_signs, curvature_signs : tuple of 3 floats
        Shares of prompts where it is negative, zero and positive.
    auroc_within : Estimate
        Chance that of two samples of one prompt with different losses the better one
        scores higher (ties count one half), averaged over the prompts that have such pairs.
    auroc_pooled : float
        The same over pairs from the whole pool; the difficulty of prompts enters here,
        and selection never compares across prompts.
    auroc_prompts : int
        Prompts with samples of different loss.
    top_tie : float
        Share of prompts whose highest score is shared.
    top_tie_size : float
        Mean share of a prompt's samples that carry its highest score.
    tie_rules : dict
        Mean loss of best-of-N when a top tie goes to the "first" sample stored, is
        "shared" equally, or goes to the "last".
    tail_rank, tail, tail_low, tail_high : ndarray
        Mean loss of the sample at rank 1 (highest score), 2, ..., ties shared.
    k, T : ndarray
        As given, 1-D.
    measured, measured_error : ndarray (len(k), len(T))
        Mean reranked loss and its standard error.
    expansion : ndarray (len(k), len(T))
        Its prediction to second order in 1/T from `covariance` and `curvature`.
    gap_error : ndarray (len(k), len(T))
        Standard error of `measured` minus `expansion`, taken prompt by prompt.
    turn, turn_low, turn_high : ndarray (len(T),)
        Mean over prompts of (E[w^2]/E[w]^2) (loss at k = inf under T/2 minus under T), w = exp(r/T).
        Positive at large k means that the loss comes to its limit from below, so that a
        finite k is best: sufficient, not necessary, and a statement about k -> inf
        estimated from N samples (theory: any law, any judge).
    level : float
    """

    prompts: int
    samples: int
    unscored: float
    left_out: int
    loss: Estimate
    coverage_loss: Estimate
    covariance: Estimate
    curvature: Estimate
    covariance_signs: tuple
    curvature_signs: tuple
    auroc_within: Estimate
    auroc_pooled: float
    auroc_prompts: int
    top_tie: float
    top_tie_size: float
    tie_rules: dict
    tail_rank: np.ndarray
    tail: np.ndarray
    tail_low: np.ndarray
    tail_high: np.ndarray
    k: np.ndarray
    T: np.ndarray
    measured: np.ndarray
    measured_error: np.ndarray
    expansion: np.ndarray
    gap_error: np.ndarray
    turn: np.ndarray
    turn_low: np.ndarray
    turn_high: np.ndarray
    level: float


def report(k, T, *, loss, reward, level=0.95, seed, resamples=1000, progress=False):
    """Report card of a judge.

    Parameters
    ----------
    k : int or 1-D array of int
    T : float or 1-D array of float
        Temperatures, finite and > 0, for `expansion` and `turn`.
    loss, reward
        As for `reranked_loss`.
    level, seed, resamples, progress
        As for `curve`.

    Returns
    -------
    JudgeReport

    Raises
    ------
    ValueError
        As `reranked_loss`; also if fewer than two prompts have enough scored
        samples, or no prompt has samples of different loss.

    Examples
    --------
    >>> import numpy as np
    >>> from bestofk import pool
    >>> rng = np.random.default_rng(1)
    >>> wrong = (rng.random((300, 16)) < 0.5).astype(float)
    >>> card = pool.report(4, 20.0, loss=wrong, reward=rng.integers(0, 8, wrong.shape) - 3 * wrong, seed=0)
    >>> print(card.auroc_within, np.round(card.covariance_signs, 2))
    0.805 [0.792, 0.817] [0.99 0.   0.  ]
    """
    k, T, _ = counts_and_temperatures(k, T)
    positive(T, "T")
    check_interval(level, resamples)
    pool = read_pool(loss, reward, k)
    kept, sizes, unscored = scored_prompts(pool, max(3, int(k.max())))
    comparable = np.array([np.ptp(pool.loss[i][np.isfinite(pool.reward[i])]) > 0 for i in kept])
    if comparable.sum() < 2:
        raise ValueError(f"loss must differ within at least 2 prompts to judge a judge, got {comparable.sum()}")
    rng = generator(seed)
    depth = int(sizes.min())
    grid = (len(k), len(T))
    cells = len(k) * len(T)
    widths = dict.fromkeys(MEANS, 1) | {"turn": len(T), "tail": depth, "measured": cells, "gap": cells}
    ends = np.cumsum(list(widths.values()))
    column = {name: slice(end - width, end) for (name, width), end in zip(widths.items(), ends)}
    auroc = np.empty(len(kept))

    def prompt_values(rows):
        """Everything that is a mean over prompts, one column beside the other."""
        part = scored_samples(pool.take(kept[rows]))
        table = np.empty((len(rows), ends[-1]))
        for prompts, block_loss, block_reward in part.blocks():
            for name, found in _prompt_values(block_loss, block_reward, T, depth).items():
                table[prompts, column[name]] = found.reshape(len(prompts), -1)
            auroc[rows[prompts]] = np.concatenate([_auroc(a, b) for a, b in zip(_few(block_loss), _few(block_reward))])
        measured = subset_averages(part, k, T)
        moments = (table[:, column[name]][:, None] for name in ("loss", "covariance", "curvature"))
        table[:, column["measured"]] = measured.reshape(len(rows), -1)
        table[:, column["gap"]] = (measured - _expansion(k[:, None].astype(float), T, *moments)).reshape(len(rows), -1)
        return table

    mean, error, resampled = resampled_means(len(kept), prompt_values, resamples, rng, progress)
    low, high = interval(resampled, level)

    def one(name):
        """The mean of a single column."""
        return float(mean[column[name]][0])

    def with_interval(name):
        return Estimate(*(float(values[column[name]][0]) for values in (mean, low, high)))

    def signs(name):
        return tuple(one(f"{name} {sign}") for sign in SIGNS)

    measured = mean[column["measured"]].reshape(grid)
    return JudgeReport(
        prompts=len(pool.sizes),
        samples=int(pool.sizes.sum()),
        unscored=unscored,
        left_out=len(pool.sizes) - len(kept),
        loss=with_interval("loss"),
        coverage_loss=with_interval("best"),
        covariance=with_interval("covariance"),
        curvature=with_interval("curvature"),
        covariance_signs=signs("covariance"),
        curvature_signs=signs("curvature"),
        auroc_within=Estimate(*map(float, estimate(auroc[comparable], level, resamples, rng))),
        auroc_pooled=_pooled_auroc(pool, kept),
        auroc_prompts=int(comparable.sum()),
        top_tie=one("top_tied"),
        top_tie_size=one("top_share"),
        tie_rules={rule: one(rule) for rule in ("first", "shared", "last")},
        tail_rank=np.arange(1, depth + 1),
        tail=mean[column["tail"]],
        tail_low=low[column["tail"]],
        tail_high=high[column["tail"]],
        k=k,
        T=T,
        measured=measured,
        measured_error=error[column["measured"]].reshape(grid),
        expansion=measured - mean[column["gap"]].reshape(grid),
        gap_error=error[column["gap"]].reshape(grid),
        turn=mean[column["turn"]],
        turn_low=low[column["turn"]],
        turn_high=high[column["turn"]],
        level=level,
    )


def scored_prompts(pool, least):
    """Positions of the prompts with at least `least` scored samples, these samples' number, and the unscored share."""
    counts = np.array([np.isfinite(row).sum() for row in pool.reward])
    kept = np.flatnonzero(counts >= least)
    if len(kept) < 2:
        raise ValueError(f"reward must score at least {least} samples of at least 2 prompts, got {len(kept)} of them")
    return kept, counts[kept], float(1 - counts.sum() / pool.sizes.sum())


def scored_samples(pool):
    """The pool without its unscored samples."""
    masks = [np.isfinite(row) for row in pool.reward]
    sizes = np.array([mask.sum() for mask in masks])
    if (sizes == pool.sizes).all():
        return pool
    loss, reward = ([row[mask] for row, mask in zip(rows, masks)] for rows in (pool.loss, pool.reward))
    return Pool(loss, reward, sizes)


def _prompt_values(loss, reward, T, depth):
    """What is a mean over prompts, for prompts of equal N: arrays (prompts,) or (prompts, len(T) or depth)."""
    size = loss.shape[1]
    away = loss - loss.mean(axis=1, keepdims=True)
    centred = reward - reward.mean(axis=1, keepdims=True)
    top = reward == reward.max(axis=1, keepdims=True)
    tied = top.sum(axis=1)
    rows = np.arange(len(loss))
    scale = np.abs(away).max(axis=1), np.abs(centred).max(axis=1)
    covariance = (away * centred).sum(axis=1) / (size - 1)
    curvature = (away * centred**2).sum(axis=1) * size / ((size - 1) * (size - 2))
    return {
        "loss": loss.mean(axis=1),
        "best": loss.min(axis=1),
        "covariance": covariance,
        "curvature": curvature,
        **_signs("covariance", covariance, scale[0] * scale[1]),
        **_signs("curvature", curvature, scale[0] * scale[1] ** 2),
        "top_tied": tied > 1,
        "top_share": tied / size,
        "first": loss[rows, top.argmax(axis=1)],
        "last": loss[rows, size - 1 - top[:, ::-1].argmax(axis=1)],
        "shared": (loss * top).sum(axis=1) / tied,
        "turn": prompt_turn(loss, reward, T),
        "tail": tie_averaged(loss, reward)[:, :depth],
    }


def _signs(name, values, scale):
    """Whether values are negative, zero (to rounding) and positive."""
    zero = np.abs(values) <= 1e-12 * scale
    return {f"{name} {sign}": found for sign, found in zip(SIGNS, (~zero & (values < 0), zero, ~zero & (values > 0)))}


def _expansion(k, T, mean, first, second):
    """Second order in 1/T of every prompt: (prompts, len(k), len(T))."""
    return mean + (k - 1) / k * first / T + (k - 1) * (k - 2) / (2 * k**2) * second / T**2


def _few(values):
    """Split prompts so that all pairs of a part's samples fit in memory."""
    return np.array_split(values, max(1, values.size * values.shape[1] // 2**19))


def _auroc(loss, reward):
    """Share of a prompt's pairs of different loss that the reward orders rightly; nan without such pairs."""
    better = loss[:, :, None] < loss[:, None, :]
    right = (reward[:, :, None] > reward[:, None, :]) + 0.5 * (reward[:, :, None] == reward[:, None, :])
    pairs = better.sum(axis=(1, 2))
    return np.where(pairs > 0, (better * right).sum(axis=(1, 2)) / np.maximum(pairs, 1), np.nan)


def _pooled_auroc(pool, kept):
    """The same over all pairs of scored samples of these prompts."""
    loss, tied_loss = _ranks(pool, kept, pool.loss)
    reward, tied_reward = _ranks(pool, kept, pool.reward)
    size = len(loss)
    joint = reward.astype(np.int64)
    joint *= size
    joint += loss
    del loss, reward
    joint.sort()  # by reward, and by loss where the reward is tied
    tied = tied_reward - _tied_pairs(joint)
    joint %= size
    loss = joint.astype(np.int32)
    del joint
    return (_inversions(loss) + tied / 2) / (size * (size - 1) // 2 - tied_loss)


def _ranks(pool, kept, values):
    """Ranks of the values of all scored samples of these prompts, equal ones sharing one, and the tied pairs."""
    scored = lambda i: values[i][np.isfinite(pool.reward[i])]  # noqa: E731
    size = sum(int(np.isfinite(pool.reward[i]).sum()) for i in kept)
    flat = _filled(np.empty(size), map(scored, kept))
    flat.sort()
    ranks = _filled(np.empty(size, np.int32), (np.searchsorted(flat, scored(i)) for i in kept))
    return ranks, _tied_pairs(flat)


def _filled(whole, rows):
    """The array `whole` with these rows written one behind the other: no list of them is held."""
    start = 0
    for row in rows:
        whole[start : start + len(row)] = row
        start += len(row)
    return whole


def _tied_pairs(values):
    """Number of pairs of equal values in a sorted array.

    >>> _tied_pairs(np.array([1, 1, 1, 2, 3, 3]))
    4
    """
    same = np.zeros(len(values) + 1, np.int8)
    same[1:-1] = values[1:] == values[:-1]
    edges = np.flatnonzero(np.diff(same))
    run = edges[1::2] - edges[::2]
    return int((run * (run + 1) // 2).sum())


def _inversions(values):
    """Number of pairs of integers >= 0 with the larger one first: a merge sort, all blocks of a size at once.

    >>> _inversions(np.array([2, 0, 1, 1]))
    3
    """
    blocks = 2 ** (len(values) // 16).bit_length()
    missing = -len(values) % blocks
    values = np.append(values, np.full(missing, values.max())).reshape(blocks, -1)
    total = sum(int((values[:, :-step] > values[:, step:]).sum()) for step in range(1, values.shape[1]))
    values.sort(axis=1)
    while len(values) > 1:
        half = values.shape[1]
        values = values.reshape(len(values) // 2, 2 * half)
        values *= 2
        values[:, half:] += 1  # the last digit tells the halves apart, once they are sorted together
        values.sort(axis=1)
        rows, left = len(values), np.flatnonzero((values & 1) == 0)
        total += int(left.sum()) - half**2 * rows * (rows - 1) - rows * half * (half - 1) // 2
        values >>= 1
    return total


def prompt_turn(loss, reward, T):
    """(E[w^2]/E[w]^2) (tilted loss at T/2 minus at T), one column a temperature."""
    columns = []
    for t in T:
        weight = np.exp((reward - reward.max(axis=1, keepdims=True)) / t)
        square = weight**2
        total, total_square = weight.sum(axis=1), square.sum(axis=1)
        tilted = (square * loss).sum(axis=1) / total_square - (weight * loss).sum(axis=1) / total
        columns.append(loss.shape[1] * total_square / total**2 * tilted)
    return np.stack(columns, axis=1)
