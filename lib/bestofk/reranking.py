"""What is the loss of the sample that a judge keeps, when the law of a sample is finite?

Draw k samples independently, with replacement, from a law of finitely many
atoms; each atom has a loss and a reward (the judge's score). Keep one sample
by softmax of reward/T. The functions here give the exact mean loss of the kept
sample for any number of samples k and any selection temperature T.

The softmax choice is the argmax of V_i = reward_i/T + G_i with independent
standard Gumbel G_i. With F the distribution function of V for one sample and
g(v) dv the mean of loss over samples with V in dv,

    delta_k(T) = k * integral of g(v) F(v)^(k-1) dv,

and one pair (F, g) serves every k. The trapezoid rule with step h has a
relative error of at most 2/(cos y (exp(2 pi y/h) - 1)) for every y < pi/2,
whatever the law, k and T: below 1e-15 at the step used here. The book derives
all this in the chapter of the same name.
"""

import numpy as np

from . import _checks

_STEP = 0.25  # trapezoid step in v; exact in binary, so that lattice points carry no rounding
_BELOW, _ABOVE = 5.0, 45.0  # an atom matters for v - reward/T in [-_BELOW, _ABOVE + ln k]
_BLOCK = 2**19  # numbers held at once in one temporary array


def reranked_loss(k, T, *, loss, reward, prob=None):
    """Mean loss of the sample kept by softmax(reward/T) among k independent samples of a finite law.

    Parameters
    ----------
    k : int or 1-D array of int
        Number of samples, >= 1.
    T : float or 1-D array of float
        Selection temperature in the units of the reward, in [0, inf]. 0 is best-of-k, where equal rewards
        share the choice equally; inf is no selection.
    loss, reward : array_like, shape (..., atoms)
        Loss and reward of each atom; finite. Leading axes broadcast.
    prob : array_like, shape (..., atoms), optional
        Probabilities of the atoms, summing to 1 within 1e-9 (and then renormalised); default: equal.

    Returns
    -------
    float or ndarray, shape batch + k.shape + T.shape

    Raises
    ------
    ValueError
        For k < 1 or not an integer, T < 0 or nan, a loss or reward that is not finite, shapes that do not
        fit, negative probabilities or a sum that is not 1.

    Notes
    -----
    The error is below 1e-12 times the reranked value of ``abs(loss)``, as long as every chain of rewards whose
    neighbours lie closer than about 65 T spans less than 1000 T; beyond, rounding reward/T costs about 1e-16
    times that span over T. The worst seen against 40-digit references is 3e-15
    (210 random laws, k to 3000, T from 1e-3 to 1e3). A chance of being kept below 1e-300 may come out as 0.

    Source: definition of delta_k(T) on the poster of arXiv:2512.19905; Gumbel form and error bound derived in
    the book, chapter ``reranking``.

    Examples
    --------
    A right answer (loss 0) with probability 0.2, which the judge prefers by one unit:

    >>> from bestofk import reranking
    >>> law = dict(loss=[0.0, 1.0], reward=[1.0, 0.0], prob=[0.2, 0.8])
    >>> reranking.reranked_loss([1, 4, 16], 0, **law).round(4)  # best-of-k: 0.8**k
    array([0.8   , 0.4096, 0.0281])
    >>> reranking.reranked_loss([1, 4, 16], 0.5, **law).round(4)
    array([0.8   , 0.5473, 0.3965])
    """
    k, T = _checks.sample_count(k), _checks.temperature(T)
    loss, reward, prob = _checks.finite_law(loss, reward, prob)
    batch, atoms = loss.shape[:-1], loss.shape[-1]
    out = np.empty((int(np.prod(batch)), k.size, T.size))
    laws = zip(*(values.reshape(-1, atoms) for values in (loss, reward, prob)))
    for row, law in zip(out, laws):
        law = _sorted_support(*law)
        for j, temperature in enumerate(T.ravel()):
            row[:, j] = _curve(k.ravel().astype(float), temperature, *law)
    return out.reshape(batch + k.shape + T.shape)[()]


