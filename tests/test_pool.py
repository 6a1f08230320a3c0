"""bestofk.pool against brute force over all subsets, simulation, and closed special cases."""

import dataclasses
from fractions import Fraction
from itertools import combinations
from math import comb

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestofk import pool
from bestofk.pool import curves, judging, scaling, subsets

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
    for unit in (1e-150, 1e150):
        np.testing.assert_allclose(
            pool.reranked_loss([1, 2, 3], 0.5, loss=[loss * unit], reward=[reward]), usual * unit, rtol=1e-12
        )
        found = pool.curve(1, 0, loss=[loss * unit, 0 * loss], reward=[reward, reward], seed=0)
        np.testing.assert_allclose(found.standard_error, unit / 3, rtol=1e-12)
    tiny = pool.reranked_loss(1, 0, loss=[[1e-200, 1.0], [0, 0]], reward=[[1, 2], [1, 2]])
    np.testing.assert_allclose(tiny, [0.5, 0])
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
    pools, k = 10_000, 5
    reward = rng.normal(size=(pools, 12)).round(1)
    loss = (reward - 0.8) ** 2 + rng.exponential(size=(pools, 12))
    for T in (0, 0.3, 2.0):
        estimate = pool.reranked_loss(k, T, loss=loss[:2000], reward=reward[:2000])
        fresh = pool.reranked_loss(k, T, loss=loss[2000:, :k], reward=reward[2000:, :k])
        error = np.hypot(estimate.std() / 2000**0.5, fresh.std() / 8000**0.5)
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


def test_a_data_frame_is_a_pool():
    import pandas

    loss, reward = np.eye(4)[:3], np.arange(12.0).reshape(3, 4)
    frames = dict(loss=pandas.DataFrame(loss), reward=pandas.DataFrame(reward))
    np.testing.assert_array_equal(
        pool.reranked_loss([1, 3], 0.5, **frames), pool.reranked_loss([1, 3], 0.5, loss=loss, reward=reward)
    )


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
        ({"k": [[1], [1, 2]]}, "k must be integers >= 1.*differ in length"),
        ({"loss": [[0, 1, [2, 3]], [0, 1, 1]]}, "loss must be one-dimensional for each prompt.*differ in length"),
        ({"loss": 5}, r"loss must be shaped \(prompts, samples\).*got 5"),
        ({"reward": None}, r"reward must be shaped \(prompts, samples\).*got None"),
        ({"loss": [[1.7e308, -1.7e308, 0], [1, 0, 0]]}, r"loss must be of a magnitude at most 1e\+150, got 1.7e\+308"),
        ({"loss": [[1e200, 0, 0], [1, 0, 0]]}, r"loss must be of a magnitude at most 1e\+150, got 1e\+200"),
        ({"loss": np.ma.masked_greater([[0, 1, 9], [1, 0, 1]], 5)}, "loss must be .*got 1 masked entries"),
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


@pytest.mark.parametrize("size", [1, 7, 40])
def test_nothing_depends_on_memory_blocks(monkeypatch, size):
    """Means, errors, every resample, sets and fits: the same whatever part of the pool is held at a time."""
    loss, reward = scored_pool(np.random.default_rng(15), 40, 6)
    both = {"loss": loss + 0.1, "reward": reward, "seed": 3}
    calls = [
        lambda: pool.curve([1, 6], 0.3, **both),
        lambda: pool.optimum([1, 2, 6], [0, 0.3], **both),
        lambda: pool.power_law([1, 2, 3, 6], **both),
        lambda: pool.report(2, 0.3, **both),
        lambda: pool.regimes([1, 2, 6], 0.3, **both),
        lambda: pool.pilot([1, 2, 6], 0.3, samples=4, draws=5, **both),
    ]
    whole = [call() for call in calls]
    monkeypatch.setattr(curves, "PROMPTS", size)
    for before, call in zip(whole, calls, strict=True):
        after = call()
        for field in dataclasses.fields(before):
            values = getattr(before, field.name), getattr(after, field.name)
            if isinstance(values[0], (pool.Estimate, pool.Optimum)):
                values = [np.hstack([np.ravel(part) for part in dataclasses.astuple(value)]) for value in values]
            if isinstance(values[0], dict):
                values = [list(value.values()) for value in values]
            if np.asarray(values[0]).dtype.kind == "U":
                assert values[0] == values[1], field.name
                continue
            # a fitted minimum: to the root of rounding
            np.testing.assert_allclose(*values, rtol=1e-6, atol=1e-12, err_msg=field.name)


