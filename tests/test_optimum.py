"""k*, T* and judges against full curves, expansions against the exact engine, covariances against simulation."""

import numpy as np
import pytest

from bestofk import gaussian, optimum, regression, reranking

LAW = {"mean": 0.0, "std": 1.0, "teacher": 0.0, "reward": 2.0}
ALL_K = np.unique(np.round(np.geomspace(1, 1e9, 400)).astype(np.int64))


def random_laws(count, seed):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        std = rng.uniform(0.3, 3)
        mean = rng.normal()
        teacher, reward = mean + std * rng.uniform(-2.5, 2.5, size=2)
        yield 2 * std**2 * 10 ** rng.uniform(-2, 2), {"mean": mean, "std": std, "teacher": teacher, "reward": reward}


def test_criterion_agrees_with_full_curves():
    seen = set()
    for T, law in random_laws(60, seed=1):
        curve = gaussian.reranked_loss(ALL_K, T, **law)
        has_minimum = bool(np.argmin(curve) < curve.size - 1 and curve.min() < curve[-1] * (1 - 1e-12))
        seen.add(has_minimum)
        assert optimum.finite_best_k(T, **law) == has_minimum, (T, law)
    assert seen == {True, False}


def test_criterion_at_zero_temperature_agrees_with_full_curves():
    for _, law in random_laws(60, seed=2):
        curve = gaussian.reranked_loss(ALL_K[ALL_K <= 10**5], 0, **law)
        assert optimum.finite_best_k(0, **law) == (np.argmin(curve) < curve.size - 1), law


@pytest.mark.parametrize("T", [0.0, 1.0, 20.0])
def test_best_k_is_the_minimum_of_every_integer(T):
    for _, law in random_laws(12, seed=3):
        found = optimum.best_k(T, **law)
        if np.isfinite(found.at) and found.at < 3000:
            curve = gaussian.reranked_loss(np.arange(1, 5000), T, **law)
            assert found.loss == pytest.approx(curve.min(), rel=1e-11)
            assert curve[int(found.at) - 1] == pytest.approx(curve.min(), rel=1e-11)
        if np.isinf(found.at):
            curve = gaussian.reranked_loss(ALL_K, T, **law)
            assert (np.diff(curve) <= 1e-12 * curve[:-1]).all()


def test_best_k_shapes_and_flat_temperature():
    found = optimum.best_k([0.0, 20.0, np.inf], mean=0, std=1, teacher=0, reward=[0.0, 2.0])
    assert found.at.shape == (2, 3)
    assert found.at[1, 1] == 34 and np.isinf(found.at[0, 0])
    assert (found.at[:, 2] == 1).all()


def test_best_temperature_beats_a_fine_grid():
    T = np.r_[0, np.geomspace(1e-3, 1e5, 300), np.inf]
    for k in (2, 5, 64, 1000):
        for _, law in random_laws(4, seed=k):
            found = optimum.best_temperature(k, **law)
            assert found.loss <= gaussian.reranked_loss(k, T, **law).min() * (1 + 1e-8)
            assert gaussian.reranked_loss(k, found.at, **law) == pytest.approx(found.loss, rel=1e-9)


@pytest.mark.parametrize("reward, expected", [(2.0, 14.0), (0.5, 0.0)])
def test_best_temperature_at_many_draws(reward, expected):
    law = LAW | {"reward": reward}
    found = optimum.best_temperature(np.inf, **law)
    assert found.at == expected
    T = np.r_[1e-9, np.geomspace(1e-3, 1e4, 400)]
    assert found.loss <= gaussian.reranked_loss(2**50, T, **law).min() * (1 + 1e-6)


def test_best_temperature_where_selection_harms():
    law = LAW | {"teacher": -1.0, "reward": 2.0}
    assert optimum.best_temperature(np.inf, **law).at == np.inf
    assert optimum.best_temperature(8, **law).at == np.inf
    assert optimum.best_temperature(1, **LAW).at == np.inf


def test_high_temperature_formulas_are_the_stationary_points_of_the_expansion():
    """delta = s^2 + D_T^2 - (1-1/k) C1/t + (1-1/k)(1-2/k) C2/t^2, minimised on a fine grid."""
    t, C1, C2 = 10.0, 1.0, 5.0  # mean = teacher, reward two std away
    k = np.linspace(1, 50, 490001)
    curve = -(1 - 1 / k) * C1 / t + (1 - 1 / k) * (1 - 2 / k) * C2 / t**2
    assert optimum.high_temperature_best_k(2 * t, **LAW) == pytest.approx(k[np.argmin(curve)], abs=2e-4)
    k, t = 8, np.linspace(0.5, 50, 990001)
    curve = -(1 - 1 / k) * C1 / t + (1 - 1 / k) * (1 - 2 / k) * C2 / t**2
    assert optimum.high_temperature_best_temperature(8, **LAW) == pytest.approx(2 * t[np.argmin(curve)], abs=2e-4)


