"""How wrong is a choice of k and T that was made on a few samples a prompt?"""

from dataclasses import dataclass

import numpy as np

from .. import reranking
from .._checks import generator, sample_count, scalar
from ._input import Pool, counts_and_temperatures, read_pool
from .choice import least
from .curves import bar, parts
from .subsets import subset_averages, tie_averaged

METHODS = ("subsets", "replacement", "power law")
FAR = 800.0  # an unscored sample is given a reward so many temperatures below the others


@dataclass(frozen=True)
class Pilot:
    """Choices made on small pilots of a pool, and what they cost on the whole pool.

    Attributes
    ----------
    k, T : ndarray
        The candidates.
    samples : int
        Samples a prompt of a pilot.
    truth : ndarray (len(k), len(T))
        Mean reranked loss of the whole pool.
    best : tuple (k, T)
        Candidate of least loss on the whole pool.
    chosen_k, chosen_T : dict of str to ndarray (draws,)
        What every pilot chose, by
        "subsets": least mean over all k-subsets of the pilot, so k <= samples;
        "replacement": least loss with the pilot's samples as the law, any k;
        "power law" (T = 0 alone): the largest k if the loss falls over the upper two octaves of k <= samples,
        in the least-squares line of ln(loss) on ln(k), else as "subsets".
    promised : dict of str to ndarray (draws,)
        Loss that the pilot expected of its choice; the power law's line is taken to the largest k.
    regret : dict of str to ndarray (draws,)
        Loss of that choice on the whole pool, minus the least: never negative.
    """

    k: np.ndarray
    T: np.ndarray
    samples: int
    truth: np.ndarray
    best: tuple
    chosen_k: dict
    chosen_T: dict
    promised: dict
    regret: dict


def pilot(k, T, *, loss, reward, samples=16, draws=100, methods=METHODS, seed, progress=False):
    """Choose the best k and T on small pilots of a pool, many times, and compare with the whole pool.

    A pilot keeps `samples` random samples of every prompt.

    Parameters
    ----------
    k, T, loss, reward
        As for `reranked_loss`; `k` and `T` are the candidates. The truth is the whole pool's estimate, which
        contains the pilot's samples: their share is samples / N.
    samples : int
        Samples of every prompt in a pilot, at least 2 and fewer than any prompt has.
    draws : int
        Number of pilots.
    methods : sequence of str
        Ways to choose, of `Pilot.chosen_k`'s; "power law" is passed over unless T = 0 is the only temperature.
    seed : int or numpy.random.Generator
    progress : bool
        Show a progress bar over the pilots (needs tqdm).

    Returns
    -------
    Pilot

    Raises
    ------
    ValueError
        As `reranked_loss`; also if `samples` is not smaller than every prompt's N, or no candidate k is <= samples.

    Notes
    -----
    At T = 0 a hundred pilots of 600 prompts take a second or two. At other temperatures "replacement" costs about
    a millisecond a pilot, prompt and temperature.

    Examples
    --------
    >>> import numpy as np
    >>> from bestofk import pool
    >>> rng = np.random.default_rng(1)
    >>> answer = rng.normal(size=(300, 64))
    >>> found = pool.pilot([1, 2, 4, 16, 64], 0, loss=answer**2, reward=-(answer - 1.5) ** 2, draws=20, seed=0)
    >>> found.best, np.unique(found.chosen_k["replacement"])
    ((2, 0.0), array([2]))
    """
    k, T, _ = counts_and_temperatures(k, T)
    pool = read_pool(loss, reward, k)
    samples, draws = scalar(samples, "samples", sample_count), scalar(draws, "draws", sample_count)
    if not 2 <= samples < pool.sizes.min():
        raise ValueError(
            f"samples must be at least 2 and fewer than every prompt has, got {samples} but prompt "
            f"{pool.sizes.argmin()} has {pool.sizes.min()}"
        )
    if k.min() > samples:
        raise ValueError(f"k must hold a candidate that a pilot of {samples} samples can try, got {k.min()} and more")
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not len(methods):
        raise ValueError(f"methods must be some of {', '.join(METHODS)}, got {methods!r}")
    methods = [name for name in methods if name != "power law" or T.max() == 0]
    rng = generator(seed)
    truth = _mean(pool, lambda part: subset_averages(part, k, T).mean(axis=0))
    chosen = {name: np.empty((draws, 2), dtype=int) for name in methods}
    promised = {name: np.empty(draws) for name in methods}
    reach = np.flatnonzero(k <= samples)
    for draw in bar(range(draws), draws, "pilots", progress):
        part = _drawn(pool, samples, rng)
        near = _mean(part, lambda part: subset_averages(part, k[reach], T).mean(axis=0))
        i, j = least(near)
        found = {"subsets": ((reach[i], j), near[i, j])}
        if "replacement" in methods:
            far = _mean(part, lambda part: _finite(part, k, T))
            i, j = least(far)
            found["replacement"] = (i, j), far[i, j]
        if "power law" in methods:
            found["power law"] = _extrapolated(k, reach, near[:, 0], found["subsets"])
        for name in methods:
            chosen[name][draw], promised[name][draw] = found[name]
    i, j = least(truth)
    return Pilot(
        k=k,
        T=T,
        samples=samples,
        truth=truth,
        best=(int(k[i]), float(T[j])),
        chosen_k={name: k[values[:, 0]] for name, values in chosen.items()},
        chosen_T={name: T[values[:, 1]] for name, values in chosen.items()},
        promised=promised,
        regret={name: truth[values[:, 0], values[:, 1]] - truth[i, j] for name, values in chosen.items()},
    )


