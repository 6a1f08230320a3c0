"""Does the mean loss fall as a power of k, and would something else explain the fall?"""

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, gammaln

from .._checks import generator
from ._input import counts_and_temperatures, read_pool
from .curves import check_interval, interval, resampled_means
from .subsets import subset_averages

WINDOW = 4.0  # a local exponent is fitted over k to 4 k


@dataclass(frozen=True)
class PowerLaw:
    """Fit of mean loss = A k^(-exponent) over a window of k, and of two rivals.

    Attributes
    ----------
    k : ndarray
        The window.
    mean : ndarray
        Mean loss at those k.
    exponent, exponent_low, exponent_high : float
        rho in A k^-rho, with its interval.
    beta, beta_low, beta_high : float
        2 / rho - 1: the exponent that a density of answers near the reward
        target would need (inf where rho <= 0 but for rounding). Only rho is measured.
    A, A_low, A_high : float
        The fitted loss at k = 1.
    local_k, local_exponent, local_low, local_high : ndarray
        Exponents fitted on the k between k_i and 4 k_i, at their geometric middle.
    floor : tuple (A, rho, B)
        Rival 1: A k^-rho + B with B >= 0, what an imperfect judge leaves behind.
    heterogeneity : tuple (b1, b2)
        Rival 2: E (1-p)^k with p ~ Beta(b1, b2): prompts of different difficulty
        and nothing else. Its tail falls as k^-b1. It is meant for losses in [0, 1];
        with others its place among the rivals says nothing.
    residual : dict
        Root-mean-square relative residual of "power law", "floor" and "heterogeneity".
    ahead : dict
        Each model fitted on the lower half of the window (in log k): its relative
        error at the largest k.
    wins : dict
        Share of resamples in which each model is the one that looks ahead best.
    level : float
    """

    k: np.ndarray
    mean: np.ndarray
    exponent: float
    exponent_low: float
    exponent_high: float
    beta: float
    beta_low: float
    beta_high: float
    A: float
    A_low: float
    A_high: float
    local_k: np.ndarray
    local_exponent: np.ndarray
    local_low: np.ndarray
    local_high: np.ndarray
    floor: tuple
    heterogeneity: tuple
    residual: dict
    ahead: dict
    wins: dict
    level: float

    def __str__(self):
        best = max(self.wins, key=self.wins.get)
        against = ", ".join(f"{name} {self.ahead[name]:+.1%}" for name in self.ahead)
        sure = "clearly" if self.wins[best] >= self.level else "but not clearly"
        return (
            f"k = {self.k.min()}..{self.k.max()}: exponent {self.exponent:.3f} "
            f"[{self.exponent_low:.3f}, {self.exponent_high:.3f}], beta {self.beta:.1f} "
            f"[{self.beta_low:.1f}, {self.beta_high:.1f}]. Fitted on the lower half, error at k = {self.k.max()}: "
            f"{against}. Best ahead: {best}, {sure} ({self.wins[best]:.0%} of resamples)."
        )