def test_high_temperature_formulas_approach_the_exact_answer():
    """The relative error of T* at k = 64 falls as the reward moves away (C2 / C1 and so t* grow)."""
    errors = []
    for reward in (2.0, 4.0, 8.0):
        law = LAW | {"reward": reward}
        exact = optimum.best_temperature(64, **law).at
        errors.append(abs(optimum.high_temperature_best_temperature(64, **law) / exact - 1))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_average_criterion_carries_the_weight():
    """Without the weight E[w^2]/E[w]^2 the answer would be no (s = 1, Var D_T = .3, D_R = 2.5 D_T, t = 1)."""
    V, ratio, T = 0.3, 2.5, 2.0
    cov = V * np.array([[1, ratio], [ratio, ratio**2]])

    def averaged_limit(tau):
        return 1 / (1 + tau) + V * (1 - tau * ratio / (1 + tau)) ** 2

    assert averaged_limit(2.0) < averaged_limit(1.0)  # the naive criterion: approach from above
    assert optimum.finite_average_best_k(T, std=1.0, cov=cov)
    found = optimum.average_best_k(T, std=1.0, cov=cov)
    assert found.loss < averaged_limit(1.0) - 1e-3 and 10 < found.at < 100


@pytest.mark.parametrize("ratio", [1.5, 2.1, 2.5, 2.9])
def test_average_criterion_agrees_with_the_averaged_curve(ratio):
    cov = 0.3 * np.array([[1, ratio], [ratio, ratio**2]])
    curve = gaussian.generalization_error(np.array([10**6, 10**7]), 2.0, std=1.0, cov=cov)
    assert optimum.finite_average_best_k(2.0, std=1.0, cov=cov) == (curve[0] < curve[1])


def test_average_criterion_is_the_sign_of_the_averaged_correction():
    """Against the 1/k coefficient of every input, averaged by Gauss-Hermite quadrature over (D_T, D_R)."""
    rng = np.random.default_rng(12)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    seen = []
    for _ in range(60):
        root = np.tril(rng.normal(size=(2, 2)) * [[0.9], [0.6]])
        cov, T = root @ root.T, 2 * 10 ** rng.uniform(-0.3, 1.5)
        if 4 / ((T / 2 + 1) * (T / 2 + 2)) * cov[1, 1] > 0.9:  # far enough inside for 80 nodes
            continue
        D_R = np.sqrt(cov[1, 1]) * nodes
        law = {"mean": D_R, "std": 1.0, "reward": 0.0}
        # the correction is linear in D_T: its mean given D_R is enough
        each = gaussian.first_correction(T, teacher=D_R * (1 - cov[0, 1] / cov[1, 1]), **law)
        below = weights @ each < 0
        seen.append(bool(below))
        assert optimum.finite_average_best_k(T, std=1.0, cov=cov) == below, (T, cov)
    assert len(seen) > 30 and set(seen) == {True, False}
    assert not optimum.finite_average_best_k(np.inf, std=1.0, cov=[[9, -3], [-3, 4]])


def test_average_criterion_says_where_it_does_not_exist():
    with pytest.raises(ValueError, match=r"no average at T = 0\.02 for cov\[1\]\[1\] = 1\.5"):
        optimum.finite_average_best_k(0.02, std=1.0, cov=[[0.5, 0.5], [0.5, 1.5]])
    with pytest.raises(ValueError, match="T must be > 0 here, got 0"):
        optimum.finite_average_best_k(0, std=1.0, cov=np.eye(2))


def test_general_criterion_is_sufficient_not_necessary():
    """A four-level law whose curve dips near k = 6 and yet ends by falling."""
    law = {"loss": [1, 0, 1, 0.5], "reward": [0, 1, 2, 3], "prob": [0.49, 0.5, 0.0095, 0.0005]}
    assert optimum.improves_from_above(0.2, **law)
    curve = reranking.reranked_loss(np.arange(1, 200), 0.2, **law)
    assert curve.min() < 0.1 < reranking.limit(0.2, **law)


def test_general_criterion_on_random_laws():
    rng = np.random.default_rng(5)
    for _ in range(40):
        law = {"loss": rng.random(8), "reward": rng.random(8), "prob": rng.dirichlet(np.ones(8))}
        if not optimum.improves_from_above(0.1, **law):
            curve = reranking.reranked_loss(np.array([10**5, 10**6]), 0.1, **law)
            assert curve[0] < reranking.limit(0.1, **law)


