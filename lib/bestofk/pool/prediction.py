"""Does the solvable model predict a language model whose answers are numbers?

Here the theory's loss is literal: the answer is a number y, the loss is
(y - teacher)^2 and the judge's score is -(y - target)^2. `answer_laws` measures
each prompt's law from some of its samples, `predict` turns it into the reranked
loss by three models with nothing fitted to that loss, and `confront` holds the
curves against other samples of the same prompts.

Everything is measured in the prompt's own spread s: the loss in s^2, and the
selection temperature as t = T / (2 s^2), as in the solvable model.
"""

from dataclasses import dataclass

import numpy as np

from .. import extremes, gaussian, reranking
from .._checks import generator, real, sample_count, temperature
from ._input import read_pool
from .choice import Optimum, choose
from .curves import check_interval, estimate
from .subsets import subset_averages

FARTHEST = 900.0  # a target farther from the mean, in standard deviations, is beyond `gaussian`


@dataclass(frozen=True)
class AnswerLaws:
    """What a sample of answers says about the law of one, prompt by prompt; every field has shape (prompts,).

    Attributes
    ----------
    mean, std : ndarray
        Moments of the answers; `std` is the root of the mean squared distance from `mean`.
    teacher, target : ndarray
        The right answer, and the answer that the judge prefers.
    at_teacher, at_target : ndarray
        Share of answers that are exactly the one and the other.
    radius : ndarray
        Distance from `target` to the nearest ceil(sqrt(N)) answers, which the next fields describe; 0
        where all of them are `target` itself.
    left, right : ndarray
        Density of answers below and above `target` within `radius`, an answer at the target counting half on each
        side (inf where `radius` is 0).
    beta : ndarray
        Maximum-likelihood power of the density within `radius` (Hill's estimator);
        -1 where some answer is `target` itself: an atom is no density.
    """

    mean: np.ndarray
    std: np.ndarray
    teacher: np.ndarray
    target: np.ndarray
    at_teacher: np.ndarray
    at_target: np.ndarray
    radius: np.ndarray
    left: np.ndarray
    right: np.ndarray
    beta: np.ndarray


@dataclass(frozen=True)
class Prediction:
    """Reranked losses predicted from some samples of every prompt, in units of std^2.

    Attributes
    ----------
    k : ndarray of int
    t : ndarray
        Temperatures T / (2 std^2) with the prompt's own std.
    std : ndarray (prompts,)
        The unit.
    models : dict of str to ndarray (prompts, len(k), len(t))
        "gaussian": the solvable model with the measured mean and std;
        "finite": the measured answers as the law, drawn with replacement;
        "extreme": the extreme-value law of the measured density at the target; (prompts, len(k)), best-of-k only.
    wrong : ndarray (prompts, len(k))
        Chance that best-of-k keeps an answer that is not the teacher's, by the finite law.
    """

    k: np.ndarray
    t: np.ndarray
    std: np.ndarray
    models: dict
    wrong: np.ndarray


@dataclass(frozen=True)
class Confrontation:
    """Predictions held against other samples of the same prompts.

    Attributes
    ----------
    k, t : ndarray
    mean, low, high : ndarray (len(k), len(t))
        Mean over prompts of the loss measured on the other samples, in units of the predicted std^2, with its interval.
    wrong : ndarray (len(k),)
        Measured share of best-of-k answers that are not the teacher's.
    gap : dict of str to 3 ndarrays (len(k), len(t)), or (len(k),) for "extreme" and "wrong"
        Mean over prompts of predicted minus measured, and the ends of its interval: prompts resampled,
        prediction and measurement together, so that the luck of both halves is covered. "wrong" is the
        gap of the predicted share of wrong answers.
    optimum : bestofk.pool.Optimum
        Best k and t of the measured table, with their confidence sets; its `T` is t.
    """

    k: np.ndarray
    t: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    wrong: np.ndarray
    gap: dict
    optimum: Optimum


def halves(samples, seed):
    """Split the positions 0..samples-1 into two random halves, sorted (the first is larger if `samples` is odd).

    Examples
    --------
    >>> halves(6, seed=0)
    (array([2, 3, 5]), array([0, 1, 4]))
    """
    samples = int(sample_count(samples, "samples"))
    if samples < 4:
        raise ValueError(f"samples must be at least 4 to be split in halves, got {samples}")
    shuffled = generator(seed).permutation(samples)
    cut = (samples + 1) // 2
    return np.sort(shuffled[:cut]), np.sort(shuffled[cut:])