def power_law(k, *, loss, reward, T=0.0, level=0.95, seed, resamples=1000, progress=False):
    """Fit mean loss = A k^(-2/(1+beta)) over the window `k`, with intervals and rivals.

    Parameters
    ----------
    k : 1-D array of int
        The window: at least four different values; evenly spaced in log k
        weighs the decades equally. The fit is least squares in log loss.
    loss, reward
        As for `reranked_loss`, loss >= 0. For a perfect judge pass ``reward=-loss``.
    T : float
        Selection temperature; 0 (best-of-k) is where the law is expected.
    level, seed, resamples, progress
        As for `curve`. Every resample of prompts is fitted anew.

    Returns
    -------
    PowerLaw
        ``str()`` of it says the comparison in a sentence.

    Raises
    ------
    ValueError
        As `curve`; also if the mean loss is not positive over the whole window.

    Notes
    -----
    The law and its reading as a density exponent are the poster's (1 + delta, the
    selected error rate, against k); the rivals are ours. Seen over a finite window
    the three models often fit about equally well: then the exponent alone decides nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from bestofk import pool
    >>> rng = np.random.default_rng(1)
    >>> wrong = (rng.random((400, 32)) > rng.beta(0.5, 0.5, (400, 1))).astype(float)
    >>> fit = pool.power_law([1, 2, 4, 8, 16, 32], loss=wrong, reward=-wrong, seed=0, resamples=200)
    >>> round(fit.exponent, 1), max(fit.wins, key=fit.wins.get)
    (0.5, 'heterogeneity')
    """
    k, T, _ = counts_and_temperatures(k, T)
    k = np.unique(k)
    if len(k) < 4:
        raise ValueError(f"k must hold at least 4 different values to fit a power law, got {k.tolist()}")
    if len(T) > 1:
        raise ValueError(f"T must be a single temperature for a power law, got {len(T)} values")
    check_interval(level, resamples)
    pool = read_pool(loss, reward, k)
    if len(pool.sizes) < 2:
        raise ValueError(f"loss must hold at least 2 prompts for an interval over prompts, got {len(pool.sizes)}")
    table = lambda prompts: subset_averages(pool.take(prompts), k, T)  # noqa: E731
    mean, _, draws = resampled_means(len(pool.sizes), table, resamples, generator(seed), progress)
    mean, draws = mean[:, 0], draws[:, :, 0]
    if not (mean > 0).all():
        raise ValueError(
            f"loss must have a positive mean over the whole window, got {mean.min():.3g} at k={k[mean.argmin()]}"
        )
    usable = (draws > 0).all(axis=1)
    if usable.mean() < 0.95:
        raise ValueError(
            f"k={k.max()} is too large for this pool: in {1 - usable.mean():.0%} of resamples the mean loss reaches 0; "
            "end the window earlier"
        )
    curves = np.vstack([mean, draws[usable]])
    slope, start = _line(k, curves)
    exponent = -slope
    low, high = interval(exponent[1:], level)
    A_low, A_high = interval(np.exp(start[1:]), level)
    windows = [np.flatnonzero((k >= first) & (k <= WINDOW * first)) for first in k if WINDOW * first <= k.max()]
    windows = [window for window in windows if len(window) > 1]
    local = np.array([-_line(k[window], curves[:, window])[0] for window in windows]).reshape(len(windows), len(curves))
    local_low, local_high = interval(local[:, 1:].T, level) if windows else (np.empty(0), np.empty(0))
    predicted = {name: fit(k, curves)[1] for name, fit in MODELS.items()}
    lower = k <= np.sqrt(k.min() * k.max())
    lower[:3] = True
    ahead = {name: fit(k[lower], curves[:, lower], k[-1:])[1][:, 0] / curves[:, -1] - 1 for name, fit in MODELS.items()}
    winner = np.argmin(np.abs([errors[1:] for errors in ahead.values()]), axis=0)
    return PowerLaw(
        k=k,
        mean=mean,
        exponent=float(exponent[0]),
        exponent_low=float(low),
        exponent_high=float(high),
        beta=_beta(exponent[0]),
        beta_low=_beta(high),
        beta_high=_beta(low),
        A=float(np.exp(start[0])),
        A_low=float(A_low),
        A_high=float(A_high),
        local_k=np.array([np.sqrt(k[window[0]] * k[window[-1]]) for window in windows]),
        local_exponent=local[:, 0],
        local_low=local_low,
        local_high=local_high,
        floor=tuple(float(value) for value in _fit_floor(k, curves[:1])[0][:, 0]),
        heterogeneity=tuple(float(value) for value in _fit_heterogeneity(k, curves[:1])[0][:, 0]),
        residual={name: float(np.sqrt(np.mean((p[0] / mean - 1) ** 2))) for name, p in predicted.items()},
        ahead={name: float(errors[0]) for name, errors in ahead.items()},
        wins={name: float(np.mean(winner == i)) for i, name in enumerate(MODELS)},
        level=level,
    )


