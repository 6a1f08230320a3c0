r"""Judge along the way: how many particles replace how many finished answers?

Sequential Monte Carlo keeps N unfinished answers (particles). At every token each
is extended by the model, weighted by the change of its judged value and resampled.
Judging finished answers only, the rest of this book, is its special case with one
long token. Two models small enough to be solved say what N has to be:

- the token tree: an answer is on track until one token derails it, and only answers
  on track to the end earn a reward. The number of particles on track is a Markov
  chain, so its law follows without simulation;
- two types of answers made of fair bits, with a judge who underrates one type on
  the way. Here the judge's value changes by a bounded factor at each token.

Values are normalised so that an answer off track has the value 1.
"""

import numpy as np
from scipy import special

from bestofk import _checks

_LARGEST = 4000  # particles; the tables of the exact chain grow as their square
_NEGLIGIBLE = 1e-19  # probability of a pair of counts that is dropped
_NODES = np.arange(-3, 5)  # eight-point interpolation


def track_values(length, *, stay, error=0.0, vanishes=True):
    r"""Judged value of an answer that is on track after 0, ..., `length` tokens of the token tree.

    Each token keeps an answer on track with probability p = `stay`; off track is for ever.
    The finished answer is worth ``R = (1 - p**m) / p**m`` on track and 1 off, m = `length`, so that the
    target, model times value, is on track with probability 1/2. The exact value is the mean final one,

    .. math:: V_t = p^{m-t} R + 1 - p^{m-t},

    and the judge says ``V_t * (1 + error)**-b_t`` with b_t = min(t, m - t), or b_t = t if not `vanishes`.

    Parameters
    ----------
    length : int
        Number of tokens, >= 1; at most 1000 doublings of the value (``length * log2(1 / stay) <= 1000``).
    stay : float
        Probability of staying on track for one token, in (0, 1).
    error : float
        Error of the judge per token, > -1; positive: it underrates answers on track.
    vanishes : bool
        The error is gone when the answer is finished (True), or it stays (False).

    Returns
    -------
    ndarray, shape (length + 1,)

    Examples
    --------
    >>> track_values(3, stay=0.5)
    array([1.75, 2.5 , 4.  , 7.  ])
    >>> track_values(3, stay=0.5, error=1.0)
    array([1.75, 1.25, 2.  , 7.  ])
    """
    length, stay = _one_count(length, "length"), _probability(stay)
    error = float(_one_real(error, "error"))
    if error <= -1:
        raise ValueError(f"error must be > -1, got {error}")
    if -length * np.log2(stay) > 1000:
        raise ValueError(f"length * log2(1 / stay) must be at most 1000, got length {length} at stay {stay}")
    step = np.arange(length + 1)
    reward = stay**-length - 1
    exact = stay ** (length - step) * reward + 1 - stay ** (length - step)
    return exact * (1 + error) ** -(np.minimum(step, length - step) if vanishes else step).astype(float)


def on_track_limit(values, *, stay):
    r"""Share of particles on track after every token when their number is infinite.

    .. math:: f_t = \frac{p^t \hat V_t}{p^t \hat V_t + 1 - p^t}

    Parameters
    ----------
    values : array_like, shape (length + 1,)
        Judged value of an answer on track, > 0, as from `track_values`; off track is worth 1.
    stay : float
        Probability of staying on track for one token, in (0, 1).

    Returns
    -------
    ndarray, shape (length + 1,)
        The last entry is the target's share.

    Examples
    --------
    >>> on_track_limit(track_values(3, stay=0.5), stay=0.5).round(3)
    array([1.   , 0.714, 0.571, 0.5  ])
    """
    values, stay = _values(values), _probability(stay)
    alive = stay ** np.arange(len(values))
    return alive * values / (alive * values + 1 - alive)


