"""bestofk.reranking against enumeration, mpmath, brute-force sums, simulation and limits."""

import itertools
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestofk import reranking


def multisets(k, prob):
    """All ways to draw k samples, as (counts of the atoms, probability)."""
    for draw in itertools.combinations_with_replacement(range(len(prob)), k):
        counts = [draw.count(i) for i in range(len(prob))]
        ways = math.factorial(k)
        for n in counts:
            ways //= math.factorial(n)
        chance = ways
        for p, n in zip(prob, counts):
            chance = chance * p**n
        yield counts, chance


def enumerated(k, T, loss, reward, prob):
    """Reranked loss by enumeration, 40 digits, straight from the definition."""
    with mpmath.workdps(40):
        prob = [mpmath.mpf(p) for p in prob]
        total = sum(prob)
        weight = [mpmath.exp(mpmath.mpf(r) / mpmath.mpf(T)) for r in reward]
        value = mpmath.mpf(0)
        for counts, chance in multisets(k, prob):
            terms = [n * w for n, w in zip(counts, weight)]
            value += chance * mpmath.fdot(terms, loss) / sum(terms)
        return value / total**k


def binary(k, T, prob, gap):
    """Two atoms, loss 0 with reward `gap` and loss 1 with reward 0: a binomial sum, 40 digits."""
    with mpmath.workdps(40):
        p, w = mpmath.mpf(prob), mpmath.exp(mpmath.mpf(gap) / mpmath.mpf(T))
        return sum(
            mpmath.binomial(k, c) * p**c * (1 - p) ** (k - c) * (k - c) / (k - c + c * w) for c in range(k + 1)
        )


LAWS = [
    dict(loss=[1.0, 0.3, 0.0, 2.0], reward=[0.1, 0.9, 0.4, 0.4], prob=[0.125, 0.25, 0.5, 0.125]),
    dict(loss=[0.0, 1.0, 1.0], reward=[3.0, -2.0, 2.5], prob=[0.015625, 0.484375, 0.5]),
    dict(loss=[-1.0, 1.0, 4.0, 0.5, 0.25], reward=[0.0, 1.0, 1.5, 1.75, 40.0], prob=[0.25, 0.25, 0.25, 0.125, 0.125]),
]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("T", [1e-3, 0.05, 0.3, 1.0, 7.0, 1e4])
def test_definition_by_enumeration(law, T):
    ks = [1, 2, 3, 5, 8]
    got = reranking.reranked_loss(ks, T, **law)
    size = reranking.reranked_loss(ks, T, **law | {"loss": np.abs(law["loss"])})
    want = np.array([float(enumerated(k, T, **law)) for k in ks])
    assert (abs(got - want) <= 2e-14 * size).all()


def test_best_of_k_is_exact_with_ties():
    """T = 0 by rational enumeration; equal rewards share equally."""
    loss, reward = [1, 0, 3, Fraction(1, 2), 2], [2, 5, 5, 1, 2]
    prob = [Fraction(n, 16) for n in (3, 1, 2, 7, 3)]
    for k in (1, 2, 3, 6):
        want = Fraction(0)
        for counts, chance in multisets(k, prob):
            best = max(r for r, n in zip(reward, counts) if n)
            tied = [(n, x) for r, n, x in zip(reward, counts, loss) if n and r == best]
            want += chance * sum(n * x for n, x in tied) / sum(n for n, _ in tied)
        got = reranking.reranked_loss(k, 0, loss=[float(x) for x in loss], reward=reward, prob=[float(p) for p in prob])
        assert got == pytest.approx(float(want), rel=4e-15)


@pytest.mark.parametrize(
    "k, T, prob, gap",
    [(50, 1, 0.25, 1), (1000, 0.5, 1e-3, 2.0), (1000, 1.0, 0.5, 80.0), (3000, 0.3, 0.01, 3.0), (99, 2.0, 0.3, -5.0)],
)
def test_two_atoms_against_binomial_sum(k, T, prob, gap):
    got = reranking.reranked_loss(k, T, loss=[0.0, 1.0], reward=[gap, 0.0], prob=[prob, 1 - prob])
    assert got == pytest.approx(float(binary(k, T, prob, gap)), rel=2e-13)


