"""When does reranking help at all? The expansion of the reranked loss in powers of 1/T.

At high selection temperature the reranked loss is a power series in 1/T whose
coefficients are exact in the number of samples k and depend on the law of one
sample only through c_q = Cov(loss, (reward - mean)^q) and the central moments
M_q of the reward:

    delta_k(T) = E[loss] + (1 - 1/k) c_1/T + (1 - 1/k)(1 - 2/k) c_2/(2 T^2) + ...

Every coefficient has a closed form. In the Laplace identity the mean of
exp(-u w/k), w = exp(reward/T), is exp(-u/k) times the sum over p of
B_p(-u/k) M_p/(p! T^p) with the Touchard polynomials B_p, and the integral over
u turns u^m into m!. The book derives it in the chapter of the same name.

`term` gives the coefficients as formulas and needs sympy; the rest is numpy.
"""

from functools import cache
from math import comb, factorial, prod

import numpy as np

from . import _checks


def term(n):
    """The coefficient of 1/T^n as a sympy expression, exact in k.

    Parameters
    ----------
    n : int
        Order, >= 1.

    Returns
    -------
    sympy.Expr
        In the symbols ``k``; ``c1`` .. ``cn``, c_q = Cov(loss, (reward - mean)^q); and ``M2`` .. ``M{n-1}``,
        the central moments of the reward.

    Raises
    ------
    ValueError
        If `n` is not an integer >= 1.

    Notes
    -----
    Orders 1 and 2 are on the poster of arXiv:2512.19905; the general form is derived in the book.

    Examples
    --------
    >>> from bestofk import expansion
    >>> expansion.term(1)
    c1*(k - 1)/k
    >>> expansion.term(2)
    c2*(k - 2)*(k - 1)/(2*k**2)
    """
    return _term(_order(n, "n"))


@cache
def _term(n):
    import sympy

    k = sympy.Symbol("k")
    parts = []
    for (s, powers), (numerator, denominator) in _monomials(n).items():
        if s > 0 and 1 not in powers:
            weight = sympy.factor(sympy.Poly(numerator[::-1], k).as_expr() / (denominator * k**n))
            parts.append(weight * sympy.Symbol(f"c{s}") * prod(sympy.Symbol(f"M{p}") for p in powers))
    return sympy.Add(*parts)


def coefficients(k, *, loss, reward, prob=None, order):
    """Coefficients of 1/T^0 .. 1/T^order of the reranked loss of a finite law.

    Parameters
    ----------
    k : int or 1-D array of int
        Number of samples, >= 1.
    loss, reward : array_like, shape (..., atoms)
        Loss and reward of each atom; finite. Leading axes broadcast.
    prob : array_like, shape (..., atoms), optional
        Probabilities of the atoms, summing to 1; default: equal.
    order : int
        Highest order, >= 1.

    Returns
    -------
    ndarray, shape batch + k.shape + (order + 1,)

    Raises
    ------
    ValueError
        For a bad `k`, law or `order`.

    Examples
    --------
    >>> from bestofk import expansion
    >>> expansion.coefficients(4, loss=[0.0, 1.0], reward=[1.0, 0.0], prob=[0.2, 0.8], order=2).round(4)
    array([ 0.8  , -0.12 , -0.018])
    """
    k, order = _checks.sample_count(k), _order(order)
    loss, reward, prob = _checks.finite_law(loss, reward, prob)
    mean = (prob * loss).sum(axis=-1)
    centred = reward - (prob * reward).sum(axis=-1, keepdims=True)
    power = [prob * centred**q for q in range(order + 1)]
    moment = [values.sum(axis=-1) for values in power]
    covariance = [((loss - mean[..., None]) * values).sum(axis=-1) for values in power]
    out = [np.broadcast_to(mean[..., None], mean.shape + (k.size,))]
    for n in range(1, order + 1):
        monomials = [key for key in _monomials(n) if key[0] > 0 and 1 not in key[1]]
        values = [covariance[s] * prod((moment[p] for p in powers), start=1.0) for s, powers in monomials]
        out.append(np.stack(values, axis=-1) @ _weights(n, monomials, k))
    return np.stack(out, axis=-1).reshape(mean.shape + k.shape + (order + 1,))