def test_a_progress_bar_counts_prompts_or_pilots(monkeypatch):
    import tqdm.auto

    done = []

    class Bar:
        def __init__(self, total, unit, **options):
            done.append([unit, total, 0])

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def update(self, count):
            done[-1][2] += count

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    loss, reward = scored_pool(np.random.default_rng(15), 40, 6)
    both = {"loss": loss + 0.1, "reward": reward, "seed": 3}
    calls = {
        lambda **shown: pool.curve([1, 6], 0.3, **both, **shown): [["prompt", 40, 40]],
        lambda **shown: pool.power_law([1, 2, 3, 6], **both, **shown): [["prompt", 40, 40]],
        lambda **shown: pool.report(2, 0.3, **both, **shown): [["prompt", 40, 40]],
        lambda **shown: pool.optimum([1, 6], 0.3, **both, **shown): 2 * [["prompt", 20, 20]],
        lambda **shown: pool.regimes([1, 6], 0.3, **both, **shown): 2 * [["prompt", 20, 20]],
        lambda **shown: pool.pilot([1, 2, 6], 0, samples=4, draws=7, **both, **shown): [["pilot", 7, 7]],
    }
    for call, expected in calls.items():
        done.clear()
        call()
        assert not done
        call(progress=True)
        assert done == expected


@pytest.mark.parametrize("change", ["nothing", "some unscored", "ragged"])
def test_table_views_and_other_types_give_the_same(change):
    """float64 arrays are used as they are, and never written to; other types are the same numbers."""
    loss, reward = scored_pool(np.random.default_rng(27), 30, 8)
    reward = reward.round()
    if change == "some unscored":
        reward[np.random.default_rng(1).random(reward.shape) < 0.1] = -np.inf
    given = {"loss": loss, "reward": reward}
    if change == "ragged":
        given = {name: [row[: 5 + i % 4] for i, row in enumerate(values)] for name, values in given.items()}
    small = {name: [np.float32(row) for row in values] for name, values in given.items()}
    before = [row.copy() for values in given.values() for row in values]
    calls = [
        lambda pools: pool.curve([1, 4], [0, 0.5], seed=0, **pools).resampled,
        lambda pools: pool.optimum([1, 4], [0, 0.5], seed=0, **pools).joint_set,
        lambda pools: pool.report([1, 4], 0.5, seed=0, **pools).tail_low,
        lambda pools: pool.regimes([1, 4], 0.5, seed=0, **pools).turn,
        lambda pools: pool.pilot([1, 4], [0, 0.5], seed=0, samples=4, draws=3, **pools).promised["replacement"],
    ]
    for call in calls:
        np.testing.assert_array_equal(call(small), call(given))
    for row, old in zip((row for values in given.values() for row in values), before, strict=True):
        np.testing.assert_array_equal(row, old)


def test_resamples_draw_prompts_evenly():
    """Each resample holds as many prompts as the pool; a prompt's number has a multinomial's mean and spread."""
    prompts, resamples = 30, 20000
    times = curves.resampled_means(prompts, lambda rows: np.eye(prompts)[rows], resamples, np.random.default_rng(0))[2]
    times = times * prompts
    np.testing.assert_allclose(times.sum(axis=1), prompts, rtol=1e-12)
    variance = 1 - 1 / prompts
    assert np.abs(times.mean(axis=0) - 1).max() < 5 * np.sqrt(variance / resamples)
    covariance = np.cov(times.T)
    expected = np.eye(prompts) - 1 / prompts
    spread = np.sqrt((variance**2 * 3) / resamples)  # of a sample variance of a nearly Poisson number
    assert np.abs(covariance - expected).max() < 5 * spread


