"""What does a quadratic judge do to a Gaussian predictive?

Each of k answers is drawn from N(mean, std^2). A judge scores an answer y by
-(y - reward)^2, one answer is kept by softmax at temperature T, and the loss
is (y - teacher)^2. This module computes the expected loss of the kept answer,
delta_k(T), without expansions and without sampling, and its average when
mean - teacher and mean - reward vary from input to input as a Gaussian pair.

How it works. Measure answers from the mean in units of std, put the reward
target at a, and call tau = 2 std^2 / T. Keeping answer i with probability
w_i / (w_1 + ... + w_k), w = exp(-tau (z - a)^2 / 2), is the same as keeping
the largest of log w_i + Gumbel noise. With F the distribution function of one
such noisy score and g_j the density of the score weighted by the j-th moment
of the answer,

    E[moment_j of the kept answer] = k * integral of g_j(v) F(v)^(k-1) dv,

so one table of (F, g_1, g_2) on a grid of v serves every k. The integrand is
analytic and positive for |Im v| < pi/2, where shifting the contour by iy
costs at most a factor 1 / cos(y): the plain trapezoid rule with step h has a
relative error below about 100 exp(-pi^2 / h), whatever the law. For v >= 0 the
table is a rapidly converging series of Gaussian integrals; for v < 0 it is a
quadrature over z (high temperature) or over the Gumbel noise (low temperature).
At T = 0 the same integral runs over the distance to the reward target.
"""

from functools import lru_cache

import numpy as np
from scipy.special import factorial, ndtr

from ._checks import positive, real, sample_count, temperature

STEP = 0.3  # trapezoid step in v: 100 exp(-pi^2 / STEP) = 5e-13
REACH = 8.5  # beyond |a| + REACH standard deviations there is nothing to see
TAIL = 33.0  # contributions fall like exp(-v) to the right: exp(-TAIL) = 5e-15
NEAR = 5.0  # below v = -NEAR the Gumbel noise no longer feels the point y = reward
WARM = 1.0  # tau below this: quadrature over z; above: over the Gumbel noise


def reranked_loss(k, T, *, mean, std, teacher, reward):
    """Return the expected loss of the answer kept from k Gaussian draws.

    delta_k(T) = E[(Y_kept - teacher)^2] where Y_1..Y_k are independent
    N(mean, std^2) and Y_i is kept with probability proportional to
    exp(-(Y_i - reward)^2 / T).

    Parameters
    ----------
    k : int or 1-D array of int
        Number of draws, >= 1 (checked up to 10^7).
    T : float or 1-D array of float
        Selection temperature in [0, inf], in the units of ``std**2``.
        0 keeps the best draw, inf any draw.
    mean, std, teacher, reward : float or array
        The law of one draw, the target of the loss and the target of the
        judge. They broadcast among themselves into the batch shape; std > 0.

    Returns
    -------
    float or ndarray
        Shape: batch shape + k.shape + T.shape. Relative error <= 1e-10 for
        offsets up to 6 std from the mean, k <= 10^6 and T = 0, T = inf or
        T / std^2 in [1e-8, 1e10].

    Raises
    ------
    ValueError
        If an argument is out of range or not finite.

    Notes
    -----
    The set-up is that of Halder and Pehlevan (arXiv 2512.19905); the
    evaluation is derived in the chapter of the same name.

    Examples
    --------
    >>> reranked_loss([1, 2], 0, mean=0, std=1, teacher=0, reward=0).round(6)
    array([1.      , 0.363380])
    >>> round(reranked_loss(64, 2.0, mean=0, std=1, teacher=0.5, reward=1), 6)
    0.509888
    """
    k, T = sample_count(k), temperature(T)
    mean, std = real(mean, "mean"), positive(std, "std")
    teacher, reward = real(teacher, "teacher"), real(reward, "reward")
    mean, std, teacher, reward = _together(mean=mean, std=std, teacher=teacher, reward=reward)
    a, b = (reward - mean) / std, (teacher - mean) / std
    loss = np.empty(a.shape + (k.size, T.size))
    with np.errstate(divide="ignore"):
        tau = 2 * std[..., None] ** 2 / T.ravel()
    table = {}
    for where in np.ndindex(a.shape):
        for column, t in enumerate(tau[where]):
            key = a[where], t
            if key not in table:
                table[key] = _kept(k.ravel(), *key)
            centre, first, second = table[key]
            off = centre - b[where]
            loss[where + (slice(None), column)] = off * off + 2 * off * first + second
    loss *= (std**2)[..., None, None]
    return loss.reshape(a.shape + k.shape + T.shape)[()]


