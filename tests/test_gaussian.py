"""Gaussian predictive, quadratic judge: against mpmath, simulation, closed forms and symmetries."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from bestofk.gaussian import (
    crossover,
    first_correction,
    generalization_error,
    generalization_limit,
    limit,
    reranked_loss,
)

ORACLE = json.loads((Path(__file__).parent / "oracles" / "gaussian_constants.json").read_text())
calm = settings(derandomize=True, max_examples=25, deadline=None)
offset = st.floats(-6, 6)
log_tau = st.floats(-9.6, 8.3)
counts = st.lists(st.integers(1, 10**6), min_size=1, max_size=3)


def standard(k, tau, a, b):
    """The loss in units of std^2 for mean 0, std 1."""
    with np.errstate(divide="ignore"):
        return reranked_loss(k, np.divide(2.0, tau), mean=0, std=1, teacher=b, reward=a)


def named(table):
    return [int(k) for k in table], np.array([float(value) for value in table.values()])


# ---- references made by tests/oracles/gaussian_constants.py


@pytest.mark.parametrize(
    ("law", "route"),
    [(law, route) for law in ORACLE["laws"] for route in ("laplace", "scores") if route in law],
    ids=lambda part: part if isinstance(part, str) else f"a={part['a']},b={part['b']},tau={part['tau']:g}",
)
def test_mpmath(law, route):
    k, expected = named(law[route])
    np.testing.assert_allclose(standard(k, law["tau"], law["a"], law["b"]), expected, rtol=1e-11)


@pytest.mark.parametrize("law", ORACLE["wide"], ids=lambda law: f"a={law['a']},b={law['b']},tau={law['tau']:g}")
def test_long_double(law):
    k, expected = named(law["values"])
    np.testing.assert_allclose(standard(k, law["tau"], law["a"], law["b"]), expected, rtol=1e-11)


@pytest.mark.parametrize("law", ORACLE["best"], ids=lambda law: f"a={law['a']},b={law['b']}")
def test_mpmath_best_of_k(law):
    k, expected = named(law["orders"])
    np.testing.assert_allclose(standard(k, np.inf, law["a"], law["b"]), expected, rtol=1e-12)


@pytest.mark.parametrize("law", ORACLE["pairs"], ids=lambda law: f"a={law['a']},b={law['b']},tau={law['tau']}")
def test_mpmath_two_draws(law):
    np.testing.assert_allclose(standard(2, law["tau"], law["a"], law["b"]), float(law["value"]), rtol=1e-12)


@pytest.mark.parametrize("law", ORACLE["cold"], ids=lambda law: f"a={law['a']},b={law['b']},tau={law['tau']:g}")
def test_mpmath_at_low_temperature(law):
    k, expected = named(law["race"])
    found = standard(k, law["tau"], law["a"], law["b"])
    np.testing.assert_allclose(found, expected, rtol=1e-11)
    assert k[0] == 2 and found[0] == pytest.approx(float(law["second"]), rel=1e-12)  # T = 0 and its first correction


# ---- low temperatures: the race of Gumbel-noised scores


def gauss(edges, nodes=12):
    x, weight = np.polynomial.legendre.leggauss(nodes)
    half = np.diff(edges)[:, None] / 2
    return (np.asarray(edges)[:-1, None] + half * (1 + x)).ravel(), (half * weight).ravel()


def race(k, a, b, tau):
    """delta_k = k (k - 1) int U F^(k-2) dF, U(v) = E[loss; V > v], for k >= 2; V = log w + Gumbel noise."""
    edges = [float(v) for v in range(44, -7, -2)]
    while -edges[-1] < 6 + tau * (abs(a) + 9) ** 2 / 2:
        depth = -edges[-1]
        edges.append(-min(max(depth + 2, tau * (np.sqrt(2 * depth / tau) + 0.3) ** 2 / 2), 1.4 * depth))
    v, outer = gauss(edges[::-1])
    start = np.maximum(v, -5)[:, None]
    s, inner = gauss(np.linspace(0, 7, 29))  # noise = start + s^2
    noise = start + s**2
    inner = 2 * s * inner * np.exp(-noise - np.exp(-noise))
    rho = np.sqrt(2 * (noise - v[:, None]) / tau)
    x, weight = np.polynomial.legendre.leggauss(24)  # moments of |z - a| < rho, without differences when rho is small
    inside = loss = 0.0
    for node, part in zip(x, weight):
        z = a + np.minimum(rho, 1.5) * node
        density = part * np.minimum(rho, 1.5) * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
        inside, loss = inside + density, loss + density * (z - b) ** 2
    low, high = a - rho, a + rho
    wide = ndtr(high) - ndtr(low)
    edge = [(z - 2 * b) * np.exp(-z * z / 2) / np.sqrt(2 * np.pi) for z in (low, high)]
    inside = np.where(rho < 1.5, inside, wide)
    loss = np.where(rho < 1.5, loss, (1 + b * b) * wide + edge[0] - edge[1])
    lost = (inner * inside).sum(axis=1)
    density = (inner * (np.exp(-low * low / 2) + np.exp(-high * high / 2)) / rho).sum(axis=1) / tau / np.sqrt(2 * np.pi)
    power = np.exp(np.multiply.outer(k - 2.0, np.log1p(-np.minimum(lost, 1 - 1e-16))))
    return k * (k - 1.0) * (power @ (outer * density * (inner * loss).sum(axis=1)))


@pytest.mark.parametrize(
    "law",
    [(1, 1, 1e6), (0, 0, 2e8), (5, 5, 2e8), (6, 0.4, 64), (2.5, 1, 1000), (-6, 5, 100), (3, 3, 1e4), (6, 5.2, 1e5)],
)
def test_race_at_low_temperature(law):
    k = np.array([2, 3, 10, 99, 1000, 10**4, 10**5, 10**6])
    apart = np.abs(standard(k, law[2], *law[:2]) / race(k, *law) - 1)
    assert apart[:-1].max() < 1e-11
    assert apart[-1] < 1e-10  # the race's F^(k-2), in double precision


# ---- simulation


@pytest.mark.parametrize("T", [0, 0.3, 5.0])
@pytest.mark.parametrize("law", [(1.0, 2.0, 0.0, 4.0), (0.0, 1.0, 0.3, 0.3), (-3.0, 0.5, -2.5, -4.0)])
def test_simulation(law, T):
    mean, std, teacher, reward = law
    rng = np.random.default_rng(7)
    for k in (3, 20):
        y = mean + std * rng.standard_normal((100_000, k))
        if T == 0:
            kept = y[np.arange(len(y)), np.abs(y - reward).argmin(axis=1)]
        else:  # Gumbel noise on the scores draws from the softmax
            kept = y[np.arange(len(y)), (-((y - reward) ** 2) / T + rng.gumbel(size=y.shape)).argmax(axis=1)]
        loss = (kept - teacher) ** 2
        error = (loss.mean() - reranked_loss(k, T, mean=mean, std=std, teacher=teacher, reward=reward)) / loss.std()
        assert abs(error) * np.sqrt(len(y)) < 4.5  # 18 comparisons: a chance of 1e-4 that a right value fails


# ---- closed forms and limits


@calm
@given(offset, offset, log_tau)
def test_one_draw_is_unselected(a, b, power):
    assert standard(1, 10**power, a, b) == pytest.approx(1 + b * b, rel=1e-11)
    assert standard(1, np.inf, a, b) == pytest.approx(1 + b * b, rel=1e-11)
    unselected = reranked_loss([1, 50], np.inf, mean=0, std=1, teacher=b, reward=a)
    np.testing.assert_allclose(unselected, 1 + b * b, rtol=1e-14)


@calm
@given(offset, offset)
def test_best_of_two_closed_form(a, b):
    density = np.exp(-a * a) / np.sqrt(2 * np.pi)
    expected = 1 + b * b - np.sqrt(2 / np.pi) * (2 * density + np.sqrt(2) * b * (2 * ndtr(np.sqrt(2) * a) - 1))
    assert standard(2, np.inf, a, b) == pytest.approx(expected, rel=1e-11)


def test_best_of_k_at_the_centre():
    # (k + 1)(k + 2) delta / pi -> 1 with the next term of the expansion
    k = np.array([1000, 10**6])
    expected = np.pi / ((k + 1.0) * (k + 2)) * (1 + 2 * np.pi / ((k + 3.0) * (k + 4)))
    np.testing.assert_allclose(standard(k, np.inf, 0, 0) / expected, 1, atol=1e-9)


@calm
@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-2, 2))
def test_infinite_k_and_first_correction(a, b, power):
    tau = 10**power
    law = {"mean": 0, "std": 1, "teacher": b, "reward": a}
    first = tau / (1 + tau) * a - b
    assert limit(2 / tau, **law) == pytest.approx(1 / (1 + tau) + first**2, rel=1e-12)
    k = np.array([10**5, 10**6])
    scaled = k * (reranked_loss(k, 2 / tau, **law) - limit(2 / tau, **law))
    expected = first_correction(2 / tau, **law)
    # one Richardson step removes the 1/k^2 term; what is left is of order 1/k^2 times the spread of the weights
    assert (10 * scaled[1] - scaled[0]) / 9 == pytest.approx(expected, abs=1e-5 * (1 + abs(expected)))


def test_limits_in_T():
    law = {"mean": 1.0, "std": 0.5, "teacher": 1.2, "reward": 1.4}
    np.testing.assert_allclose(limit([0, np.inf], **law), [0.04, 0.25 + 0.04], rtol=1e-14)
    np.testing.assert_array_equal(first_correction([0, np.inf], **law), 0)
    assert limit([[1.0]][0], **law).shape == (1,)


@calm
@given(offset, offset, counts)
def test_continuous_at_zero_temperature(a, b, k):
    k = np.minimum(k, 100)
    # thermal distances (1e-7) are far below those between 100 draws only when the target is within reach
    np.testing.assert_allclose(standard(k, 2e14, a, b), standard(k, np.inf, a, b), rtol=1e-8)


@calm
@given(offset, offset, counts)
def test_continuous_at_infinite_temperature(a, b, k):
    np.testing.assert_allclose(standard(k, 2e-12, a, b), 1 + b * b, rtol=1e-9)


def test_regimes_join():
    # the evaluation changes its quadrature at tau = 1, at tau a = 8 and at a = 8.5; nothing may jump there
    k = [1, 2, 9, 99, 10**4, 10**6]
    for a, b in [(0.5, 0.5), (5, 1), (6, 6)]:
        below, above = standard(k, 1 - 1e-13, a, b), standard(k, 1 + 1e-13, a, b)
        np.testing.assert_allclose(below, above, rtol=1e-11)
    for tau in (0.2, 0.9, 1.1, 40.0):
        for a in (8.5, 8 / tau):
            below, above = standard(k[:-1], tau, a * (1 - 1e-13), 3), standard(k[:-1], tau, a * (1 + 1e-13), 3)
            np.testing.assert_allclose(below, above, rtol=1e-9)


def test_crossover():
    # against the exact law at k = 10^6, and both ends
    scaled = np.array([0.1, 0.3, 1, 3, 10, 100])
    k, c = 10**6, 1 / np.sqrt(2 * np.pi)
    T = (scaled / (2 * c * k)) ** 2
    exact = reranked_loss(k, T, mean=0, std=1, teacher=0, reward=0)
    np.testing.assert_allclose(T * crossover(scaled), exact, rtol=4e-6)
    assert crossover(1e-4) == pytest.approx(2e8, rel=1e-7)
    assert crossover(1e5) == pytest.approx(0.5, rel=1e-4)

    # the definition at one point, by sums over u and over the distance x
    v, x = np.linspace(-28, 260, 1500)[:, None], np.linspace(0, 17, 2601)
    thin = np.exp(v - x * x)
    first = np.trapezoid(-np.expm1(-thin), x)
    second = np.trapezoid(x * x * thin * np.exp(-np.minimum(thin, 700)), x)
    value = 2 * np.trapezoid(second * np.exp(-2 * first), v[:, 0])
    assert crossover(2.0) == pytest.approx(value, rel=1e-9)


# ---- symmetries


@calm
@given(offset, offset, log_tau, counts, st.floats(-50, 50), st.floats(-3, 3))
def test_shift_scale_and_reflection(a, b, power, k, shift, size):
    tau, scale = 10**power, 10**size
    base = standard(k, tau, a, b)
    np.testing.assert_allclose(standard(k, tau, -a, -b), base, rtol=1e-13)
    moved = reranked_loss(
        k, 2 / tau * scale**2, mean=shift * scale, std=scale, teacher=(shift + b) * scale, reward=(shift + a) * scale
    )
    # adding the shift rounds the offsets by 1e-14: harmless unless the loss itself is tiny
    np.testing.assert_allclose(moved, scale**2 * base, rtol=1e-10, atol=1e-12 * scale**2)


@calm
@given(offset, st.lists(log_tau, min_size=1, max_size=3), counts)
def test_quadratic_in_the_teacher(a, powers, k):
    T = 2 / 10 ** np.array(powers)
    teachers = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    loss = reranked_loss(k, T, mean=0, std=1, teacher=teachers, reward=a)
    assert loss.shape == (5, len(k), len(powers))
    np.testing.assert_allclose(np.diff(loss, 2, axis=0), 2.0, rtol=1e-9)
    assert (loss > 0).all()


@calm
@given(st.floats(-4, 4), log_tau)
def test_perfect_judge_never_hurts(a, power):
    assert (np.diff(standard([1, 2, 3, 5, 10, 100, 1000], 10**power, a, a)) < 1e-12).all()


def test_two_draws_by_hermite():
    # of two draws the first is kept with probability sigmoid(score difference / T)
    x, w = np.polynomial.hermite_e.hermegauss(80)
    w = w / w.sum()
    y, z = np.meshgrid(x, x)
    T, a, b = 1.5, 0.7, -0.4
    p = 1 / (1 + np.exp(((y - a) ** 2 - (z - a) ** 2) / T))
    expected = w @ (p * (y - b) ** 2 + (1 - p) * (z - b) ** 2) @ w
    assert reranked_loss(2, T, mean=0, std=1, teacher=b, reward=a) == pytest.approx(expected, rel=1e-6)


# ---- averages over inputs


def test_average_closed_forms():
    for v_t, shared, v_r in [(0.3, 0.1, 0.5), (0.1, 0.4, 1.6), (2.0, 0, 0), (0, 0, 3.0), (0, 0, 0)]:
        cov, std = 4 * np.array([[v_t, shared], [shared, v_r]]), 2.0
        loss = generalization_error([1, 7], [0, 3.0, np.inf], std=std, cov=cov)
        np.testing.assert_allclose(loss[0], std**2 + cov[0, 0], rtol=1e-11)
        np.testing.assert_allclose(loss[:, 2], std**2 + cov[0, 0], rtol=1e-11)
        tau = 2 * std**2 / 3.0
        end = std**2 / (1 + tau) + cov[0, 0] - 2 * tau * cov[0, 1] / (1 + tau) + (tau / (1 + tau)) ** 2 * cov[1, 1]
        assert generalization_limit(3.0, std=std, cov=cov) == pytest.approx(end, rel=1e-13)
    nu = np.array([0.01, 0.2, 0.45, 0.8, 4.0])
    two = generalization_error(2, 0, std=1, cov=nu[:, None, None] * np.ones((2, 2)))
    np.testing.assert_allclose(two, 1 + nu - 2 / np.pi * np.sqrt(1 + 2 * nu), rtol=1e-12)


def test_average_reaches_its_limits():
    cov = np.array([[0.3, 0.1], [0.1, 0.5]])
    k = np.array([10**5, 10**6])
    loss = generalization_error(k, 2.0, std=1, cov=cov)
    end = generalization_limit(2.0, std=1, cov=cov)
    np.testing.assert_allclose((10 * loss[1] - loss[0]) / 9, end, rtol=1e-9)
    nu = 0.3  # best-of-k with a perfect judge: pi nu-average of exp(a^2) / k^2
    best = generalization_error(10**6, 0, std=1, cov=nu * np.ones((2, 2)))
    assert best * 1e12 / np.pi * np.sqrt(1 - 2 * nu) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("T", [0, 1e-6, 0.05, 2.0, 30.0])
def test_average_against_hermite_and_brute_force(T):
    # an unrelated quadrature over both offsets, and one law at a time
    cov = np.array([[0.30, 0.25], [0.25, 0.40]])
    x, w = np.polynomial.hermite_e.hermegauss(60)
    w = w / w.sum()
    judge_first = np.linalg.cholesky(cov[::-1, ::-1])
    delta_r = judge_first[0, 0] * x[:, None]
    delta_t = judge_first[1, 0] * x[:, None] + judge_first[1, 1] * x[None, :]
    keep = (np.abs(delta_r[:, 0]) < 6) & (w > 1e-18)
    loss = reranked_loss([2, 9, 40], T, mean=0, std=1, teacher=-delta_t[keep], reward=-delta_r[keep])
    expected = np.einsum("i,j,ijk->k", w[keep], w, loss)
    np.testing.assert_allclose(generalization_error([2, 9, 40], T, std=1, cov=cov), expected, rtol=1e-8)


@pytest.mark.parametrize("cov", [[[0.5, 0.3], [0.3, 0.8]], [[0.2, -0.4], [-0.4, 1.1]], [[0, 0], [0, 0.7]]])
def test_average_at_high_temperature(cov):
    """The expansion in tau = 2 std^2 / T to third order leaves a remainder of order tau^4."""
    k, std = np.array([1, 2, 3, 5, 12, 400])[:, None], 1.5
    (V_TT, V_TR), (_, V_RR) = cov = std**2 * np.array(cov)
    tau = np.array([0.008, 0.004, 0.002, 0.001])
    C1 = 2 * V_TR + std**2  # averages over inputs
    C2 = C1 + V_RR
    series = std**2 + V_TT - tau * (1 - 1 / k) * C1 + tau**2 * (1 - 1 / k) * (1 - 2 / k) * C2
    series = series - tau**3 * (k - 1) * (2 * k**2 - 13 * k + 12) / (2 * k**3) * (C2 + V_RR)
    series = series + tau**3 * 2 * (k - 1) / k**2 * 3 * V_TR * V_RR / std**2
    rest = (generalization_error(k[:, 0], 2 * std**2 / tau, std=std, cov=cov) - series) / std**2
    fourth = rest[1:] / tau**4
    np.testing.assert_allclose(rest[0], 0, atol=1e-12)  # k = 1
    assert (np.abs(fourth) < 40).all()  # a wrong third order would grow like 1 / tau here
    np.testing.assert_allclose(fourth[:, :-1], fourth[:, 1:], atol=0.2 + 0.05 * np.abs(fourth).max())


def test_average_by_simulation():
    rng = np.random.default_rng(3)
    cov = np.array([[0.04, 0.44], [0.44, 4.84]])
    k, T, n = 20, 4.0, 200_000
    delta_t = np.sqrt(0.04) * rng.standard_normal(n)
    delta_r = 11 * delta_t
    z = rng.standard_normal((n, k))
    score = -((z + delta_r[:, None]) ** 2) / T
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    loss = ((z + delta_t[:, None]) ** 2 * weight).sum(axis=1) / weight.sum(axis=1)
    exact = generalization_error(k, T, std=1, cov=cov)
    assert abs(loss.mean() - exact) < 4 * loss.std() / np.sqrt(n)


# ---- shapes and bad input


def test_shapes():
    law = {"mean": 0, "std": 1, "teacher": 0, "reward": 1}
    assert np.ndim(reranked_loss(3, 1.0, **law)) == 0
    assert reranked_loss([3], 1.0, **law).shape == (1,)
    assert reranked_loss([3, 4], [0, 1.0, np.inf], **law).shape == (2, 3)
    batch = law | {"mean": np.zeros((4, 1)), "reward": np.ones(5)}
    assert reranked_loss([3, 4], 1.0, **batch).shape == (4, 5, 2)
    assert limit([1.0, 2.0], **batch).shape == first_correction([1.0, 2.0], **batch).shape == (4, 5, 2)
    cov = np.broadcast_to(np.eye(2), (3, 2, 2))
    assert generalization_error([3, 4], [0, 1.0, 2.0, 3.0], std=1, cov=cov).shape == (3, 2, 4)
    assert generalization_limit(1.0, std=[1, 2, 3], cov=np.eye(2)).shape == (3,)
    assert np.ndim(crossover(1)) == 0 and crossover([1, 2]).shape == (2,)


LAW = {"mean": 0.0, "std": 1.0, "teacher": 0.0, "reward": 1.0}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"k": 0}, ["k", "0"]),
        ({"k": -3}, ["k", "-3"]),
        ({"k": 2.5}, ["k", "2.5"]),
        ({"k": [[1]]}, ["k", "(1, 1)"]),
        ({"k": []}, ["k", "empty"]),
        ({"k": "3"}, ["k", "'3'"]),
        ({"T": -1.0}, ["T", "-1.0"]),
        ({"T": np.nan}, ["T", "nan"]),
        ({"std": 0.0}, ["std", "0.0"]),
        ({"std": -2.0}, ["std", "-2.0"]),
        ({"mean": np.inf}, ["mean", "inf"]),
        ({"teacher": np.nan}, ["teacher", "nan"]),
        ({"reward": np.nan}, ["reward", "nan"]),
        ({"reward": 2000.0}, ["reward", "2000.0", "1000 std"]),
        ({"k": [[1], [1, 2]]}, ["k must be integers >= 1", "differ in length"]),
        ({"T": [1, [2, 3]]}, ["T must be real numbers", "differ in length"]),
        ({"mean": [[1], [1, 2]]}, ["mean must be real numbers", "differ in length"]),
        ({"T": 1e-300}, ["T must", "between 1e-150 and 1e+150", "1e-300"]),
        ({"T": 1e200}, ["T must", "1e+200"]),
        ({"std": 1e160}, ["std must", "1e+160"]),
        ({"std": 1e-200}, ["std must", "1e-200"]),
        ({"teacher": 1e200}, ["teacher must", "at most 1e+150", "1e+200"]),
        ({"mean": -1e200, "reward": -1e200}, ["mean must", "-1e+200"]),
        ({"teacher": 1e140, "reward": 0, "std": 1e-140}, ["teacher", "std", "1e+280"]),
        ({"mean": np.zeros(3), "reward": np.zeros(2)}, ["mean (3,)", "reward (2,)"]),
    ],
)
def test_bad_law(change, words):
    arguments = {"k": 3, "T": 1.0} | LAW | change
    with pytest.raises(ValueError) as error:
        reranked_loss(**arguments)
    assert all(word in str(error.value) for word in words), error.value
    if "k" not in change:
        for other in (limit, first_correction):
            with pytest.raises(ValueError, match=re.escape(str(error.value))):
                other(**{name: value for name, value in arguments.items() if name != "k"})


@pytest.mark.parametrize("unit", [1e-140, 1e-70, 1e70, 1e140])
def test_far_units(unit):
    """Lengths far from 1 change nothing but the unit; so do temperatures at the ends of their range."""
    k, T = [1, 2, 50], np.array([0, 0.1, 3, np.inf])
    law = {"mean": 0.2, "std": 1.5, "teacher": -0.4, "reward": 0.9}
    far = {name: value * unit for name, value in law.items()}
    T_far = T * unit**2
    if 1e-75 < unit < 1e75:
        np.testing.assert_allclose(reranked_loss(k, T_far, **far), reranked_loss(k, T, **law) * unit**2, rtol=1e-10)
        for end in (limit, first_correction):
            np.testing.assert_allclose(end(T_far, **far), end(T, **law) * unit**2, rtol=1e-10)
    for T in (1e-150, 1e150):
        assert np.isfinite(reranked_loss(k, T, **far)).all()
        assert np.isfinite(limit(T, **far)) and np.isfinite(first_correction(T, **far))
        assert np.isfinite(generalization_error(k, T, std=unit, cov=unit * np.eye(2) * min(unit, 1 / unit))).all()
    assert crossover(1e-100) == pytest.approx(2e200, rel=1e-7) and crossover(1e150) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cov": np.eye(3)}, ["cov", "(3, 3)"]),
        ({"cov": [[1, 2], [2, 1]]}, ["cov", "2.0"]),
        ({"cov": [[1, 0.2], [0.1, 1]]}, ["cov", "0.1"]),
        ({"cov": [[-1, 0], [0, 1]]}, ["cov", "-1.0"]),
        ({"cov": [[np.nan, 0], [0, 1]]}, ["cov", "nan"]),
        ({"std": [1, 2, 3], "cov": np.broadcast_to(np.eye(2), (2, 2, 2))}, ["std", "(3,)", "(2, 2, 2)"]),
        ({"std": 0}, ["std", "0.0"]),
        ({"cov": [[1, 0], [0]]}, ["cov must be real numbers", "differ in length"]),
        ({"std": 1e-200}, ["std must", "1e-200"]),
        ({"cov": np.diag([0.5, 1e300])}, ["cov must", "1e+300"]),
        ({"std": 1e-100, "cov": np.diag([0.5, 0])}, ["cov / std^2 must", "5e+199"]),
        ({"cov": np.diag([0.5, 1e7])}, ["cov[1][1] must", "(1000 std)^2", "1e+07"]),
    ],
)
def test_bad_covariance(change, words):
    with pytest.raises(ValueError) as error:
        generalization_error(3, 1.0, **({"std": 1.0, "cov": np.eye(2)} | change))
    assert all(word in str(error.value) for word in words), error.value


def test_bad_crossover():
    with pytest.raises(ValueError, match="scaled must hold at least one value"):
        crossover([])
    with pytest.raises(ValueError, match="scaled.*0"):
        crossover(0)
    for scaled in (1e-300, 1e300):
        with pytest.raises(ValueError, match="scaled must be of a magnitude"):
            crossover(scaled)


def test_stored_official_simulation():
    """The simulation at the official size (builder in its manifest) against the exact curve, and whole."""
    file = Path(__file__).parents[1] / "book" / "simulations" / "official-figure.csv"
    made = json.loads(file.with_suffix(".json").read_text())
    assert hashlib.sha256(file.read_bytes()).hexdigest() == made["sha256"][file.name]
    c, k, mean, error = np.loadtxt(file, delimiter=",", skiprows=1).T
    V, s2 = made["trained model"]["V / sigma^2"], made["trained model"]["s^2 / sigma^2"]
    T = 2 * made["parameters"]["temperature / (2 sigma^2)"]
    for judge in made["parameters"]["c"]:
        at = c == judge
        cov = V * np.array([[1, 1 + judge], [1 + judge, (1 + judge) ** 2]])
        exact = generalization_error(k[at].astype(int), T, std=s2**0.5, cov=cov)
        assert at.sum() == 99 and np.all(np.abs(mean[at] - exact) < 5 * error[at])
