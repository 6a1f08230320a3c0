"""Samples, training data or judging: where does the next unit of effort help most?

Best-of-k (T = 0) in the Gaussian model of `bestofk.regression`. A judge scores an
answer y by -(y - mu_R)^2 plus Gaussian noise of standard deviation `score_noise`;
averaging m votes divides that noise by sqrt(m). Each answer is judged on its own,
so the noise is independent between the k answers.

In units of s: a = (mu_R - m) / s, b = (mu_T - m) / s, y = m + s z, rho = |z - a|,
and tau = score_noise / (sqrt(votes) s^2).
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from bestofk import _checks, regression
from bestofk._quadrature import legendre, panels

_REACH = 8.5  # a Gaussian beyond this many standard deviations is dropped (2e-17)
_RHO, _PANEL = 64, 12  # nodes of the rule in rho, and of one on a panel


@dataclass(frozen=True)
class Slopes:
    """Per cent of loss gained per cent of each resource; see `slopes`.

    Attributes
    ----------
    loss : ndarray
        Mean loss delta over x and training sets.
    samples, data, votes : ndarray
        d ln(loss) / d ln k, d ln(loss) / d ln n and d ln(loss) / d ln m. Negative: more helps.
    """

    loss: np.ndarray
    samples: np.ndarray
    data: np.ndarray
    votes: np.ndarray


@dataclass(frozen=True)
class LimitSlopes:
    """The same as k -> infinity with a noiseless judge that is the teacher; see `limit_slopes`.

    Attributes
    ----------
    difficulty : float
        nu = V / s^2; < 1/2.
    coefficient : float
        Limit of k^2 times the loss.
    samples, data : float
        Limits of d ln(loss) / d ln k (-2) and d ln(loss) / d ln n.
    """

    difficulty: float
    coefficient: float
    samples: float
    data: float


@dataclass(frozen=True)
class Plan:
    """How to spend a budget.

    Attributes
    ----------
    k, votes, n : float
        Samples a query, votes an answer, training examples (integers unless asymptotic).
    loss : float
        Mean loss of that plan.
    spent : float
        Its cost, at most the budget.
    """

    k: float
    votes: float
    n: float | None
    loss: float
    spent: float


def voted_loss(k, votes, *, std, cov, score_noise):
    """Mean loss of best-of-k when the judge is noisy and votes.

    Parameters
    ----------
    k, votes : int or array_like of int
        Samples and votes an answer, >= 1; outer product.
    std : float
        Predictive standard deviation s, > 0.
    cov : array_like, shape (2, 2)
        Second moments of (m - mu_T, m - mu_R) over x, as in `regression.equivalents`.
    score_noise : float
        Standard deviation of one vote, in the units of the loss, >= 0.

    Returns
    -------
    ndarray
        Shape k.shape + votes.shape.

    Notes
    -----
    One answer is chosen by the maximum of -(rho^2) / tau + noise. With K the normal cdf,
    F(v) = E K(v + rho^2 / tau) and g(v) = E[loss K'(v + rho^2 / tau)], the mean loss is
    k times the integral of g F^(k-1). Relative error about 1e-9 up to k = 10^6.

    Examples
    --------
    A judge that is all noise selects nothing:

    >>> quiet, loud = (voted_loss(8, 1, std=1.0, cov=[[0.0, 0.0], [0.0, 0.0]], score_noise=x) for x in (0, 1e6))
    >>> round(float(quiet), 4), round(float(loud), 4)
    (0.0368, 1.0)
    """
    k, votes = _checks.sample_count(k), _checks.sample_count(votes, "votes")
    law = _law(std, cov)
    noise = _nonnegative(score_noise, "score_noise")
    columns = [_average(k, law, noise / np.sqrt(m))[0] for m in votes.ravel()]
    return np.stack(columns, -1).reshape(k.shape + votes.shape)[()]


def slopes(k, *, alpha, spectrum, teacher, noise, prior, reward=None, score_noise=0.0, votes=1):
    """Exact log-derivatives of the mean loss in samples, training data and votes.

    Parameters
    ----------
    k : int or array_like of int
        Samples, >= 1.
    alpha, spectrum, teacher, noise, prior, reward
        As in `regression.equivalents`, scalars; the derivative in n keeps d and all else fixed.
    score_noise : float
        Standard deviation of one vote, in the units of the loss, >= 0.
    votes : int
        Votes an answer.

    Returns
    -------
    Slopes
        Arrays shaped as `k`.

    Notes
    -----
    The integral of `voted_loss` makes sense for real k and real votes: these are its
    analytic derivatives, within 1e-8 of differences of the loss.

    Examples
    --------
    >>> task = dict(spectrum=[1.0], teacher=[1.0], noise=1.0, prior=10.0)
    >>> easy, hard = (slopes(64, alpha=alpha, **task) for alpha in (0.05, 0.45))
    >>> [round(float(value), 2) for value in (easy.samples, easy.data, hard.samples, hard.data)]
    [-1.96, -0.11, -1.88, -2.11]
    """
    k = _checks.sample_count(k)
    noise_of_score = _nonnegative(score_noise, "score_noise")
    votes = _checks.sample_count(votes, "votes")
    alpha = _positive(alpha, "alpha")
    if votes.ndim:
        raise ValueError(f"votes must be a scalar, got shape {votes.shape}")
    task = dict(spectrum=spectrum, teacher=teacher, noise=_positive(noise, "noise"), prior=_positive(prior, "prior"))

    def law(step):
        eq = regression.equivalents(alpha=alpha * np.exp(-step), reward=reward, **task)
        return _law(np.sqrt(eq.predictive_variance), eq.covariance)

    here, rate = law(0.0), _derivative(law)
    noise_of_score = noise_of_score / np.sqrt(votes)
    loss, in_k, in_tau, in_law = _average(k, here, noise_of_score, rate)
    return Slopes(loss, in_k / loss, in_law / loss, -in_tau / (2 * loss))


def limit_slopes(*, alpha, spectrum, teacher, noise, prior, points=2):
    """Log-derivatives as k -> infinity, judge = teacher, no noise in its score.

    Parameters
    ----------
    alpha, spectrum, teacher, noise, prior
        As in `regression.equivalents`, scalars.
    points : {1, 2}
        2: s^2 and V of the two-point equivalents. 1: what a one-point calculation gives at
        leading order, noise^2 for s^2 and v_b for V (as in the official code's average).

    Returns
    -------
    LimitSlopes

    Raises
    ------
    ValueError
        If nu >= 1/2: k^2 times the loss has no limit, the decay is k^(-1/nu) and slower.

    Examples
    --------
    >>> task = dict(alpha=0.2, spectrum=[1.0], teacher=[1.0], noise=1.0, prior=10.0)
    >>> [float(f"{limit_slopes(points=p, **task).data:.3g}") for p in (1, 2)]
    [-1.55e-05, -0.576]
    """
    if points not in (1, 2):
        raise ValueError(f"points must be 1 or 2, got {points}")
    alpha, noise, prior = _positive(alpha, "alpha"), _positive(noise, "noise"), _positive(prior, "prior")

    def variance_and_difficulty(step):
        eq = regression.equivalents(
            alpha=alpha * np.exp(-step), spectrum=spectrum, teacher=teacher, noise=noise, prior=prior
        )
        if points == 1:
            return np.array([noise**2, eq.squared_bias / noise**2])
        return np.array([eq.predictive_variance, eq.difficulty])

    variance, nu = variance_and_difficulty(0.0)
    if nu >= 0.5:
        raise ValueError(
            f"alpha = {alpha:.4g} makes nu = V / s^2 = {nu:.4g} >= 1/2: k^2 times the mean loss has no limit; "
            "use slopes() at a finite k"
        )
    variance_rate, nu_rate = _derivative(variance_and_difficulty)
    data = variance_rate / variance + nu_rate / (1 - 2 * nu)
    return LimitSlopes(float(nu), float(np.pi * variance / np.sqrt(1 - 2 * nu)), -2.0, float(data))


def best_split(budget, *, price_sample, price_data, dimension, spectrum, teacher, noise, prior, reward=None):
    """Cheapest mix of samples at inference and labels in training: least loss for a budget.

    Parameters
    ----------
    budget : float
        price_sample * k + price_data * n may not exceed it.
    price_sample : float
        Price of raising k by one (its unit price times the number of queries to be answered).
    price_data : float
        Price of one training example.
    dimension : float
        d, which turns n into alpha = d / n.
    spectrum, teacher, noise, prior, reward
        As in `regression.equivalents`.

    Returns
    -------
    Plan

    Notes
    -----
    Exact loss on a geometric grid of k, refined to the best integer beside it. At an inner
    optimum the slopes per unit of money agree: (d ln loss / d ln k) / (price_sample k) =
    (d ln loss / d ln n) / (price_data n).

    Examples
    --------
    >>> plan = best_split(1000, price_sample=1, price_data=1, dimension=10, spectrum=[1.0], teacher=[1.0],
    ...                   noise=1.0, prior=10.0)
    >>> plan.k, plan.n
    (897, 103)
    """
    budget, price_sample, price_data, dimension = (
        _positive(value, name)
        for value, name in [
            (budget, "budget"),
            (price_sample, "price_sample"),
            (price_data, "price_data"),
            (dimension, "dimension"),
        ]
    )
    most = int((budget - price_data) // price_sample)
    if most < 1:
        raise ValueError(f"budget must pay for one sample and one training example, got {budget}")

    def plan(k):
        n = int((budget - price_sample * k) // price_data)
        eq = regression.equivalents(
            alpha=dimension / n, spectrum=spectrum, teacher=teacher, noise=noise, prior=prior, reward=reward
        )
        loss = voted_loss(k, 1, std=np.sqrt(eq.predictive_variance), cov=eq.covariance, score_noise=0.0)
        return Plan(k, 1, n, float(loss), price_sample * k + price_data * n)

    return _best_integer(plan, most)


def best_votes(budget, *, price_candidate, price_vote, std, cov, score_noise, asymptotic=False):
    """Candidates against votes: least loss when k (price_candidate + m price_vote) <= budget.

    Parameters
    ----------
    budget, price_candidate, price_vote : float
        Prices of generating one answer and of one vote on one answer; > 0.
    std, cov, score_noise
        As in `voted_loss`; score_noise > 0.
    asymptotic : bool
        The limit of large budgets instead, for a judge that is the teacher: k ~ B^(1/5),
        m ~ B^(4/5), loss ~ B^(-2/5), real-valued and without the price of candidates.

    Returns
    -------
    Plan

    Notes
    -----
    With the teacher as judge the loss never rises with a further sample (proved for any noise with a
    log-concave density), so each m takes all the candidates that it can pay for. With another
    judge every k up to that is tried on a geometric grid.

    Examples
    --------
    >>> plan = best_votes(1000, price_candidate=1, price_vote=1, std=1.0, cov=[[0, 0], [0, 0]], score_noise=1.0)
    >>> plan.k, plan.votes
    (16, 61)
    """
    budget, price_candidate, price_vote, score_noise = (
        _positive(value, name)
        for value, name in [
            (budget, "budget"),
            (price_candidate, "price_candidate"),
            (price_vote, "price_vote"),
            (score_noise, "score_noise"),
        ]
    )
    law = _law(std, cov)
    aligned = law[2] == 1 and law[3] == 0
    if asymptotic:
        if not aligned:
            raise ValueError("cov must have equal entries (judge = teacher) for the asymptotic plan")
        return _large_budget(budget / price_vote, budget, law, score_noise)
    most = int((budget - price_candidate) // price_vote)
    if most < 1:
        raise ValueError(f"budget must pay for one candidate and one vote, got {budget}")

    def plan(votes):
        price = price_candidate + votes * price_vote
        top = int(budget // price)
        k = np.array([top]) if aligned else np.unique(np.geomspace(1, top, 60).round().astype(int))
        loss = _average(k, law, score_noise / np.sqrt(votes))[0]
        i = np.argmin(loss)
        return Plan(int(k[i]), votes, None, float(loss[i]), int(k[i]) * price)

    best = _best_integer(plan, most)
    # where candidates are few, what is left over matters: each number of them with all the votes it can pay for
    near = range(max(1, best.k - 6), best.k + 7)
    votes = {int((budget / k - price_candidate) // price_vote) for k in near} - {best.votes}
    return min([best] + [plan(m) for m in votes if m >= 1], key=lambda p: p.loss)


def crossover(size):
    """Loss near the target in units of the score noise: best-of-k against a noisy score.

    Parameters
    ----------
    size : float or array_like
        lambda = 2 k p(target) sqrt(noise), with p the density of answers at the target and
        `noise` the standard deviation of the averaged score; > 0.

    Returns
    -------
    ndarray
        Phi(lambda); the loss is noise * Phi. 2 / lambda^2 for small lambda (noise is
        invisible), 1 / (2 sqrt(2 ln lambda)) up to slow corrections for large lambda.

    Examples
    --------
    >>> [round(float(value), 4) for value in crossover([0.1, 1.0, 10.0])]
    [200.0059, 2.1293, 0.2747]
    """
    size = _checks.positive(size, "size")
    v, dv = panels(_score_edges(1e-12, (40 / size.min()) ** 2), _PANEL)
    q, dq, z = _nodes(v, 1.0, np.inf)
    below = np.sqrt(np.maximum(-v - _REACH, 0)) * (v < -_REACH - 1)
    rate = below + np.sum(dq * special.ndtr(-z), 1)
    gain = np.sum(dq * q**2 * _pdf(z), 1)
    lam = size[..., None]
    return np.sum(dv * lam * gain * np.exp(-lam * rate), -1)[()]


def _large_budget(votes_affordable, budget, law, score_noise):
    """`Plan` for large budgets, where price = votes: stationary point of lambda^(2/5) Phi."""
    std, nu = law[0], law[1]
    a, weight = _gaussian_nodes(nu, 1e6)
    damping = np.exp(-(a**2) / 2)

    def scaled(log_size):
        size = np.exp(log_size)
        return size**0.4 * np.sum(weight * crossover(size * damping))

    size = np.exp(optimize.minimize_scalar(scaled, bounds=(-3, 6), method="bounded").x)
    tau = score_noise / std**2
    # lambda = 2 k phi(0) sqrt(tau) m^(-1/4) and k m = votes_affordable
    votes = (2 * votes_affordable * _pdf(0.0) * np.sqrt(tau) / size) ** 0.8
    loss = score_noise / np.sqrt(votes) * np.sum(weight * crossover(size * damping))
    return Plan(float(votes_affordable / votes), float(votes), None, float(loss), budget)


def _law(std, cov):
    """(s, nu, c, u): nu = Var a, E[b | a] = c a, Var(b | a) = u, in units of s."""
    std = _positive(std, "std")
    cov = _checks.real(cov, "cov")
    if cov.shape != (2, 2):
        raise ValueError(f"cov must have shape (2, 2), got {cov.shape}")
    scale = max(cov[0, 0], cov[1, 1])
    if cov[0, 1] != cov[1, 0] or min(np.diag(cov)) < 0 or np.linalg.det(cov) < -1e-9 * scale**2:
        raise ValueError(f"cov must be symmetric and positive semidefinite, got {cov.tolist()}")
    nu = cov[1, 1] / std**2
    c = cov[0, 1] / cov[1, 1] if cov[1, 1] > 0 else 1.0
    u = max(cov[0, 0] / std**2 - c**2 * nu, 0.0) if c != 1 or cov[0, 0] != cov[1, 1] else 0.0
    return np.array([std, nu, c, u])


def _average(k, law, noise, rate=np.zeros(4)):
    """Mean loss over x, its derivatives in ln k and ln noise, and along `rate`, the change of the law."""
    std, nu, c, u = law
    a, weight = _gaussian_nodes(nu, k.max())
    near, far = _selected(np.atleast_1d(k), a[:, None], noise / std**2)
    gap = 1 - c
    # given a: E (z - b)^2 = E (z - a)^2 + 2 gap a E (z - a) + gap^2 a^2 + u
    value, in_k, in_tau = far + 2 * gap * a[:, None] * near
    value = value + gap**2 * a[:, None] ** 2 + u
    # d/dnu of a Gaussian density is half its second derivative
    bend = weight * (a**2 / nu - 1) / (2 * nu) if nu > 0 else 0 * weight
    in_law = (
        rate[0] / std * (2 * weight @ value - 2 * weight @ in_tau)
        + rate[1] * (bend @ value)
        - 2 * rate[2] * (weight * a) @ (near[0] + gap * a[:, None])
        + rate[3]
    )
    results = [std**2 * x for x in (weight @ value, weight @ in_k, weight @ in_tau, in_law)]
    return [x.reshape(k.shape)[()] for x in results]


def _selected(k, a, tau):
    """Means of z - a and (z - a)^2 of the selected answer, with d/dln k and d/dln tau.

    `a` has shape (points, 1); each result has shape (3, points, len(k)).
    """
    top = a.max() + _REACH
    if tau == 0:
        # v is -rho^2: no answer is nearer than rho with probability (1 - P)^k
        start = 1e-3 / k.max()
        near_target = start * 2.0 ** np.arange(np.ceil(np.log2(0.4 / start)))
        rho, weight = panels(np.concatenate([[0], near_target, np.arange(0.4, top + 0.4, 0.4)]), _PANEL)
        density = weight * (_pdf(a + rho) + _pdf(a - rho))
        miss = _within(a, rho)
        moments = density * np.stack([-rho * np.tanh(a * rho), rho**2 + 0 * a])
        twist = 0 * moments
    else:
        v, dv = panels(_score_edges(tau, top**2 / tau), _PANEL)
        rho, drho, z = _nodes(v, tau, top)
        drho = drho * np.exp(-(rho**2) / 2) / np.sqrt(2 * np.pi)
        pull, height = np.exp(a[..., None] * rho), np.exp(-(a[..., None] ** 2) / 2)
        grow, fade = height * pull, height / pull
        kernel = drho * _pdf(z)

        def means(parity, *values):
            return np.moveaxis(np.moveaxis(parity, 0, 1) @ np.stack(values, -1), -1, 0).swapaxes(1, 2)

        near = means(fade - grow, kernel * rho, kernel * rho * z)
        far = means(grow + fade, kernel * rho**2, kernel * rho**2 * z, kernel, kernel * z, drho * special.ndtr(-z))
        floor = np.sqrt(tau * np.maximum(-v - _REACH, 0)) * (v < -_REACH - 1)
        miss = _within(a, floor) + far[4]
        first, first_z = np.stack([near[0], far[0]]), np.stack([near[1], far[1]])
        moments = dv * first
        twist = dv * (first_z * far[2] - first * far[3])
    log_hit = np.log1p(-np.minimum(miss, 1 - 1e-16))[..., None]
    power = np.exp((k - 1) * log_hit)
    value = k * np.einsum("mav,avk->mak", moments, power)
    in_k = value + k**2 * np.einsum("mav,avk->mak", moments, power * log_hit)
    in_tau = k * (k - 1) * np.einsum("mav,avk->mak", twist, power * np.exp(-log_hit))
    near, far = np.stack([value, in_k, in_tau], 1)
    return near, far


def _within(a, rho):
    """P(|z - a| < rho) for standard normal z."""
    return (special.erf((rho + a) / np.sqrt(2)) + special.erf((rho - a) / np.sqrt(2))) / 2


def _score_edges(tau, depth):
    """Panel edges for the noisy score v = noise - rho^2 / tau, from -depth to the noise's reach."""
    down = [0.0]
    while down[-1] < depth:
        # geometric, never over half a standard deviation in rho; the noise smooths on the scale 1
        last = down[-1]
        down.append(max(last + 1, min(1.5 * last, (np.sqrt(last) + 0.5 / np.sqrt(tau)) ** 2)))
    return np.concatenate([-_REACH - np.array(down[:0:-1]), np.linspace(-_REACH, _REACH, 18)])


def _nodes(v, tau, top):
    """Gauss nodes rho, weights and z = v + rho^2 / tau, over the range where z is within the noise's reach.

    Spaced in z where v is far below the noise, where v and rho^2 / tau would cancel; in rho else.
    """
    v = v[:, None]
    x, weight = legendre(_RHO)
    x, weight = (1 + x) / 2, weight / 2
    limit = np.minimum(_REACH, v + top**2 / tau)
    width = np.maximum(limit + _REACH, 0)
    z = -_REACH + width * x
    far = np.sqrt(tau * np.maximum(z - v, 1.0))
    high = np.sqrt(tau * np.maximum(limit - v, 0))
    deep = v < -_REACH - 1
    rho = np.where(deep, far, high * x)
    drho = np.where(deep, tau * width / (2 * far), high) * weight
    return rho, drho, np.where(deep, z, v + rho**2 / tau)


def _gaussian_nodes(nu, k):
    """Trapezoid nodes a >= 0 and weights for a ~ N(0, nu) and an even function of a."""
    if nu == 0:
        return np.zeros(1), np.ones(1)
    # the loss grows as exp(a^2) at most until it is of order one: far tails weigh against k^-2
    reach = np.sqrt(2 * nu * (32 + 2 * np.log(k)))
    a, step = np.linspace(0, reach, int(reach / min(np.sqrt(nu) / 1.7, 0.15)) + 2, retstep=True)
    weight = 2 * step * _pdf(a / np.sqrt(nu)) / np.sqrt(nu)
    weight[0] /= 2
    return a, weight


def _best_integer(plan, most):
    """Plan of least loss among integers 1..most: geometric grid, then ever finer around the best."""
    low, high, seen = 1, most, {}
    while True:
        for i in np.unique(np.geomspace(low, high, 12).round().astype(int)).tolist():
            seen.setdefault(i, plan(i)) if i not in seen else None
        tried = sorted(seen)
        best = min(tried, key=lambda i: seen[i].loss)
        at = tried.index(best)
        low, high = tried[max(at - 1, 0)], tried[min(at + 1, len(tried) - 1)]
        if all(i in seen for i in range(max(best - 1, 1), min(best + 1, most) + 1)):
            return seen[best]


def _derivative(function, step=3e-3):
    """Derivative at 0 by the four-point stencil (error step^4 / 30)."""
    return (8 * (function(step) - function(-step)) - function(2 * step) + function(-2 * step)) / (12 * step)


def _pdf(x):
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


def _positive(value, name):
    return _checks.scalar(value, name, _checks.positive)


def _nonnegative(value, name):
    value = _checks.real(value, name)
    if value.ndim or value < 0:
        raise ValueError(f"{name} must be a scalar >= 0, got {value[()]}")
    return float(value)
