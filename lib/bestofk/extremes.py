"""How fast does best-of-k improve?

Best-of-k keeps the candidate with the highest reward, so for large k the loss
feels nothing of the predictive law but its density next to the reward target.
If that density behaves as ``|u|**beta`` at distance u, the distance of the best
of k candidates shrinks as ``k**(-1/(1+beta))``. The functions here give that law
with its coefficient, at finite k, with the first corrections, for a reward
target that is not the teacher, and averaged over inputs of unequal difficulty.
"""

from math import factorial, log, pi, sqrt

import numpy as np
from scipy import special

from bestofk import _checks
from bestofk._quadrature import panels


def best_of_k_loss(k, *, c_minus, c_plus, beta, p=2, asymptotic=False):
    r"""Mean ``|u|**p`` of the best of `k` draws, for a power-law density at the reward target.

    The draw is ``reward target + u`` with density ``c_minus * |u|**beta`` for u < 0
    and ``c_plus * u**beta`` for u > 0; the smallest ``|u|`` is kept. With
    ``C = (c_minus + c_plus) / (1 + beta)`` and ``q = p / (1 + beta)``,

    .. math:: E|u|^p = C^{-q}\,\Gamma(1+q)\,\frac{\Gamma(k+1)}{\Gamma(k+1+q)}
              \simeq C^{-q}\,\Gamma(1+q)\,k^{-q}.

    Parameters
    ----------
    k : int or 1-D array of int
        Number of draws, >= 1.
    c_minus, c_plus : float or array
        Density coefficients on the two sides, >= 0 and not both 0
        (units: 1 / length**(1 + beta)).
    beta : float or array
        Power of the density at the reward target, > -1.
    p : float or array
        Power of the distance in the loss, > 0; 2 is the squared loss.
    asymptotic : bool
        Give the pure power ``k**-q`` instead of the ratio of Gamma functions.

    Returns
    -------
    float or ndarray
        Shape: the parameters' common shape, then ``k.shape``.

    Notes
    -----
    The Gamma form is exact, for every k, when the density is a pure power law up
    to the distance where its mass reaches 1; measured: relative error <= 4e-14
    against the Beta law for k up to 1e6 and q <= 20. The pure power is too large by the
    relative amount q (q + 1) / (2 k) to leading order, 3 / k for beta = 0, p = 2.
    For another density both are laws for large k: see `small_ball_loss` for the
    next term. Exponent: the poster of arXiv 2512.19905; coefficient and finite-k
    form: derived in the chapter.

    Examples
    --------
    >>> float(best_of_k_loss(3, c_minus=0.5, c_plus=0.5, beta=0))  # uniform on (-1, 1): 2 / (4 * 5)
    0.1
    >>> best_of_k_loss([10, 20], c_minus=1, c_plus=1, beta=1, asymptotic=True)
    array([0.1 , 0.05])
    """
    k, c_minus, c_plus, beta, p = _outer(
        k,
        c_minus=_side(c_minus, "c_minus"),
        c_plus=_side(c_plus, "c_plus"),
        beta=_power(beta),
        p=_checks.positive(p, "p"),
    )
    if (c_minus + c_plus <= 0).any():
        raise ValueError("c_minus and c_plus must not both be 0: the density has to reach the reward target")
    q = p / (1 + beta)
    moment = special.gamma(1 + q) * k**-q if asymptotic else _uniform_minimum_moment(q, k)
    return _number(((c_minus + c_plus) / (1 + beta)) ** -q * moment, "c_minus, c_plus, beta, p")