def test_lists_of_rows_and_a_table_give_the_same_resamples():
    loss, reward = scored_pool(np.random.default_rng(15), 40, 6)
    parts = pool.curve([1, 6], 0.3, loss=loss, reward=reward, seed=3)
    again = pool.curve([1, 6], 0.3, loss=list(loss), reward=list(reward), seed=3)
    np.testing.assert_array_equal(again.resampled, parts.resampled)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"level": 1.0}, "level must be between 0 and 1, got 1.0"),
        ({"level": 95}, "level must be between 0 and 1, got 95"),
        ({"loss": [[1e-200, 0], [0, 0]]}, "loss, in its largest entry, must be of a magnitude between .* got 1e-200"),
        ({"level": "a"}, "level must be between 0 and 1, got 'a'"),
        ({"level": None}, "level must be between 0 and 1, got None"),
        ({"seed": "a"}, "seed must be an integer >= 0 or a numpy.random.Generator, got 'a'"),
        ({"seed": 1.5}, "seed must be an integer >= 0 or a numpy.random.Generator, got 1.5"),
        ({"seed": -1}, "seed must be an integer >= 0 or a numpy.random.Generator, got -1"),
        ({"resamples": 10}, "resamples must be an integer >= 100, got 10"),
        ({"loss": [[0, 1]], "reward": [[0, 1]]}, "at least 2 prompts .* got 1"),
    ],
)
def test_curve_bad_input(change, message):
    good = {"loss": [[0, 1], [1, 0]], "reward": [[1, 2], [3, 2]], "seed": 0} | change
    with pytest.raises(ValueError, match=message):
        pool.curve(1, 0, **good)


@pytest.mark.parametrize("seed", ["a", 1.5, -1])
def test_bad_seeds_are_named(seed):
    loss, reward = scored_pool(np.random.default_rng(1), 6, 4)
    both = {"loss": loss + 0.1, "reward": reward, "seed": seed}
    for call in (
        lambda: pool.optimum([1, 2], 1, **both),
        lambda: pool.power_law([1, 2, 3, 4], **both),
        lambda: pool.report(1, 1, **both),
        lambda: pool.regimes([1, 2], 1, **both),
        lambda: pool.pilot([1, 2], 0, samples=2, **both),
    ):
        with pytest.raises(ValueError, match="seed must be an integer >= 0"):
            call()


def quadratic_judge(rng, prompts, n, target=1.5):
    """Standard normal answers, teacher 0, a judge that prefers answers near `target`: a finite best k at T = 0."""
    answer = rng.normal(size=(prompts, n))
    return answer**2, -((answer - target) ** 2)


def test_optimum_of_the_table():
    loss, reward = quadratic_judge(np.random.default_rng(16), 60, 16)
    k, T = np.array([1, 2, 4, 16]), np.array([0, 0.5, 2.0, np.inf])
    found = pool.optimum(k, T, loss=loss, reward=reward, seed=0, resamples=300)
    mean = pool.reranked_loss(k, T, loss=loss, reward=reward).mean(axis=0)
    np.testing.assert_allclose(found.mean, mean, atol=1e-13)
    same = pool.curve(k, T, loss=loss, reward=reward, seed=1, resamples=4000)
    np.testing.assert_allclose(found.high - found.low, same.high - same.low, rtol=0.35)
    i, j = np.unravel_index(mean.argmin(), mean.shape)
    assert found.best == (k[i], T[j]) and found.joint_set[i, j]
    np.testing.assert_array_equal(found.best_k[:3], k[mean[:, :3].argmin(axis=0)])
    np.testing.assert_array_equal(found.best_T[1:], T[mean[1:].argmin(axis=1)])
    assert found.best_k[3] == 1 and found.best_T[0] == 0  # equal losses: the first candidate
    assert found.k_set[:, 3].all() and found.T_set[0].all()
    assert found.k_set.any(axis=0).all() and found.T_set.any(axis=1).all()


def test_table_optimum_of_the_estimates():
    """From the same table, `table_optimum` is `optimum`; from other numbers it is not."""
    loss, reward = quadratic_judge(np.random.default_rng(18), 30, 8)
    k, T, both = [1, 2, 8], [0, 0.5], dict(seed=4, resamples=200)
    table = pool.reranked_loss(k, T, loss=loss, reward=reward)
    expected = pool.optimum(k, T, loss=loss, reward=reward, **both)
    found = pool.table_optimum(k, T, table=table, **both)
    for name in ("mean", "low", "high", "k_set", "T_set", "joint_set", "best", "chosen", "crossfit_loss"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12)
    for gain in ("over_one_sample", "over_most_samples", "over_best_of_k"):
        ends = [dataclasses.astuple(getattr(one, gain)) for one in (found, expected)]
        np.testing.assert_allclose(*ends, rtol=1e-12, atol=1e-14)
    flat = pool.table_optimum(k, 0, table=table[:, :, 0], **both)
    np.testing.assert_allclose(flat.mean[:, 0], expected.mean[:, 0], rtol=1e-14)
    moved = pool.table_optimum(k, T, table=np.roll(table, 1, axis=1), **both)
    assert expected.best[0] == 2 and moved.best[0] == 8


