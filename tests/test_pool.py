"""bestofk.pool against brute force over all subsets, simulation, and closed special cases."""

from fractions import Fraction
from itertools import combinations
from math import comb

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestofk import pool
from bestofk.pool import curves, subsets

TEMPERATURES = np.array([0, 1e-300, 1e-6, 0.01, 0.1, 0.5, 1, 3, 10, 1e3, 1e8, np.inf])


def brute_force(k, T, loss, reward):
    """Mean over all k-subsets of the softmax-weighted loss, in 40 digits."""
    total = mpmath.mpf(0)
    subsets_of_k = list(combinations(range(len(loss)), k))
    with mpmath.workdps(40):
        for subset in subsets_of_k:
            top = max(reward[i] for i in subset)
            if top == -np.inf:
                weight = [1] * k
            elif T == 0:
                weight = [int(reward[i] == top) for i in subset]
            elif T == np.inf:
                weight = [int(reward[i] > -np.inf) for i in subset]
            else:
                weight = [mpmath.exp((mpmath.mpf(reward[i]) - mpmath.mpf(top)) / mpmath.mpf(T)) for i in subset]
            total += sum(w * mpmath.mpf(loss[i]) for w, i in zip(weight, subset)) / sum(weight)
        return float(total / len(subsets_of_k))


SCORES = {
    "continuous": lambda rng, n: rng.normal(size=n),
    "integer": lambda rng, n: rng.integers(0, 4, n).astype(float),
    "all tied": lambda rng, n: np.full(n, 7.0),
    "gaps of many sizes": lambda rng, n: rng.normal(size=n) * 10.0 ** rng.uniform(-6, 6, n),
    "unscored": lambda rng, n: np.where(rng.random(n) < 0.4, -np.inf, rng.integers(0, 3, n)),
    "nothing scored": lambda rng, n: np.full(n, -np.inf),
    "clusters far apart": lambda rng, n: rng.integers(0, 3, n) * 37.0 + rng.normal(size=n),
}


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_equals_brute_force(kind, n):
    rng = np.random.default_rng([n, sorted(SCORES).index(kind)])
    loss, reward = rng.normal(size=n), SCORES[kind](rng, n)
    k = np.arange(1, n + 1)
    found = pool.reranked_loss(k, TEMPERATURES, loss=[loss], reward=[reward])[0]
    expected = [[brute_force(int(size), T, loss, reward) for T in TEMPERATURES] for size in k]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * max(1, np.ptp(loss)))


@pytest.mark.parametrize("size", [1e6, 1e12])
def test_gaps_far_beyond_the_temperature(size):
    """Gaps of a million temperatures and more, beside gaps of one: no weight may become 0/0."""
    reward = np.array([0.0, 1.0, size, size + 1, 2 * size, 2 * size + 2, -np.inf])
    loss = np.array([5.0, 1.0, -2.0, 4.0, 3.0, 0.5, 9.0])
    k = np.arange(1, 8)
    found = pool.reranked_loss(k, 1.0, loss=[loss], reward=[reward])[0]
    np.testing.assert_allclose(found, [brute_force(int(j), 1.0, loss, reward) for j in k], rtol=0, atol=1e-12)


def test_extreme_units():
    """Scores, temperatures and losses near the ends of the floating-point range stay exact."""
    loss, reward = np.array([0.0, 1.0, 1.0]), np.array([1.0, 2.0, 3.0])
    usual = pool.reranked_loss([1, 2, 3], 0.5, loss=[loss], reward=[reward])
    for unit in (1e-290, 1e290):
        np.testing.assert_allclose(
            pool.reranked_loss([1, 2, 3], 0.5 * unit, loss=[loss], reward=[reward * unit]), usual, rtol=1e-12
        )
        np.testing.assert_allclose(
            pool.reranked_loss([1, 2, 3], 0.5, loss=[loss * unit], reward=[reward]), usual * unit, rtol=1e-12
        )
    spread = pool.reranked_loss([1, 3], [0, 1e-5, 1e306, 1e308], loss=[loss], reward=[[-1.7e308, 0, 1.7e308]])
    np.testing.assert_allclose(spread[0, 1, :2], 1.0, atol=1e-12)
    assert np.isfinite(spread).all()