def _together(**arrays):
    """Broadcast named arrays; a mismatch names them all."""
    try:
        return np.broadcast_arrays(*arrays.values())
    except ValueError:
        shapes = ", ".join(f"{name} {value.shape}" for name, value in arrays.items())
        raise ValueError(f"the shapes of {shapes} do not broadcast together") from None


def _kept(k, a, tau):
    """Return (c, E[z - c], E[(z - c)^2]) of the kept draw z for every k; z ~ N(0, 1), reward target a."""
    if a < 0:
        centre, first, second = _kept(k, -a, tau)
        return -centre, -first, second
    if tau == 0:
        return 0.0, np.zeros(k.shape), np.ones(k.shape)
    if np.isinf(tau):
        return (a, *_best(k, a))
    if tau < WARM:
        centre, (v, dv) = 0.0, _even_grid(a, tau, k.max())
    else:
        centre, (v, dv) = a, _stretched_grid(a, tau, k.max())
    missing, first, second = np.empty((3, v.size))
    right = v >= 0
    missing[right], first[right], second[right] = _series(np.exp(-v[right]), a, tau, centre)
    left = ~right
    if tau < WARM:
        missing[left], first[left], second[left] = _warm(np.exp(-v[left]), a, tau)
    else:
        near = left & (v > -NEAR)
        missing[near], first[near], second[near] = _near(np.exp(-v[near]), a, tau)
        far = v <= -NEAR
        missing[far], first[far], second[far] = _far(-v[far], a, tau)
    return (centre, *_sum_over_scores(k, missing, dv, first, second))


def _sum_over_scores(k, missing, weight, *densities):
    """Return k * sum of weight * density * F^(k-1) for every k and density; F = 1 - missing."""
    log_f = np.log1p(-np.minimum(missing, 1 - 1e-16))
    power = np.exp(np.multiply.outer(k - 1.0, log_f))
    return [k * (power @ (weight * density)) for density in densities]


def _even_grid(a, tau, k):
    """Equal steps in v, from where F vanishes to where nothing is left to select."""
    low = -tau * (a + REACH) ** 2 / 2 - 4
    v = np.arange(low, np.log(k) + TAIL, STEP)
    return v, np.full(v.size, STEP)


def _stretched_grid(a, tau, k):
    """Steps of STEP for v > -4, then growing, at last of fixed length in the distance sqrt(-2v / tau).

    v(x) = x - tau R(x)^2 / 2 with R a softplus: an analytic map, so that equal
    steps in x keep the trapezoid rule's accuracy.
    """
    slope = 2.0 / (1 + min(a, 7.0)) * 0.5
    start = np.log(tau * slope**2 / 2) + 3.0
    edge = (a + REACH) / slope
    low = -(start + 2 * (edge + np.log(-np.expm1(-edge))))
    x = np.arange(low, np.log(k) + TAIL, STEP)
    y = -(x + start) / 2
    distance = slope * np.logaddexp(0, y)
    v = x - tau * distance**2 / 2
    dv = 1 + tau * distance * slope / 2 / (1 + np.exp(-y))
    return v, STEP * dv


def _series(u, a, tau, centre):
    """1 - F, g_1, g_2 at u = exp(-v) <= 1: expand exp(-u w) in u; every E[w^n] is Gaussian."""
    n = np.arange(1, 26)
    tilt = 1 + n * tau
    weight = np.exp(-n * tau * a * a / (2 * tilt)) / np.sqrt(tilt)  # E[w^n]
    shift = n * tau * a / tilt - centre if centre == 0 else -a / tilt  # mean of z - centre under w^n
    powers = u[:, None] ** n / factorial(n) * (-1.0) ** (n + 1)
    missing = powers @ weight
    powers = powers * n
    return missing, powers @ (weight * shift), powers @ (weight * (1 / tilt + shift**2))


