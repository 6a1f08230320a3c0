"""Which k and which T are best on this pool, how sure is that, and what does the choice gain?"""

from dataclasses import dataclass

import numpy as np

from .._checks import generator, moderate, real
from ._input import counts_and_temperatures, read_pool
from .curves import Estimate, check_interval, interval, resampled_means
from .subsets import subset_averages


@dataclass(frozen=True)
class Optimum:
    """The best k and T of a grid, with confidence sets and honest gains.

    Attributes
    ----------
    k, T : ndarray
        The candidates, 1-D.
    mean, low, high : ndarray (len(k), len(T))
        Mean reranked loss over prompts, and its pointwise percentile interval.
    best : tuple (k, T)
        Candidate of least mean loss; of equal ones the smallest k, then the smallest T.
    best_k : ndarray (len(T),)
        Best k at every T.
    best_T : ndarray (len(k),)
        Best T at every k.
    k_set : ndarray of bool (len(k), len(T))
        Column j: the k that cannot be excluded as best at ``T[j]``.
    T_set : ndarray of bool (len(k), len(T))
        Row i: the T that cannot be excluded as best at ``k[i]``.
    joint_set : ndarray of bool (len(k), len(T))
        The pairs that cannot be excluded as best. Each set holds the best
        candidate of the population with probability at least `level` (for many prompts).
    level : float
    chosen : tuple of two (k, T)
        The choice of either half of the prompts.
    crossfit_loss : float
        Mean loss of each half's choice on the *other* half: free of the winner's curse.
    over_one_sample, over_most_samples, over_best_of_k : Estimate
        Cross-fitted gain (reference minus choice: positive is better) over k = 1, over the largest k at the same
        T, and over T = 0 (or the least T of the grid) at the same k.
    """

    k: np.ndarray
    T: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    best: tuple
    best_k: np.ndarray
    best_T: np.ndarray
    k_set: np.ndarray
    T_set: np.ndarray
    joint_set: np.ndarray
    level: float
    chosen: tuple
    crossfit_loss: float
    over_one_sample: Estimate
    over_most_samples: Estimate
    over_best_of_k: Estimate


def optimum(k, T, *, loss, reward, level=0.95, seed, resamples=1000, progress=False):
    """Best k, best T and best pair of a grid, from one pool.

    Prompts are split into two random halves. Each half chooses its best (k, T);
    the choice is judged on the other half, so the reported gains do not profit
    from having been chosen. The confidence sets use all prompts.

    Parameters
    ----------
    k, T, loss, reward
        As for `reranked_loss`; `k` and `T` are the candidates. At least four prompts.
    level, seed, resamples, progress
        As for `curve`.

    Returns
    -------
    Optimum

    Notes
    -----
    A comparison with the best, simultaneous over the set's candidates: with e the
    errors of resampled means and s_cd the spread of e_c - e_d, a candidate c stays if
    its largest excess (mean_c - mean_d) / s_cd over d is no more than the `level`
    quantile of the largest (e_c - e_d) / s_cd.
    "Is the loss at k* really below that at N?" is answered yes if N is not in `k_set`.

    Examples
    --------
    >>> import numpy as np
    >>> from bestofk import pool
    >>> rng = np.random.default_rng(1)
    >>> answer = rng.normal(size=(300, 16))
    >>> found = pool.optimum([1, 2, 4, 8, 16], 0, loss=answer**2, reward=-(answer - 1.5) ** 2, seed=0)
    >>> found.best, found.k[found.k_set[:, 0]]
    ((2, 0.0), array([2]))
    """
    k, T, _ = counts_and_temperatures(k, T)
    check_interval(level, resamples)
    pool = read_pool(loss, reward, k)
    prompts = len(pool.sizes)
    if prompts < 4:
        raise ValueError(f"loss must hold at least 4 prompts to choose on half and report on half, got {prompts}")
    return choose(k, T, lambda rows: subset_averages(pool.take(rows), k, T), prompts, level, seed, resamples, progress)


