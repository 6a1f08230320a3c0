"""A report card of one judge on one pool: how its scores go with the loss, on average and at the top."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau, rankdata

from .._checks import generator, positive
from ._input import Pool, counts_and_temperatures, read_pool
from .curves import Estimate, check_interval, estimate, parts
from .subsets import subset_averages, tie_averaged


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
    0.805 [0.793, 0.818] [0.99 0.   0.  ]
    """
    k, T, _ = counts_and_temperatures(k, T)
    positive(T, "T")
    check_interval(level, resamples)
    pool = read_pool(loss, reward, k)
    scored, unscored = scored_part(pool, max(3, int(k.max())))
    rng = generator(seed)

    def interval_of(values):
        return Estimate(*(float(value) for value in estimate(values, level, resamples, rng)))

    blocks = [_prompt_values(loss, reward, T) for _, loss, reward in scored.blocks()]
    order = np.argsort(np.concatenate([prompts for prompts, _, _ in scored.blocks()]))
    value = {name: np.concatenate([block[name] for block in blocks])[order] for name in blocks[0]}
    comparable = np.isfinite(value["auroc"])
    if comparable.sum() < 2:
        raise ValueError(f"loss must differ within at least 2 prompts to judge a judge, got {comparable.sum()}")
    depth = int(scored.sizes.min())
    tails = np.empty((len(scored.sizes), depth))
    for prompts, block_loss, block_reward in scored.blocks():
        tails[prompts] = tie_averaged(block_loss, block_reward)[:, :depth]
    tail, tail_low, tail_high = estimate(tails, level, resamples, rng)
    table = np.concatenate([subset_averages(scored.take(rows), k, T) for rows in parts(len(scored.sizes), progress)])
    expansion = _expansion(k[:, None].astype(float), T, value)
    error = 1 / len(table) ** 0.5
    turn, turn_low, turn_high = estimate(value["turn"], level, resamples, rng)
    return JudgeReport(
        prompts=len(pool.sizes),
        samples=int(pool.sizes.sum()),
        unscored=unscored,
        left_out=len(pool.sizes) - len(scored.sizes),
        loss=interval_of(value["loss"]),
        coverage_loss=interval_of(value["best"]),
        covariance=interval_of(value["covariance"]),
        curvature=interval_of(value["curvature"]),
        covariance_signs=_signs(value["covariance"], value["loss_scale"] * value["reward_scale"]),
        curvature_signs=_signs(value["curvature"], value["loss_scale"] * value["reward_scale"] ** 2),
        auroc_within=interval_of(value["auroc"][comparable]),
        auroc_pooled=_pooled_auroc(scored),
        auroc_prompts=int(comparable.sum()),
        top_tie=float(value["top_tied"].mean()),
        top_tie_size=float(value["top_share"].mean()),
        tie_rules={rule: float(value[rule].mean()) for rule in ("first", "shared", "last")},
        tail_rank=np.arange(1, depth + 1),
        tail=tail,
        tail_low=tail_low,
        tail_high=tail_high,
        k=k,
        T=T,
        measured=table.mean(axis=0),
        measured_error=error * table.std(axis=0, ddof=1),
        expansion=expansion.mean(axis=0),
        gap_error=error * (table - expansion).std(axis=0, ddof=1),
        turn=turn,
        turn_low=turn_low,
        turn_high=turn_high,
        level=level,
    )


def scored_part(pool, least):
    """The pool of scored samples of the prompts with at least `least` of them, and the unscored share."""
    masks = [np.isfinite(row) for row in pool.reward]
    total = sum(int(mask.sum()) for mask in masks)
    unscored = 1 - total / int(pool.sizes.sum())
    kept = [i for i, mask in enumerate(masks) if mask.sum() >= least]
    if len(kept) < 2:
        raise ValueError(f"reward must score at least {least} samples of at least 2 prompts, got {len(kept)} of them")
    if unscored == 0:
        return pool.take(np.array(kept)), 0.0
    sizes = np.array([masks[i].sum() for i in kept])
    return Pool([pool.loss[i][masks[i]] for i in kept], [pool.reward[i][masks[i]] for i in kept], sizes), unscored


def _prompt_values(loss, reward, T):
    """Everything that is a mean over prompts, for prompts of equal N."""
    size = loss.shape[1]
    away = loss - loss.mean(axis=1, keepdims=True)
    centred = reward - reward.mean(axis=1, keepdims=True)
    top = reward == reward.max(axis=1, keepdims=True)
    tied = top.sum(axis=1)
    rows = np.arange(len(loss))
    return {
        "loss": loss.mean(axis=1),
        "best": loss.min(axis=1),
        "covariance": (away * centred).sum(axis=1) / (size - 1),
        "curvature": (away * centred**2).sum(axis=1) * size / ((size - 1) * (size - 2)),
        "loss_scale": np.abs(away).max(axis=1),
        "reward_scale": np.abs(centred).max(axis=1),
        "auroc": np.concatenate([_auroc(a, b) for a, b in zip(_few(loss), _few(reward))]),
        "top_tied": tied > 1,
        "top_share": tied / size,
        "first": loss[rows, top.argmax(axis=1)],
        "last": loss[rows, size - 1 - top[:, ::-1].argmax(axis=1)],
        "shared": (loss * top).sum(axis=1) / tied,
        "turn": prompt_turn(loss, reward, T),
    }


def _expansion(k, T, value):
    """Second order in 1/T of every prompt: (prompts, len(k), len(T))."""
    mean, first, second = (value[name][:, None, None] for name in ("loss", "covariance", "curvature"))
    return mean + (k - 1) / k * first / T + (k - 1) * (k - 2) / (2 * k**2) * second / T**2


def _few(values):
    """Split prompts so that all pairs of a part's samples fit in memory."""
    return np.array_split(values, max(1, values.size * values.shape[1] // 2**22))


def _auroc(loss, reward):
    """Share of a prompt's pairs of different loss that the reward orders rightly; nan without such pairs."""
    better = loss[:, :, None] < loss[:, None, :]
    right = (reward[:, :, None] > reward[:, None, :]) + 0.5 * (reward[:, :, None] == reward[:, None, :])
    pairs = better.sum(axis=(1, 2))
    return np.where(pairs > 0, (better * right).sum(axis=(1, 2)) / np.maximum(pairs, 1), np.nan)


def _pooled_auroc(pool):
    """The same over all pairs of the pool, from Kendall's tau: (concordant - discordant) counts."""
    loss = rankdata(np.concatenate(list(pool.loss)), method="dense")
    reward = rankdata(np.concatenate(list(pool.reward)), method="dense")
    untied = [(len(x) ** 2 - (np.bincount(x).astype(float) ** 2).sum()) / 2 for x in (loss, reward)]
    if untied[1] == 0:
        return 0.5
    surplus = kendalltau(loss, reward).statistic * np.sqrt(untied[0] * untied[1])
    return float(0.5 - surplus / untied[0] / 2)


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


def _signs(values, scale):
    """Shares of negative, zero (to rounding) and positive values."""
    zero = np.abs(values) <= 1e-12 * scale
    return float(np.mean(~zero & (values < 0))), float(zero.mean()), float(np.mean(~zero & (values > 0)))