def answer_laws(answer, *, teacher, target):
    """Measure the law of an answer, prompt by prompt.

    Parameters
    ----------
    answer : array (prompts, N) or list of 1-D arrays
        Finite numbers; unreadable answers must be left out. At least two a prompt.
    teacher, target : array (prompts,)
        The right answer, and the one that the judge prefers: its score of y is -(y - target)^2.

    Returns
    -------
    AnswerLaws

    Examples
    --------
    >>> laws = answer_laws([[1.0, 2.0, 2.0, 3.0], [0.0, 0.0, 4.0, 4.0]], teacher=[2, 1], target=[2, 2])
    >>> laws.mean, laws.at_target, laws.beta
    (array([2., 2.]), array([0.5, 0. ]), array([-1., inf]))
    """
    rows, teacher, target = _answers(answer, teacher, target)
    near = [_near(row - goal) for row, goal in zip(rows, target)]
    radius, left, right, beta = (np.array(values) for values in zip(*near))
    return AnswerLaws(
        mean=np.array([row.mean() for row in rows]),
        std=np.array([row.std() for row in rows]),
        teacher=teacher,
        target=target,
        at_teacher=np.array([np.mean(row == goal) for row, goal in zip(rows, teacher)]),
        at_target=np.array([np.mean(row == goal) for row, goal in zip(rows, target)]),
        radius=radius,
        left=left,
        right=right,
        beta=beta,
    )


