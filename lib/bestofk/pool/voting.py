"""What would a vote among k answers have chosen, with no judge at all?

Majority vote (self-consistency) keeps an answer that occurs most often among k samples. Its loss
depends on the k samples together, not on one at a time, so it is no judge's best-of-k; but the average
over all k-subsets of a pool can be counted in the same way. Let answer b occur c_b times in the pool, and
give the j copies that a subset holds the mark j + theta_b, theta_b uniform on (0, 1): the largest mark wins,
which shares ties equally. The subsets in which answer a wins with the mark j + theta are counted by

    [s^k]  C(c_a, j) s^j  prod_{b != a} (sum_{i < j} C(c_b, i) s^i + theta C(c_b, j) s^j),

a polynomial in theta whose integral a short Gauss rule gives exactly.
"""

from functools import lru_cache
from math import comb

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .._checks import sample_count
from ._input import prompt_rows, read_pool


def majority_vote(k, *, loss, answer):
    """Unbiased loss of majority vote among k samples: the exact average over all k-subsets.

    Parameters
    ----------
    k : int or 1-D array of int
        Number of samples that vote, 1 <= k <= N for every prompt.
    loss : array (prompts, N) or list of 1-D arrays
        Loss of every sample, finite.
    answer : array (prompts, N) or list of 1-D arrays
        Answer of every sample; equal values are votes for the same answer. ``None``
        and nan abstain: they are kept only if the whole subset abstains.

    Returns
    -------
    ndarray, shape (prompts,) + k.shape
        In units of the loss. Answers with equally many votes share equally, and samples
        with the same answer too.

    Raises
    ------
    ValueError
        As `reranked_loss`; also if `answer` does not have the shape of `loss`, or if C(N, k)
        exceeds 1e290.

    Notes
    -----
    A U-statistic, as `reranked_loss`. All terms are positive; the error is below 1e-12 of the
    prompt's largest loss. At k <= 2 a vote decides nothing: the loss is that of one sample.

    Examples
    --------
    Three samples say 7, which is right; 8 and 9 have one vote each:

    >>> from bestofk import pool
    >>> pool.majority_vote([1, 3, 5], loss=[[0, 0, 0, 1, 1]], answer=[[7, 7, 7, 8, 9]]).round(3)
    array([[0.4, 0.2, 0. ]])
    """
    k = sample_count(k)
    pool = read_pool(loss, loss, k)
    if hasattr(answer, "__array__"):  # a table of pandas, say
        answer = np.asarray(answer, dtype=object)
    answers = [np.asarray(row, dtype=object) for row in prompt_rows(answer, "answer")]
    if len(answers) != len(pool.sizes):
        raise ValueError(f"answer has {len(answers)} prompts and loss has {len(pool.sizes)}: they must describe one pool")
    for prompt, (row, size) in enumerate(zip(answers, pool.sizes)):
        if row.shape != (size,):
            raise ValueError(
                f"answer must hold one value a sample, got shape {row.shape} for {size} samples at prompt {prompt}"
            )
    sizes = np.atleast_1d(k)
    for size in np.unique(pool.sizes):
        if comb(int(size), min(int(sizes.max()), int(size) // 2)) > 1e290:
            raise ValueError(f"k={sizes.max()} of {size} samples has over 1e290 subsets: use a smaller k, or fewer samples")
    result = np.array([_votes(sizes, row_loss, row) for row_loss, row in zip(pool.loss, answers)])
    return result.reshape((len(pool.sizes),) + k.shape)


def _votes(k, loss, answer):
    """The average for one prompt: (len(k),)."""
    groups = {}
    for value, cost in zip(answer, loss):
        groups.setdefault(None if value is None or value != value else value, []).append(cost)
    silent = groups.pop(None, [])
    groups = sorted(groups.values(), key=len, reverse=True)
    counts = [len(costs) for costs in groups]
    base, top = loss.min(), int(k.max())
    means = [np.mean(costs) - base for costs in groups]
    total = np.zeros(top + 1)
    if silent:
        total += (np.mean(silent) - base) * _product(_row(len(silent)), [1.0], top)
    if groups:
        second = counts[1] if len(counts) > 1 else 0
        alone = _row(counts[0]).copy()
        alone[: second + 1] = 0  # with more votes than the second answer has at all, the first wins anyhow
        total += means[0] * _product(alone, _row(len(loss) - counts[0]), top)
        for votes in range(1, min(second, top) + 1):
            strong = sum(count >= votes for count in counts)
            total += _won_with(votes, counts[:strong], means[:strong], len(loss) - sum(counts[:strong]), top)
    return base + total[k] / np.array([float(comb(len(loss), int(size))) for size in k])


def _won_with(votes, counts, means, others, top):
    """Coefficients s^0..s^top of the marked product for this winning number of votes.

    Only the answers that occur so often compete; the `others` samples enter a subset freely.
    """
    theta, weight = _rule(min(len(counts), top // votes) - 1)
    table = np.zeros((2, len(theta), votes + top + 1))  # plain and marked, after `votes` zeros
    plain, marked = table[:, :, votes:]
    free = _row(others)[: top + 1]
    plain[:, : len(free)] = free
    windows = sliding_window_view(table, votes, axis=2)[:, :, 1 : top + 2]
    for count, mean in zip(counts, means):
        row = _row(count)
        wins = row[votes] * table[:, :, : top + 1]  # both, moved up by s^votes
        fewer = windows @ row[votes - 1 :: -1]
        fewer += theta[:, None] * wins
        fewer[1] += mean * wins[0]
        table[:, :, votes:] = fewer
    return weight @ marked


@lru_cache(maxsize=256)
def _rule(degree):
    """Gauss rule on (0, 1), exact for polynomials of this degree."""
    x, weight = np.polynomial.legendre.leggauss(degree // 2 + 1)
    return (x + 1) / 2, weight / 2


def _product(first, second, top):
    """Product of two polynomials, coefficients s^0..s^top."""
    product = np.zeros(top + 1)
    found = np.convolve(first, second)[: top + 1]
    product[: len(found)] = found
    return product


@lru_cache(maxsize=1024)
def _row(count):
    """C(count, 0), ..., C(count, count) in floats."""
    return np.array([float(comb(count, i)) for i in range(count + 1)])