def test_informed_judge_is_best_at_c_equal_t_for_many_draws():
    V, s2, t = 0.2, 1.0, 1.5
    grid = np.linspace(0, 4, 81)
    limits = [s2 * t / (1 + t) + cov[0, 0] - 2 * cov[0, 1] / (1 + t) + cov[1, 1] / (1 + t) ** 2
              for cov in optimum.informed_judge(V, grid)]
    assert grid[np.argmin(limits)] == pytest.approx(t)
    assert min(limits) == pytest.approx(s2 * t / (1 + t))


def simulated(judge_of, sets=300):
    """Covariance of (m - mu_T, m - mu_R) over training sets with its standard errors; d = 60, n = 120."""
    rng = np.random.default_rng(6)
    spectrum = np.arange(1, 61) ** -0.5
    teacher = rng.standard_normal(60)
    model = {"n": 120, "spectrum": spectrum, "teacher": teacher, "noise": 0.5, "prior": 1.0}
    runs = regression.training_sets(rng, sets, **model)
    judges = judge_of(rng, spectrum, teacher, sets)
    errors = np.stack([runs.weights - teacher, runs.weights - judges], 1)
    samples = np.einsum("sai,i,sbi->sab", errors, spectrum / 60, errors)
    return samples.mean(0), samples.std(0, ddof=1) / np.sqrt(sets), spectrum, teacher


def test_learned_judge_against_simulation():
    def judge_of(rng, spectrum, teacher, sets):
        return regression.training_sets(rng, sets, n=40, spectrum=spectrum, teacher=teacher, noise=0.3,
                                        prior=0.8).weights

    mean, error, spectrum, teacher = simulated(judge_of)
    cov = optimum.learned_judge(alpha=60 / 120, judge_alpha=60 / 40, spectrum=spectrum, teacher=teacher, noise=0.5,
                                judge_noise=0.3, prior=1.0, judge_prior=0.8)
    # 5 standard errors, and the equivalents' own error of order 1/d
    assert (np.abs(mean - cov) <= 5 * error + np.abs(cov) / 60).all(), (mean, error, cov)


def test_fixed_judge_against_simulation():
    correction = 1.3

    def judge_of(rng, spectrum, teacher, sets):
        eq = regression.equivalents(alpha=0.5, spectrum=spectrum, teacher=teacher, noise=0.5, prior=1.0)
        return teacher + correction * eq.ridge * teacher / (spectrum + eq.ridge)

    mean, error, spectrum, teacher = simulated(judge_of)
    eq = regression.equivalents(alpha=0.5, spectrum=spectrum, teacher=teacher, noise=0.5, prior=1.0)
    cov = optimum.fixed_judge(eq, correction)
    assert (np.abs(mean - cov) <= 5 * error + np.abs(cov) / 60).all(), (mean, error, cov)


def test_consensus_against_simulation():
    rng = np.random.default_rng(7)
    draws = (0.5 + 1.5 * rng.standard_normal((200_000, 4))).mean(1) ** 2
    exact = optimum.consensus_loss(4, mean=0.5, std=1.5, teacher=0.0)
    assert abs(draws.mean() - exact) < 5 * draws.std() / np.sqrt(draws.size)


@pytest.mark.parametrize("call, words", [
    (lambda: optimum.best_k(-1, **LAW), "T must be >= 0"),
    (lambda: optimum.best_k(1, **LAW | {"std": 0}), "std must be > 0, got 0"),
    (lambda: optimum.best_temperature(0, **LAW), "k must be integers >= 1, got 0"),
    (lambda: optimum.best_temperature(4, **LAW | {"std": [1, 2]}), r"std must be a scalar, got shape \(2,\)"),
    (lambda: optimum.average_best_temperature(4, std=[1, 2], cov=np.eye(2)), r"std must be a scalar, got shape"),
    (lambda: optimum.finite_best_k(np.nan, **LAW), "T must be a number"),
    (lambda: optimum.best_k(1, **LAW | {"mean": [0, 1], "std": [1, 2, 3]}), r"broadcast .*mean \(2,\), std \(3,\)"),
    (lambda: optimum.high_temperature_best_k(0, **LAW), "T must be > 0, got 0"),
    (lambda: optimum.finite_average_best_k(1, std=1.0, cov=[1, 2]), r"cov must have shape \(2, 2\), got \(2,\)"),
    (lambda: optimum.informed_judge(-0.1, 1), "squared_error must be > 0, got -0.1"),
    (lambda: optimum.improves_from_above(0, loss=[0, 1], reward=[0, 1]), "T must be > 0 here"),
])
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
