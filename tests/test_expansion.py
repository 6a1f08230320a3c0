"""bestofk.expansion against rational enumeration, cumulants, all subsets of a pool, closed forms and limits."""

import itertools
from fractions import Fraction
from math import factorial, pi

import numpy as np
import pytest
import sympy

from bestofk import expansion, reranking

ORDER = 6
LAWS = [  # loss, reward, probability (in sixteenths)
    ([1, Fraction(3, 8), 0, 2], [Fraction(1, 8), 1, Fraction(3, 8), Fraction(3, 8)], [2, 4, 8, 2]),
    ([0, 1, 1], [3, -2, Fraction(5, 2)], [1, 7, 8]),
    ([-1, 1, 4], [0, 1, Fraction(7, 4)], [5, 5, 6]),
]


def ratio_series(loss, reward, weight, order):
    """Taylor coefficients in e of sum(weight loss exp(e reward))/sum(weight exp(e reward)), in rationals."""
    top, bottom = (
        [sum(w * x * r**n for w, x, r in zip(weight, xs, reward)) / Fraction(factorial(n)) for n in range(order + 1)]
        for xs in (loss, [1] * len(reward))
    )
    out = []
    for n in range(order + 1):
        out.append((top[n] - sum(out[m] * bottom[n - m] for m in range(n))) / bottom[0])
    return out


def enumerated(k, loss, reward, prob, order):
    """Taylor coefficients of the reranked loss from its definition: every multiset of k draws, in rationals."""
    total = [Fraction(0)] * (order + 1)
    for draw in itertools.combinations_with_replacement(range(len(loss)), k):
        counts = [draw.count(i) for i in range(len(loss))]
        chance = Fraction(factorial(k))
        for n, p in zip(counts, prob):
            chance = chance * p**n / factorial(n)
        for n, value in enumerate(ratio_series(loss, reward, counts, order)):
            total[n] += chance * value
    return total


def substituted(n, k, loss, reward, prob):
    """term(n) at exact numbers."""
    mean = sum(p * r for p, r in zip(prob, reward))
    centre = sum(p * x for p, x in zip(prob, loss))
    values = {"k": k}
    for q in range(1, n + 1):
        values[f"c{q}"] = sum(p * (x - centre) * (r - mean) ** q for p, x, r in zip(prob, loss, reward))
        values[f"M{q}"] = sum(p * (r - mean) ** q for p, r in zip(prob, reward))
    numbers = {sympy.Symbol(name): sympy.Rational(value) for name, value in values.items()}
    return Fraction(str(expansion.term(n).subs(numbers)))


@pytest.mark.parametrize("loss, reward, prob", LAWS)
@pytest.mark.parametrize("k", [1, 2, 3, 5, 7])
def test_exact_rational_enumeration(loss, reward, prob, k):
    prob = [Fraction(p, 16) for p in prob]
    want = enumerated(k, loss, reward, prob, ORDER)
    for n in range(1, ORDER + 1):
        assert substituted(n, k, loss, reward, prob) == want[n]
    law = {"loss": loss, "reward": reward, "prob": prob}
    got = expansion.coefficients(k, order=ORDER, **{name: np.array(values, float) for name, values in law.items()})
    np.testing.assert_allclose(got, np.array(want, float), rtol=1e-12, atol=1e-12)


def test_term_symbols():
    k, c1, c2, c3, M2 = sympy.symbols("k c1 c2 c3 M2")
    assert expansion.term(1) == c1 * (k - 1) / k
    assert expansion.term(2) == c2 * (k - 1) * (k - 2) / (2 * k**2)
    assert expansion.term(3) == (
        c3 * (k - 1) * (k**2 - 6 * k + 6) / (6 * k**3) - M2 * c1 * (k - 1) * (k**2 - 4 * k + 6) / (2 * k**3)
    )
    for n in range(1, ORDER + 1):
        allowed = {"k"} | {f"c{q}" for q in range(1, n + 1)} | {f"M{q}" for q in range(2, n)}
        assert {str(symbol) for symbol in expansion.term(n).free_symbols} <= allowed


@pytest.mark.parametrize("n", [2, 4, 6, 8])
def test_even_orders_vanish_at_two_samples(n):
    assert expansion.term(n).subs("k", 2) == 0
    assert expansion.term(n - 1).subs("k", 2) != 0