def number_on_track(particles, values, *, stay):
    r"""Exact law of the number of particles on track after every token.

    From n of N on track, n' ~ Bin(n, p) stay; with the weights
    ``V_t / V_(t-1)`` for those, ``1 / V_(t-1)`` for the derailed and 1 for the rest,
    resampling leaves Bin(N, q) on track, q the share of the weight that is on track.

    Parameters
    ----------
    particles : int
        Number N of particles, between 1 and 4000.
    values, stay
        As in `on_track_limit`.

    Returns
    -------
    ndarray, shape (length + 1, particles + 1)
        Entry [t, n] is the probability of n on track after token t and its resampling.

    Notes
    -----
    A step mixes binomial laws over about N**2 values of q. As a function of arcsin(sqrt(q)) a binomial
    probability is a trigonometric polynomial that varies on the scale 1 / (2 sqrt(N)), so every q is
    replaced by weights on eight points of a grid sixteen times finer. Measured against rational
    enumeration (N <= 6, 5 tokens): 1e-12; against the plain sum (N = 40, 12 tokens): 1e-12.

    Examples
    --------
    Two particles, one token that derails half of the answers, an answer on track worth 3:

    >>> number_on_track(2, [2.0, 3.0], stay=0.5).round(4)
    array([[0.    , 0.    , 1.    ],
           [0.2812, 0.1875, 0.5312]])
    """
    return _chain(_particles(particles), _values(values), _probability(stay))


def on_track_smc(particles, values, *, stay):
    """Probability that the answer returned by sequential Monte Carlo is on track.

    Parameters
    ----------
    particles : int or 1-D array of int
        Numbers of particles, between 1 and 4000.
    values, stay
        As in `on_track_limit`.

    Returns
    -------
    float or ndarray
        Shape ``particles.shape``. The returned answer is one of the last particles, drawn uniformly.

    Examples
    --------
    >>> on_track_smc([1, 8, 64], track_values(6, stay=0.5), stay=0.5).round(4)
    array([0.0156, 0.3763, 0.4817])
    """
    values, stay = _values(values), _probability(stay)
    counts = _checks.sample_count(particles, "particles")
    shares = [_chain(_particles(n), values, stay)[-1] @ np.arange(n + 1) / n for n in counts.ravel().tolist()]
    return np.array(shares).reshape(counts.shape)[()]


def on_track_guided(values, *, stay):
    r"""Probability that guided sampling, one answer with every next token judged, ends on track.

    The next token is drawn in proportion to the model's probability times the judged value:
    :math:`\prod_t p\hat V_t / (p\hat V_t + 1 - p)`. Exact values give the target, 1/2.

    Parameters
    ----------
    values, stay
        As in `on_track_limit`.

    Returns
    -------
    float

    Examples
    --------
    >>> round(on_track_guided(track_values(6, stay=0.5), stay=0.5), 12)
    0.5
    """
    values, stay = _values(values), _probability(stay)
    return float(np.prod(1 / (1 + (1 - stay) / (stay * values[1:]))))


def on_track_softmax(k, *, length, stay):
    r"""Probability of an answer on track when k finished answers are judged and one is kept by softmax.

    With n ~ Bin(k, p**m) on track it is ``E[n R / (n R + k - n)]``.

    Parameters
    ----------
    k : int or 1-D array of int
        Number of finished answers, >= 1.
    length, stay
        As in `track_values`.

    Returns
    -------
    float or ndarray
        Shape ``k.shape``.

    Notes
    -----
    Summed in n until the remaining terms are below 1e-16.

    Examples
    --------
    >>> on_track_softmax([1, 64, 1024], length=6, stay=0.5).round(4)
    array([0.0156, 0.3703, 0.4922])
    """
    counts, length, stay = _checks.sample_count(k), _one_count(length, "length"), _probability(stay)
    alive, reward = stay**length, track_values(length, stay=stay)[-1]
    shares = []
    for k in counts.ravel().tolist():
        n = np.arange(1, min(k, int(k * alive + 12 * np.sqrt(k * alive) + 40)) + 1)
        shares.append(_binomial(n, k, alive) @ (n * reward / (n * reward + k - n)))
    return np.array(shares).reshape(counts.shape)[()]


def particles_needed(values, *, stay, tolerance):
    """Smallest number of particles whose answer is on track with a probability within `tolerance` of 1/2.

    Parameters
    ----------
    values, stay
        As in `on_track_limit`.
    tolerance : float
        In (0, 1/2); the accuracy asked for in total variation of "on track".

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If no number up to 4000 is enough, and at once if an infinite number is not.

    Notes
    -----
    By doubling and bisection: the distance from 1/2 falls with the number of particles in all cases tried.

    Examples
    --------
    >>> particles_needed(track_values(6, stay=0.5), stay=0.5, tolerance=0.1)
    11
    """
    values, tolerance = _values(values), _tolerance(tolerance)
    end = on_track_limit(values, stay=stay)[-1]
    if abs(end - 0.5) > tolerance:
        raise ValueError(f"values must end in a judge with the target 1/2 within tolerance {tolerance}, got {end:.4g}")
    reached = _first(lambda n: abs(on_track_smc(n, values, stay=stay) - 0.5) <= tolerance, _LARGEST)
    if reached is None:
        raise ValueError(f"tolerance {tolerance} needs more than {_LARGEST} particles here; simulate the chain")
    return reached