def _mean(pool, mean):
    """Mean over prompts, from `mean` of one part of the pool after the other."""
    prompts = len(pool.sizes)
    return sum(len(rows) * mean(pool.take(rows)) for rows in parts(prompts)) / prompts


def _drawn(pool, samples, rng):
    """A pool of so many random samples of every prompt, as tables."""
    loss, reward = (np.empty((len(pool.sizes), samples)) for _ in range(2))
    for prompts, block_loss, block_reward in pool.blocks():
        for rows in parts(len(prompts)):
            order = rng.random((len(rows), block_loss.shape[1]))
            kept = np.argpartition(order, samples - 1, axis=1)[:, :samples]
            loss[prompts[rows]] = np.take_along_axis(block_loss[rows], kept, axis=1)
            reward[prompts[rows]] = np.take_along_axis(block_reward[rows], kept, axis=1)
    return Pool(loss, reward, np.full(len(loss), samples))


def _finite(pool, k, T):
    """Mean loss with each prompt's samples as its law, drawn with replacement: (len(k), len(T))."""
    table = np.empty((len(k), len(T)))
    size = pool.loss.shape[1]
    for column, t in enumerate(T):
        if t == 0:
            rank = np.arange(size)
            weight = ((size - rank) / size) ** k[:, None] - ((size - rank - 1) / size) ** k[:, None]
            table[:, column] = weight @ tie_averaged(pool.loss, pool.reward).mean(axis=0)
            continue
        scored = np.isfinite(pool.reward)
        lowest = np.min(pool.reward, axis=1, where=scored, initial=np.inf, keepdims=True)
        below = np.where(np.isfinite(lowest), lowest, 0.0) - (FAR * t if t < np.inf else 1.0)
        reward = np.where(scored, pool.reward, below)
        table[:, column] = reranking.reranked_loss(k, t, loss=pool.loss, reward=reward).mean(axis=0)
    return table


def _extrapolated(k, reach, curve, fallback):
    """The power law's choice (index of k, of T) and promise."""
    end = reach[np.argmax(k[reach])]
    window = k[reach] >= k[end] / 4
    if window.sum() >= 2 and (curve[window] > 0).all():
        slope, start = np.polyfit(np.log(k[reach][window]), np.log(curve[window]), 1)
        if slope < 0:
            return (int(k.argmax()), 0), np.exp(start + slope * np.log(k.max()))
    return fallback