def _warm(u, a, tau):
    """1 - F, g_1, g_2 about z = 0 for u > 1: trapezoid in z."""
    step = min(0.35, 0.31 / (tau * (a + REACH)))
    z = np.arange(-REACH, REACH + step, step)
    density = step * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    w = np.exp(-tau * (z - a) ** 2 / 2)
    kernel = np.exp(-np.multiply.outer(u, w))
    g = u[:, None] * (kernel @ np.stack([density * w * z, density * w * z * z], axis=1))
    return (1 - kernel) @ density, g[:, 0], g[:, 1]


@lru_cache
def _panels(edges, nodes=16):
    """Gauss-Legendre nodes and weights on consecutive panels."""
    x, weight = np.polynomial.legendre.leggauss(nodes)
    edges = np.asarray(edges)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (1 + x)).ravel(), (half * weight).ravel()


def _density(distance, a):
    """Density of |z - a|, and of |z - a| times the sign of z - a."""
    here = np.exp(-((distance - a) ** 2) / 2) / np.sqrt(2 * np.pi)
    there = here * np.exp(-2 * a * distance)
    return here + there, there - here


def _mass(distance, a):
    """P(|z - a| < distance) to full relative accuracy, also for tiny distances."""
    wide = ndtr(distance - a) - ndtr(-distance - a)
    x, weight = np.polynomial.legendre.leggauss(20)
    small = np.minimum(distance, 0.75)
    narrow = small * (np.exp(-((a + np.multiply.outer(small, x)) ** 2) / 2) @ weight) / np.sqrt(2 * np.pi)
    return np.where(distance < 0.75, narrow, wide)


def _gumbel_reach(a, tau):
    """How far above v the Gumbel noise must be followed: exp(-q) against a density that grows towards a."""
    peak = a / (1 + tau)
    return max(42.0, tau / 2 * (peak + np.sqrt(80 / (1 + tau))) ** 2 + 4)


def _near(u, a, tau):
    """1 - F, g_1, g_2 about z = a for 0 > v > -NEAR: quadrature over the distance to a."""
    top = np.sqrt(2 * (NEAR + _gumbel_reach(a, tau)))
    edges = np.linspace(0, top, 2 + int(top / 1.2))
    scaled, weight = _panels(tuple(edges))
    distance = scaled / np.sqrt(tau)
    even, odd = _density(distance, a) * (weight / np.sqrt(tau))
    w = np.exp(-scaled * scaled / 2)
    lost = -np.expm1(-np.multiply.outer(u, w))
    g = u[:, None] * ((1 - lost) @ np.stack([odd * w * distance, even * w * distance**2], axis=1))
    return lost @ even, g[:, 0], g[:, 1]


def _far(depth, a, tau):
    """1 - F, g_1, g_2 about z = a for v = -depth <= -NEAR: quadrature over the Gumbel noise q."""
    reach = _gumbel_reach(a, tau)
    edges = (-4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 8.0, *np.linspace(8.0, reach, 2 + int((reach - 8) / 7))[1:])
    q, weight = _panels(edges)
    distance = np.sqrt(2 * np.add.outer(depth, q) / tau)
    even, odd = _density(distance, a)
    kernel = np.exp(-q - np.exp(-q)) * weight / tau  # dq = tau * distance * d(distance)
    lost = -np.expm1(-np.exp(-q)) * weight / tau
    core = _mass(distance_at(depth - 4.0, tau), a)
    return core + (even / distance) @ lost, odd @ kernel, (even * distance) @ kernel


def distance_at(depth, tau):
    return np.sqrt(2 * depth / tau)


def _best(k, a):
    """E[z - a] and E[(z - a)^2] of the draw closest to a, for every k: integrate over the distance."""
    slope = 1.0 / (1 + min(a, 7.0))
    low = np.log(1 / k.max()) - 22.0
    edge = (a + REACH) / slope
    x = np.arange(low, edge + np.log(-np.expm1(-edge)), 0.15)
    distance = slope * np.logaddexp(0, x)
    weight = 0.15 * slope / (1 + np.exp(-x))
    even, odd = _density(distance, a)
    return _sum_over_scores(k, _mass(distance, a), weight, odd * distance, even * distance**2)