def small_ball_loss(k, *, constant, beta, correction, power, p=2, order=1):
    r"""Mean ``|u|**p`` of the best of `k` draws, with corrections to the power law.

    The probability of a draw within `rho` of the reward target (the small-ball
    probability) is ``constant * rho**(1 + beta) * (1 + correction * rho**power)``.
    Inverting it by Lagrange's formula, with ``q = p/(1+beta)`` and ``g = power/(1+beta)``,

    .. math:: E|u|^p = \sum_{n=0}^{\mathrm{order}} \frac{(-e)^n q\,(q+ng+1)_{n-1}}{n!}
              \; C^{-q-ng}\; \frac{\Gamma(1+q+ng)\,\Gamma(k+1)}{\Gamma(k+1+q+ng)}.

    Parameters
    ----------
    k, beta, p
        As in `best_of_k_loss`.
    constant : float or array
        C > 0, (c_minus + c_plus) / (1 + beta) in the terms of `best_of_k_loss`.
    correction : float or array
        e, any sign (units: 1 / length**power).
    power : float or array
        > 0; 2 for a smooth symmetric density, 1 for a density with a slope on one side.
    order : int
        Number of correction terms, >= 0; 0 is `best_of_k_loss`.

    Returns
    -------
    float or ndarray
        Shape: the parameters' common shape, then ``k.shape``.

    Notes
    -----
    An asymptotic series: with n terms the relative error falls as ``k**-((n+1) g)``
    until the terms grow, provided the small-ball probability has no term beyond the one given;
    a smooth density usually has one at ``2 * power``, and then order 1 is the last that helps.
    Measured on a gamma density with its target at the edge (beta 0.7, power 1, k = 1000): 2.4 % at order 0,
    0.06 % at order 1.

    Examples
    --------
    >>> round(float(small_ball_loss(1000, constant=0.5, beta=0, correction=0.1, power=2)), 12)
    7.97598e-06
    """
    constant, power = _checks.positive(constant, "constant"), _checks.positive(power, "power")
    correction = _checks.real(correction, "correction")
    if not isinstance(order, (int, np.integer)) or order < 0:
        raise ValueError(f"order must be an integer >= 0, got {order!r}")
    k, constant, beta, e, power, p = _outer(
        k, constant=constant, beta=_power(beta), correction=correction, power=power, p=_checks.positive(p, "p")
    )
    q, g = p / (1 + beta), power / (1 + beta)
    total = constant**-q * _uniform_minimum_moment(q, k)
    for n in range(1, order + 1):
        weight = (-e) ** n * q * special.poch(q + n * g + 1, n - 1) / factorial(n)
        total = total + weight * constant ** (-q - n * g) * _uniform_minimum_moment(q + n * g, k)
    return _number(total, "constant, beta, correction, power, p")


def two_sided_loss(k, *, c_minus, beta_minus, c_plus, beta_plus, p=2):
    r"""Mean ``|u|**p`` of the best of `k` draws when the two sides of the target differ in their power.

    The density is ``c_minus * |u|**beta_minus`` for u < 0 and ``c_plus * u**beta_plus``
    for u > 0, up to the distance where the mass within it reaches 1. The loss is
    ``int p rho**(p-1) (1 - P(rho))**k drho``, by Gauss-Legendre quadrature in log(rho).
    For large k the side with the smaller power decides:
    ``best_of_k_loss`` with the other side's coefficient set to 0.

    Parameters
    ----------
    k : int or 1-D array of int
    c_minus, c_plus : float
        Density coefficients, > 0 (one side alone is `best_of_k_loss`).
    beta_minus, beta_plus : float
        Powers, > -1.
    p : float
        > 0.

    Returns
    -------
    float or ndarray
        Shape ``k.shape``; scalar parameters only.

    Notes
    -----
    Measured: relative error <= 1e-12 against mpmath for powers in (-0.9, 10) and k up to 1e6.

    Examples
    --------
    >>> float(round(two_sided_loss(3, c_minus=0.5, beta_minus=0, c_plus=0.5, beta_plus=0), 12))
    0.1
    """
    k = _checks.sample_count(k)
    parameters = {"c_minus": c_minus, "beta_minus": beta_minus, "c_plus": c_plus, "beta_plus": beta_plus, "p": p}
    for name, value in parameters.items():
        if np.ndim(value):
            raise ValueError(f"{name} must be a scalar, got shape {np.shape(value)}; loop over the parameters")
    power = np.array([_power(beta_minus, "beta_minus"), _power(beta_plus, "beta_plus")]) + 1
    log_mass = np.log([_checks.positive(c_minus, "c_minus"), _checks.positive(c_plus, "c_plus")]) - np.log(power)
    p = float(_checks.positive(p, "p"))

    low, high = -745 / power.max() - np.abs(log_mass).max(), (-log_mass / power).min()
    for _ in range(200):  # bisection for log of the distance where the mass reaches 1
        middle = (low + high) / 2
        low, high = (middle, high) if np.exp(log_mass + power * middle).sum() < 1 else (low, middle)
    edge = low
    # panels of width 1/2 in the variable that makes the smaller power 1; below them the integrand is a pure power
    depth = (log(float(k.max())) + 40) / power.min()
    left = edge - depth
    node, weight = panels(np.linspace(left, edge, int(2 * depth * power.max()) + 2), 16)
    mass = np.exp(log_mass[:, None] + power[:, None] * node).sum(axis=0)
    survival = np.exp(np.multiply.outer(k, np.log1p(-np.minimum(mass, 1 - 1e-16))))
    return _number(survival @ (weight * p * np.exp(p * node)) + np.exp(p * left), "c_minus, c_plus, p")