def series(k, T, *, loss, reward, prob=None, order):
    """Reranked loss of a finite law by its 1/T expansion, truncated after `order`.

    Parameters
    ----------
    k, loss, reward, prob, order
        As in `coefficients`.
    T : float or 1-D array of float
        Selection temperature in the units of the reward, in (0, inf].

    Returns
    -------
    float or ndarray, shape batch + k.shape + T.shape

    Raises
    ------
    ValueError
        For a bad `k`, law or `order`, T <= 0, or T so small that its powers overflow.

    Notes
    -----
    The full series converges for T > (largest - smallest reward)/pi, for every k (proved in the book); at
    smaller T more terms may make it worse.

    Examples
    --------
    >>> from bestofk import expansion, reranking
    >>> law = dict(loss=[0.0, 1.0], reward=[1.0, 0.0], prob=[0.2, 0.8])
    >>> float(expansion.series(4, 2.0, order=2, **law).round(4)), float(reranking.reranked_loss(4, 2.0, **law).round(4))
    (0.7355, 0.7362)
    """
    values, x, shape = _in_units_of_the_range(k, T, loss, reward, prob, order)
    with np.errstate(over="ignore", invalid="ignore"):
        total = sum(values[..., n, None] * x**n for n in range(values.shape[-1])).reshape(shape)[()]
    return _number(total, T)


def pade(k, T, *, loss, reward, prob=None, order):
    """Reranked loss of a finite law by a Pade approximant in 1/T built from the terms up to `order`.

    The numerator has degree order - order//2, the denominator order//2. It agrees with `series` to order
    `order` and usually stays close far below the temperature at which the series fails. Nothing is proved:
    an approximant may have a pole at a positive T.

    Parameters
    ----------
    k, T, loss, reward, prob, order
        As in `series`.

    Returns
    -------
    float or ndarray, shape batch + k.shape + T.shape

    Examples
    --------
    >>> from bestofk import expansion, reranking
    >>> law = dict(loss=[0.0, 1.0], reward=[1.0, 0.0], prob=[0.2, 0.8])
    >>> expansion.pade(4, [0.2, 1], order=6, **law).round(4), reranking.reranked_loss(4, [0.2, 1], **law).round(4)
    (array([0.4688, 0.6686]), array([0.4188, 0.6686]))
    """
    values, x, shape = _in_units_of_the_range(k, T, loss, reward, prob, order)
    order = values.shape[-1] - 1
    top, bottom = order - order // 2, order // 2
    out = np.empty(values.shape[:-1] + x.shape[-1:])
    for index in np.ndindex(values.shape[:-1]):
        a = np.append(values[index], np.zeros(bottom + 1))  # a[-j] = 0 stands for the coefficients before the first
        system = np.array([[a[top + i - j] for j in range(1, bottom + 1)] for i in range(1, bottom + 1)])
        tail = np.linalg.lstsq(system, -a[top + 1 : order + 1], rcond=1e-12)[0] if bottom else []
        denominator = np.append(1.0, tail)
        numerator = np.convolve(a[: top + 1], denominator)[: top + 1]
        at = x[index[:-1]][0]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            out[index] = np.polyval(numerator[::-1], at) / np.polyval(denominator[::-1], at)
    return _number(out.reshape(shape)[()], T)


