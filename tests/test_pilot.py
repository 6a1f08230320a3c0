"""Pilots and regimes: against laws whose optimum is known, and against slow re-implementations."""

from itertools import combinations, product

import numpy as np
import pytest

from bestofk import gaussian, optimum, pool, reranking


def gaussian_pool(shift, prompts=200, N=64, seed=0):
    answer = np.random.default_rng(seed).normal(size=(prompts, N))
    return dict(loss=answer**2, reward=-((answer - shift) ** 2))


def test_pilot_of_a_law_with_a_sharp_optimum_finds_it():
    # target 1.5 std off: the loss of the Gaussian law at T = 0 is known
    k = [1, 2, 4, 8, 32]
    exact = gaussian.reranked_loss(k, 0, mean=0, std=1, teacher=0, reward=1.5)
    found = pool.pilot(k, 0, **gaussian_pool(1.5, prompts=1000), draws=20, seed=1)
    assert found.best == (k[exact.argmin()], 0.0)
    error = np.sqrt(2 / 1000)  # of a mean of 1000 squared normals, the noisiest entry
    assert np.abs(found.truth[:, 0] - exact).max() < 5 * error
    for method in ("subsets", "replacement", "power law"):
        assert (found.chosen_k[method] == found.best[0]).all() and np.allclose(found.regret[method], 0)


def test_pilot_promises_are_right_on_average():
    data = gaussian_pool(0.0, prompts=100, N=48, seed=3)
    k = [1, 2, 8]
    found = pool.pilot(k, 0, **data, samples=12, draws=300, seed=2)
    assert set(found.chosen_k["subsets"]) == {8}
    spread = found.promised["subsets"].std() / np.sqrt(300)
    assert abs(found.promised["subsets"].mean() - found.truth[2, 0]) < 5 * spread  # subsets of a subset: unbiased
    # drawing with replacement among 12 is worse than among fresh ones: repeated samples
    assert found.promised["replacement"].mean() > found.truth[2, 0] + 5 * spread
    # the line bends less than the curve, which falls faster and faster on the way to 1/k^2
    assert (found.promised["power law"] > 0).all()


def test_choices_by_enumeration():
    """One pilot of everything but nothing: samples = N - 1 of tied and unscored samples, by hand for each method."""
    rng = np.random.default_rng(4)
    loss, reward = rng.random((3, 5)), rng.integers(0, 3, (3, 5)).astype(float)
    reward[1, 2] = -np.inf
    k, T = [1, 2, 3], [0.0, 0.7, np.inf]

    class Fixed:  # a generator that always keeps samples 0..3
        def random(self, shape):
            return np.tile(np.arange(shape[1], dtype=float), (shape[0], 1))

    part = pool.piloting._drawn(pool.piloting.read_pool(loss, reward), 4, Fixed())
    assert np.array_equal(np.sort(part.loss), np.sort(loss[:, :4]))
    table = pool.piloting._finite(part, np.array(k), np.array(T))
    for i, size in enumerate(k):
        for j, t in enumerate(T):
            total = 0.0
            for prompt in range(3):
                for draw in product(range(4), repeat=size):
                    r, ell = reward[prompt, list(draw)], loss[prompt, list(draw)]
                    if np.isneginf(r.max()):
                        weight = np.ones(size)
                    elif t == 0:
                        weight = 1.0 * (r == r.max())
                    else:
                        weight = np.exp((r - r.max()) / t) if t < np.inf else np.ones(size)
                    total += weight @ ell / weight.sum() / 4**size / 3
            if not (t == np.inf):  # no selection: unscored samples count as any
                assert np.isclose(table[i, j], total, rtol=1e-10), (size, t)
            else:
                assert np.isclose(table[i, j], loss[:, :4].mean())


def test_pilot_over_temperatures_agrees_with_a_slow_loop():
    data = gaussian_pool(1.5, prompts=30, N=20, seed=5)
    k, T = np.array([1, 2, 6]), np.array([0.0, 2.0])
    found = pool.pilot(k, T, **data, samples=6, draws=3, seed=np.random.default_rng(7))
    rng = np.random.default_rng(7)
    for draw in range(3):
        kept = np.argpartition(rng.random((30, 20)), 5, axis=1)[:, :6]
        loss, reward = (np.take_along_axis(values, kept, axis=1) for values in data.values())
        slow = np.zeros((3, 2))
        for i, size in enumerate(k):
            for subset in combinations(range(6), int(size)):
                r, ell = reward[:, subset], loss[:, subset]
                slow[i, 0] += ell[np.arange(30), r.argmax(axis=1)].mean()
                weight = np.exp((r - r.max(axis=1, keepdims=True)) / 2.0)
                slow[i, 1] += ((weight * ell).sum(axis=1) / weight.sum(axis=1)).mean()
            slow[i] /= len(list(combinations(range(6), int(size))))
        i, j = np.unravel_index(slow.argmin(), slow.shape)
        assert (found.chosen_k["subsets"][draw], found.chosen_T["subsets"][draw]) == (k[i], T[j])
        assert np.isclose(found.promised["subsets"][draw], slow.min())
        finite = [[reranking.reranked_loss(int(size), t, loss=loss, reward=reward).mean() for t in T] for size in k]
        assert np.isclose(found.promised["replacement"][draw], np.min(finite))
    only = pool.pilot(k, T, **data, samples=6, draws=3, methods=["subsets"], seed=np.random.default_rng(7))
    assert list(only.regret) == ["subsets"] and np.array_equal(only.promised["subsets"], found.promised["subsets"])
    assert "power law" not in found.chosen_k and all((values >= 0).all() for values in found.regret.values())