def test_a_large_common_loss_costs_no_digits_of_the_difference():
    rng = np.random.default_rng(3)
    loss, reward = rng.integers(0, 9, (1, 6)).astype(float), rng.normal(size=(1, 6))
    plain = pool.reranked_loss([2, 4], 0.7, loss=loss, reward=reward)
    shifted = pool.reranked_loss([2, 4], 0.7, loss=loss + 2.0**40, reward=reward)
    np.testing.assert_allclose(shifted - 2.0**40, plain, rtol=0, atol=3e-4)


@pytest.mark.parametrize("n", [64, 200])
def test_whole_pool_is_one_softmax(n):
    """k = N leaves a single subset: the softmax over the pool, whatever its size."""
    rng = np.random.default_rng(n)
    loss, reward = rng.random((4, n)), 5 * rng.normal(size=(4, n))
    for T in (0.02, 0.3, 2.0, 50.0):
        weight = np.exp((reward - reward.max(axis=1, keepdims=True)) / T)
        expected = (weight * loss).sum(axis=1) / weight.sum(axis=1)
        np.testing.assert_allclose(pool.reranked_loss(n, T, loss=loss, reward=reward), expected, rtol=0, atol=2e-13)


def test_perfect_judge_at_zero_temperature_is_pass_at_k():
    """One minus the loss is 1 - C(N-c, k)/C(N, k), exactly (fractions)."""
    n = 20
    for correct in (0, 1, 7, 19, 20):
        wrong = np.repeat([0.0, 1.0], [correct, n - correct])[None]
        k = np.arange(1, n + 1)
        expected = [float(Fraction(comb(n - correct, int(j)), comb(n, int(j)))) for j in k]
        np.testing.assert_allclose(pool.reranked_loss(k, 0, loss=wrong, reward=-wrong)[0], expected, rtol=1e-14)


def test_perfect_judge_at_finite_temperature():
    """k = 2 of two levels, by hand: pairs of unequal levels give 1/(1 + e^(1/T)), equal bad pairs 1."""
    n, correct, T = 12, 5, 0.4
    wrong = np.repeat([0.0, 1.0], [correct, n - correct])[None]
    mixed = correct * (n - correct) / comb(n, 2)
    expected = mixed / (1 + np.exp(1 / T)) + comb(n - correct, 2) / comb(n, 2)
    assert pool.reranked_loss(2, T, loss=wrong, reward=-wrong)[0] == pytest.approx(expected, abs=1e-14)


def test_limits_in_temperature():
    rng = np.random.default_rng(5)
    loss, reward = rng.random((3, 16)), rng.integers(0, 6, (3, 16)).astype(float)
    k = np.array([1, 2, 5, 16])
    found = pool.reranked_loss(k, [0, 1e-3, 1e13, np.inf], loss=loss, reward=reward)
    np.testing.assert_allclose(found[:, :, 1], found[:, :, 0], rtol=0, atol=1e-14)
    np.testing.assert_allclose(found[:, :, 2], found[:, :, 3], rtol=0, atol=1e-11)
    np.testing.assert_allclose(found[:, :, 3], np.broadcast_to(loss.mean(axis=1)[:, None], (3, 4)), rtol=1e-14)
    np.testing.assert_allclose(found[:, 0, :], np.broadcast_to(loss.mean(axis=1)[:, None], (3, 4)), rtol=1e-13)


def test_unbiased():
    """Pools of 12 and fresh draws of 5 from one population agree within 4.5 standard errors."""
    rng = np.random.default_rng(8)
    pools, k = 20_000, 5
    reward = rng.normal(size=(pools, 12)).round(1)
    loss = (reward - 0.8) ** 2 + rng.exponential(size=(pools, 12))
    for T in (0, 0.3, 2.0):
        estimate = pool.reranked_loss(k, T, loss=loss[:4000], reward=reward[:4000])
        fresh = pool.reranked_loss(k, T, loss=loss[4000:, :k], reward=reward[4000:, :k])
        error = np.hypot(estimate.std() / 4000**0.5, fresh.std() / 16_000**0.5)
        assert abs(estimate.mean() - fresh.mean()) < 4.5 * error


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.floats(-1, 1), st.integers(-6, 6)), min_size=1, max_size=9),
    st.floats(0.05, 20),
    st.floats(0.25, 4),
    st.floats(-3, 3),
    st.randoms(use_true_random=False),
)
def test_invariances(samples, T, unit, shift, random):
    """The order of the samples, the reward's origin and a common unit of reward and T do not matter."""
    loss, reward = np.array(samples, dtype=float).T
    k = np.arange(1, len(loss) + 1)
    base = pool.reranked_loss(k, [0, T], loss=[loss], reward=[reward])
    random.shuffle(samples)
    other_loss, other_reward = np.array(samples, dtype=float).T
    moved = pool.reranked_loss(k, [0, T * unit], loss=[3 - 2 * other_loss], reward=[unit * other_reward + shift])
    np.testing.assert_allclose(moved, 3 - 2 * base, rtol=0, atol=1e-12)