def limit(T, *, loss, reward, prob=None):
    """Reranked loss at k = infinity: the mean loss under the law tilted by exp(reward/T).

    Parameters
    ----------
    T : float or 1-D array of float
        Selection temperature in [0, inf]; 0 gives the mean loss of the atoms with the largest reward.
    loss, reward, prob
        As in `reranked_loss`.

    Returns
    -------
    float or ndarray, shape batch + T.shape

    Raises
    ------
    ValueError
        As in `reranked_loss`.

    Examples
    --------
    >>> from bestofk import reranking
    >>> float(reranking.limit(0.5, loss=[0.0, 1.0], reward=[1.0, 0.0], prob=[0.2, 0.8]).round(4))
    0.3512
    """
    T = _checks.temperature(T)
    loss, reward, prob = (values[..., None, :] for values in _checks.finite_law(loss, reward, prob))
    gap = np.where(prob > 0, reward, -np.inf)
    gap = gap - gap.max(axis=-1, keepdims=True)
    temperature = T.reshape(-1, 1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        tilt = np.where(prob > 0, np.exp(np.where(gap == 0, 0, gap / temperature)), 0)
    weight = prob * tilt
    value = (weight * loss).sum(axis=-1) / weight.sum(axis=-1)
    return value.reshape(loss.shape[:-2] + T.shape)[()]


def _sorted_support(loss, reward, prob):
    """Merge atoms of equal reward (probability added, loss averaged), drop empty ones, sort by reward."""
    support = prob > 0
    levels, group = np.unique(reward[support], return_inverse=True)
    mass = np.bincount(group, prob[support])
    return np.bincount(group, (prob * loss)[support]) / mass, levels, mass


def _curve(k, T, loss, reward, prob):
    """Reranked loss for all `k` at one `T`; `reward` strictly increasing, `prob` > 0."""
    if T == np.inf or loss.size == 1:
        return np.full(k.size, prob @ loss)
    if T == 0:
        return _best_of_k(k, prob) @ loss
    value = np.zeros(k.size)
    top = _ABOVE + np.log(k.max())
    with np.errstate(over="ignore"):
        split = np.flatnonzero(np.diff(reward) / T > _BELOW + top) + 1
        for cluster in np.split(np.arange(loss.size), split):
            # between clusters the kept sample comes from the highest one: lower atoms keep only a weight e^(-gap/T)
            first, last = cluster[0], cluster[-1]
            offset = (reward[last] - reward) / T
            low = (prob * loss)[:first] @ np.exp(offset[first] - offset[:first])
            lattice = _STEP * np.arange(np.floor(-(_BELOW + offset[first]) / _STEP), np.ceil(top / _STEP) + 1)
            for t in np.array_split(lattice, 1 + lattice.size * max(cluster.size, k.size) // _BLOCK):
                u = np.exp(-np.maximum(t[:, None] + offset[cluster], -10))  # exp(-exp(10)) is 0 already
                density = low * np.exp(-t - offset[first]) + (u * np.exp(-u)) @ (prob * loss)[cluster]
                log_F = _log(
                    prob[:first].sum() + np.exp(-u) @ prob[cluster],
                    prob[last + 1 :].sum() - np.expm1(-u) @ prob[cluster],
                )
                value += k * (np.exp((k[:, None] - 1) * log_F) @ density) * _STEP
    return np.where(k == 1, prob @ loss, value)


def _log(F, above):
    """ln F, accurate relative to itself, from `F` and `above` = 1 - F (each accurate relative to itself)."""
    return np.where(above < 0.5, np.log1p(-np.minimum(above, 0.5)), np.log(np.maximum(F, 1e-300)))


def _best_of_k(k, prob):
    """Probability that the best of k samples lies on each level, shape (k, levels); levels in rising order."""
    F = np.cumsum(prob)
    above = np.append(np.cumsum(prob[:0:-1])[::-1], 0.0)
    step = np.append(np.inf, -np.log1p(-prob[1:] / F[1:]))  # ln F of this level minus that of the one below
    return np.exp(k[:, None] * _log(F, above)) * -np.expm1(-k[:, None] * step)