def samples_needed(length, *, stay, tolerance):
    """Smallest number of finished answers for which softmax selection is within `tolerance` of the target 1/2.

    Parameters
    ----------
    length, stay
        As in `track_values`.
    tolerance : float
        In (0, 1/2).

    Returns
    -------
    int

    Examples
    --------
    >>> [samples_needed(m, stay=0.5, tolerance=0.1) for m in (4, 6, 8)]
    [20, 85, 345]
    """
    tolerance = _tolerance(tolerance)
    return _first(lambda k: abs(on_track_softmax(k, length=length, stay=stay) - 0.5) <= tolerance, 2**50)


def distance_bound(particles, *, length, ratio, error=0.0):
    r"""Proved bound on the total variation between the returned answer's law and the target.

    For any model and judge whose value grows by a factor of at most L = `ratio` at a token, misses its own mean over the
    next token by a factor of at most 1 + `error`, and is the true one for finished answers,

    .. math:: \mathrm{TV} \le \frac12 \Bigl(\prod_{j=1}^{m}
              \Bigl[1 + \frac{L (1+\varepsilon)^{2j-1} - 1}{N}\Bigr] - 1\Bigr)^{1/2},

    and with ``error = 0`` the factor in the product is ``1 + (L - 1) / N``.

    Parameters
    ----------
    particles : int or 1-D array of int
        N >= 1.
    length : int
        m >= 1.
    ratio : float
        L >= 1.
    error : float
        >= 0.

    Returns
    -------
    float or ndarray
        Shape ``particles.shape``; at most 1.

    Notes
    -----
    Derived in the chapter.

    Examples
    --------
    >>> float(round(distance_bound(1000, length=20, ratio=2), 4))
    0.071
    """
    particles = _checks.sample_count(particles, "particles").astype(float)
    length, ratio, error = _one_count(length, "length"), _one_real(ratio, "ratio"), _one_real(error, "error")
    if ratio < 1:
        raise ValueError(f"ratio must be >= 1, got {ratio}: values keep their mean or lose it by the error only")
    if error < 0:
        raise ValueError(f"error must be >= 0, got {error}")
    j = np.arange(1, length + 1)
    with np.errstate(over="ignore"):
        step = ratio * (1 + error) ** (2.0 * j - 1) - 1
        return np.minimum(np.sqrt(np.expm1(np.log1p(np.divide.outer(step, particles)).sum(axis=0))) / 2, 1)[()]


def two_type_share(particles, *, length, error, odds=5.0):
    r"""Probability of the underrated type when both assumptions on the judge hold.

    The first of m tokens is the type, the others are bits, all fair. A finished answer is worth ``odds**ones``, so that the
    target's bits are ones with probability ``odds / (1 + odds)`` and its types are equally likely. The judge's value of the
    first type carries the factor ``(1 + error)**-min(t - 1, m - t)`` after t tokens: its mean over the next token is off by exactly
    ``1 + error``, and at a token it changes at most by a factor of ``(1 + error) * (1 + odds) / 2``, up or down, for `odds` >= 1.

    Parameters
    ----------
    particles : int
        Number N of particles, between 1 and 400; the tables grow as its cube.
    length : int
        m >= 1.
    error : float
        > -1.
    odds : float
        > 0.

    Returns
    -------
    float
        1/2 for the target. The number of particles of the first type is a Markov chain, whose exact law is used.

    Examples
    --------
    >>> round(two_type_share(20, length=8, error=0.0), 9), round(two_type_share(20, length=8, error=0.5), 4)
    (0.5, 0.4286)
    """
    particles, length = _one_count(particles, "particles"), _one_count(length, "length")
    error, odds = float(_one_real(error, "error")), float(_checks.positive(_one_real(odds, "odds"), "odds"))
    if particles > 400:
        raise ValueError(f"particles must be at most 400 for the exact law of the types, got {particles}")
    if error <= -1:
        raise ValueError(f"error must be > -1, got {error}")
    nodes, table = _binomial_table(particles)
    count = np.arange(particles + 1)
    ones = _binomial(count, count[:, None], 0.5)
    law = _mixture(count / particles, _binomial(count, particles, 0.5), nodes, table)  # resampled, weights equal
    for t in range(2, length + 1):
        rise = min(t - 2, length - t + 1) - min(t - 1, length - t)
        weight = law[:, None, None] * ones[:, :, None] * ones[::-1, None, :]
        n, x, y = np.nonzero(weight > _NEGLIGIBLE)
        first = (1 + error) ** rise * (n + (odds - 1) * x)
        share = first / (first + (particles - n) + (odds - 1) * y)
        law = _mixture(share, weight[n, x, y], nodes, table)
    return float(law @ count / particles)