@pytest.mark.parametrize(
    "table, message",
    [
        (np.ones((5, 3)), r"table must .* shape \(prompts, 3, 2\), got shape \(5, 3\)"),
        (np.ones((5, 2, 3)), r"table must .* shape \(prompts, 3, 2\), got shape \(5, 2, 3\)"),
        (np.ones((3, 3, 2)), "table must hold at least 4 prompts .* got 3"),
        (np.full((5, 3, 2), np.nan), "table must be finite, got nan"),
        ([["a"]], "table must be real numbers, got"),
    ],
)
def test_table_optimum_bad_input(table, message):
    with pytest.raises(ValueError, match=message):
        pool.table_optimum([1, 2, 4], [0, 1], table=table, seed=0)


def test_optimum_halves_by_hand():
    """With one temperature and two k the cross-fitted gain follows from the two halves' means."""
    loss, reward = quadratic_judge(np.random.default_rng(17), 41, 8)
    found = pool.optimum([1, 2, 8], 0, loss=loss, reward=reward, seed=5, resamples=200)
    order = np.random.default_rng(5).permutation(41)
    table = pool.reranked_loss([1, 2, 8], 0, loss=loss, reward=reward)
    a, b = table[order[:20]], table[order[20:]]
    pick_a, pick_b = a.mean(axis=0).argmin(), b.mean(axis=0).argmin()
    out_of_sample = np.append(a[:, pick_b], b[:, pick_a])
    assert found.chosen == ((int([1, 2, 8][pick_a]), 0.0), (int([1, 2, 8][pick_b]), 0.0))
    assert found.crossfit_loss == pytest.approx(out_of_sample.mean(), abs=1e-13)
    most = np.append(a[:, 2], b[:, 2]).mean()
    assert found.over_most_samples.value == pytest.approx(most - out_of_sample.mean(), abs=1e-13)
    assert found.over_best_of_k == pool.Estimate(0.0, 0.0, 0.0)


def test_sets_hold_the_best_and_exclude_the_bad():
    """The population's best k (2, seen on 40,000 prompts) is in the 80 % set at least that often."""
    rng = np.random.default_rng(18)
    k = [1, 2, 3, 4, 8]
    many_loss, many_reward = quadratic_judge(rng, 40_000, 8)
    best = int(pool.reranked_loss(k, 0, loss=many_loss, reward=many_reward).mean(axis=0).argmin())
    held = excluded = 0
    for trial in range(150):
        loss, reward = quadratic_judge(rng, 80, 8)
        found = pool.optimum(k, 0, loss=loss, reward=reward, level=0.8, seed=trial, resamples=200)
        held += found.k_set[best, 0]
        excluded += not found.k_set[-1, 0]
    assert held / 150 > 0.8 - 3 * (0.8 * 0.2 / 150) ** 0.5
    assert excluded > 100


def test_crossfitted_gain_has_no_winners_curse():
    """A judge that knows nothing gains nothing, though the best of many candidates looks like a gain."""
    rng = np.random.default_rng(19)
    honest, apparent = [], []
    for trial in range(120):
        loss, reward = rng.random((24, 12)), rng.normal(size=(24, 12))
        found = pool.optimum(np.arange(1, 13), [0, 0.5], loss=loss, reward=reward, seed=trial, resamples=100)
        honest.append(found.over_one_sample.value)
        apparent.append(found.mean[0, 0] - found.mean.min())
    error = np.std(honest) / len(honest) ** 0.5
    assert abs(np.mean(honest)) < 3.5 * error
    assert np.mean(apparent) > 5 * error