def table_optimum(k, T, *, table, level=0.95, seed, resamples=1000):
    """`optimum` of a table of losses: for a rule of selection that is not softmax over one score.

    Parameters
    ----------
    k, T : int or 1-D array, float or 1-D array
        The candidates. A rule without a temperature has one candidate, such as T = 0.
    table : array (prompts, len(k), len(T)), or (prompts, len(k)) where T is one number
        Mean loss of what the rule keeps, for every prompt and candidate: of a vote, say, or of a judge
        averaged over draws of its noise. At least four prompts.
    level, seed, resamples
        As for `curve`.

    Returns
    -------
    Optimum

    Raises
    ------
    ValueError
        If `table` is not of that shape or not finite, or if it has fewer than four prompts.

    Examples
    --------
    Is there a best number of votes?

    >>> import numpy as np
    >>> from bestofk import pool
    >>> answer = np.random.default_rng(1).choice(4, p=[0.4, 0.3, 0.2, 0.1], size=(300, 16))
    >>> k = [1, 4, 16]
    >>> table = pool.majority_vote(k, loss=answer != 0, answer=answer)
    >>> found = pool.table_optimum(k, 0, table=table, seed=0)
    >>> found.best, found.k[found.k_set[:, 0]]
    ((16, 0.0), array([16]))
    """
    k, T, _ = counts_and_temperatures(k, T)
    check_interval(level, resamples)
    table = moderate(real(table, "table"), "table", smallest=0)
    if table.ndim == 2 and len(T) == 1:
        table = table[:, :, None]
    if table.ndim != 3 or table.shape[1:] != (len(k), len(T)):
        raise ValueError(
            f"table must hold one loss for each prompt, k and T, shape (prompts, {len(k)}, {len(T)}), "
            f"got shape {table.shape}"
        )
    if len(table) < 4:
        raise ValueError(f"table must hold at least 4 prompts to choose on half and report on half, got {len(table)}")
    return choose(k, T, lambda rows: table[rows], len(table), level, seed, resamples)


def choose(k, T, values, prompts, level, seed, resamples, progress=False):
    """`optimum` of a table that is made part by part: `values(positions)` is (len(positions), len(k), len(T))."""
    rng = generator(seed)
    shuffled = rng.permutation(prompts)
    halves = [np.sort(shuffled[: prompts // 2]), np.sort(shuffled[prompts // 2 :])]
    means, draws = [], []
    for half in halves:
        mean, _, resampled = resampled_means(len(half), lambda rows: values(half[rows]), resamples, rng, progress)
        means.append(mean)
        draws.append(resampled)
    share = np.array([len(half) for half in halves]) / prompts
    mean = share[0] * means[0] + share[1] * means[1]
    resampled = share[0] * draws[0] + share[1] * draws[1]
    low, high = interval(resampled, level)
    error = resampled - mean
    chosen = [least(values) for values in means]
    i, j = least(mean)

    def judged(values, pick):
        """Loss at a pick made from the other half's choice, averaged over both halves."""
        return sum(share[h] * values[h][..., *pick(*chosen[1 - h])] for h in (0, 1))

    def gain(reference):
        estimate = judged(means, reference) - judged(means, lambda a, b: (a, b))
        ends = interval(judged(draws, reference) - judged(draws, lambda a, b: (a, b)), level)
        return Estimate(float(estimate), *(float(end) for end in ends))

    one, most, hard = int(k.argmin()), int(k.argmax()), int(T.argmin())
    return Optimum(
        k=k,
        T=T,
        mean=mean,
        low=low,
        high=high,
        best=(int(k[i]), float(T[j])),
        best_k=np.array([k[least(column[:, None])[0]] for column in mean.T]),
        best_T=np.array([T[least(row[None])[1]] for row in mean]),
        k_set=np.stack([_comparable(mean[:, j], error[:, :, j], level) for j in range(len(T))], axis=1),
        T_set=np.stack([_comparable(mean[i], error[:, i], level) for i in range(len(k))]),
        joint_set=_comparable(mean.reshape(-1), error.reshape(resamples, -1), level).reshape(mean.shape),
        level=level,
        chosen=tuple((int(k[a]), float(T[b])) for a, b in chosen),
        crossfit_loss=float(judged(means, lambda a, b: (a, b))),
        over_one_sample=gain(lambda a, b: (one, b)),
        over_most_samples=gain(lambda a, b: (most, b)),
        over_best_of_k=gain(lambda a, b: (a, hard)),
    )


def least(mean):
    """Index of the least entry; entries equal to rounding count as equal and the first wins."""
    return np.unravel_index(np.argmax(mean <= mean.min() + 1e-12 * np.abs(mean).max()), mean.shape)


def _comparable(mean, error, level):
    """Candidates (C,) that resampled errors (resamples, C) cannot tell from the best one."""
    kept = np.empty(len(mean), dtype=bool)
    for c in range(len(mean)):
        away = error[:, c, None] - error
        spread = away.std(axis=0)
        same = spread <= 1e-12 * np.abs(mean).max()  # candidates that never differ, such as k = 1 at two T
        scale = np.where(same, 1.0, spread)
        excess = np.where(same, 0.0, (mean[c] - mean) / scale)
        kept[c] = excess.max() <= np.quantile(np.where(same, 0.0, away / scale).max(axis=1), level)
    return kept
