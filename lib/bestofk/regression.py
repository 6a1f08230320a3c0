"""Where do the mean and the variance of the model's answers come from?

Bayesian linear regression on n examples in d dimensions. An input x ~ N(0, Sigma)
has features phi = x / sqrt(d); the teacher answers mu_T = phi . w_T, labels carry
Gaussian noise of standard deviation `noise`, the weights have the prior
N(0, prior^2 I). The predictive law of an answer is N(m(x), s(x)^2).

`posterior` and `predictive` give m and s for one training set, `equivalents` their
limits for large n and d at a fixed ratio alpha = d / n, `training_sets` simulates.
Everything is float64 and written in the eigenbasis of Sigma.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from bestofk import _checks


@dataclass(frozen=True)
class Posterior:
    """Gaussian law of the weights after training.

    Attributes
    ----------
    weights : ndarray, shape (d,)
        Posterior mean.
    covariance : ndarray, shape (d, d)
        Posterior covariance.
    noise : float
        Standard deviation of the label noise, which a predicted answer carries too.
    """

    weights: np.ndarray
    covariance: np.ndarray
    noise: float


@dataclass(frozen=True)
class Equivalents:
    """Large-n, large-d limits of a Bayesian linear regression; see `equivalents`.

    Attributes
    ----------
    ridge : ndarray
        Renormalised ridge R, in units of the spectrum.
    predictive_variance : ndarray
        Average over x of s(x)^2.
    squared_bias : ndarray
        v_b, the average over x of the square of (mean of m - mu_T); mean over training sets (one-point).
    squared_error : ndarray
        V, the average over x and training sets of (m - mu_T)^2 (two-point).
    covariance : ndarray, shape (..., 2, 2)
        Second moments of (m - mu_T, m - mu_R) over x and training sets.
    """

    ridge: np.ndarray
    predictive_variance: np.ndarray
    squared_bias: np.ndarray
    squared_error: np.ndarray
    covariance: np.ndarray

    @property
    def difficulty(self):
        """Task difficulty nu = V / s^2: below 1/2, best-of-k falls as k^-2 on average."""
        return self.squared_error / self.predictive_variance


@dataclass(frozen=True)
class TrainingSets:
    """What simulated training sets gave, one entry a set; averages over x are exact.

    Attributes
    ----------
    weights : ndarray, shape (sets, d)
        Posterior means.
    predictive_variance : ndarray, shape (sets,)
        Average over x of s(x)^2.
    covariance : ndarray, shape (sets, 2, 2)
        Second moments over x of (m - mu_T, m - mu_R).
    """

    weights: np.ndarray
    predictive_variance: np.ndarray
    covariance: np.ndarray


def posterior(features, targets, *, noise, prior):
    """Law of the weights given a training set.

    Parameters
    ----------
    features : array_like, shape (n, d)
        One row phi = x / sqrt(d) an example.
    targets : array_like, shape (n,)
        Labels.
    noise, prior : float
        Standard deviations of the label noise and of a weight under the prior.

    Returns
    -------
    Posterior

    Notes
    -----
    Minimises |targets - features w|^2 / noise^2 + |w|^2 / prior^2 by a QR
    factorisation of the stacked system, which does not square its condition number.

    Examples
    --------
    >>> fit = posterior([[1.0], [1.0]], [2.0, 4.0], noise=1.0, prior=1.0)
    >>> fit.weights.tolist(), round(fit.covariance.item(), 12)
    ([2.0], 0.333333333333)
    """
    features, targets = _checks.real(features, "features"), _checks.real(targets, "targets")
    if features.ndim != 2 or features.shape[1] == 0:
        raise ValueError(f"features must have shape (n, d) with d >= 1, got {features.shape}")
    if targets.shape != features.shape[:1]:
        raise ValueError(f"targets must hold one label a row of features, got {targets.shape} for {features.shape}")
    noise, prior = (_checks.scalar(value, name, _checks.positive) for value, name in [(noise, "noise"), (prior, "prior")])
    n, d = features.shape
    stacked = np.vstack([features / noise, np.eye(d) / prior])
    q, r = linalg.qr(stacked, mode="economic")
    weights = linalg.solve_triangular(r, q[:n].T @ (targets / noise))
    root = linalg.solve_triangular(r, np.eye(d))
    return Posterior(weights, root @ root.T, noise)


def predictive(fit, features):
    """Mean and standard deviation of the answer at new inputs.

    Parameters
    ----------
    fit : Posterior
    features : array_like, shape (..., d)
        Rows phi = x / sqrt(d).

    Returns
    -------
    mean, std : ndarray, shape (...)
        m(x) and s(x); s includes the label noise.

    Examples
    --------
    >>> fit = posterior([[1.0], [1.0]], [2.0, 4.0], noise=1.0, prior=1.0)
    >>> mean, std = predictive(fit, [[3.0]])
    >>> mean.tolist(), std.tolist()
    ([6.0], [2.0])
    """
    features = _checks.real(features, "features")
    if features.ndim == 0 or features.shape[-1] != fit.weights.size:
        raise ValueError(f"features must have {fit.weights.size} columns as in training, got shape {features.shape}")
    spread = np.sum(features @ fit.covariance * features, -1)
    return features @ fit.weights, np.sqrt(fit.noise**2 + spread)


def equivalents(*, alpha, spectrum, teacher, noise, prior, reward=None):
    """Deterministic equivalents, one-point and two-point, for any spectrum.

    Parameters
    ----------
    alpha : float or array_like
        d / n, dimensions over training examples; > 0. Broadcasts with `noise` and `prior`.
    spectrum : array_like, shape (d,)
        Eigenvalues of Sigma, >= 0.
    teacher : array_like, shape (d,)
        w_T in the eigenbasis of Sigma; |w_T|^2 = sum(teacher**2), so that mu_T has
        variance sum(spectrum * teacher**2) / d over x.
    noise, prior : float or array_like
        Standard deviations of the label noise and of a weight under the prior, > 0.
    reward : array_like, shape (d,), optional
        w_R in the same basis, fixed before training. Default: the teacher.

    Returns
    -------
    Equivalents

    Raises
    ------
    ValueError
        For a parameter outside its range, or a teacher or reward of another length.

    Notes
    -----
    Only sums over eigenvalues divided by d enter, so one entry (spectrum [1], teacher [w])
    describes an isotropic problem of any size. The theory is exact as n and d grow at
    fixed alpha; at finite d its error is O(1/d).

    Examples
    --------
    With a prior that matches the teacher the model is calibrated, V = s^2 - noise^2:

    >>> eq = equivalents(alpha=0.5, spectrum=[2.0, 0.5], teacher=[1.0, 1.0], noise=0.5, prior=1.0)
    >>> bool(abs(eq.squared_error - (eq.predictive_variance - 0.25)) < 1e-14)
    True
    """
    alpha, noise, prior = (
        _checks.positive(value, name) for value, name in [(alpha, "alpha"), (noise, "noise"), (prior, "prior")]
    )
    spectrum, teacher, reward = _directions(spectrum, teacher, reward)
    alpha, noise, prior = _checks.together(alpha=alpha, noise=noise, prior=prior)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        bare = alpha * noise**2 / prior**2
        ridge = _renormalised_ridge(alpha, spectrum, bare)

        G = 1 / (spectrum + ridge[..., None])
        gamma2 = alpha * np.mean((spectrum * G) ** 2, -1)
        # 1 - gamma2 as a sum of positive terms: no cancellation at the interpolation edge
        one_minus_gamma2 = bare / ridge + alpha * ridge * np.mean(spectrum * G**2, -1)
        bias = ridge**2 * np.mean(spectrum * (G * teacher) ** 2, -1)
        V = (bias + gamma2 * noise**2) / one_minus_gamma2

        gap = reward - teacher
        cross = V + ridge * np.mean(spectrum * G * teacher * gap, -1)
        judge = 2 * cross - V + np.mean(spectrum * gap**2)
        covariance = np.stack([V, cross, cross, judge], -1).reshape(V.shape + (2, 2))
        variance = noise**2 * (ridge / bare)
    if not (np.isfinite(variance) & np.isfinite(covariance).all((-2, -1)) & (bare > 0)).all():
        raise ValueError(
            "alpha, spectrum, teacher, noise, prior, reward must be of magnitudes whose products stay in floating "
            f"point, got alpha {alpha.max():g}, noise {noise.max():g}, prior {prior.max():g}, spectrum up to "
            f"{spectrum.max():g}, teacher and reward up to {np.abs([teacher, reward]).max():g}: choose other units"
        )
    return Equivalents(ridge[()], variance[()], bias[()], V[()], covariance)


def training_sets(rng, sets, *, n, spectrum, teacher, noise, prior, reward=None):
    """Train on `sets` independent training sets and average over x exactly.

    Parameters
    ----------
    rng : numpy.random.Generator or int
    sets, n : int
        Number of training sets and examples in each, >= 1.
    spectrum, teacher, noise, prior, reward
        As in `equivalents`; `noise` and `prior` scalar.

    Returns
    -------
    TrainingSets

    Notes
    -----
    The posterior sees the data only through X^T X and X^T (label noise). X^T X is drawn by
    its Bartlett factor, a d x min(n, d) triangular matrix, so that a set of 10^6
    examples costs as much as one of d.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> runs = training_sets(rng, 3, n=50, spectrum=[1.0, 1.0], teacher=[1.0, 0.0], noise=0.1, prior=1.0)
    >>> runs.covariance.shape
    (3, 2, 2)
    """
    spectrum, teacher, reward = _directions(spectrum, teacher, reward)
    noise, prior = (_checks.scalar(value, name, _checks.positive) for value, name in [(noise, "noise"), (prior, "prior")])
    rng = _checks.generator(rng, "rng")
    n, sets = (_checks.scalar(value, name, _checks.sample_count) for value, name in [(n, "n"), (sets, "sets")])
    d = spectrum.size
    rank = min(n, d)
    weights, variance = np.empty((sets, d)), np.empty(sets)
    for i in range(sets):
        factor = np.tril(rng.standard_normal((d, rank)))
        factor[np.arange(rank), np.arange(rank)] = np.sqrt(rng.chisquare(n - np.arange(rank)))
        # a square root of Phi^T Phi: these `rank` rows are as good as the n examples
        phi = (np.sqrt(spectrum / d)[:, None] * factor).T
        fit = posterior(phi, phi @ teacher + noise * rng.standard_normal(rank), noise=noise, prior=prior)
        weights[i], variance[i] = fit.weights, noise**2 + np.mean(spectrum * np.diag(fit.covariance))
    errors = np.stack([weights - teacher, weights - reward], 1)
    return TrainingSets(weights, variance, np.einsum("sai,i,sbi->sab", errors, spectrum / d, errors))


def _renormalised_ridge(alpha, spectrum, bare):
    """Root R > 0 of R (1 - alpha mean(spectrum / (spectrum + R))) = bare, for arrays.

    The left side is convex in R and its root lies below bare + alpha mean(spectrum): Newton's
    method from there falls monotonically onto it.
    """
    ridge = bare + alpha * np.mean(spectrum)
    for _ in range(200):
        share = ridge[..., None] / (spectrum + ridge[..., None])
        rest = spectrum / (spectrum + ridge[..., None])
        slope = 1 - alpha + alpha * np.mean(share * (1 + rest), -1)
        # ridge - value / slope as a sum of positive terms: the root may lie many orders below the start
        lower = (bare + alpha * ridge * np.mean(share * rest, -1)) / slope
        if not (lower < ridge).any():
            return ridge
        ridge = np.where((lower < ridge) & (lower > 0), lower, ridge)
    return ridge


def _directions(spectrum, teacher, reward):
    """Checked spectrum, teacher and reward as float arrays of one length."""
    spectrum = _checks.real(spectrum, "spectrum")
    if spectrum.ndim != 1 or spectrum.size == 0:
        raise ValueError(f"spectrum must list at least one eigenvalue, got shape {spectrum.shape}")
    if (spectrum < 0).any():
        raise ValueError(f"spectrum must be >= 0, got {spectrum[spectrum < 0][0]}")
    teacher = _checks.real(teacher, "teacher")
    reward = teacher if reward is None else _checks.real(reward, "reward")
    for value, name in [(teacher, "teacher"), (reward, "reward")]:
        if value.shape != spectrum.shape:
            raise ValueError(f"{name} must have one entry an eigenvalue ({spectrum.size}), got shape {value.shape}")
    return spectrum, teacher, reward