def predictable(laws):
    """Tell which prompts `predict` accepts: answers that differ, and a target within 900 std of their mean.

    Examples
    --------
    >>> laws = answer_laws([[1.0, 2.0, 3.0], [7.0, 7.0, 7.0]], teacher=[2, 7], target=[2, 7])
    >>> predictable(laws)
    array([ True, False])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return (laws.std > 0) & (np.abs(laws.target - laws.mean) <= FARTHEST * laws.std)


def predict(k, t, *, answer, teacher, target):
    """Predict the reranked loss from samples, by three models that are not fitted to it.

    Parameters
    ----------
    k : int or 1-D array of int
    t : float or 1-D array of float
        T / (2 std^2) in [0, inf], std the prompt's own.
    answer, teacher, target
        As for `answer_laws`.

    Returns
    -------
    Prediction

    Raises
    ------
    ValueError
        If a prompt's answers are all equal (it has no spread to measure in), or its target is more
        than 900 std from their mean; `predictable` tells which.

    Notes
    -----
    The finite law draws with replacement: its bias against fresh samples is about
    k(k-1)/(2N) (delta_{k-1} - delta_k), chapter ``pool``. The extreme-value law takes the density within the
    nearest ceil(sqrt(N)) answers as constant on either side of the target
    (`extremes.misaligned_loss` with beta = 0); where all of them are the target itself the law
    is an atom and the prediction is its limit, (target - teacher)^2, for every k.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> found = predict([1, 16], [0, 1], answer=rng.normal(size=(1, 400)), teacher=[0], target=[0])
    >>> found.models["gaussian"][0].round(3)  # mean 0 and std 1 are measured, so the loss at k = 1 is not quite 1
    array([[1.008, 1.008],
           [0.011, 0.515]])
    """
    k, t = np.atleast_1d(sample_count(k)), np.atleast_1d(temperature(t, "t"))
    rows, teacher, target = _answers(answer, teacher, target)
    laws = answer_laws(rows, teacher=teacher, target=target)
    bad = ~predictable(laws)
    if bad.any():
        prompt = int(bad.argmax())
        raise ValueError(
            f"answer must have a spread, and the target within {FARTHEST:g} std of the mean, got std "
            f"{laws.std[prompt]:g} and distance {abs(laws.target - laws.mean)[prompt]:g} at prompt {prompt}: leave it out"
        )
    finite = np.empty((len(rows), len(k), len(t)))
    wrong = np.empty((len(rows), len(k)))
    for i, row in enumerate(rows):
        off, reward = (row - teacher[i]) / laws.std[i], -(((row - target[i]) / laws.std[i]) ** 2)
        finite[i] = reranking.reranked_loss(k, 2 * t, loss=off**2, reward=reward)
        wrong[i] = reranking.reranked_loss(k, 0, loss=(off != 0).astype(float), reward=reward)
    return Prediction(
        k=k,
        t=t,
        std=laws.std,
        models={"gaussian": _gaussian(k, t, laws), "finite": finite, "extreme": _extreme(k, laws)},
        wrong=wrong,
    )


def confront(prediction, *, answer, teacher, target, level=0.95, seed, resamples=1000):
    """Hold predictions against other samples of the same prompts.

    Parameters
    ----------
    prediction : Prediction
    answer, teacher, target
        As for `answer_laws`, of samples that the prediction has not seen; every prompt needs
        at least as many as the largest k.
    level, seed, resamples
        As for `curve`.

    Returns
    -------
    Confrontation

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> answer = rng.normal(size=(60, 64))
    >>> task = dict(teacher=np.zeros(60), target=np.zeros(60))
    >>> found = predict([1, 4, 16], 0, answer=answer[:, :32], **task)
    >>> test = confront(found, answer=answer[:, 32:], **task, seed=0)
    >>> mean, low, high = test.gap["gaussian"]
    >>> bool((low < 0).all() and (high > 0).all())
    True
    """
    check_interval(level, resamples)
    rows, teacher, target = _answers(answer, teacher, target)
    if len(rows) != len(prediction.std):
        raise ValueError(f"answer has {len(rows)} prompts and the prediction {len(prediction.std)}: they must be the same")
    loss = [((row - goal) / s) ** 2 for row, goal, s in zip(rows, teacher, prediction.std)]
    reward = [-(((row - goal) / s) ** 2) for row, goal, s in zip(rows, target, prediction.std)]
    k, T = prediction.k, 2 * prediction.t
    table = subset_averages(read_pool(loss, reward, k), k, T)
    wrong = [(values > 0).astype(float) for values in loss]
    wrong = subset_averages(read_pool(wrong, reward, k), k, np.zeros(1))[:, :, 0]
    rng = generator(seed)
    gap = {}
    for name, predicted in {**prediction.models, "wrong": prediction.wrong}.items():
        seen = wrong if name == "wrong" else table[:, :, 0] if predicted.ndim == 2 else table
        gap[name] = tuple(estimate(predicted - seen, level, resamples, rng))
    found = choose(k, T, lambda rows: table[rows], len(rows), level, seed, resamples)
    return Confrontation(k, prediction.t, found.mean, found.low, found.high, wrong.mean(axis=0), gap, found)


def _answers(answer, teacher, target):
    """Rows of finite answers, and one teacher and one target each."""
    rows = list(read_pool(answer, answer).loss)
    sizes = [len(row) for row in rows]
    if min(sizes) < 2:
        raise ValueError(f"answer must hold at least 2 answers a prompt, got {min(sizes)} at prompt {np.argmin(sizes)}")
    teacher, target = real(teacher, "teacher"), real(target, "target")
    for name, values in (("teacher", teacher), ("target", target)):
        if values.shape != (len(rows),):
            raise ValueError(f"{name} must hold one number a prompt, shape ({len(rows)},), got shape {values.shape}")
    return rows, teacher, target


def _near(away):
    """Radius, densities on the two sides and power of the answers nearest to the target, from y - target."""
    distance = np.sort(np.abs(away))
    nearest = int(np.ceil(np.sqrt(len(away))))
    radius = distance[nearest - 1]
    if radius == 0:
        return 0.0, np.inf, np.inf, -1.0
    inside = np.abs(away) <= radius
    atom = np.sum(away == 0) / 2
    sides = [(np.sum(inside & (sign * away > 0)) + atom) / (radius * len(away)) for sign in (-1, 1)]
    if atom:
        return radius, *sides, -1.0
    rate = np.log(radius / distance[: nearest - 1]).sum()
    return radius, *sides, (nearest - 1) / rate - 1 if rate > 0 else np.inf


def _gaussian(k, t, laws):
    """The solvable model in units of std^2: (prompts, len(k), len(t))."""
    unit = {"mean": 0.0, "std": 1.0}
    standard = {name: (getattr(laws, field) - laws.mean) / laws.std
                for name, field in (("teacher", "teacher"), ("reward", "target"))}  # fmt: skip
    return gaussian.reranked_loss(k, 2 * t, **unit, **standard)


def _extreme(k, laws):
    """The extreme-value law in units of std^2: (prompts, len(k))."""
    shift = (laws.target - laws.teacher) / laws.std
    loss = np.tile(shift[:, None] ** 2, len(k))
    smooth = laws.radius > 0
    density = {name: (side * laws.std)[smooth] for name, side in (("c_minus", laws.left), ("c_plus", laws.right))}
    loss[smooth] = extremes.misaligned_loss(k, **density, beta=0, misspecification=shift[smooth])
    return loss
