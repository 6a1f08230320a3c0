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
such noisy score and g_j its density weighted by (z - c)^j,

    E[(z - c)^j of the kept answer] = k * integral of g_j(v) F(v)^(k-1) dv,

so one table of (F, g_1, g_2) on a grid of v serves every k and every teacher.
The integrand is analytic for |Im v| < pi/2, and moving the contour to
Im v = y costs at most a factor 1 / cos(y): the trapezoid rule with step h errs
by less than about 100 exp(-pi^2 / h), whatever the law. For v >= 0 the table is
a rapidly converging series of Gaussian integrals; for v < 0 it is a quadrature
over z (high temperature) or over the Gumbel noise (low temperature). At T = 0
the same integral runs over the distance to the reward target.
"""

import numpy as np
from scipy.special import ndtr

from ._checks import moderate, positive, real, sample_count, temperature, together
from ._quadrature import legendre, panels

STEP = 0.3  # trapezoid step in v: 100 exp(-pi^2 / STEP) = 5e-13
REACH = 8.5  # the answers' law is cut at REACH standard deviations: 2e-17
TAIL = 31.0  # to the right the integrand falls like exp(-v): exp(-TAIL) = 3e-14
NEAR = 5.0  # for v < -NEAR no answer at the target itself stays below v: exp(-exp(NEAR))
ORDER = 14  # nodes of a quadrature panel
FARTHEST = 1000.0  # a reward target farther out, in standard deviations, is refused


def reranked_loss(k, T, *, mean, std, teacher, reward):
    """Return the expected loss of the answer kept from k Gaussian draws.

    delta_k(T) = E[(Y_kept - teacher)^2] where Y_1..Y_k are independent
    N(mean, std^2) and Y_i is kept with probability proportional to
    exp(-(Y_i - reward)^2 / T).

    Parameters
    ----------
    k : int or 1-D array of int
        Number of draws, >= 1.
    T : float or 1-D array of float
        Selection temperature in [0, inf], in the units of ``std**2``.
        0 keeps the best draw, inf any draw.
    mean, std, teacher, reward : float or array
        The law of one draw, the target of the loss and the target of the
        judge. They broadcast among themselves into the batch shape; std > 0
        and the reward target at most 1000 std away from the mean. Magnitudes
        above 1e150 are refused, and T and std of one below 1e-150.

    Returns
    -------
    float or ndarray
        Shape: batch shape + k.shape + T.shape, in the units of ``std**2``.
        Relative error <= 1e-10 for offsets up to 6 std from the mean,
        k <= 10^6 and T = 0, T = inf or T / std^2 in [1e-8, 1e10].

    Raises
    ------
    ValueError
        If an argument is out of range or not finite.

    Notes
    -----
    The model is that of Halder and Pehlevan, arXiv 2512.19905; the evaluation
    is derived in the book's chapter "gaussian".

    Examples
    --------
    >>> reranked_loss([1, 2], 0, mean=0, std=1, teacher=0, reward=0).round(6)
    array([1.     , 0.36338])
    >>> float(reranked_loss(64, 2.0, mean=0, std=1, teacher=0.5, reward=1).round(6))
    0.50301
    """
    k, T = sample_count(k), _temperature(T)
    mean, std, teacher, reward = _law(mean, std, teacher, reward)
    a, b, tau = _standardise(T, mean, std, teacher, reward)
    loss = np.empty(a.shape + (k.size, T.size))
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


def limit(T, *, mean, std, teacher, reward):
    """Return the reranked loss for k -> inf at fixed T.

    Infinitely many draws are selected from as from one draw of the predictive
    law tilted by exp(reward / T), again a Gaussian. The arguments are those of
    `reranked_loss`; at T = 0 the limit is (reward - teacher)^2.

    Returns
    -------
    float or ndarray
        Shape: batch shape + T.shape.

    Examples
    --------
    >>> float(limit(2.0, mean=0, std=1, teacher=0.5, reward=1))
    0.5
    """
    T = _temperature(T)
    mean, std, teacher, reward = _law(mean, std, teacher, reward)
    a, b, tau = _standardise(T, mean, std, teacher, reward)
    loss = std[..., None] ** 2 * _tilted(a[..., None], b[..., None], tau)
    return loss.reshape(a.shape + T.shape)[()]


def first_correction(T, *, mean, std, teacher, reward):
    """Return D in delta_k(T) = limit + D / k + O(1/k^2) at fixed T > 0.

    D = -(E[w^2] / E[w]^2) (limit at T/2 - limit at T), w = exp(score / T): the
    curve comes down onto its limit where D > 0 and rises to it where D < 0.
    The arguments are those of `reranked_loss`. At T = 0 the approach is of
    order 1/k^2 and D is 0.

    Returns
    -------
    float or ndarray
        Shape: batch shape + T.shape.

    Examples
    --------
    >>> D = first_correction(2.0, mean=0, std=1, teacher=0.5, reward=1)
    >>> exact = reranked_loss(10**6, 2.0, mean=0, std=1, teacher=0.5, reward=1)
    >>> float(D.round(5)), float((10**6 * (exact - 0.5)).round(5))
    (0.18946, 0.18946)
    """
    T = _temperature(T)
    mean, std, teacher, reward = _law(mean, std, teacher, reward)
    a, b, tau = _standardise(T, mean, std, teacher, reward)
    a, b = a[..., None], b[..., None]
    cold = np.isinf(tau)
    t = np.where(cold, 1.0, tau)
    weight = (1 + t) / np.sqrt(1 + 2 * t) * np.exp(t / (1 + t) * (t / (1 + 2 * t)) * a * a)  # E[w^2] / E[w]^2
    value = np.where(cold, 0.0, -weight * (_tilted(a, b, 2 * t) - _tilted(a, b, t)))
    return (std[..., None] ** 2 * value).reshape(std.shape + T.shape)[()]


def generalization_error(k, T, *, std, cov):
    """Return the reranked loss averaged over Gaussian inputs.

    `reranked_loss` averaged over (mean - teacher, mean - reward) ~ N(0, cov)
    at constant std. The loss is quadratic in the teacher, so that average is
    closed once mean - reward is given; one quadrature remains.

    Parameters
    ----------
    k, T
        As in `reranked_loss`.
    std : float or array
        Standard deviation of one draw, > 0.
    cov : array, shape (..., 2, 2)
        Covariance of (mean - teacher, mean - reward): symmetric, positive
        semidefinite, may be singular. Its leading axes broadcast with `std`
        into the batch shape.

    Returns
    -------
    float or ndarray
        Shape: batch shape + k.shape + T.shape, relative error <= 1e-8.

    Raises
    ------
    ValueError
        If an argument is out of range or not finite, `cov` no covariance, or
        the standard deviation of mean - reward above 1000 std.

    Examples
    --------
    Perfect judge, best of 2: 1 + nu - (2 / pi) sqrt(1 + 2 nu) with nu = 0.1.

    >>> loss = generalization_error(2, 0, std=1, cov=[[0.1, 0.1], [0.1, 0.1]])
    >>> float(loss.round(8)), round(1.1 - 2 / np.pi * 1.2**0.5, 8)
    (0.40261798, 0.40261798)
    """
    k, T = sample_count(k), _temperature(T)
    std, variance, shared, judged = _covariance(std, cov)
    if (judged > FARTHEST**2).any():
        raise ValueError(f"cov[1][1] must be at most ({FARTHEST:g} std)^2, got {judged.max():g} std^2")
    loss = np.empty(std.shape + (k.size, T.size))
    for where in np.ndindex(std.shape):
        for column, t in enumerate(_coldness(T.ravel(), std[where])):
            loss[where + (slice(None), column)] = _average(k.ravel(), t, variance[where], shared[where], judged[where])
    loss *= (std**2)[..., None, None]
    return loss.reshape(std.shape + k.shape + T.shape)[()]


def generalization_limit(T, *, std, cov):
    """Return `generalization_error` for k -> inf at fixed T, in closed form.

    Returns
    -------
    float or ndarray
        Shape: batch shape + T.shape.

    Examples
    --------
    >>> float(generalization_limit(2.0, std=1, cov=[[0.5, 0.25], [0.25, 1.0]]))
    1.0
    """
    T = _temperature(T)
    std, variance, shared, judged = (value[..., None] for value in _covariance(std, cov))
    pull = _pull(_coldness(T.ravel(), std))
    loss = std**2 * (1 - pull + variance - 2 * pull * shared + pull**2 * judged)
    return loss.reshape(std.shape[:-1] + T.shape)[()]


def crossover(scaled):
    """Return Phi(scaled): delta_k(T) = T Phi(2 c k sqrt(T)) for a perfect judge, small T and large k.

    c is the density of one draw at the common target of judge and teacher
    (any density that is smooth and positive there). Phi -> 2 / scaled^2 below
    the crossover (best-of-k, delta = 1 / (2 c^2 k^2)), Phi -> 1/2 above it
    (k = inf, delta = T / 2).

    Parameters
    ----------
    scaled : float or 1-D array of float
        2 c k sqrt(T) > 0: the expected number of draws within sqrt(T) of the target.

    Returns
    -------
    float or ndarray
        Of the shape of `scaled`.

    Examples
    --------
    >>> crossover([1, 10, 100]).round(6)
    array([2.200125, 0.522827, 0.502018])
    """
    scaled = moderate(positive(scaled, "scaled"), "scaled", smallest=1e-100)
    if scaled.size == 0:
        raise ValueError("scaled must hold at least one value, got an empty array")
    # Near the target the draws are a Poisson process: the law has constant density in the distance, tau = 2.
    depth = (40.0 / min(scaled.min(), 1.0)) ** 2
    x = np.arange(-np.log(depth) - 3, np.log(max(scaled.max(), 1.0)) + TAIL, STEP)
    v, dv = x - np.exp(-x - 3), STEP * (1 + np.exp(-x - 3))
    right, near, far = v >= 0, (v < 0) & (v > -NEAR), v <= -NEAR
    missing, second = np.empty((2, v.size))
    n = np.arange(1, 26)
    powers = -np.cumprod(-np.exp(-v[right])[:, None] / n, axis=1)
    missing[right] = powers @ (np.sqrt(np.pi / n) / 2)
    second[right] = powers @ (np.sqrt(np.pi / n) / 4)
    missing[near], _, second[near] = _near(v[near], 2.0, 42.0, _flat)
    missing[far], _, second[far] = _far(v[far], 2.0, 42.0, _flat, lambda distance: distance)
    return scaled * (np.exp(-np.multiply.outer(scaled, missing)) @ (dv * second))


def _temperature(T):
    """Check a temperature: 0, inf, or of a magnitude that can be squared."""
    return moderate(temperature(T), "T")


def _law(mean, std, teacher, reward):
    """Check the parameters of a law and broadcast them together."""
    law = {
        "mean": moderate(real(mean, "mean"), "mean", smallest=0),
        "std": moderate(positive(std, "std"), "std"),
        "teacher": moderate(real(teacher, "teacher"), "teacher", smallest=0),
        "reward": moderate(real(reward, "reward"), "reward", smallest=0),
    }
    mean, std, teacher, reward = together(**law)
    out = np.abs(reward - mean) > FARTHEST * std
    if out.any():
        raise ValueError(
            f"reward must be within {FARTHEST:g} std of the mean, got reward {reward[out].ravel()[0]} "
            f"for mean {mean[out].ravel()[0]} and std {std[out].ravel()[0]}"
        )
    moderate((teacher - mean) / std, "(teacher - mean) / std", smallest=0)
    return mean, std, teacher, reward


def _coldness(T, std):
    """tau = 2 std^2 / T."""
    with np.errstate(divide="ignore", over="ignore"):
        return 2 / (T / std / std)


def _standardise(T, mean, std, teacher, reward):
    """Reward target a and teacher b in standard deviations from the mean, and tau (with a last axis for T)."""
    return (reward - mean) / std, (teacher - mean) / std, _coldness(T.ravel(), std[..., None])


def _pull(tau):
    """tau / (1 + tau), the fraction of the way to the reward target that k = inf draws go; 1 at tau = inf."""
    with np.errstate(divide="ignore"):
        return 1 / (1 + 1 / tau)


def _tilted(a, b, tau):
    """Loss at k = inf in units of std^2: N(a tau / (1 + tau), 1 / (1 + tau)) about the teacher b."""
    return 1 / (1 + tau) + (a - b - a / (1 + tau)) ** 2


def _covariance(std, cov):
    """Check std and cov; return std and the entries of cov / std^2: teacher's, shared, judge's."""
    std, cov = moderate(positive(std, "std"), "std"), moderate(real(cov, "cov"), "cov", smallest=0)
    if cov.shape[-2:] != (2, 2):
        raise ValueError(f"cov must have shape (..., 2, 2), got {cov.shape}")
    try:
        cov = np.broadcast_to(cov, np.broadcast_shapes(std.shape, cov.shape[:-2]) + (2, 2))
    except ValueError:
        raise ValueError(f"std and cov must broadcast together, got shapes {std.shape} and {cov.shape}") from None
    std = np.broadcast_to(std, cov.shape[:-2])
    (v_t, left), (right, v_r) = np.moveaxis(cov, (-2, -1), (0, 1))
    size = np.sqrt(np.abs(v_t)) * np.sqrt(np.abs(v_r))
    bad = (v_t < 0) | (v_r < 0) | (np.abs(left) > (1 + 1e-9) * size) | (np.abs(left - right) > 1e-9 * size)
    if bad.any():
        one = cov[bad].reshape(-1, 2, 2)[0].tolist()
        raise ValueError(f"cov must be symmetric and positive semidefinite, got {one}")
    return std, *(moderate(value / std / std, "cov / std^2", smallest=0) for value in (v_t, left, v_r))


def _average(k, tau, variance, shared, judged):
    """Loss in units of std^2, averaged over the Gaussian pair: halve the step of a trapezoid in a until it stands."""
    slope = shared / judged if judged > 0 else 0.0
    rest = max(variance - slope * shared, 0.0)  # variance of the teacher given the judge

    def term(a):
        centre, first, second = _kept(k, a, tau)
        off = centre - slope * a
        return np.exp(-a * a / (2 * judged)) * (off * off + 2 * off * first + second + rest)

    if judged == 0:
        centre, first, second = _kept(k, 0.0, tau)
        return centre**2 + 2 * centre * first + second + rest
    root = np.sqrt(judged)
    total, norm, a = term(0.0) / 2, 0.5, 0.0
    step = root
    while True:  # the loss is even in a, so half the line is enough
        a += step
        last = term(a)
        total, norm = total + last, norm + np.exp(-a * a / (2 * judged))
        if a > 5 * root and (last < 1e-13 * total).all():
            break
    count, old = round(a / step), total / norm
    while True:
        new = np.arange(0.5, count) * step
        total = total + sum(term(a) for a in new)
        norm += np.exp(-new * new / (2 * judged)).sum()
        step, count = step / 2, 2 * count
        # the error is squared when the step is halved
        if (np.abs(total / norm - old) <= 1e-6 * old).all() or step < 1e-3:
            return total / norm
        old = total / norm


def _kept(k, a, tau):
    """Return (c, E[z - c], E[(z - c)^2]) of the kept draw z for every k; z ~ N(0, 1), reward target a.

    The centre c is 0 or a, whichever is nearer to where the draw ends up: then
    the loss about any teacher is summed without losing digits.
    """
    if a < 0:
        centre, first, second = _kept(k, -a, tau)
        return -centre, -first, second
    warm = tau < 1 and tau * a < 8
    centre = 0.0 if warm or a > REACH else a
    if tau == 0:
        return centre, np.full(k.shape, -centre), np.full(k.shape, 1 + centre**2)
    density, mass = _gaussian(a, centre)
    if np.isinf(tau):
        return centre, *_best(k, a, density, mass)
    best = tau * max(a - REACH, 0.0) ** 2 / 2  # no draw has log w above -best
    v, dv = (_even_grid if warm else _stretched_grid)(a, tau, np.log(k.max()) + TAIL - best)
    right, left = v >= 0, v < 0
    table = np.empty((3, v.size))
    table[:, right] = _series(v[right], a, tau, centre)
    if warm:
        table[:, left] = _warm(v[left], a, tau, best)
    else:
        near, far = left & (v > -NEAR), v <= -NEAR
        peak = a / (1 + tau)  # exp(-q) must be followed past the peak of density times weight
        top = tau / 2 * (peak + np.sqrt(80 / (1 + tau))) ** 2
        table[:, near] = _near(v[near], tau, max(42.0, top), density)
        table[:, far] = _far(v[far], tau, max(42.0, top + v[far].max(initial=-np.inf)), density, mass)
    return centre, *_sum_over_scores(k, table[0], dv, table[1:])


def _sum_over_scores(k, missing, weight, densities):
    """Return k * sum of weight * density * F^(k-1) for every density and k; F = 1 - missing."""
    log_f = np.log1p(-np.minimum(missing, 1 - 1e-16))
    power = np.exp(np.multiply.outer(k - 1.0, log_f))
    return k * (power @ (weight * densities).T).T


def _even_grid(a, tau, high):
    """Equal steps in v, from where F vanishes up to `high`."""
    v = np.arange(-tau * (a + REACH) ** 2 / 2 - 4, high, STEP)
    return v, STEP


def _stretched_grid(a, tau, high):
    """Equal steps in x, v = x - tau R(x)^2 / 2 with R a softplus, up to v = `high`.

    For v > -4 these are equal steps in v; to the left they grow like |v| and
    end as equal steps in the distance sqrt(-2 v / tau). The map is analytic,
    so the trapezoid rule keeps its accuracy.
    """
    slope = 1.6 / (1 + min(a, 7.0))
    start = np.log(tau * slope**2 / 2) + 3.0
    edge = (a + REACH) / slope
    low = -(start + 2 * (edge + np.log(-np.expm1(-edge))))
    x = np.arange(low, max(high, 0.0) + TAIL, STEP)
    y = -(x + start) / 2
    distance = slope * np.logaddexp(0, y)
    v = x - tau * distance**2 / 2
    dv = 1 + tau * distance * slope / 2 / (1 + np.exp(-y))
    return v[v <= high], STEP * dv[v <= high]


def _gaussian(a, centre):
    """For z ~ N(0, 1): density of the distance |z - a|, bare and times (z - centre)^j, and its integral from 0."""

    def density(distance):
        below = np.exp(-((distance - a) ** 2) / 2) / np.sqrt(2 * np.pi)  # z = a - distance
        above = below * np.exp(-2 * a * distance)
        if centre == a:
            return below + above, (above - below) * distance, (below + above) * distance**2
        low, high = a - centre - distance, a - centre + distance
        return below + above, below * low + above * high, below * low**2 + above * high**2

    def mass(distance):
        wide = ndtr(distance - a) - ndtr(-distance - a)
        x, weight = legendre(20)
        small = np.minimum(distance, 0.75)  # here a difference of distribution functions would lose digits
        narrow = small * (np.exp(-((a + np.multiply.outer(small, x)) ** 2) / 2) @ weight) / np.sqrt(2 * np.pi)
        return np.where(distance < 0.75, narrow, wide)

    return density, mass


def _flat(distance):
    """The same for a unit density of distances, centred at the target."""
    return np.ones(distance.shape), np.zeros(distance.shape), distance**2


def _series(v, a, tau, centre):
    """1 - F, g_1, g_2 for v >= 0: expand exp(-u w) in u = exp(-v) <= 1; under w^n the draws are Gaussian."""
    n = np.arange(1, 26)
    tilt = 1 + n * tau
    weight = np.exp(-n * tau * a * a / (2 * tilt)) / np.sqrt(tilt)  # E[w^n]
    shift = n * tau * a / tilt - centre if centre != a else -a / tilt  # E[(z - centre) w^n] / E[w^n]
    powers = -np.cumprod(-np.exp(-v)[:, None] / n, axis=1)  # -(-u)^n / n!
    return (powers @ np.stack([weight, n * weight * shift, n * weight * (1 / tilt + shift**2)], axis=1)).T


def _warm(v, a, tau, best):
    """1 - F, g_1, g_2 about 0 for v < 0: trapezoid in z; u w is split so that neither factor overflows."""
    step = min(0.35, 0.31 / (tau * (a + REACH)))
    z = np.arange(-REACH, REACH + step, step)
    density = step * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    u, w = np.exp(-v - best), np.exp(best - tau * (z - a) ** 2 / 2)
    below = np.exp(-np.multiply.outer(u, w))
    g = u * (below @ np.stack([density * w * z, density * w * z * z], axis=1)).T
    return (1 - below) @ density, *g


def _near(v, tau, reach, density):
    """1 - F, g_1, g_2 for 0 > v > -NEAR: quadrature over the distance to the target, in units of tau^(-1/2)."""
    top = np.sqrt(2 * (NEAR + reach))
    scaled, weight = panels(np.linspace(0, top, 2 + int(top / 1.2)), ORDER)
    bare, first, second = np.stack(density(scaled / np.sqrt(tau))) * weight / np.sqrt(tau)
    u, w = np.exp(-v), np.exp(-scaled * scaled / 2)
    lost = -np.expm1(-np.multiply.outer(u, w))
    g = u * ((1 - lost) @ np.stack([first * w, second * w], axis=1)).T
    return lost @ bare, *g


def _far(v, tau, reach, density, mass):
    """1 - F, g_1, g_2 for v <= -NEAR: quadrature over the Gumbel noise q = v - log w, from -4 to `reach`."""
    edges = np.concatenate([np.arange(-4.0, 8.0, 2.0), np.linspace(8, reach, 2 + int((reach - 8) / 7))])
    q, weight = panels(edges, ORDER)
    distance = np.sqrt(2 * np.subtract.outer(q, v).T / tau)
    bare, first, second = (value / distance for value in density(distance))  # dq = tau * distance * d(distance)
    kernel = np.exp(-q - np.exp(-q)) * weight / tau
    lost = -np.expm1(-np.exp(-q)) * weight / tau
    return mass(np.sqrt(2 * (-v - 4) / tau)) + bare @ lost, first @ kernel, second @ kernel


def _best(k, a, density, mass):
    """E[(z - c)^j], j = 1, 2, of the draw closest to the target, for every k: integrate over its distance."""
    slope = 1 / (1 + min(a, 7.0))
    edge = (a + REACH) / slope
    x = np.arange(-np.log(k.max()) - 22, edge + np.log(-np.expm1(-edge)), STEP / 2)
    distance = slope * np.logaddexp(0, x)
    weight = STEP / 2 * slope / (1 + np.exp(-x))
    _, first, second = density(distance)
    return _sum_over_scores(k, mass(distance), weight, np.stack([first, second]))