def misaligned_loss(k, *, c_minus, c_plus, beta, misspecification, slope=0.0):
    r"""Squared loss of best-of-k when the reward target is not the teacher.

    With u the distance from the reward target and D = `misspecification`
    (reward target minus teacher) the loss is ``E (u + D)**2 = D**2 + 2 D E[u] + E[u**2]``.
    The density is ``c_minus |u|**beta`` on the left and ``c_plus |u|**beta`` on the right,
    times ``1 + slope * u``. If the sides differ, ``E[u]`` falls only as ``k**(-1/(1+beta))``:
    half the exponent of the aligned loss.

    Parameters
    ----------
    k, c_minus, c_plus, beta
        As in `best_of_k_loss`.
    misspecification : float or array
        D, in the units of the draw.
    slope : float or array
        Logarithmic slope of the density at the target beyond the power law, 1 / length.

    Returns
    -------
    float or ndarray
        Shape: the parameters' common shape, then ``k.shape``.

    Notes
    -----
    Exact for a pure power law (slope 0); with a slope the terms kept are those up to
    the squared distance. Measured for a Gaussian (slope = -a, k = 1000): 3e-5 of the excess over D**2.

    Examples
    --------
    >>> float(round(misaligned_loss(3, c_minus=0.5, c_plus=0.5, beta=0, misspecification=2), 12))
    4.1
    >>> float(round(misaligned_loss(3, c_minus=0, c_plus=1, beta=0, misspecification=-1), 12))  # u uniform on (0, 1)
    0.6
    """
    c_minus, c_plus = _side(c_minus, "c_minus"), _side(c_plus, "c_plus")
    beta, slope = _power(beta), _checks.real(slope, "slope")
    shift = _checks.real(misspecification, "misspecification")
    _checks.together(c_minus=c_minus, c_plus=c_plus, beta=beta, misspecification=shift, slope=slope)
    square = best_of_k_loss(k, c_minus=c_minus, c_plus=c_plus, beta=beta)
    constant, balance = (c_minus + c_plus) / (1 + beta), (c_plus - c_minus) / (c_plus + c_minus)
    tilt = balance * slope * (1 + beta) / (2 + beta)
    distance = small_ball_loss(k, constant=constant, beta=beta, correction=tilt, power=1, p=1)
    k, shift, balance, slope = _outer(k, misspecification=shift, balance=balance, slope=slope)
    loss = shift**2 + 2 * shift * (balance * distance + slope * (1 - balance**2) * square) + square
    return _number(loss, "misspecification, slope")


def gaussian_loss(k, *, mean, std, teacher, reward=None, order=2):
    r"""Best-of-k law of a Gaussian predictive under a quadratic reward, for large k.

    With ``a = (reward - mean) / std`` and ``D = (reward - teacher) / std``,

    .. math:: \frac{\delta_k}{s^2} = D^2 + (1 - 2aD)\,\frac{\pi e^{a^2}}{(k+1)(k+2)}
              + \left[4 a^3 D - 2 (a^2 - 1)(1 - 2aD)\right] \frac{\pi^2 e^{2a^2}\,k!}{(k+4)!} + \dots

    Parameters
    ----------
    k : int or 1-D array of int
    mean, std : float or array
        Predictive mean and standard deviation.
    teacher : float or array
        Target of the loss.
    reward : float or array, optional
        Reward target; the teacher by default (D = 0).
    order : {0, 1, 2}
        0: ``1/k**2`` in place of ``1/((k+1)(k+2))``, as the official code plots it;
        1: the first line; 2: the next order as well.

    Returns
    -------
    float or ndarray
        Shape: the parameters' common shape, then ``k.shape``; units of `std` squared.

    Notes
    -----
    A law for k phi(a) >> 1, phi the standard normal density. Measured relative errors of
    the aligned loss: order 0 is 3/k (5.6 % at k = 50 and a = 0); order 1: 6e-6 at k = 1000 and a = 0;
    order 2: 1e-10 there, falling as ``(k phi(a))**-4``; see the chapter for small k phi(a).

    Examples
    --------
    >>> gaussian_loss([100, 1000], mean=0, std=1, teacher=0, order=0).round(9)
    array([3.14159e-04, 3.14200e-06])
    >>> float(round(gaussian_loss(1000, mean=0, std=1, teacher=0.7, reward=1.0) - 0.09, 12))
    3.405757e-06
    """
    _order(order)
    mean, teacher = _checks.real(mean, "mean"), _checks.real(teacher, "teacher")
    reward = teacher if reward is None else _checks.real(reward, "reward")
    std = _checks.positive(std, "std")
    k, mean, std, teacher, reward = _outer(k, mean=mean, std=std, teacher=teacher, reward=reward)
    a, shift = (reward - mean) / std, (reward - teacher) / std
    far = 2 * a**2 > 700
    if far.any():
        raise ValueError(f"reward must lie within 18 std of mean, got {np.abs(a[far]).max():.3g} std: no k reaches it")
    lead = pi * np.exp(a**2)
    loss = shift**2 + (1 - 2 * a * shift) * (lead / k**2 if order == 0 else lead / ((k + 1) * (k + 2)))
    if order == 2:
        bracket = 4 * a**3 * shift - 2 * (a**2 - 1) * (1 - 2 * a * shift)
        loss = loss + bracket * lead**2 / ((k + 1) * (k + 2) * (k + 3) * (k + 4))
    return _number(std**2 * loss, "std")