def test_power_law_extrapolates_a_power_law():
    rng = np.random.default_rng(6)
    p = rng.beta(0.3, 1.0, 400)
    right = rng.random((400, 64)) < p[:, None]
    found = pool.pilot([1, 2, 4, 8, 16, 64], 0, loss=~right, reward=right, draws=10, seed=0)
    assert (found.chosen_k["power law"] == 64).all() and np.allclose(found.regret["power law"], 0)
    assert np.abs(found.promised["power law"] / found.truth[-1, 0] - 1).max() < 0.3
    # the pilot as the law cannot see right answers that it has not drawn
    assert (found.promised["replacement"] > found.truth[-1, 0]).all()


@pytest.mark.parametrize("shift, T", [(0.0, 2.0), (1.0, 2.0), (2.0, 2.0), (2.0, 40.0), (3.0, 0.5)])
def test_turn_has_the_sign_of_the_exact_criterion(shift, T):
    found = pool.regimes([1, 2, 32], T, **gaussian_pool(shift, prompts=300, seed=11), seed=0)
    rises = optimum.finite_best_k(T, mean=0, std=1, teacher=0, reward=shift)
    assert found.predicted[0] in (("rises", "open") if rises else ("falls", "open"))
    assert (found.turn[0] > 0) == rises


def test_turn_is_the_first_correction_of_the_measured_law():
    data = gaussian_pool(1.5, prompts=4, N=12, seed=12)
    found = pool.regimes([1, 12], 1.3, **data, seed=0)
    slope = []
    for loss, reward in zip(*data.values()):
        far = reranking.reranked_loss([10**6, 2 * 10**6], 1.3, loss=loss, reward=reward)
        slope.append(2e6 * (far[1] - far[0]))  # delta_inf - turn/k
    assert np.isclose(found.turn[0], np.mean(slope), rtol=1e-4)


def test_measured_regimes():
    k = [1, 2, 4, 8, 16, 32]
    expected = {0.0: "monotone", 1.5: "finite", 4.0: "harmful"}
    for shift, regime in expected.items():
        assert pool.regimes(k, 0.5, **gaussian_pool(shift), seed=0).measured == (regime,)
    blind = np.random.default_rng(1).random((50, 32))
    cases = [pool.regimes(k, [0.5, 5.0], loss=blind, reward=np.random.default_rng(2).random((50, 32)), seed=0)]
    cases += [pool.regimes(k, 0.5, **gaussian_pool(shift), seed=0) for shift in expected]
    table = pool.confusion(cases)
    assert sum(sum(row.values()) for row in table.values()) == 5
    assert table["rises"] == {"monotone": 0, "finite": 1, "harmful": 1, "open": 0}


def test_unscored_samples_are_left_out():
    data = gaussian_pool(1.5, prompts=60, N=16)
    more = {name: np.concatenate([values, np.full((60, 3), 7.0 if name == "loss" else -np.inf)], axis=1)
            for name, values in data.items()}  # fmt: skip
    a, b = (pool.regimes([1, 4, 16], 1.0, **one, seed=0) for one in (data, more))
    assert np.allclose(a.turn, b.turn) and np.allclose(a.optimum.mean, b.optimum.mean)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda d: pool.pilot([1, 2], 0, **d, samples=64, seed=0), ["samples", "64", "prompt 0"]),
        (lambda d: pool.pilot([1, 2], 0, **d, samples=1, seed=0), ["samples", "got 1"]),
        (lambda d: pool.pilot([1, 2], 0, **d, draws=0, seed=0), ["draws", "0"]),
        (lambda d: pool.pilot([1, 2], 0, **d, methods=["guess"], seed=0), ["methods", "guess"]),
        (lambda d: pool.pilot([20, 30], 0, **d, seed=0), ["k must", "20"]),
        (lambda d: pool.regimes([1, 2], 0, **d, seed=0), ["T must be > 0", "0"]),
        (lambda d: pool.regimes([2, 4], 1, **d, seed=0), ["k must hold 1", "[2, 4]"]),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError) as error:
        call(gaussian_pool(1.0, prompts=5))
    for word in words:
        assert word in str(error.value)