def _beta(exponent):
    return float(2 / exponent - 1) if exponent > 1e-12 else float("inf")


def _line(k, curves):
    """Slope and intercept of ln(curves) against ln k, one of each a curve."""
    x, y = np.log(k), np.log(curves)
    centred = x - x.mean()
    slope = y @ centred / (centred @ centred)
    return slope, y.mean(axis=1) - slope * x.mean()


def _fit_power(k, curves, at=None):
    slope, start = _line(k, curves)
    return (slope, start), np.exp(start[:, None] + slope[:, None] * np.log(k if at is None else at))


def _fit_floor(k, curves, at=None):
    """Least squares of relative residuals; A and B are linear given rho, which is searched on a grid."""
    at = k if at is None else at
    scale = curves[:, :1]  # squares of losses in any unit neither vanish nor overflow
    weighted = scale / curves
    best = np.full(len(curves), np.inf)
    found = np.zeros((3, len(curves)))
    for rho in np.geomspace(0.01, 4, 240):
        f = weighted * k**-rho
        ff, fw, ww = (f * f).sum(1), (f * weighted).sum(1), (weighted * weighted).sum(1)
        f1, w1 = f.sum(1), weighted.sum(1)
        determinant = ff * ww - fw**2
        A, B = (f1 * ww - w1 * fw) / determinant, (w1 * ff - f1 * fw) / determinant
        alone = B < 0  # then the floor is 0
        A, B = np.where(alone, f1 / ff, A), np.where(alone, 0.0, B)
        squares = ((A[:, None] * f + B[:, None] * weighted - 1) ** 2).sum(1)
        better = squares < best
        best[better] = squares[better]
        found[:, better] = np.stack([A, np.full_like(A, rho), B])[:, better]
    found[[0, 2]] *= scale.T
    A, rho, B = found
    return found, A[:, None] * at ** -rho[:, None] + B[:, None]


def _fit_heterogeneity(k, curves, at=None):
    """Beta-binomial E (1-p)^k: Levenberg-Marquardt in (ln b1, ln b2), all curves at once."""
    at = k if at is None else at
    target = np.log(curves)
    parameters = np.log(np.stack([np.full(len(curves), 0.5), np.full(len(curves), 0.5)]))
    residual, jacobian = _heterogeneity(parameters, k, target)
    damping = np.full(len(curves), 1e-2)
    for _ in range(60):
        normal = np.einsum("pck,qck->cpq", jacobian, jacobian)
        normal += damping[:, None, None] * (normal * np.eye(2) + 1e-12 * np.eye(2))
        gradient = np.einsum("pck,ck->cp", jacobian, residual)
        step = -np.linalg.solve(normal, gradient[:, :, None])[:, :, 0].T
        trial = np.clip(parameters + np.clip(step, -1, 1), -12, 12)
        trial_residual, trial_jacobian = _heterogeneity(trial, k, target)
        better = (trial_residual**2).sum(1) < (residual**2).sum(1)
        parameters[:, better] = trial[:, better]
        residual[better], jacobian[:, better] = trial_residual[better], trial_jacobian[:, better]
        damping = np.where(better, damping / 3, damping * 4).clip(1e-12, 1e12)
    return np.exp(parameters), np.exp(_heterogeneity(parameters, at, 0.0)[0])


def _heterogeneity(parameters, k, target):
    b1, b2 = np.exp(parameters)[:, :, None]
    value = gammaln(b2 + k) - gammaln(b2) + gammaln(b1 + b2) - gammaln(b1 + b2 + k)
    common = digamma(b1 + b2) - digamma(b1 + b2 + k)
    return value - target, np.stack([b1 * common, b2 * (common + digamma(b2 + k) - digamma(b2))])


MODELS = {"power law": _fit_power, "floor": _fit_floor, "heterogeneity": _fit_heterogeneity}