@pytest.mark.parametrize("T", [1e-2, 0.1, 1.0, 30.0])
def test_million_samples_against_mpmath_quadrature(T):
    """k = 1e6 by another route: the Laplace integral in u, in ln u, 20 digits."""
    law = LAWS[0]
    k = 10**6
    with mpmath.workdps(20):
        top = max(law["reward"])
        w = [mpmath.exp((mpmath.mpf(r) - top) / mpmath.mpf(T)) for r in law["reward"]]
        p, x = [mpmath.mpf(q) for q in law["prob"]], [mpmath.mpf(q) for q in law["loss"]]

        def integrand(s):
            u = mpmath.exp(s) / k
            lost = -sum(q * mpmath.expm1(-u * a) for q, a in zip(p, w))
            return u * k * sum(q * y * a * mpmath.exp(-u * a) for q, y, a in zip(p, x, w)) * mpmath.exp(
                (k - 1) * mpmath.log1p(-lost)
            )

        want = mpmath.quad(integrand, mpmath.linspace(-40, 12, 27))
    assert reranking.reranked_loss(k, T, **law) == pytest.approx(float(want), rel=1e-12)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-20, 20), st.integers(1, 50)), min_size=1, max_size=12),
    st.integers(1, 10**6),
    st.floats(1e-3, 1e3) | st.sampled_from([0.0, math.inf, 1e-300, 1e300]),
)
def test_chances_of_being_kept_form_a_law(atoms, k, T):
    """With indicator losses the function returns who is kept: chances >= 0 that sum to 1, rising with the reward."""
    reward, mass = np.array(atoms, float).T
    chance = reranking.reranked_loss(k, T, loss=np.eye(mass.size), reward=reward, prob=mass / mass.sum())
    assert (chance >= 0).all()
    assert chance.sum() == pytest.approx(1, abs=1e-13)
    order = np.argsort(reward)
    per_mass = (chance / mass * mass.sum())[order]
    assert (np.diff(per_mass) >= -1e-12 * per_mass[1:] - 1e-300).all()


def test_limits():
    law = LAWS[0]
    mean = np.dot(law["loss"], law["prob"])
    np.testing.assert_allclose(reranking.reranked_loss([1, 7, 10**6], np.inf, **law), mean, rtol=1e-15)
    np.testing.assert_allclose(reranking.reranked_loss(1, [0, 0.2, 5], **law), mean, rtol=1e-15)
    ks = [1, 2, 9, 1000]
    np.testing.assert_allclose(
        reranking.reranked_loss(ks, 1e-7, **law), reranking.reranked_loss(ks, 0, **law), rtol=1e-14
    )
    np.testing.assert_allclose(reranking.reranked_loss(ks, 1e9, **law), mean, rtol=3e-9)
    tilt = np.array(law["prob"]) * np.exp(np.array(law["reward"]) / 0.3)
    want = tilt @ law["loss"] / tilt.sum()
    assert reranking.limit(0.3, **law) == pytest.approx(want, rel=1e-14)
    assert reranking.limit(0, **law) == 0.3 and reranking.limit(np.inf, **law) == pytest.approx(mean)
    assert reranking.limit(0, loss=[1.0, 5.0, 2.0], reward=[0.0, 1.0, 1.0], prob=[0.5, 0.125, 0.375]) == 2.75
    # delta_k = limit + D/k + ...: the gap shrinks as 1/k
    gap = reranking.reranked_loss([10**5, 10**6], 0.3, **law) - want
    assert gap[0] / gap[1] == pytest.approx(10, rel=1e-3)


def test_huge_reward_gaps():
    """Gaps of a million (and of 1e300) temperatures: only the order of the rewards is left."""
    loss, prob = [1.0, 0.25, 0.5, 3.0], [0.25, 0.5, 0.125, 0.125]
    want = reranking.reranked_loss([1, 2, 5, 10**6], 0, loss=loss, reward=[1, 2, 3, 4], prob=prob)
    for reward, T in (([1, 2, 3, 4], 1e-6), ([1, 2, 3, 4], 5e-324), ([-1.7e308, -1e308, 1e308, 1.7e308], 1.0)):
        got = reranking.reranked_loss([1, 2, 5, 10**6], T, loss=loss, reward=reward, prob=prob)
        np.testing.assert_allclose(got, want, rtol=1e-13)
    mixed = reranking.reranked_loss(3, 1.0, loss=loss, reward=[0.0, 1.0, 1e6, 1e6 + 0.5], prob=prob)
    assert mixed == pytest.approx(float(enumerated(3, 1.0, loss, [0.0, 1.0, 1e6, 1e6 + 0.5], prob)), rel=1e-13)


def test_dominated_atom_keeps_its_small_chance():
    law = dict(loss=[0.0, 1.0], reward=[300.0, 0.0], prob=[0.5, 0.5])
    for k in (20, 900, 1500):
        assert reranking.reranked_loss(k, 1.0, **law) == pytest.approx(float(binary(k, 1.0, 0.5, 300.0)), rel=1e-12)
    assert reranking.reranked_loss(10**6, 1.0, **law) == pytest.approx(math.exp(-300), rel=1e-5)