def averaged_loss(k, *, std, squared_error, order=1):
    r"""Aligned best-of-k law of a Gaussian predictive, averaged over inputs.

    Over inputs the bias ``mean - teacher`` is Gaussian with mean 0 and variance V = `squared_error`.
    With nu = V / std**2 the average of ``exp(a**2)`` is ``1 / sqrt(1 - 2 nu)``, which exists for
    nu < 1/2 only:

    .. math:: E_x\,\delta_k = \frac{\pi s^2}{(k+1)(k+2)} \frac{1}{\sqrt{1 - 2\nu}} + \dots

    Parameters
    ----------
    k : int or 1-D array of int
    std : float or array
        Predictive standard deviation, the same for all inputs.
    squared_error : float or array
        V >= 0, ``bestofk.regression.equivalents(...).squared_error``; V < std**2 / 2.
    order : {0, 1, 2}
        As in `gaussian_loss`; order 2 needs V < std**2 / 4.

    Returns
    -------
    float or ndarray
        Shape: the parameters' common shape, then ``k.shape``; units of `std` squared.

    Raises
    ------
    ValueError
        Where the average does not exist; see `heavy_tail_loss` for what happens there.

    Notes
    -----
    How large k must be grows without bound as nu -> 1/2. Measured relative error of order 1 at
    k = 1e2, 1e4, 1e6: nu = 0.2: 2e-4, 6e-10, < 1e-12; nu = 0.4: 8 %, 0.7 %, 0.07 %;
    nu = 0.45: 30 %, 8 %, 2 %.

    Examples
    --------
    >>> float(round(averaged_loss(1000, std=1, squared_error=0.4, order=0), 9))
    7.025e-06
    """
    _order(order)
    std, squared_error = _checks.positive(std, "std"), _side(squared_error, "squared_error")
    k, std, squared_error = _outer(k, std=std, squared_error=squared_error)
    nu = squared_error / std**2
    limit = 0.25 if order == 2 else 0.5
    if (nu >= limit).any():
        raise ValueError(
            f"squared_error must be < {limit} * std**2 for a finite mean over inputs at order {order}, got "
            f"{nu[nu >= limit].max():.6g} * std**2; beyond 0.5 the decay is slower than k**-2: heavy_tail_loss"
        )
    lead = pi / np.sqrt(1 - 2 * nu)
    loss = lead / k**2 if order == 0 else lead / ((k + 1) * (k + 2))
    if order == 2:
        bracket = (1 - nu / (1 - 4 * nu)) / np.sqrt(1 - 4 * nu)
        loss = loss + 2 * pi**2 * bracket / ((k + 1) * (k + 2) * (k + 3) * (k + 4))
    return _number(std**2 * loss, "std")