def test_ragged_equals_one_by_one_and_parts():
    rng = np.random.default_rng(9)
    sizes = [4, 9, 4, 30, 9]
    loss, reward = [rng.random(n) for n in sizes], [rng.normal(size=n).round(1) for n in sizes]
    k, T = [1, 3, 4], [0, 0.2, 1.5]
    together = pool.reranked_loss(k, T, loss=loss, reward=reward)
    alone = [pool.reranked_loss(k, T, loss=[a], reward=[b])[0] for a, b in zip(loss, reward)]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-14)


def test_groups_and_blocks_do_not_matter(monkeypatch):
    rng = np.random.default_rng(10)
    loss, reward = rng.random((50, 12)), rng.normal(size=(50, 12))
    k, T = np.arange(1, 13), [0, 0.01, 0.3, 3]
    whole = pool.reranked_loss(k, T, loss=loss, reward=reward)
    monkeypatch.setattr(subsets, "TABLE", 100)
    monkeypatch.setattr(subsets, "NODES", 7)
    np.testing.assert_allclose(pool.reranked_loss(k, T, loss=loss, reward=reward), whole, rtol=0, atol=1e-14)


def test_shapes():
    loss, reward = np.zeros((3, 5)), np.ones((3, 5))
    assert pool.reranked_loss(2, 1.0, loss=loss, reward=reward).shape == (3,)
    assert pool.reranked_loss([2], 1.0, loss=loss, reward=reward).shape == (3, 1)
    assert pool.reranked_loss(2, [0, 1.0], loss=loss, reward=reward).shape == (3, 2)
    assert pool.reranked_loss([1, 2, 3], [0, 1.0], loss=loss > 0, reward=reward.astype(int)).shape == (3, 3, 2)


def test_large_pools_with_small_k_and_many_subsets():
    rng = np.random.default_rng(11)
    loss, reward = rng.random((1, 3000)), rng.normal(size=(1, 3000))
    assert np.isfinite(pool.reranked_loss([1, 4], 1.0, loss=loss, reward=reward)).all()
    assert pool.reranked_loss(3000, 0, loss=loss, reward=reward)[0] == loss[0, reward.argmax()]
    with pytest.raises(ValueError, match="k=1500 of 3000 samples"):
        pool.reranked_loss(1500, 1.0, loss=loss, reward=reward)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"k": 0}, "k must be integers >= 1, got 0"),
        ({"k": 1.5}, "k must be integers >= 1, got 1.5"),
        ({"k": 4}, "got k=4 but prompt 0 has 3"),
        ({"T": -1}, "T must be >= 0 .* got -1"),
        ({"T": np.nan}, "T must be a number, got nan"),
        ({"loss": [[0, 1, 1], [0, np.nan, 1]]}, "loss must be finite, got nan at prompt 1, sample 1"),
        ({"loss": [[0, 1, -np.inf], [0, 1, 1]]}, "loss must be finite, got -inf at prompt 0, sample 2"),
        ({"reward": [[0, 1, 1], [0, 1, np.nan]]}, "reward must be below .* got nan at prompt 1, sample 2"),
        ({"reward": [[np.inf, 1, 1], [0, 1, 1]]}, "reward must be below .* got inf at prompt 0, sample 0"),
        ({"reward": [[0, 1], [0, 1]]}, "loss has 3 samples and reward has 2 at prompt 0"),
        ({"reward": [[0, 1, 2]]}, "loss has 2 prompts and reward has 1"),
        ({"loss": [0, 1, 1]}, r"loss must be shaped .*loss=\[values\]"),
        ({"loss": [], "reward": []}, "at least one prompt"),
        ({"loss": [[0, 1], []], "reward": [[0, 1], []]}, "got none at prompt 1"),
        ({"loss": [["a", "b", "c"], [0, 1, 2]]}, "loss must be real numbers"),
        ({"loss": [[0, 1, 1], [[0, 1], [1, 1]]]}, r"loss must be one-dimensional .* \(2, 2\) at prompt 1"),
    ],
)
def test_bad_input(change, message):
    good = {"k": 2, "T": 1.0, "loss": [[0, 1, 1], [1, 0, 1]], "reward": [[1, 2, 3], [3, 2, 1]]} | change
    with pytest.raises(ValueError, match=message):
        pool.reranked_loss(good["k"], good["T"], loss=good["loss"], reward=good["reward"])
    with pytest.raises(ValueError, match=message):
        pool.curve(good["k"], good["T"], loss=good["loss"], reward=good["reward"], seed=0)