def test_simulation():
    rng = np.random.default_rng(20)
    loss, reward = rng.random(6), rng.normal(size=6)
    for k, T in ((3, 0.5), (12, 0.1), (40, 1.0)):
        draw = rng.integers(6, size=(40_000, k))
        weight = np.exp((reward[draw] - reward.max()) / T)
        value = (weight * loss[draw]).sum(axis=1) / weight.sum(axis=1)
        error = value.std(ddof=1) / np.sqrt(value.size)
        assert abs(value.mean() - reranking.reranked_loss(k, T, loss=loss, reward=reward)) < 4.5 * error


def test_shapes_and_invariances():
    rng = np.random.default_rng(3)
    loss, reward = rng.random((2, 1, 4)), rng.normal(size=(3, 4))
    got = reranking.reranked_loss([1, 2, 5], [0, 0.5, 1, np.inf], loss=loss, reward=reward)
    assert got.shape == (2, 3, 3, 4)
    single = reranking.reranked_loss(2, 1, loss=loss[1, 0], reward=reward[2])
    assert np.ndim(single) == 0 and single == pytest.approx(got[1, 2, 1, 2], rel=1e-14)
    assert reranking.limit([1, 2], loss=loss, reward=reward).shape == (2, 3, 2)
    moved = reranking.reranked_loss([1, 2, 5], [0, 0.5, 1, np.inf], loss=loss, reward=reward + 1000)
    np.testing.assert_allclose(moved, got, rtol=1e-11)
    # an atom split in two, or one of probability 0 with a huge reward, changes nothing
    law = dict(loss=[1.0, 0.0], reward=[0.0, 1.0], prob=[0.5, 0.5])
    split = dict(loss=[1.0, 0.0, 0.0, 9.0], reward=[0.0, 1.0, 1.0, 1e9], prob=[0.5, 0.125, 0.375, 0.0])
    for T in (0, 0.3, np.inf):
        assert reranking.reranked_loss(6, T, **split) == pytest.approx(reranking.reranked_loss(6, T, **law), rel=1e-15)
        assert reranking.limit(T, **split) == pytest.approx(reranking.limit(T, **law), rel=1e-15)


GOOD = dict(k=2, T=1.0, loss=[0.0, 1.0], reward=[1.0, 0.0])


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(k=0), "k .*got 0"),
        (dict(k=-3), "k .*got -3"),
        (dict(k=2.5), "k .*got 2.5"),
        (dict(k=[[1]]), "k .*shape"),
        (dict(k=2**60), r"k must be below 2\^53, got 1152921504606846976"),
        (dict(k=10**30), r"k must be below 2\^53, got 10{30}$"),
        (dict(T=-0.5), "T .*got -0.5"),
        (dict(T=float("nan")), "T .*got nan"),
        (dict(loss=[0.0, float("inf")]), "loss .*got inf"),
        (dict(reward=[0.0, float("nan")]), "reward .*got nan"),
        (dict(loss=[0.0, 1.0, 2.0]), r"loss.*\(3,\)"),
        (dict(loss=np.ones((2, 2)), reward=np.ones((3, 2))), r"\(3, 2\)"),
        (dict(loss=1.0), "loss .*1.0"),
        (dict(loss=[], reward=[]), "loss .*at least one"),
        (dict(prob=[0.5, 0.4]), "prob .*0.9"),
        (dict(prob=[1.5, -0.5]), "prob .*-0.5"),
        (dict(loss=["a", "b"]), "loss .*real"),
        (dict(k=[[1], [1, 2]]), "k must be integers >= 1.*differ in length"),
        (dict(T=[1, [1, 2]]), "T must be real numbers.*differ in length"),
        (dict(loss=[[0.0, 1.0], [0.0]]), "loss must be real numbers.*differ in length"),
        (dict(reward=[[0.0, 1.0], [0.0]]), "reward must be real numbers.*differ in length"),
        (dict(loss=[1.7e308, -1.7e308]), r"loss must be of a magnitude at most 1e\+150, got 1.7e\+308"),
    ],
)
def test_bad_input(change, words):
    with pytest.raises(ValueError, match=words):
        reranking.reranked_loss(**GOOD | change)
    if "k" not in change:
        with pytest.raises(ValueError, match=words):
            reranking.limit(**{key: value for key, value in (GOOD | change).items() if key != "k"})