def heavy_tail_loss(k, *, std, squared_error):
    r"""Aligned best-of-k law averaged over inputs of widely spread bias: V > std**2 / 2.

    The inputs that decide are those whose teacher lies so far out, at a* std, that k draws
    just reach it. With q = std**2 / V = 1 / nu < 2,

    .. math:: \frac{E_x\,\delta_k}{s^2} \simeq \sqrt{\frac{2}{\pi\nu}}
              \left(\frac{\sqrt{2\pi}\,a_*}{2k}\right)^{q} a_*^{-3}\;
              2^{q-2}\,\Gamma(q/2)^3\,\Gamma(1-q/2), \qquad
              a_*^2 e^{a_*^2} = \frac{2k^2}{\pi\kappa^2},

    where ``log(kappa) = log(2) + (3 digamma(q/2) - digamma(1 - q/2)) / 2``. So the decay is
    ``k**-q (log k)**((q-3)/2)``, slower than ``k**-2``.

    Parameters
    ----------
    k : int or 1-D array of int
        Large: the distance a* grows only as ``sqrt(2 log k)``.
    std, squared_error : float or array
        As in `averaged_loss`, with V > std**2 / 2.

    Returns
    -------
    float or ndarray
        Shape: the parameters' common shape, then ``k.shape``; units of `std` squared.

    Raises
    ------
    ValueError
        For V <= std**2 / 2, and where a* < 3.

    Notes
    -----
    Converges as 1 / log k only. Measured against exact quadrature, ratio law / exact at
    k = 1e4, 1e6, 1e8: nu = 0.7: 0.963, 0.990, 0.999; nu = 1: 0.935, 0.965, 0.977;
    nu = 2: 0.806, 0.868, 0.900; nu = 10: 0.44, 0.52, 0.58. For nu close to 1/2 neither this law
    nor `averaged_loss` has set in at any k of interest, and the call is refused (a* < 3).

    Examples
    --------
    >>> heavy_tail_loss([10**4, 10**6], std=1, squared_error=1).round(9)
    array([2.7976e-05, 1.8700e-07])
    """
    std, squared_error = _checks.positive(std, "std"), _checks.positive(squared_error, "squared_error")
    k, std, squared_error = _outer(k, std=std, squared_error=squared_error)
    nu = squared_error / std**2
    if (nu <= 0.5).any():
        raise ValueError(
            f"squared_error must be > 0.5 * std**2, got {nu[nu <= 0.5].min():.6g} * std**2; use averaged_loss"
        )
    q = 1 / nu
    log_kappa = np.log(2) + (3 * special.digamma(q / 2) - special.digamma(1 - q / 2)) / 2
    distance = np.sqrt(special.lambertw(2 / pi * k**2 * np.exp(-2 * log_kappa)).real)
    if (distance < 3).any():
        raise ValueError(
            f"k must be larger for this squared_error: a* = {distance.min():.3g} and the law needs a* >= 3; "
            "the exact average is bestofk.gaussian.generalization_error"
        )
    coefficient = np.sqrt(2 / pi / nu) * 2 ** (q - 2) * special.gamma(q / 2) ** 3 * special.gamma(1 - q / 2)
    loss = std**2 * coefficient * (sqrt(2 * pi) * distance / (2 * k)) ** q / distance**3
    return _number(loss, "std, squared_error")


def _outer(k, **parameters):
    """Float `k` and the parameters, shaped so that arithmetic gives batch + k.shape."""
    k = _checks.sample_count(k)
    parameters = _checks.together(**parameters)
    if k.ndim:
        parameters = [value[..., None] for value in parameters]
    return k.astype(float), *parameters


def _uniform_minimum_moment(s, k):
    """E[v**s] = Gamma(1+s) Gamma(k+1) / Gamma(k+1+s), v the smallest of k uniform draws on (0, 1)."""
    x = np.maximum(k + 1, 20)  # log Gamma(x+s) - log Gamma(x) by Stirling, without cancellation
    log_ratio = (x - 0.5) * np.log1p(s / x) + s * (np.log(x + s) - 1) + _stirling(x + s) - _stirling(x)
    if (s > 170).any():
        raise ValueError(f"p / (1 + beta) must be <= 170 at the order asked for, got {np.max(s):.4g}: Gamma overflows")
    return special.gamma(1 + s) * np.where(k < 19, 1 / special.poch(k + 1, s), np.exp(-log_ratio))


def _stirling(x):
    return (1 / 12 - (1 / 360 - (1 / 1260 - 1 / 1680 / x**2) / x**2) / x**2) / x


def _side(value, name):
    """A float array, finite and >= 0."""
    value = _checks.real(value, name)
    if (value < 0).any():
        raise ValueError(f"{name} must be >= 0, got {value[value < 0].ravel()[0]}")
    return value


def _power(beta, name="beta"):
    """A float array, finite and > -1: the density must have a finite mass."""
    beta = _checks.real(beta, name)
    if (beta <= -1).any():
        raise ValueError(f"{name} must be > -1 for a density of finite mass, got {beta[beta <= -1].ravel()[0]}")
    return beta


def _order(order):
    if order not in (0, 1, 2):
        raise ValueError(f"order must be 0, 1 or 2, got {order!r}")


def _number(loss, names):
    """`loss` itself if finite everywhere, else an error: never a silent inf or nan."""
    if not np.isfinite(loss).all():
        raise ValueError(f"{names}: the loss overflows for these values; rescale the unit of length")
    return loss