@pytest.mark.parametrize("n", range(1, 7))
def test_many_samples_give_joint_cumulants(n):
    """k -> inf: the joint cumulant of one loss and n rewards over n!, by its definition over set partitions."""
    loss, reward, prob = LAWS[0][0], LAWS[0][1], [Fraction(p, 16) for p in LAWS[0][2]]

    def cumulant(items):
        """kappa = sum over set partitions of (-1)^(b-1) (b-1)! prod of block moments; item 0 is the loss."""
        total = Fraction(0)
        for blocks in sympy.utilities.iterables.multiset_partitions(items):
            value = Fraction((-1) ** (len(blocks) - 1) * factorial(len(blocks) - 1))
            for block in blocks:
                value *= sum(
                    p * (x if 0 in block else 1) * r ** (len(block) - (0 in block))
                    for p, x, r in zip(prob, loss, reward)
                )
            total += value
        return total

    mean, centre = (sum(p * v for p, v in zip(prob, values)) for values in (reward, loss))
    numbers = {}
    for q in range(1, n + 1):
        c = sum(p * (x - centre) * (r - mean) ** q for p, x, r in zip(prob, loss, reward))
        M = sum(p * (r - mean) ** q for p, r in zip(prob, reward))
        numbers |= {f"c{q}": sympy.Rational(str(c)), f"M{q}": sympy.Rational(str(M))}
    value = sympy.limit(expansion.term(n).subs(numbers), sympy.Symbol("k"), sympy.oo)
    assert Fraction(str(value)) == cumulant(list(range(n + 1))) / factorial(n)


def test_series_error_has_the_next_order():
    law = {"loss": [1.0, 0.25, 0.0, 2.0], "reward": [0.1, 1.0, 0.4, -0.7], "prob": [0.125, 0.25, 0.5, 0.125]}
    T = np.array([8.0, 16.0])
    for order in (1, 2, 3, 4):
        k = [3, 20, 10**6]
        error = expansion.series(k, T, order=order, **law) - reranking.reranked_loss(k, T, **law)
        np.testing.assert_allclose(error[:, 0] / error[:, 1], 2 ** (order + 1), rtol=0.2)
    assert expansion.series(5, np.inf, order=3, **law) == pytest.approx(np.dot(law["loss"], law["prob"]))


def test_radius_of_convergence():
    """Two samples, two rewards: a hyperbolic tangent, whose series stops converging exactly at T = range/pi."""
    law = {"loss": [0.0, 1.0], "reward": [3.0, 0.0], "prob": [0.5, 0.5]}
    values = expansion.coefficients(2, order=15, **law)
    assert abs(values[13] / values[15]) ** 0.5 == pytest.approx(pi / 3, rel=1e-4)
    inside, outside = 3 / pi * 1.2, 3 / pi * 0.8
    error = [
        [abs(expansion.series(2, T, order=n, **law) - reranking.reranked_loss(2, T, **law)) for n in (5, 9, 13)]
        for T in (inside, outside)
    ]
    assert error[0][0] > 1.9 * error[0][1] > 1.9**2 * error[0][2]
    assert error[1][0] < error[1][1] < error[1][2]


def test_pade_of_tanh_is_its_continued_fraction():
    """k = 2, loss 0 with reward 1 and loss 1 with reward 0, p = 1/2: delta = 1/2 - tanh(1/(2T))/4."""
    law = {"loss": [0.0, 1.0], "reward": [1.0, 0.0]}
    T = np.array([0.1, 0.5, 2.0])
    x = 1 / (2 * T)
    want = 0.5 - 0.25 * x * (15 + x**2) / (15 + 6 * x**2)
    np.testing.assert_allclose(expansion.pade(2, T, order=5, **law), want, rtol=1e-12)
    np.testing.assert_allclose(expansion.pade(2, T, order=1, **law), 0.5 - 0.25 * x, rtol=1e-12)


def test_resummations_agree_with_the_series_and_reach_further():
    rng = np.random.default_rng(5)
    for _ in range(5):
        law = {"loss": rng.random(4), "reward": 10 * rng.random(4), "prob": rng.dirichlet(np.full(4, 3.0))}
        span = np.ptp(law["reward"])
        k = [2, 5, 40]
        for method in (expansion.pade, expansion.mapped):
            hot = np.array([8, 16]) * span
            gap = method(k, hot, order=4, **law) - expansion.series(k, hot, order=4, **law)
            assert (abs(gap[:, 1]) < abs(gap[:, 0]) / 16 + 1e-15).all()
        cold = span / 5
        exact = reranking.reranked_loss(k, cold, **law)
        errors = [abs(expansion.mapped(k, cold, order=n, **law) - exact).max() for n in (4, 8, 16)]
        assert errors[2] < 5e-3 and errors[2] < errors[0] / 2
        assert abs(expansion.series(k, cold, order=16, **law) - exact).max() > 1
    constant = {"loss": [0.0, 1.0], "reward": [2.0, 2.0]}
    for method in (expansion.series, expansion.pade, expansion.mapped):
        assert method(4, 0.1, order=4, **constant) == 0.5