def _chain(particles, values, stay):
    """The laws of the number on track: see `number_on_track`."""
    nodes, table = _binomial_table(particles)
    count = np.arange(particles + 1)
    kept = _binomial(count, count[:, None], stay)
    laws = np.zeros((len(values), particles + 1))
    laws[0, particles] = 1
    for t in range(1, len(values)):
        n, x = np.nonzero(laws[t - 1][:, None] * kept > _NEGLIGIBLE)
        on = x * (values[t] / values[t - 1])
        share = on / (on + (n - x) / values[t - 1] + (particles - n))
        laws[t] = _mixture(share, laws[t - 1][n] * kept[n, x], nodes, table)
    return laws


def _binomial_table(particles):
    """Grid of angles, beyond [0, pi/2] at both ends, and Bin(particles, sin^2) at each of them."""
    pieces = int(16 * np.pi * np.sqrt(particles)) + 1
    angles = np.arange(-8, pieces + 9) * (np.pi / 2 / pieces)
    return angles, _binomial(np.arange(particles + 1), particles, np.sin(angles)[:, None] ** 2)


def _mixture(share, weight, angles, table):
    """Law of Bin(N, share) mixed with `weight`, by Lagrange interpolation of the binomial law in the angle."""
    place = np.arcsin(np.sqrt(share)) / (angles[1] - angles[0]) + 8
    left = np.minimum(place.astype(int), len(angles) - 6)
    on_grid = np.zeros(len(angles))
    for node in _NODES:
        others = _NODES[_NODES != node]
        factor = np.prod([(place - left - other) / (node - other) for other in others], axis=0)
        on_grid += np.bincount(left + node, weight * factor, len(angles))
    return on_grid @ table


def _binomial(n, total, p):
    """Bin(total, p) at n; 0 for n > total."""
    n, total = np.asarray(n, float), np.asarray(total, float)
    rest = np.maximum(total - n, 0)
    log = special.gammaln(total + 1) - special.gammaln(n + 1) - special.gammaln(rest + 1)
    return np.where(n <= total, np.exp(log + special.xlogy(n, p) + special.xlog1py(rest, -p)), 0.0)


def _first(enough, most):
    """Smallest count in 1..most with enough(count), by doubling and bisection; None if there is none."""
    high = 1
    while not enough(high):
        if high == most:
            return None
        high = min(2 * high, most)
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _values(values):
    values = _checks.positive(values, "values")
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"values must list at least two values, before the first token and after each, got shape {values.shape}")
    return values


def _particles(particles):
    particles = _one_count(particles, "particles")
    if particles > _LARGEST:
        raise ValueError(f"particles must be at most {_LARGEST} for the exact law, got {particles}; simulate the chain")
    return particles


def _one_count(value, name):
    count = _checks.sample_count(value, name)
    if count.ndim:
        raise ValueError(f"{name} must be one integer >= 1, got shape {count.shape}")
    return int(count)


def _one_real(value, name):
    number = _checks.real(value, name)
    if number.ndim:
        raise ValueError(f"{name} must be one number, got shape {number.shape}")
    return number


def _probability(stay):
    stay = float(_one_real(stay, "stay"))
    if not 0 < stay < 1:
        raise ValueError(f"stay must be in (0, 1), got {stay}")
    return stay


def _tolerance(tolerance):
    tolerance = float(_one_real(tolerance, "tolerance"))
    if not 0 < tolerance < 0.5:
        raise ValueError(f"tolerance must be in (0, 1/2), got {tolerance}")
    return tolerance
