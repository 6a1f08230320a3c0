"""The exact average of the reranked loss over all k-subsets of a pool.

The softmax choice among rewards r_i at temperature T is the largest of
r_i / T + (Gumbel noise), so the loss chosen from a subset S is one integral over
the level v of that maximum,

    integral dv sum_{i in S} loss_i g(v - r_i/T) prod_{l in S, l != i} G(v - r_l/T),

with G(z) = exp(-exp(-z)) and g its density. The average over all k-subsets turns
sum and product into elementary symmetric polynomials of the x_l = G(v - r_l/T),
built by adding one sample after another: all terms are positive, nothing cancels.
At a level v most samples have x = 0 or x = 1 to machine precision; only those in a
window around v enter the polynomial, the others are counted.
"""

from functools import lru_cache
from math import log

import numpy as np

from ._input import counts_and_temperatures, read_pool

# The trapezoidal rule in t with v = t + exp(t - c), c = BEND above the top level: the integrand is analytic for
# |Im v| < pi/2, which makes the relative error 2 |Gamma(1 + 2 pi i/STEP)| = 1.5e-14.
STEP = 9 / 32
BEND = 2.5
BELOW = 3.65  # G(z) < 2e-17 for z < -BELOW
ABOVE = 32.0  # 1 - G(z) < 1.3e-14 for z > ABOVE
NODES = 512  # quadrature nodes done together: their polynomials stay in the cache
TINY = 2.0**-100  # the imaginary step: its square is lost in rounding
TABLE = 2**19  # floats in a table of one group of prompts


def reranked_loss(k, T, *, loss, reward):
    """Unbiased reranked loss of every prompt: the average over all k-subsets of its samples.

    From each k-subset one sample is kept, with probability proportional to
    exp(reward / T) within the subset; the expected loss of the kept sample is
    averaged over all subsets, exactly.

    Parameters
    ----------
    k : int or 1-D array of int
        Number of samples used, 1 <= k <= N for every prompt.
    T : float or 1-D array of float
        Selection temperature in units of the reward, in [0, inf]. ``T=0`` keeps
        a sample of the highest reward (ties share equally), ``T=inf`` any.
    loss : array (prompts, N) or list of 1-D arrays
        Loss of every sample, finite; for right and wrong answers 1 - correct.
        Prompts of a list may have different N. A single prompt is ``[values]``.
    reward : array (prompts, N) or list of 1-D arrays
        Judge score of every sample, higher is better. ``-inf`` marks an unscored
        sample: it is kept only if the whole subset is unscored, then uniformly.

    Returns
    -------
    ndarray, shape (prompts,) + k.shape + T.shape
        In units of the loss; error below 1e-12 of the prompt's loss range.

    Raises
    ------
    ValueError
        If k exceeds the samples of a prompt (the message names it), if a loss is
        not finite or a reward is nan or +inf (it names prompt and sample), if the
        shapes differ, or if C(N, k) exceeds 1e290 at 0 < T < inf.

    Notes
    -----
    A U-statistic (Hoeffding 1948) of the official code's delta_k(T): that code
    draws k fresh samples for every k. At T = 0 it is a weighted mean of order
    statistics; for a loss in {0, 1} and reward = -loss, one minus it is the
    unbiased pass@k of Chen et al. (2021).

    Examples
    --------
    >>> from bestofk import pool
    >>> wrong = [[1, 0, 0, 1], [1, 1, 0, 1]]
    >>> score = [[2, 7, 5, 7], [3, 1, 9, 9]]
    >>> pool.reranked_loss([1, 2, 4], 0, loss=wrong, reward=score).round(3)
    array([[0.5  , 0.417, 0.5  ],
           [0.75 , 0.583, 0.5  ]])
    """
    k, T, shape = counts_and_temperatures(k, T)
    pool = read_pool(loss, reward, k)
    return subset_averages(pool, k, T).reshape((len(pool.sizes),) + shape)