def scored_pool(rng, prompts, n):
    """Prompts of Beta difficulty and a judge that sees correctness through noise."""
    wrong = (rng.random((prompts, n)) < rng.beta(1, 1, (prompts, 1))).astype(float)
    return wrong, (2 * rng.normal(size=(prompts, n)) - wrong).round(1)


def test_curve_mean_and_error():
    loss, reward = scored_pool(np.random.default_rng(12), 80, 8)
    k, T = [1, 4, 8], [0, 0.5]
    found = pool.curve(k, T, loss=loss, reward=reward, seed=1, resamples=4000)
    table = pool.reranked_loss(k, T, loss=loss, reward=reward)
    np.testing.assert_allclose(found.mean, table.mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(found.standard_error, table.std(axis=0, ddof=1) / 80**0.5, rtol=1e-12)
    # the bootstrap's spread estimates the same error: relative noise 1/sqrt(2 * 4000), five of them, plus 1/80 of bias
    np.testing.assert_allclose(found.resampled.std(axis=0), found.standard_error, rtol=5 / 8000**0.5 + 1 / 80)
    assert (found.low < found.mean).all() and (found.mean < found.high).all()
    assert found.prompts == 80 and found.resampled.shape == (4000, 3, 2)


def test_curve_is_paired_over_k():
    """k = 1 does not depend on T, so resamples of it agree across T to rounding."""
    loss, reward = scored_pool(np.random.default_rng(13), 30, 6)
    found = pool.curve([1, 6], [0, 1.0], loss=loss, reward=reward, seed=2)
    np.testing.assert_allclose(found.resampled[:, 0, 0], found.resampled[:, 0, 1], atol=1e-13)


def test_curve_covers():
    """The 90 % interval holds the population's mean in 90 % of 300 pools, within four binomial errors."""
    rng = np.random.default_rng(14)
    truth = 1 / 4  # best of 3 with a perfect judge and uniform difficulty: E p^3
    inside = 0
    for trial in range(300):
        wrong = (rng.random((60, 6)) < rng.random((60, 1))).astype(float)
        found = pool.curve(3, 0, loss=wrong, reward=-wrong, level=0.9, seed=trial, resamples=400)
        inside += found.low <= truth <= found.high
    assert abs(inside / 300 - 0.9) < 4 * (0.9 * 0.1 / 300) ** 0.5


def test_curve_does_not_depend_on_memory_blocks(monkeypatch):
    loss, reward = scored_pool(np.random.default_rng(15), 40, 6)
    whole = pool.curve([1, 6], 0.3, loss=loss, reward=reward, seed=3)
    monkeypatch.setattr(curves, "PROMPTS", 7)
    parts = pool.curve([1, 6], 0.3, loss=loss, reward=reward, seed=3)
    np.testing.assert_allclose(parts.mean, whole.mean, atol=1e-14)
    np.testing.assert_allclose(parts.standard_error, whole.standard_error, rtol=1e-12)
    again = pool.curve([1, 6], 0.3, loss=list(loss), reward=list(reward), seed=3)
    np.testing.assert_array_equal(again.resampled, parts.resampled)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"level": 1.0}, "level must be between 0 and 1, got 1.0"),
        ({"level": 95}, "level must be between 0 and 1, got 95"),
        ({"resamples": 10}, "resamples must be an integer >= 100, got 10"),
        ({"loss": [[0, 1]], "reward": [[0, 1]]}, "at least 2 prompts .* got 1"),
    ],
)
def test_curve_bad_input(change, message):
    good = {"loss": [[0, 1], [1, 0]], "reward": [[1, 2], [3, 2]], "seed": 0} | change
    with pytest.raises(ValueError, match=message):
        pool.curve(1, 0, **good)