def mapped(k, T, *, loss, reward, prob=None, order):
    """Reranked loss of a finite law by re-expanding its series in tanh(range/(4T)), to power `order`.

    As a function of 1/T the reranked loss is analytic in the strip |Im 1/T| < pi/range, range = largest -
    smallest reward, for every k; the map sends this strip to the unit disc. The re-expanded series therefore
    converges for every T > 0 (proved in the book), ever more slowly as T -> 0.

    Parameters
    ----------
    k, T, loss, reward, prob, order
        As in `series`.

    Returns
    -------
    float or ndarray, shape batch + k.shape + T.shape

    Examples
    --------
    >>> from bestofk import expansion, reranking
    >>> law = dict(loss=[0.0, 1.0], reward=[1.0, 0.0], prob=[0.2, 0.8])
    >>> expansion.mapped(4, [0.2, 1], order=6, **law).round(4), reranking.reranked_loss(4, [0.2, 1], **law).round(4)
    (array([0.5044, 0.6686]), array([0.4188, 0.6686]))
    """
    values, x, shape = _in_units_of_the_range(k, T, loss, reward, prob, order)
    order = values.shape[-1] - 1
    inverse_map = np.array([4 / j if j % 2 else 0.0 for j in range(order + 1)])  # x = 4 artanh s in powers of s
    power = np.eye(order + 1)[0]
    total, s = 0, np.tanh(x / 4)
    for n in range(order + 1):
        total = total + values[..., n, None] * sum(power[m] * s**m for m in range(order + 1))
        power = np.convolve(power, inverse_map)[: order + 1]
    return total.reshape(shape)[()]


def _in_units_of_the_range(k, T, loss, reward, prob, order):
    """The coefficients of x^n, x = (range of the reward)/T; x with shape batch + (1, T.size); the result's shape."""
    k, T = _checks.sample_count(k), _checks.temperature(T)
    if (T == 0).any():
        raise ValueError("T must be > 0 for an expansion in 1/T, got 0.0; reranking.reranked_loss takes T = 0")
    values = coefficients(k.ravel(), loss=loss, reward=reward, prob=prob, order=order)
    _, reward, prob = _checks.finite_law(loss, reward, prob)
    span = np.where(prob > 0, reward, -np.inf).max(axis=-1) - np.where(prob > 0, reward, np.inf).min(axis=-1)
    scale = np.where(span > 0, span, 1.0)[..., None]
    shape = values.shape[:-2] + k.shape + T.shape
    return values / scale[..., None] ** np.arange(values.shape[-1]), scale[..., None] / T.ravel(), shape


def _number(value, T):
    """`value` itself if finite everywhere, else an error."""
    if not np.isfinite(value).all():
        raise ValueError(f"T must be larger for an expansion of this order, got {np.min(T)}: the powers of 1/T overflow")
    return value