def test_power_law_over_a_window_too_narrow_for_local_exponents():
    loss, reward = scored_pool(np.random.default_rng(15), 40, 24)
    found = pool.power_law([8, 12, 16, 24], loss=loss + 0.1, reward=reward, seed=3)
    k = np.log([8, 12, 16, 24])
    assert found.exponent == pytest.approx(-np.polyfit(k, np.log(found.mean), 1)[0], rel=1e-10)
    assert found.local_k.shape == found.local_exponent.shape == found.local_low.shape == (0,)


@pytest.mark.parametrize("unit", [1e-140, 1e140])
def test_power_law_in_any_unit_of_the_loss(unit):
    loss = np.random.default_rng(3).random((60, 32))
    fit, same = (pool.power_law([1, 2, 4, 8], loss=u * loss, reward=-loss, seed=0, resamples=100) for u in (unit, 1))
    np.testing.assert_allclose(np.array(fit.floor) / [unit, 1, unit], same.floor, rtol=1e-9, atol=1e-12)
    assert abs(fit.exponent / same.exponent - 1) < 1e-10


def test_power_law_of_a_judge_that_never_changes_the_loss():
    """A slope that is only rounding stands for no density: beta is inf, not 1e16."""
    loss = np.random.default_rng(3).random((60, 32))
    fit = pool.power_law([1, 2, 4, 8, 16], loss=loss, reward=0 * loss, seed=0, resamples=100)
    assert abs(fit.exponent) < 1e-12 and fit.beta == fit.beta_low == fit.beta_high == np.inf


def test_power_law_of_a_uniform_law():
    """Loss u^2, u uniform: 2/((k+1)(k+2)), exponent near 2; the fit is numpy's polyfit of the mean."""
    rng = np.random.default_rng(20)
    loss = rng.uniform(-1, 1, (3000, 64)) ** 2
    k = np.array([8, 16, 32, 64])
    fit = pool.power_law(k, loss=loss, reward=-loss, seed=0, resamples=300)
    np.testing.assert_allclose(fit.mean, 2 / ((k + 1) * (k + 2)), rtol=0.15)
    slope, start = np.polyfit(np.log(k), np.log(fit.mean), 1)
    assert (fit.exponent, fit.A) == (pytest.approx(-slope), pytest.approx(np.exp(start)))
    exact = -np.polyfit(np.log(k), np.log(2 / ((k + 1) * (k + 2))), 1)[0]
    assert fit.exponent_low < exact < fit.exponent_high
    assert fit.beta == pytest.approx(2 / fit.exponent - 1)
    assert fit.beta_low == pytest.approx(2 / fit.exponent_high - 1)
    assert fit.local_exponent[0] == pytest.approx(-np.polyfit(np.log(k[:3]), np.log(fit.mean[:3]), 1)[0])
    np.testing.assert_allclose(fit.local_k, [16, 32])


def test_prompt_difficulty_alone_makes_a_power_law():
    """p ~ Beta(0.187, 1): an exponent near 0.17 with no density in sight, and the fits see the difference."""
    rng = np.random.default_rng(21)
    wrong = (rng.random((1000, 64)) > rng.beta(0.187, 1.0, (1000, 1))).astype(float)
    k = np.array([4, 6, 8, 12, 16, 24, 32, 48, 64])
    fit = pool.power_law(k, loss=wrong, reward=-wrong, seed=0, resamples=300)
    assert 0.14 < fit.exponent < 0.20
    assert 8 < fit.beta < 14
    assert fit.exponent_low < 0.187 + 0.01
    assert abs(fit.ahead["heterogeneity"]) < 0.02
    assert "exponent 0.1" in str(fit) and "of resamples" in str(fit)