@pytest.mark.parametrize("k", [2, 3, 4])
def test_estimate_is_the_average_over_all_subsets(k):
    rng = np.random.default_rng(11)
    loss = [Fraction(int(a), 4) for a in rng.integers(0, 9, 6)]
    reward = [Fraction(int(a), 2) for a in rng.integers(-4, 9, 6)]
    subsets = list(itertools.combinations(range(6), k))
    want = np.zeros(6)
    for chosen in subsets:
        values = ratio_series([loss[i] for i in chosen], [reward[i] for i in chosen], [1] * k, 5)
        want += np.array(values, float) / len(subsets)
    got = expansion.estimate(k, loss=np.array(loss, float), reward=np.array(reward, float) + 100, order=5)
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)


def test_estimate_is_unbiased_beyond_the_pool():
    """Mean over every pool of 4 samples of a 3-atom law, for k from 2 to 1000."""
    law = {"loss": np.array([1.0, 0.0, 0.5]), "reward": np.array([0.0, 2.0, 3.0]), "prob": np.array([0.5, 0.3, 0.2])}
    pools = np.array(list(itertools.product(range(3), repeat=4)))
    chance = law["prob"][pools].prod(axis=1)
    k = [2, 5, 1000]
    values = expansion.estimate(k, loss=law["loss"][pools], reward=law["reward"][pools], order=3)
    want = expansion.coefficients(k, order=3, **law)
    np.testing.assert_allclose(np.tensordot(chance, values, 1), want, rtol=1e-12, atol=1e-14)


def test_shapes():
    rng = np.random.default_rng(2)
    loss, reward = rng.random((2, 1, 5)), rng.random((3, 5))
    law = {"loss": loss, "reward": reward}
    assert expansion.coefficients([1, 2], order=3, **law).shape == (2, 3, 2, 4)
    assert expansion.estimate(4, order=3, **law).shape == (2, 3, 4)
    for method in (expansion.series, expansion.pade, expansion.mapped):
        value = method([1, 2], [0.5, 1, 2, 9], order=3, **law)
        assert value.shape == (2, 3, 2, 4)
        single = method(2, 2, order=3, loss=loss[1, 0], reward=reward[2])
        assert np.ndim(single) == 0 and single == pytest.approx(value[1, 2, 1, 2], rel=1e-12)
    # the unit of the reward drops out
    np.testing.assert_allclose(
        expansion.pade([2, 9], [0.5, 1], order=5, loss=loss, reward=1e6 * reward + 5),
        expansion.pade([2, 9], [0.5e-6, 1e-6], order=5, loss=loss, reward=reward),
        rtol=1e-6,
    )


GOOD = {"k": 2, "T": 1.0, "loss": [0.0, 1.0, 0.0], "reward": [1.0, 0.0, 0.0], "order": 2}


@pytest.mark.parametrize(
    "change, words",
    [
        ({"k": 0}, "k .*got 0"),
        ({"order": 0}, "order .*got 0"),
        ({"order": 2.5}, "order .*got 2.5"),
        ({"order": [1, 2]}, r"order .*got \[1, 2\]"),
        ({"loss": [0.0, float("nan"), 0.0]}, "loss .*got nan"),
        ({"reward": [1.0, -float("inf"), 0.0]}, "reward .*got -inf"),
        ({"reward": [1.0, 2.0]}, r"reward.*\(2,\)"),
        ({"T": 0}, "T .*got 0"),
        ({"T": -1}, "T .*got -1"),
    ],
)
def test_bad_input(change, words):
    arguments = GOOD | change
    for method in (expansion.series, expansion.pade, expansion.mapped):
        with pytest.raises(ValueError, match=words):
            method(**arguments)
    if "T" not in change:
        del arguments["T"]
        for method in (expansion.coefficients, expansion.estimate):
            with pytest.raises(ValueError, match=words):
                method(**arguments)


def test_bad_order_and_small_pool():
    for n in (0, -1, 1.5):
        with pytest.raises(ValueError, match=f"n .*got {n}"):
            expansion.term(n)
    with pytest.raises(ValueError, match=r"n must be one integer >= 1, got \[2\]"):
        expansion.term([2])
    with pytest.raises(ValueError, match="order=3 for N=3"):
        expansion.estimate(2, loss=[0.0, 1.0, 0.0], reward=[1.0, 2.0, 3.0], order=3)


def test_a_temperature_whose_powers_overflow_is_refused():
    for method in (expansion.series, expansion.pade):
        with pytest.raises(ValueError, match="T must be larger .*got 1e-200"):
            method(**GOOD | {"T": [1.0, 1e-200], "order": 6})
