"""Does the loss turn back before k = N, and would the theory have said so?"""

from dataclasses import dataclass

import numpy as np

from .._checks import generator, positive
from ._input import counts_and_temperatures, read_pool
from .choice import Optimum, choose
from .curves import check_interval, estimate, parts
from .judging import prompt_turn, scored_prompts, scored_samples
from .subsets import subset_averages

MEASURED = ("monotone", "finite", "harmful", "open")
WITH = {(False, True): "monotone", (False, False): "finite", (True, False): "harmful", (True, True): "open"}
PREDICTED = ("rises", "falls", "open")


@dataclass(frozen=True)
class Regimes:
    """The regime of a judge at each temperature, predicted and measured.

    Attributes
    ----------
    k, T : ndarray
        1-D.
    turn, turn_low, turn_high : ndarray (len(T),)
        Mean over prompts of (E[w^2]/E[w]^2) (loss at k = inf under T/2 minus under T), w = exp(r/T), each prompt's
        samples taken as its law.
    predicted : tuple of str (len(T),)
        "rises" to its limit k -> inf, so that a finite k is best, where the interval of `turn` is positive; "falls" to it
        where it is negative, which leaves both a finite and no best k possible; "open" where it holds 0.
    measured : tuple of str (len(T),)
        "monotone": the largest k is in the confidence set of the best k and k = 1 is not; "finite": neither is;
        "harmful": k = 1 is and the largest is not; "open": both are.
    optimum : Optimum
        The measured table and the confidence sets.
    """

    k: np.ndarray
    T: np.ndarray
    turn: np.ndarray
    turn_low: np.ndarray
    turn_high: np.ndarray
    predicted: tuple
    measured: tuple
    optimum: Optimum


def regimes(k, T, *, loss, reward, level=0.95, seed, resamples=1000, progress=False):
    """Predict from the law of the scores whether the loss turns back, and look whether it did.

    The criterion is sufficient, at large k: for T > 0 the loss of one law approaches its limit as
    delta_k = delta_inf - turn / k + ..., so a positive mean turn means that some finite k is better
    than k = inf. A loss that dips early and comes down again is not excluded by a negative one, and nothing
    says that k <= N is large.

    Parameters
    ----------
    k, loss, reward, level, seed, resamples, progress
        As for `optimum`; k = 1 must be among the candidates. Unscored samples are left out, as in `report`.
    T : float or 1-D array of float
        Finite and > 0.

    Returns
    -------
    Regimes

    Examples
    --------
    >>> import numpy as np
    >>> from bestofk import pool
    >>> rng = np.random.default_rng(1)
    >>> answer = rng.normal(size=(300, 32))
    >>> found = pool.regimes([1, 2, 4, 8, 32], [0.5, 40], loss=answer**2, reward=-(answer - 2) ** 2, seed=0)
    >>> found.predicted, found.measured
    (('rises', 'falls'), ('finite', 'monotone'))
    """
    k, T, _ = counts_and_temperatures(k, T)
    positive(T, "T")
    check_interval(level, resamples)
    if k.min() > 1 or k.max() == 1:
        raise ValueError(f"k must hold 1 and a larger candidate, got {k.tolist()}")
    pool = read_pool(loss, reward, k)
    kept, _, _ = scored_prompts(pool, max(3, int(k.max())))
    scored = lambda rows: scored_samples(pool.take(kept[rows]))  # noqa: E731
    turns = np.empty((len(kept), len(T)))
    for rows in parts(len(kept)):
        for prompts, block_loss, block_reward in scored(rows).blocks():
            turns[rows[prompts]] = prompt_turn(block_loss, block_reward, T)
    turn, low, high = estimate(turns, level, resamples, generator(seed))
    table = lambda rows: subset_averages(scored(rows), k, T)  # noqa: E731
    found = choose(k, T, table, len(kept), level, seed, resamples, progress)
    one, most = found.k_set[k.argmin()], found.k_set[k.argmax()]
    return Regimes(
        k=k,
        T=T,
        turn=turn,
        turn_low=low,
        turn_high=high,
        predicted=tuple("rises" if a > 0 else "falls" if b < 0 else "open" for a, b in zip(low, high)),
        measured=tuple(WITH[bool(a), bool(b)] for a, b in zip(one, most)),
        optimum=found,
    )


def confusion(cases):
    """Count regimes: predicted name -> measured name -> number of cases.

    Parameters
    ----------
    cases : iterable of Regimes
        Every temperature of every one is a case.

    Returns
    -------
    dict of dict of int

    Examples
    --------
    >>> confusion([])["rises"]
    {'monotone': 0, 'finite': 0, 'harmful': 0, 'open': 0}
    """
    table = {predicted: dict.fromkeys(MEASURED, 0) for predicted in PREDICTED}
    for case in cases:
        for predicted, measured in zip(case.predicted, case.measured):
            table[predicted][measured] += 1
    return table