def test_rival_fits_recover_exact_curves():
    from scipy.optimize import least_squares
    from scipy.special import betaln

    k = np.array([1, 2, 4, 8, 16, 32, 64])
    floor = 0.6 * k**-0.8 + 0.1
    (A, rho, B), predicted = scaling._fit_floor(k, floor[None], np.array([256]))
    np.testing.assert_allclose([A[0], rho[0], B[0]], [0.6, 0.8, 0.1], rtol=0.05)
    assert predicted[0, 0] == pytest.approx(0.6 * 256**-0.8 + 0.1, rel=0.01)
    without = scaling._fit_floor(k, (0.6 * k**-0.8)[None])[0]
    assert without[2, 0] == pytest.approx(0, abs=0.01)
    curve = lambda b1, b2: np.exp(betaln(b1, b2 + k) - betaln(b1, b2))  # noqa: E731
    exact = scaling._fit_heterogeneity(k, np.stack([curve(0.3, 2.0), curve(1.5, 0.4)]))[0]
    np.testing.assert_allclose(exact, [[0.3, 1.5], [2.0, 0.4]], rtol=1e-6)
    noisy = curve(0.5, 1.0) * np.exp(0.05 * np.random.default_rng(22).normal(size=len(k)))
    other = least_squares(lambda x: np.log(curve(*np.exp(x)) / noisy), [0, 0], xtol=1e-15, ftol=1e-15, gtol=1e-15)
    np.testing.assert_allclose(scaling._fit_heterogeneity(k, noisy[None])[0][:, 0], np.exp(other.x), rtol=1e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"k": [1, 2, 2, 3]}, r"k must hold at least 4 different values .* got \[1, 2, 3\]"),
        ({"T": [0, 1]}, "T must be a single temperature .* got 2"),
        ({"loss": np.zeros((3, 4))}, "loss must have a positive mean .* got 0 at k=1"),
        ({"loss": np.eye(4)[:, [0, 0, 0, 0]]}, "k=4 is too large for this pool"),
    ],
)
def test_power_law_bad_input(change, message):
    good = {"k": [1, 2, 3, 4], "T": 0.0, "loss": np.ones((3, 4))} | change
    with pytest.raises(ValueError, match=message):
        pool.power_law(good["k"], T=good["T"], loss=good["loss"], reward=np.ones_like(good["loss"]), seed=0)


def test_optimum_bad_input():
    with pytest.raises(ValueError, match="at least 4 prompts .* got 3"):
        pool.optimum([1], [0], loss=np.ones((3, 2)), reward=np.ones((3, 2)), seed=0)


def test_report_moments_are_unbiased():
    """Averaged over all 3^4 pools of a three-valued law, the estimates are the population's moments."""
    law = np.array([[0.0, 1.0], [1.0, -0.5], [3.0, 2.5]])
    chosen = np.array(list(np.ndindex(3, 3, 3, 3)))
    card = pool.report(2, 1.0, loss=law[chosen, 0], reward=law[chosen, 1], seed=0, resamples=100)
    away, centred = (law - law.mean(axis=0)).T
    assert card.covariance.value == pytest.approx((away * centred).mean(), abs=1e-14)
    assert card.curvature.value == pytest.approx((away * centred**2).mean(), abs=1e-14)


def test_report_by_hand():
    """Two prompts of five samples, one unscored, counted on fingers."""
    wrong = [[1, 0, 0, 1, 1], [0, 1, 1, 1, 1], [0, 0, 0, 0, 0]]
    score = [[3, 3, 1, 2, -np.inf], [5, 5, 5, 1, 1], [1, 2, 3, 4, 5]]
    card = pool.report([1, 2], 4.0, loss=wrong, reward=score, seed=0, resamples=100)
    assert (card.prompts, card.samples, card.left_out, card.auroc_prompts) == (3, 15, 0, 2)
    assert card.unscored == pytest.approx(1 / 15)
    assert card.loss.value == pytest.approx((1 / 2 + 4 / 5 + 0) / 3)
    assert card.coverage_loss.value == 0
    first = (0.5 + 0 + 1 + 0) / 4  # right samples (3, 1) against wrong ones (3, 2)
    second = (0.5 + 0.5 + 1 + 1) / 4
    assert card.auroc_within.value == pytest.approx((first + second) / 2)
    assert card.top_tie == pytest.approx(2 / 3)
    assert card.top_tie_size == pytest.approx((2 / 4 + 3 / 5 + 1 / 5) / 3)
    rules = {"first": (1 + 0 + 0) / 3, "shared": (1 / 2 + 2 / 3 + 0) / 3, "last": (0 + 1 + 0) / 3}
    assert card.tie_rules == pytest.approx(rules)
    np.testing.assert_allclose(card.tail, np.array([1 / 2 + 2 / 3, 1 / 2 + 2 / 3, 1 + 2 / 3, 0 + 1]) / 3)
    # Cov(loss, score): 1/6 in the first prompt, (5 + 5 + 1 + 1)/4 - 4/5 * 17/4 = -0.4 in the second, 0 in the third
    assert card.covariance.value == pytest.approx((1 / 6 - 0.4 + 0) / 3)
    assert card.covariance_signs == pytest.approx((1 / 3, 1 / 3, 1 / 3))


