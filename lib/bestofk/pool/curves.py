"""The mean over prompts of the reranked loss, and how far it would move with other prompts."""

from dataclasses import dataclass
from numbers import Real

import numpy as np

from .._checks import generator, moderate
from ._input import counts_and_temperatures, read_pool
from .subsets import subset_averages

PROMPTS = 512  # prompts held in memory as a table at a time


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts with its bootstrap interval.

    Attributes
    ----------
    value, low, high : float
    """

    value: float
    low: float
    high: float

    def __str__(self):
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


@dataclass(frozen=True)
class Curve:
    """Mean reranked loss over prompts with bootstrap intervals.

    Attributes
    ----------
    k, T : ndarray
        As given, scalar or 1-D.
    mean, low, high : ndarray, shape k.shape + T.shape
        Mean over prompts, and the ends of its percentile interval.
    standard_error : ndarray, shape k.shape + T.shape
        Standard deviation over prompts divided by sqrt(prompts).
    level : float
        Coverage the interval aims at, pointwise.
    prompts : int
        Number of prompts.
    resampled : ndarray, shape (resamples,) + k.shape + T.shape
        Mean of every resample of prompts. The same prompts serve all k and T,
        so differences between columns are paired.
    """

    k: np.ndarray
    T: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    standard_error: np.ndarray
    level: float
    prompts: int
    resampled: np.ndarray


def curve(k, T, *, loss, reward, level=0.95, seed, resamples=1000, progress=False):
    """Mean over prompts of the unbiased reranked loss, with intervals.

    Whole curves are resampled at once: a resample draws prompts with
    replacement and keeps all k and T of a drawn prompt together. That carries
    both the spread between prompts and the finite number of samples a prompt.

    Parameters
    ----------
    k, T, loss, reward
        As for `reranked_loss`. At least two prompts.
    level : float
        Coverage of the interval, in (0, 1).
    seed : int or numpy.random.Generator
    resamples : int
        Number of bootstrap resamples, at least 100.
    progress : bool or str
        Show a progress bar (needs tqdm) once it takes more than a second; under this name, if one is given.

    Returns
    -------
    Curve
        Memory does not grow with the number of prompts beyond the pool itself.

    Raises
    ------
    ValueError
        As `reranked_loss`, and for one prompt or a level outside (0, 1).

    Examples
    --------
    >>> import numpy as np
    >>> from bestofk import pool
    >>> rng = np.random.default_rng(1)
    >>> wrong = rng.random((200, 8)) < 0.5
    >>> score = rng.normal(size=(200, 8)) - wrong
    >>> found = pool.curve([1, 8], 0, loss=wrong, reward=score, seed=0)
    >>> found.mean.round(2), found.low.round(2), found.high.round(2)
    (array([0.5 , 0.21]), array([0.48, 0.16]), array([0.52, 0.26]))
    """
    k_given, T_given = k, T
    k, T, shape = counts_and_temperatures(k, T)
    check_interval(level, resamples)
    pool = read_pool(loss, reward, k)
    if len(pool.sizes) < 2:
        raise ValueError(f"loss must hold at least 2 prompts for an interval over prompts, got {len(pool.sizes)}")
    moderate(np.array([max(np.abs(row).max() for row in pool.loss)]), "loss, in its largest entry,")  # for its squares
    rng = generator(seed)
    table = lambda prompts: subset_averages(pool.take(prompts), k, T)  # noqa: E731
    mean, error, resampled = resampled_means(len(pool.sizes), table, resamples, rng, progress)
    low, high = interval(resampled, level)
    mean, low, high, error = (values.reshape(shape) for values in (mean, low, high, error))
    resampled = resampled.reshape((resamples,) + shape)
    return Curve(np.array(k_given), np.array(T_given), mean, low, high, error, level, len(pool.sizes), resampled)


def resampled_means(prompts, values, resamples, rng, progress=False):
    """Means over prompts of a table that is made part by part.

    `values(positions)` gives an array (len(positions), ...). Returned are the mean (...), its
    standard error (...), and the mean of every resample of prompts (resamples, ...).

    How often a resample holds each prompt is multinomial, drawn prompt by prompt: given how many
    draws are left, the next prompt's number is binomial. So it does not matter how large the parts are.
    """
    left = np.full(resamples, prompts)
    mean = squares = resampled = 0.0
    for rows in parts(prompts, progress):
        start, count = rows[0], len(rows)
        table = np.asarray(values(rows))
        shift = table.mean(axis=0) - mean
        mean = mean + shift * count / (start + count)
        squares = squares + ((table - table.mean(axis=0)) ** 2).sum(axis=0) + shift**2 * start * count / (start + count)
        times = np.empty((count, resamples))
        for row in range(count):
            times[row] = rng.binomial(left, 1 / (prompts - start - row))
            left -= times[row].astype(int)
        resampled = resampled + np.tensordot(times.T, table, axes=1)
    return mean, np.sqrt(squares / max(prompts - 1, 1) / prompts), resampled / prompts


def estimate(values, level, resamples, rng):
    """Mean over prompts of an array (prompts, ...), and its interval: three arrays (...)."""
    mean, _, resampled = resampled_means(len(values), lambda prompts: values[prompts], resamples, rng)
    return mean, *interval(resampled, level)


def interval(resampled, level):
    """Percentile interval over the first axis."""
    return np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)


def check_interval(level, resamples):
    """Refuse a level outside (0, 1) and too few resamples to read a quantile from."""
    if not (isinstance(level, Real) and 0 < level < 1):
        raise ValueError(f"level must be between 0 and 1, got {level!r}")
    if not (isinstance(resamples, (int, np.integer)) and resamples >= 100):
        raise ValueError(f"resamples must be an integer >= 100, got {resamples}")


def parts(prompts, progress=False):
    """Positions of the prompts, so many at a time as are held in memory as a table."""
    rows = (np.arange(start, min(start + PROMPTS, prompts)) for start in range(0, prompts, PROMPTS))
    return bar(rows, prompts, "prompts", progress, len)


def bar(items, total, what, progress, size=lambda item: 1):
    """Yield `items` under a progress bar with rate and remaining time, if `progress` (its name, if it is a text).

    The bar is plain text in notebooks, too: papermill's log shows no widgets.
    """
    if not progress:
        yield from items
        return
    from tqdm import tqdm

    name = progress if isinstance(progress, str) else what
    with tqdm(total=total, desc=name, unit=what[:-1], delay=1, mininterval=1, leave=False) as shown:
        for item in items:
            yield item
            shown.update(size(item))
