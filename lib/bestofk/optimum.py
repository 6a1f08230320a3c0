"""Is there a best number of samples, a best temperature, a best judge?

For the Gaussian predictive with a quadratic judge (`bestofk.gaussian`), for one
law and averaged over inputs:

- `finite_best_k` decides whether more samples help for ever,
  `best_k` finds where they stop helping, `best_temperature` which T to use;
- `high_temperature_best_k` and `high_temperature_best_temperature` are the
  expansion's answers, to be compared with the exact ones;
- `fixed_judge`, `informed_judge` and `learned_judge` give the covariance that a
  family of judges has with the fitted model, ready for
  `gaussian.generalization_error`;
- `consensus_loss` is the rival that needs no judge: the mean of the k draws.

`improves_from_above` is the one criterion that holds for any finite law.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from bestofk import _checks, gaussian, regression, reranking

LARGEST_K = 2**50  # the search for k* stops here


@dataclass(frozen=True)
class Optimum:
    """Where a reranked loss is smallest.

    Attributes
    ----------
    at : float or ndarray
        The minimiser: k* (inf where the loss falls for every k) or T* (0 is
        best-of-k, inf is no selection).
    loss : float or ndarray
        The reranked loss there (its limit where k* is inf).
    """

    at: np.ndarray
    loss: np.ndarray


def finite_best_k(T, *, mean, std, teacher, reward):
    """Tell whether the reranked loss of a Gaussian law has its minimum at a finite k.

    Parameters
    ----------
    T : float or 1-D array of float
        Selection temperature in [0, inf].
    mean, std, teacher, reward : float or array
        The law, as in `gaussian.reranked_loss`.

    Returns
    -------
    bool or ndarray of bool
        Shape: batch shape + T.shape. False at T = inf, where k does not matter.

    Notes
    -----
    With D_T = mean - teacher, D_R = mean - reward, C1 = 2 D_T D_R + std^2 and
    t = T / (2 std^2): finite if and only if C1 < D_R^2 (3 t + 4) / ((t + 1)(t + 2)),
    the condition that the curve approaches its limit from below. At T = 0 this
    is proved; at T > 0 it is proved that the condition suffices, and seen in
    every curve computed that it is necessary (chapter `optimum`).

    Examples
    --------
    >>> finite_best_k([0.0, 1.0, 100.0], mean=0, std=1, teacher=0, reward=2)
    array([ True,  True, False])
    """
    T = _checks.temperature(T)
    D_T, D_R, s2 = _distances(T.ndim, mean, std, teacher, reward)
    C1, t = 2 * D_T * D_R + s2, T / (2 * s2)
    with np.errstate(invalid="ignore"):  # t = inf gives nan, which is below nothing
        return (C1 < D_R**2 * ((3 * t + 4) / ((t + 1) * (t + 2))))[()]


def finite_average_best_k(T, *, std, cov):
    """Tell whether the loss averaged over inputs approaches its limit from below, so that k* is finite.

    Parameters
    ----------
    T : float or 1-D array of float
        Selection temperature in (0, inf].
    std : float
        Predictive standard deviation, the same for every input.
    cov : array_like, shape (2, 2)
        Covariance over inputs of (mean - teacher, mean - reward).

    Returns
    -------
    bool or ndarray of bool, shape T.shape

    Raises
    ------
    ValueError
        Where the criterion does not exist: the weight E[w^2] / E[w]^2 of an
        input grows like exp(kappa D_R^2 / std^2), and its average is infinite
        once 2 kappa cov[1][1] >= std^2.

    Notes
    -----
    With t = T / (2 std^2): finite if 2 cov[0][1] + std^2 < 3 cov[1][1] / (t + 1).
    Each law enters with the weight E[w^2] / E[w]^2 of its own 1/k correction,
    not with weight one. A true answer is sufficient for a finite k*.

    Examples
    --------
    The average without that weight would say no here; the exact curve has its
    minimum near k = 32:

    >>> bool(finite_average_best_k(2.0, std=1.0, cov=[[0.3, 0.75], [0.75, 1.875]]))
    True
    """
    T = _checks.temperature(T)
    if (T == 0).any():
        raise ValueError("T must be > 0 here, got 0: at T = 0 the approach is of order 1 / k^2 (see extremes)")
    s2, cov = _checks.scalar(std, "std", _checks.positive) ** 2, _covariance(cov)
    t = T / (2 * s2)
    room = 1 - 2 / ((t + 1) * (t + 2)) * cov[1, 1] / s2  # 1 - 2 kappa cov[1][1] / std^2
    if (room <= 0).any():
        raise ValueError(
            f"the 1/k correction has no average at T = {T.ravel()[np.argmax(room.ravel() <= 0)]} for "
            f"cov[1][1] = {cov[1, 1]} and std = {std}: raise T, or compute k* with average_best_k")
    return ((2 * cov[0, 1] + s2 < 3 * cov[1, 1] / (t + 1)) & np.isfinite(t))[()]


def improves_from_above(T, *, loss, reward, prob=None):
    """Tell whether a finite law's reranked loss approaches its limit k -> inf from above.

    ``False`` proves that some finite k beats all larger ones: the loss under
    the tilt exp(2 r / T) exceeds that under exp(r / T), so the curve comes up
    from below. ``True`` proves nothing: a law with several humps can dip early
    and still end by falling.

    Parameters
    ----------
    T : float or 1-D array of float
        Selection temperature, > 0.
    loss, reward, prob
        The law, as in `reranking.reranked_loss`.

    Returns
    -------
    bool or ndarray of bool

    Examples
    --------
    >>> bool(improves_from_above(1.0, loss=[1, 0, 2], reward=[0, 1, 2]))
    False
    """
    T = _checks.temperature(T)
    if (T == 0).any():
        raise ValueError("T must be > 0 here, got 0: the 1/k correction exists for T > 0 only")
    law = {"loss": loss, "reward": reward, "prob": prob}
    return np.asarray(reranking.limit(T / 2, **law)) <= np.asarray(reranking.limit(T, **law))


def best_k(T, *, mean, std, teacher, reward):
    """Return k*, the number of draws that minimises the reranked loss of a Gaussian law.

    Parameters
    ----------
    T : float or 1-D array of float
        Selection temperature in [0, inf].
    mean, std, teacher, reward : float or array
        The law, as in `gaussian.reranked_loss`.

    Returns
    -------
    Optimum
        ``at`` is k*: 1 if selection only harms, inf if every further draw helps
        (or helps at least up to k = 2^50, for targets many std away).

    Notes
    -----
    A local search over the integers on the exact curve, which has one minimum:
    proved at T = 0, seen at every T > 0 that was tried. The minimum can be very
    flat: in the example below it lies 4e-5 under the limit of many draws.

    Examples
    --------
    >>> best = best_k(20.0, mean=0, std=1, teacher=0, reward=2)
    >>> int(best.at), round(float(best.loss), 6)
    (34, 0.942113)
    """
    T = _checks.temperature(T)
    finite = np.asarray(finite_best_k(T, mean=mean, std=std, teacher=teacher, reward=reward))
    mean, std, teacher, reward = np.broadcast_arrays(
        *[np.asarray(one, dtype=float) for one in (mean, std, teacher, reward)])
    at, loss = np.empty(finite.shape), np.empty(finite.shape)
    flat = T.ravel()
    for where in np.ndindex(finite.shape):
        law, temperature = where[: mean.ndim], flat[where[-1] if T.ndim else 0]
        one = {"mean": mean[law], "std": std[law], "teacher": teacher[law], "reward": reward[law]}

        def curve(k):
            return gaussian.reranked_loss(k, temperature, **one)

        at[where], loss[where] = _search(curve, finite[where], np.isinf(temperature))
    return Optimum(at[()], loss[()])


def average_best_k(T, *, std, cov):
    """Return k* of the loss averaged over inputs; see `best_k` and `gaussian.generalization_error`.

    Parameters
    ----------
    T : float
        Selection temperature in [0, inf].
    std, cov
        As in `gaussian.generalization_error`, for one problem.

    Returns
    -------
    Optimum
        ``at`` is inf where the averaged loss still falls at k = 10^7.

    Examples
    --------
    >>> best = average_best_k(2.0, std=1.0, cov=[[0.3, 0.75], [0.75, 1.875]])
    >>> int(best.at), round(float(best.loss), 4)
    (32, 0.5166)
    """
    T = _checks.scalar(T, "T", _checks.temperature)

    def curve(k):
        return gaussian.generalization_error(k, T, std=std, cov=cov)

    ends = curve(np.array([5 * 10**6, 10**7]))
    return Optimum(*_search(curve, ends[0] < ends[1], np.isinf(T), largest=10**7))


def _search(curve, finite, flat, largest=LARGEST_K):
    """Minimise a curve over the integers; the curve has one minimum (or none where not `finite`)."""
    if flat:
        return 1.0, float(curve(1))
    grid = np.unique(np.round(np.geomspace(1, largest, 120)).astype(np.int64))
    if not finite:
        return np.inf, float(curve(largest))
    while True:
        loss = np.asarray(curve(grid))
        best = int(np.argmin(loss))
        if grid[best] == largest:
            return np.inf, float(loss[best])
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)]
        if high - low <= grid.size:
            inside = np.arange(low, high + 1)
            loss = np.asarray(curve(inside))
            return float(inside[np.argmin(loss)]), float(loss.min())
        grid = np.unique(np.linspace(low, high, 120).astype(np.int64))


def best_temperature(k, *, mean, std, teacher, reward):
    """Return T*, the selection temperature that minimises the reranked loss of a Gaussian law at k draws.

    Parameters
    ----------
    k : int or 1-D array of int, or inf
        Number of draws, >= 1. inf is the limit of many draws, where
        T* = 2 std^2 (2 D_R^2 / C1 - 1) if 0 < C1 < 2 D_R^2, 0 above, inf below.
    mean, std, teacher, reward : float
        The law, as in `gaussian.reranked_loss`.

    Returns
    -------
    Optimum
        ``at`` is T*: 0 if best-of-k is best, inf if no selection is (also for k = 1).

    Notes
    -----
    A grid of 97 temperatures from 10^-4 to 10^8 std^2 with 0 and inf, refined by
    a bounded search around its best point.

    Examples
    --------
    >>> best_temperature(np.inf, mean=0, std=1, teacher=0, reward=2).at
    14.0
    >>> round(float(best_temperature(16, mean=0, std=1, teacher=0, reward=2).at), 2)
    12.65
    """
    law = {"mean": mean, "std": std, "teacher": teacher, "reward": reward}
    for name, value in law.items():
        _checks.scalar(value, name)
    D_T, D_R, s2 = (value.item() for value in _distances(0, **law))
    if np.ndim(k) == 0 and np.isinf(k):
        C1 = 2 * D_T * D_R + s2
        if C1 <= 0:
            return Optimum(np.inf, s2 + D_T**2)
        t = max(2 * D_R**2 / C1 - 1, 0.0)
        return Optimum(2 * s2 * t, s2 * t / (1 + t) + (D_T - D_R / (1 + t)) ** 2)
    return _over_temperatures(k, s2, lambda k, T: gaussian.reranked_loss(k, T, **law), 97)


def average_best_temperature(k, *, std, cov):
    """Return T* of the loss averaged over inputs; see `best_temperature` and `gaussian.generalization_error`.

    Parameters
    ----------
    k : int or 1-D array of int
        Number of draws, >= 1.
    std, cov
        As in `gaussian.generalization_error`, for one problem.

    Returns
    -------
    Optimum
        ``at`` is T*, of the shape of `k`: 0 if best-of-k is best, inf if no selection is.

    Examples
    --------
    >>> float(average_best_temperature(8, std=1.0, cov=[[0.1, 0.1], [0.1, 0.1]]).at)
    0.0
    """
    s2 = _checks.scalar(std, "std", _checks.positive) ** 2
    return _over_temperatures(k, s2, lambda k, T: gaussian.generalization_error(k, T, std=std, cov=cov), 33)


def _over_temperatures(k, s2, loss, points):
    """Minimise loss(k, T) over T for every k."""
    k = _checks.sample_count(k)
    T = np.r_[0, s2 * np.geomspace(1e-4, 1e8, points), np.inf]
    table = np.asarray(loss(k.ravel(), T))
    at, value = np.empty(k.size), np.empty(k.size)
    for i, one in enumerate(k.ravel()):
        best = int(np.argmin(table[i]))
        at[i], value[i] = T[best], table[i, best]
        if one == 1:
            at[i] = np.inf
        elif 0 < best < T.size - 1:
            low, high = np.log(T[max(best - 1, 1)]), np.log(T[min(best + 1, T.size - 2)])
            found = minimize_scalar(lambda x: float(loss(one, np.exp(x))), bounds=(low, high), method="bounded",
                                    options={"xatol": 1e-6})
            if found.fun < value[i]:
                at[i], value[i] = np.exp(found.x), found.fun
    return Optimum(at.reshape(k.shape)[()], value.reshape(k.shape)[()])


def high_temperature_best_k(T, *, mean, std, teacher, reward):
    """Return k* as the second-order expansion in 1/T has it: 4 C2 / (3 C2 - t C1).

    Parameters
    ----------
    T : float or 1-D array of float
        Selection temperature, > 0 and finite.
    mean, std, teacher, reward : float or array
        The law, as in `gaussian.reranked_loss`.

    Returns
    -------
    float or ndarray
        A real number >= 1; inf where the expansion has no finite k*
        (t C1 >= 3 C2), 1 where it says that selection only harms.

    Notes
    -----
    C2 = C1 + D_R^2, t = T / (2 std^2). Poor unless t >> 1: at mean = teacher,
    reward one std away and t = 10, the formula has no k*, and neither has the
    exact curve; two std away it says 4.0 and the exact answer is 34.

    Examples
    --------
    >>> round(float(high_temperature_best_k(20.0, mean=0, std=1, teacher=0, reward=2)), 6)
    4.0
    """
    T = _checks.positive(_checks.temperature(T), "T")
    D_T, D_R, s2 = _distances(T.ndim, mean, std, teacher, reward)
    C1, t = 2 * D_T * D_R + s2, T / (2 * s2)
    C2 = C1 + D_R**2
    with np.errstate(divide="ignore", invalid="ignore"):
        k = 4 * C2 / (3 * C2 - t * C1)
    harmful = (C1 <= 0) & ((C2 <= 0) | (k < 1))
    return np.where(harmful, 1.0, np.where((C1 > 0) & (t * C1 >= 3 * C2), np.inf, np.maximum(k, 1.0)))[()]


def high_temperature_best_temperature(k, *, mean, std, teacher, reward):
    """Return T* as the second-order expansion in 1/T has it: 4 std^2 (1 - 2/k) C2 / C1.

    Parameters
    ----------
    k : int or 1-D array of int
        Number of draws, >= 1.
    mean, std, teacher, reward : float or array
        The law, as in `gaussian.reranked_loss`.

    Returns
    -------
    float or ndarray
        inf where C1 <= 0 (the expansion then prefers no selection), 0 where
        k <= 2 or C2 <= 0 (it then has no second-order term to stop it).

    Notes
    -----
    At k = inf the exact answer is t* = 2 C2 / C1 - 3: the expansion is off by 3 in t.

    Examples
    --------
    >>> float(high_temperature_best_temperature(8, mean=0, std=1, teacher=0, reward=2))
    15.0
    """
    k = _checks.sample_count(k)
    D_T, D_R, s2 = _distances(k.ndim, mean, std, teacher, reward)
    C1 = 2 * D_T * D_R + s2
    C2 = C1 + D_R**2
    with np.errstate(divide="ignore", invalid="ignore"):
        T = 4 * s2 * np.maximum(1 - 2 / k, 0) * np.maximum(C2, 0) / C1
    return np.where(C1 <= 0, np.inf, T)[()]


def fixed_judge(equivalents, correction):
    """Return the covariance of a judge fixed before training that corrects the mean bias.

    The judge prefers mu_R = mu_T - correction * (mean over training sets of m - mu_T):
    correction = 0 is the teacher. Among judges fixed before training with the
    same Cov(m - mu_T, m - mu_R) it has the smallest Var(m - mu_R).

    Parameters
    ----------
    equivalents : regression.Equivalents
        Of a scalar problem.
    correction : float or array

    Returns
    -------
    ndarray, shape correction.shape + (2, 2)
        Covariance of (m - mu_T, m - mu_R), for `gaussian.generalization_error`.

    Examples
    --------
    >>> eq = regression.equivalents(alpha=0.5, spectrum=[1.0], teacher=[1.0], noise=0.5, prior=1.0)
    >>> bool(np.allclose(fixed_judge(eq, 0.0), eq.squared_error))
    True
    """
    correction = _checks.real(correction, "correction")
    V, bias = equivalents.squared_error, equivalents.squared_bias
    return _pair(V + 0 * correction, V + correction * bias, V + (2 * correction + correction**2) * bias)


def informed_judge(squared_error, correction):
    """Return the covariance of a judge that knows the fitted model: mu_R = mu_T - correction * (m - mu_T).

    Parameters
    ----------
    squared_error : float
        V, the average of (m - mu_T)^2.
    correction : float or array
        c; at k = inf the best is c = t = T / (2 std^2).

    Returns
    -------
    ndarray, shape correction.shape + (2, 2)

    Examples
    --------
    >>> informed_judge(0.5, 1.0).tolist()
    [[0.5, 1.0], [1.0, 2.0]]
    """
    correction = _checks.real(correction, "correction")
    V = _checks.scalar(squared_error, "squared_error", _checks.positive)
    return _pair(V + 0 * correction, V * (1 + correction), V * (1 + correction) ** 2)


def learned_judge(*, alpha, judge_alpha, spectrum, teacher, noise, judge_noise, prior, judge_prior):
    """Return the covariance of a judge that is itself a Bayesian regression on its own labels.

    The judge's target is the posterior mean of a second regression on n_R labels,
    drawn independently of the model's training set.

    Parameters
    ----------
    alpha, judge_alpha : float
        d / n of the model and d / n_R of the judge, > 0.
    spectrum, teacher : array_like, shape (d,)
        As in `regression.equivalents`.
    noise, judge_noise, prior, judge_prior : float
        Label noise and prior of the model and of the judge, > 0.

    Returns
    -------
    ndarray, shape (2, 2)
        Covariance of (m - mu_T, m - mu_R) over inputs and both training sets.

    Notes
    -----
    With e = m - mu_T and e' = mu_R - mu_T independent given the input, only their
    mean parts correlate: Cov(e, e') = (R R'/d) w_T G Sigma G' w_T, so the entries are
    V, V - Cov(e, e') and V + V' - 2 Cov(e, e').

    Examples
    --------
    A judge with very many labels is the teacher:

    >>> cov = learned_judge(alpha=0.5, judge_alpha=1e-9, spectrum=[1.0], teacher=[1.0],
    ...                     noise=0.5, judge_noise=0.5, prior=1.0, judge_prior=1.0)
    >>> bool(np.allclose(cov, cov[0, 0], rtol=1e-6))
    True
    """
    shared = {"spectrum": spectrum, "teacher": teacher}
    model = regression.equivalents(alpha=alpha, noise=noise, prior=prior, **shared)
    judge = regression.equivalents(alpha=judge_alpha, noise=judge_noise, prior=judge_prior, **shared)
    spectrum, teacher = np.asarray(spectrum, float), np.asarray(teacher, float)
    G, G_judge = 1 / (spectrum + model.ridge), 1 / (spectrum + judge.ridge)
    common = model.ridge * judge.ridge * np.mean(G * G_judge * spectrum * teacher**2)
    V, V_judge = model.squared_error, judge.squared_error
    return _pair(V, V - common, V + V_judge - 2 * common)


def consensus_loss(k, *, mean, std, teacher):
    """Return the loss of the mean of k draws, (mean - teacher)^2 + std^2 / k: no judge at all.

    The solvable model's counterpart of self-consistency: averaging removes the
    predictive's spread and keeps its bias.

    Parameters
    ----------
    k : int or 1-D array of int
    mean, std, teacher : float or array

    Returns
    -------
    float or ndarray, shape batch + k.shape

    Examples
    --------
    >>> consensus_loss([1, 4], mean=0.5, std=1, teacher=0)
    array([1.25, 0.5 ])
    """
    k = _checks.sample_count(k)
    mean, std, teacher = _checks.together(
        mean=_checks.real(mean, "mean"), std=_checks.positive(std, "std"), teacher=_checks.real(teacher, "teacher")
    )
    return np.add.outer((mean - teacher) ** 2, 0 * k) + np.multiply.outer(std**2, 1 / k)


def _pair(first, cross, second):
    """Stack a 2x2 covariance."""
    first, cross, second = np.broadcast_arrays(first, cross, second)
    return np.stack([first, cross, cross, second], -1).reshape(first.shape + (2, 2))


def _distances(axes, mean, std, teacher, reward):
    """D_T = mean - teacher, D_R = mean - reward and std^2, broadcast together, with so many axes more for k or T."""
    mean, std = _checks.real(mean, "mean"), _checks.positive(std, "std")
    teacher, reward = _checks.real(teacher, "teacher"), _checks.real(reward, "reward")
    mean, std, teacher, reward = _checks.together(mean=mean, std=std, teacher=teacher, reward=reward)
    return [value[(..., *[None] * axes)] for value in (mean - teacher, mean - reward, std**2)]


def _covariance(cov):
    """A 2x2 covariance matrix."""
    cov = _checks.real(cov, "cov")
    if cov.shape != (2, 2):
        raise ValueError(f"cov must have shape (2, 2), got {cov.shape}")
    return cov