def test_inversions_and_ties_are_counted():
    rng = np.random.default_rng(28)
    for size in (1, 2, 15, 16, 17, 33, 100, 1000):
        for top in (1, 2, 5, 10_000):
            values = rng.integers(0, top, size)
            later = np.triu(np.ones((size, size), bool), 1)
            expected = ((values[:, None] > values) & later).sum()
            assert judging._inversions(values.astype(np.int32)) == expected
            assert judging._tied_pairs(np.sort(values)) == ((values[:, None] == values) & later).sum()


def test_report_pooled_auroc_leaves_out_unscored_samples():
    loss, reward = scored_pool(np.random.default_rng(29), 12, 8)
    whole = pool.report(2, 1.0, loss=loss[:, :6], reward=reward[:, :6], seed=0, resamples=100).auroc_pooled
    reward[:, 6:] = -np.inf
    assert pool.report(2, 1.0, loss=loss, reward=reward, seed=0, resamples=100).auroc_pooled == whole


def test_report_pooled_auroc_counts_all_pairs():
    rng = np.random.default_rng(23)
    for values in (2, 4):
        loss = rng.integers(0, values, (5, 6)).astype(float)
        reward = rng.integers(0, 5, (5, 6)) - 0.5 * loss
        card = pool.report(2, 1.0, loss=loss, reward=reward, seed=0, resamples=100)
        a, b = loss.ravel(), reward.ravel()
        pairs = [(b[i] > b[j]) + 0.5 * (b[i] == b[j]) for i in range(30) for j in range(30) if a[i] < a[j]]
        assert card.auroc_pooled == pytest.approx(np.mean(pairs), abs=1e-12)


def test_report_expansion_is_right_at_high_temperature():
    """The gap to the measured loss shrinks as T^-3 (at k = 2 and 12 the third coefficient is not small)."""
    rng = np.random.default_rng(24)
    reward = rng.normal(size=(50, 12))
    loss = (reward + rng.normal(size=(50, 12))) ** 2
    card = pool.report([2, 12], [20.0, 40.0], loss=loss, reward=reward, seed=0, resamples=100)
    gap = np.abs(card.expansion - card.measured)
    np.testing.assert_allclose(gap[:, 0] / gap[:, 1], 8, rtol=0.2)
    np.testing.assert_allclose(card.measured, pool.reranked_loss([2, 12], [20, 40], loss=loss, reward=reward).mean(0))
    assert (card.gap_error < 0.1 * card.measured_error).all()  # prompt by prompt the two go together


def test_report_turn_has_the_sign_of_the_large_k_approach():
    """Loss and reward of few levels, repeated: the pool is the law, and 1/k (delta_k - delta_inf) is minus `turn`."""
    from bestofk import reranking

    rng = np.random.default_rng(25)
    law_loss, law_reward = rng.random((6, 4)), rng.normal(size=(6, 4))
    card = pool.report(1, [0.7, 2.0], loss=np.repeat(law_loss, 2, 1), reward=np.repeat(law_reward, 2, 1), seed=0)
    k = 200_000
    near = np.mean([reranking.reranked_loss(k, card.T, loss=a, reward=b) for a, b in zip(law_loss, law_reward)], axis=0)
    weight = np.exp(law_reward[:, :, None] / card.T)
    limit = ((weight * law_loss[:, :, None]).sum(1) / weight.sum(1)).mean(0)
    np.testing.assert_allclose(k * (near - limit), -card.turn, rtol=1e-3)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"T": 0.0}, "T must be > 0, got 0.0"),
        ({"loss": np.ones((3, 4))}, "loss must differ within at least 2 prompts .* got 0"),
        ({"reward": np.full((3, 4), -np.inf)}, "reward must score at least 3 samples of at least 2 prompts, got 0"),
    ],
)
def test_report_bad_input(change, message):
    rng = np.random.default_rng(26)
    good = {"T": 1.0, "loss": rng.random((3, 4)), "reward": rng.random((3, 4))} | change
    with pytest.raises(ValueError, match=message):
        pool.report(2, good["T"], loss=good["loss"], reward=good["reward"], seed=0)