def estimate(k, *, loss, reward, order):
    """Unbiased estimates of `coefficients` from a pool of N samples of the unknown law.

    Each coefficient is a polynomial in moments of at most order + 1 distinct samples; the estimate is its
    U-statistic, the average of the unbiased kernel over all ordered choices of distinct samples in the pool.
    For k <= N it equals the expansion of the reranked loss averaged over all k-subsets of the pool; k may
    exceed N.

    Parameters
    ----------
    k : int or 1-D array of int
        Number of samples, >= 1.
    loss, reward : array_like, shape (..., N)
        Losses and rewards of the samples; finite. Leading axes (prompts) broadcast.
    order : int
        Highest order, 1 <= order < N.

    Returns
    -------
    ndarray, shape batch + k.shape + (order + 1,)

    Raises
    ------
    ValueError
        For a bad `k`, loss, reward or `order`, or a pool of N <= order samples.

    Examples
    --------
    The first coefficient is (1 - 1/k) times the sample covariance of loss and reward:

    >>> import numpy as np
    >>> from bestofk import expansion
    >>> loss, reward = [0.0, 1.0, 1.0, 0.0], [3.0, 1.0, 2.0, 2.0]
    >>> expansion.estimate(2, loss=loss, reward=reward, order=1), np.cov(loss, reward)[0, 1] / 2
    (array([ 0.5       , -0.16666667]), np.float64(-0.16666666666666666))
    """
    k, order = _checks.sample_count(k), _order(order)
    loss, reward, _ = _checks.finite_law(loss, reward)
    samples = loss.shape[-1]
    if samples <= order:
        raise ValueError(f"order must be below the number of samples in the pool, got order={order} for N={samples}")
    mean = loss.mean(axis=-1, keepdims=True)
    # the estimate does not depend on the origin of either variable; the means keep rounding small
    loss, reward = loss - mean, reward - reward.mean(axis=-1, keepdims=True)
    power = [reward**q for q in range(order + 1)]
    plain, marked = [values.sum(axis=-1) for values in power], [(loss * values).sum(axis=-1) for values in power]

    @cache
    def distinct(s, powers):
        """Sum over distinct samples of loss_0 reward_0^s reward_1^powers[0] reward_2^powers[1] ..."""
        if not powers:
            return marked[s]
        rest, p = powers[:-1], powers[-1]
        merged = [tuple(sorted(rest[:i] + (q + p,) + rest[i + 1 :])) for i, q in enumerate(rest)]
        return plain[p] * distinct(s, rest) - distinct(s + p, rest) - sum(distinct(s, parts) for parts in merged)

    out = [np.broadcast_to(mean, mean.shape[:-1] + (k.size,))]
    for n in range(1, order + 1):
        monomials = list(_monomials(n))
        choices = [prod(range(samples - len(powers), samples + 1)) for _, powers in monomials]
        values = [distinct(s, tuple(sorted(powers))) / m for (s, powers), m in zip(monomials, choices)]
        out.append(np.stack(values, axis=-1) @ _weights(n, monomials, k))
    return np.stack(out, axis=-1).reshape(mean.shape[:-1] + k.shape + (order + 1,))


def _order(order, name="order"):
    value = _checks.sample_count(order, name)
    if value.ndim:
        raise ValueError(f"{name} must be one integer >= 1, got {order!r}")
    return int(value)


@cache
def _monomials(n):
    """The coefficient of 1/T^n as {(s, powers): (numerator, denominator)}.

    The entry stands for E[loss reward^s] prod E[reward^p] times
    sum_j numerator[j] k^j / (denominator k^n), for moments about any origin.
    """
    out = {}
    for s in range(n + 1):
        for powers in _partitions(n - s, n):
            # y^m coefficients of A_s prod B_p; see the chapter for the two families of polynomials
            poly = [_stirling(s + 1, b + 1) for b in range(s + 1)]
            for p in powers:
                poly = np.convolve(np.array(poly, object), [_stirling(p, b) for b in range(p + 1)])
            # integral of exp(-u) (-u/k)^m du, times k^n
            poly = [(-1) ** m * factorial(m) * a for m, a in enumerate(poly)][::-1]
            for i in range(1, len(powers) + 1):
                poly = np.convolve(np.array(poly, object), np.array([-i, 1], object))
            symmetry = prod(factorial(powers.count(p)) for p in set(powers))
            out[s, powers] = [int(a) for a in poly], symmetry * factorial(s) * prod(factorial(p) for p in powers)
    return out


def _partitions(n, largest):
    """Partitions of `n` into parts of at most `largest`, as decreasing tuples."""
    if n == 0:
        yield ()
    for part in range(min(n, largest), 0, -1):
        for rest in _partitions(n - part, part):
            yield (part, *rest)


def _stirling(n, j):
    """Stirling number of the second kind: partitions of n things into j blocks."""
    return sum((-1) ** (j - i) * comb(j, i) * i**n for i in range(j + 1)) // factorial(j)


def _weights(n, monomials, k):
    """Coefficients of the `monomials` at every k, shape (monomials, k.size), each correctly rounded."""
    rows = []
    for key in monomials:
        numerator, denominator = _monomials(n)[key]
        exact = [sum(a * m**j for j, a in enumerate(numerator)) for m in map(int, k.ravel())]
        rows.append([value / (denominator * int(m) ** n) for value, m in zip(exact, k.ravel())])
    return np.array(rows)