def subset_averages(pool, k, T):
    """`reranked_loss` of a checked pool: (prompts, len(k), len(T))."""
    result = np.empty((len(pool.sizes), len(k), len(T)))
    top_k = int(k.max())
    for prompts, loss, reward in pool.blocks():
        size = loss.shape[1]
        if ((T > 0) & (T < np.inf)).any() and _binomials(size, top_k)[size].max() > 1e290:
            raise ValueError(f"k={top_k} of {size} samples has over 1e290 subsets: use a smaller k, or T=0 or T=inf")
        group = max(1, TABLE // (size * (top_k + 1)))
        for start in range(0, len(prompts), group):
            rows = slice(start, start + group)
            result[prompts[rows]] = _table(loss[rows], reward[rows], k, T)
    return result


def tie_averaged(loss, reward):
    """Losses (prompts, N) in falling order of reward, tied samples all carrying their mean."""
    order = np.argsort(reward, axis=1, kind="stable")
    loss, reward = (np.take_along_axis(values, order, axis=1) for values in (loss, reward))
    return _clusters(loss, reward, 0.0, _cluster_starts(reward, 0.0, 0.0))[0][:, ::-1]


def _table(loss, reward, k, T):
    """The average for prompts of equal N: (prompts, N) -> (prompts, len(k), len(T))."""
    order = np.argsort(reward, axis=1, kind="stable")
    reward = np.take_along_axis(reward, order, axis=1)
    loss = np.take_along_axis(loss, order, axis=1)
    if np.abs(reward, where=np.isfinite(reward), out=np.zeros(reward.shape)).max() > 1e300:
        reward, T = reward / 4, T / 4  # differences of scores must not overflow
    base = loss.min(axis=1, keepdims=True)
    scale = np.maximum(loss.max(axis=1, keepdims=True) - base, np.finfo(float).tiny)
    loss = (loss - base) / scale
    weights = _best_weights(loss.shape[1], k)
    window = BELOW + ABOVE + log(k.max())
    result = np.empty((len(loss), len(k), len(T)))
    for column, t in enumerate(T):
        starts = _cluster_starts(reward, t, window)
        mean_loss, level, is_open = _clusters(loss, reward, t, starts)
        result[:, :, column] = np.where(is_open, 0.0, mean_loss) @ weights
        if is_open.any():
            result[:, :, column] += _softmax_part(loss, level, starts, is_open, k)
    return base[:, :, None] + scale[:, :, None] * result


def _cluster_starts(reward, t, window):
    """Mark where a sorted sample wins against all before it with certainty (True at each prompt's first)."""
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.diff(reward, axis=1)
        beaten = gap > (window * t if t > 0 else 0.0)
    beaten |= np.isneginf(reward[:, :-1]) & np.isfinite(reward[:, 1:])
    return np.concatenate([np.ones((len(reward), 1), bool), beaten], axis=1)


def _clusters(loss, reward, t, starts):
    """Of each sample: its cluster's mean loss, its level r/T above the cluster's lowest, and whether levels differ."""
    first = np.flatnonzero(starts)
    count = np.diff(np.append(first, loss.size))
    mean_loss = np.repeat(np.add.reduceat(loss.ravel(), first) / count, count)
    flat = reward.ravel()
    lowest = np.repeat(flat[first], count)
    finite = np.isfinite(flat)
    level = np.zeros(loss.size)
    if t > 0:
        level[finite] = (flat[finite] - lowest[finite]) / t
    top = level[np.append(first[1:], loss.size) - 1]
    is_open = np.repeat(top > 0, count)
    return tuple(values.reshape(loss.shape) for values in (mean_loss, level, is_open))


def _best_weights(size, k):
    """C(n, k-1)/C(N, k) for n = 0..N-1: the chance that the n-th smallest of N is a k-subset's largest."""
    weights = np.zeros((size, len(k)))
    weights[-1] = k / size
    for n in range(size - 2, -1, -1):
        weights[n] = weights[n + 1] * np.maximum(n + 2 - k, 0) / (n + 1)
    return weights


def _softmax_part(loss, level, starts, is_open, k):
    """Contribution of the clusters whose levels differ, by quadrature over v: (prompts, len(k))."""
    prompts, size = loss.shape
    top_k = int(k.max())
    node = _nodes(level.ravel(), starts.ravel(), is_open.ravel(), size, top_k)
    degree = min(int(node["active"].max()), top_k)
    table = np.zeros((prompts * size, degree + 1))
    key = node["first"]  # position of the window's first sample = prompt and number of samples below the window
    for begin in range(0, len(key), NODES):
        part = slice(begin, begin + NODES)
        order = np.argsort(key[part], kind="stable") + begin
        sums = _marked_polynomials(loss.ravel(), level.ravel(), {name: node[name][order] for name in node}, top_k)
        sorted_key = key[order]
        edges = np.flatnonzero(np.diff(sorted_key, prepend=-1))
        table[sorted_key[edges], : len(sums)] += np.add.reduceat(sums, edges, axis=1).T
    table = table.reshape(prompts, size, degree + 1)
    result = np.zeros((prompts, len(k)))
    step = max(1, TABLE // ((degree + 1) * len(k)))
    for below in range(0, size, step):
        shares = _subset_shares(size, tuple(k.tolist()), degree, below, min(below + step, size))
        result += table[:, below : below + step].reshape(prompts, -1) @ shares
    return result


def _nodes(level, starts, is_open, size, top_k):
    """Quadrature nodes of all open clusters, sorted by the number of samples in their window."""
    above = ABOVE + log(top_k)
    first = np.flatnonzero(starts & is_open)
    end = np.flatnonzero(np.append(starts, True))
    last = end[np.searchsorted(end, first, side="right")] - 1
    bend = level[last] + log(top_k) + BEND
    count = np.ceil((bend + log(ABOVE) + BELOW) / STEP).astype(np.int64)
    cluster = np.repeat(np.arange(len(first)), count)
    t = STEP * (np.arange(len(cluster)) - np.repeat(np.cumsum(count) - count, count)) - BELOW
    stretch = np.exp(t - bend[cluster])
    v, weight = t + stretch, STEP * (1.0 + stretch)
    # windows by one search: clusters are laid one behind the other on a line, further apart than any window
    member = np.flatnonzero(is_open)
    reach = level[last] + 3 * above + 2 * BELOW
    offset = np.cumsum(reach) - reach
    line = level[member] + np.repeat(offset, last - first + 1)
    left = np.searchsorted(line, offset[cluster] + v - above, side="left")
    right = np.searchsorted(line, offset[cluster] + v + BELOW, side="right")
    active = right - left
    order = np.argsort(active, kind="stable")
    order = order[np.searchsorted(active[order], 1) :]
    return {"first": member[left[order]], "active": active[order], "v": v[order], "weight": weight[order]}


def _marked_polynomials(loss, level, node, top_k):
    """Coefficients of sum_i loss_i g_i s prod_{l != i}(1 + x_l s) times the node's weight: (degree + 1, nodes).

    That is the derivative of prod_l (1 + (x_l + h loss_l g_l) s) in h, read off at a tiny imaginary h: the
    complex-step method, exact to rounding because all terms are positive.
    """
    active = node["active"]
    longest = int(active.max())
    offset = np.arange(longest)[:, None]
    member = np.minimum(node["first"] + offset, len(loss) - 1)
    inside = offset < active
    decay = np.exp(level[member] - node["v"])  # e^{-z}
    x = np.where(inside, np.exp(-decay), 0.0).astype(complex)
    x.imag = TINY * loss[member] * decay * x.real * node["weight"]
    degree = min(longest, top_k)
    product = np.zeros((degree + 1, len(active)), complex)
    product[0] = 1.0
    room = np.empty_like(product)
    for i in range(longest):
        top = min(i + 1, degree)
        product[1 : top + 1] += np.multiply(product[:top], x[i], out=room[:top])
    return product.imag / TINY


@lru_cache(maxsize=4)
def _binomials(size, top_k):
    """Pascal's triangle C(n, j), n <= size, j <= top_k, in floats (inf where it overflows)."""
    triangle = np.zeros((size + 1, top_k + 1))
    triangle[:, 0] = 1.0
    with np.errstate(over="ignore"):
        for n in range(1, size + 1):
            triangle[n, 1:] = triangle[n - 1, 1:] + triangle[n - 1, :-1]
    return triangle


@lru_cache(maxsize=4)
def _subset_shares(size, k, degree, start, stop):
    """C(n, k-j)/C(N, k): j of the k come from the window and k-j from the n samples below, start <= n < stop."""
    binomials = _binomials(size, max(k))
    rest = np.array(k) - np.arange(degree + 1)[:, None]
    shares = np.where(rest >= 0, binomials[start:stop][:, np.maximum(rest, 0)], 0.0)
    return (shares / binomials[size, list(k)]).reshape(-1, len(k))
