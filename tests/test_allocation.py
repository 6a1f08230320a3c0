"""Oracles: closed forms, adaptive quadrature of another formula (two candidates), brute force, simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special

from bestofk import allocation, gaussian, regression

ISOTROPIC = dict(spectrum=[1.0], teacher=[1.0], noise=1.0, prior=10.0)
CENTRED = np.zeros((2, 2))


def covariance(nu, c=1.0, u=0.0):
    """Second moments with E[b | a] = c a and Var(b | a) = u, in units of s."""
    return np.array([[c * c * nu + u, c * nu], [c * nu, nu]])


@pytest.mark.parametrize("nu", [0.0, 0.1, 0.45, 0.6, 3.0])
def test_noiseless_pair_has_its_closed_form(nu):
    got = allocation.voted_loss([1, 2], 1, std=2.0, cov=4 * covariance(nu), score_noise=0.0)
    np.testing.assert_allclose(got, [4 * (1 + nu), 4 * (1 + nu - 2 / np.pi * np.sqrt(1 + 2 * nu))], rtol=1e-12)


@pytest.mark.parametrize("nu, c, u", [(0, 1, 0), (0.4, 1, 0), (1.5, 1, 0), (0.3, 0.5, 0.1), (0.1, 2.0, 0.0)])
def test_noiseless_judge_agrees_with_the_gaussian_engine(nu, c, u):
    k, cov = [1, 2, 10, 100, 10**4, 10**6], covariance(nu, c, u)
    got = allocation.voted_loss(k, 1, std=1.0, cov=cov, score_noise=0.0)
    np.testing.assert_allclose(got, gaussian.generalization_error(k, 0.0, std=1.0, cov=cov), rtol=1e-10)


@pytest.mark.parametrize("tau", [1e-2, 0.3, 30.0])
@pytest.mark.parametrize("nu, c, u", [(0, 1, 0), (0.3, 1, 0), (0.2, 0.4, 0.3)])
def test_noisy_pair_by_the_probability_of_winning(tau, nu, c, u):
    """2 E[loss_1 P(score_1 > score_2)]: score differences are Gaussian given the answers."""

    def given(a, b):
        def inner(z):
            def win(y):
                return special.ndtr(((y - a) ** 2 - (z - a) ** 2) / (np.sqrt(2) * tau))

            edge = abs(z - a)
            breaks = [p for p in (a - edge, a + edge) if abs(p) < 10]
            density = lambda y: win(y) * np.exp(-y * y / 2) / np.sqrt(2 * np.pi)
            return integrate.quad(density, -10, 10, points=breaks, limit=200, epsabs=1e-12)[0]

        z = np.linspace(-8, 8, 321)
        chance = np.array([inner(v) for v in z])
        return 2 * np.sum((z - b) ** 2 * chance * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)) * (z[1] - z[0])

    got = allocation.voted_loss(2, 1, std=1.0, cov=covariance(nu, c, u), score_noise=tau)
    if nu == 0:
        assert got == pytest.approx(given(0.0, 0.0) + u, rel=2e-6)
        return
    rng = np.random.default_rng(int(1000 * tau) + int(10 * u))
    a = np.sqrt(nu) * rng.standard_normal(2 * 10**5)
    z = rng.standard_normal((2, a.size))
    chance = special.ndtr(((z[1] - a) ** 2 - (z[0] - a) ** 2) / (np.sqrt(2) * tau))
    term = 2 * ((z[0] - c * a) ** 2 + u) * chance
    assert abs(got - term.mean()) < 4.5 * term.std() / np.sqrt(a.size)


@pytest.mark.parametrize("k, votes, nu, c, u, noise", [(7, 1, 0.3, 1, 0, 0.5), (30, 4, 0.1, 0.6, 0.2, 0.1), (12, 9, 1.0, 1, 0, 3.0)])
def test_voted_loss_against_simulated_selection(k, votes, nu, c, u, noise):
    rng = np.random.default_rng(k)
    queries, std = 60_000, 0.5
    a = np.sqrt(nu) * rng.standard_normal(queries)
    b = c * a + np.sqrt(u) * rng.standard_normal(queries)
    y = std * rng.standard_normal((queries, k))
    score = -((y - std * a[:, None]) ** 2) + noise * std**2 / np.sqrt(votes) * rng.standard_normal(y.shape)
    loss = (y[np.arange(queries), score.argmax(1)] - std * b) ** 2
    got = allocation.voted_loss(
        k, votes, std=std, cov=std**2 * covariance(nu, c, u), score_noise=noise * std**2
    )
    assert abs(got - loss.mean()) < 4.5 * loss.std() / np.sqrt(queries)


def test_voted_loss_is_continuous_at_both_ends_of_the_noise():
    k = [1, 2, 50, 10**4]
    quiet = allocation.voted_loss(k, 1, std=1.0, cov=covariance(0.2), score_noise=0.0)
    np.testing.assert_allclose(
        allocation.voted_loss(k, 1, std=1.0, cov=covariance(0.2), score_noise=1e-12), quiet, rtol=1e-7
    )
    loud = allocation.voted_loss(k, 1, std=1.0, cov=covariance(0.2), score_noise=1e9)
    np.testing.assert_allclose(loud, 1.2, rtol=1e-7)


def test_shape_is_samples_by_votes():
    got = allocation.voted_loss([2, 3], [1, 4, 9], std=1.0, cov=CENTRED, score_noise=1.0)
    assert got.shape == (2, 3)
    one = allocation.voted_loss(3, 9, std=1.0, cov=CENTRED, score_noise=1.0)
    assert got[1, 2] == pytest.approx(one, rel=1e-13)
    assert got[0, 1] == pytest.approx(allocation.voted_loss(2, 1, std=1.0, cov=CENTRED, score_noise=0.5), rel=1e-12)


@pytest.mark.parametrize("nu", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("noise", [0.0, 0.01, 1.0])
def test_the_node_rules_have_converged(monkeypatch, nu, noise):
    call = dict(std=1.0, cov=covariance(nu, 0.9, 0.01), score_noise=noise)
    got = allocation.voted_loss([1, 10, 1000], 1, **call)
    monkeypatch.setattr(allocation, "_RHO", 128)
    monkeypatch.setattr(allocation, "_PANEL", 20)
    monkeypatch.setattr(allocation, "_REACH", 9.5)
    np.testing.assert_allclose(got, allocation.voted_loss([1, 10, 1000], 1, **call), rtol=1e-9)


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.5])
def test_slopes_are_the_derivatives_of_the_loss(noise):
    task = dict(spectrum=[1.0, 0.3], teacher=[1.0, 2.0], noise=0.7, prior=1.5, reward=[1.2, 1.0])

    def loss(k, step=0.0, score_noise=noise):
        eq = regression.equivalents(alpha=0.3 * np.exp(-step), **task)
        return allocation.voted_loss(
            k, 1, std=np.sqrt(eq.predictive_variance), cov=eq.covariance, score_noise=score_noise
        )

    def difference(f, h):
        return (8 * (f(h) - f(-h)) - f(2 * h) + f(-2 * h)) / (12 * h)

    got = allocation.slopes(200, alpha=0.3, score_noise=noise, **task)
    assert got.loss == pytest.approx(loss(200), rel=1e-13)
    assert got.data == pytest.approx(difference(lambda h: np.log(loss(200, h)), 0.02), rel=2e-6)
    assert got.samples == pytest.approx(200 * difference(lambda h: np.log(loss(200 + h)), 2), rel=1e-5)
    votes = difference(lambda h: np.log(loss(200, score_noise=noise * np.exp(-h / 2))), 0.02)
    assert got.votes == pytest.approx(votes, rel=1e-6, abs=1e-12)


@settings(derandomize=True, max_examples=25, deadline=None)
@given(st.integers(1, 2000), st.floats(-3, -0.1), st.floats(-4, 2), st.integers(1, 50))
def test_with_the_teacher_as_judge_more_samples_and_votes_never_hurt(k, log_alpha, log_noise, votes):
    got = allocation.slopes(k, alpha=10**log_alpha, score_noise=10**log_noise, votes=votes, **ISOTROPIC)
    assert got.samples <= 1e-9 and got.votes <= 1e-9


def test_limit_slopes_with_a_weak_prior_are_closed():
    alpha = 0.3
    got = allocation.limit_slopes(alpha=alpha, spectrum=[1.0], teacher=[1.0], noise=1.0, prior=1e5)
    assert got.difficulty == pytest.approx(alpha, rel=1e-9)
    assert got.data == pytest.approx(-(alpha / (1 - alpha) + alpha / (1 - 2 * alpha)), rel=1e-8)
    assert got.coefficient == pytest.approx(np.pi / (1 - alpha) / np.sqrt(1 - 2 * alpha), rel=1e-8)
    edge = allocation.limit_slopes(alpha=0.3693980, spectrum=[1.0], teacher=[1.0], noise=1.0, prior=1e5)
    assert edge.data == pytest.approx(-2, abs=1e-4)


def test_one_point_slope_is_its_formula():
    """nu = v_b / noise^2 and s = noise: d ln / d ln n = (d nu / d ln n) / (1 - 2 nu)."""
    task = dict(alpha=0.1, spectrum=[1.0], teacher=[3.0], noise=0.5, prior=1.0)
    got = allocation.limit_slopes(points=1, **task)
    nu = regression.equivalents(**task).squared_bias / 0.25
    R = regression.equivalents(**task).ridge
    gamma2 = 0.1 / (1 + R) ** 2
    rate = -nu * 2 / (1 + R) / (1 - gamma2)  # v_b = 9 R^2 / (1 + R)^2 and d ln R / d ln n = -1 / (1 - gamma2)
    assert got.difficulty == pytest.approx(nu, rel=1e-13)
    assert got.data == pytest.approx(rate / (1 - 2 * nu), rel=1e-9)
    assert got.coefficient == pytest.approx(np.pi * 0.25 / np.sqrt(1 - 2 * nu), rel=1e-13)


def test_finite_slopes_reach_the_limit():
    limit = allocation.limit_slopes(alpha=0.2, **ISOTROPIC)
    got = allocation.slopes(10**5, alpha=0.2, **ISOTROPIC)
    assert got.loss * 10**10 == pytest.approx(limit.coefficient, rel=1e-4)
    assert [got.samples, got.data] == pytest.approx([limit.samples, limit.data], rel=1e-3)


def test_no_limit_beyond_one_half():
    with pytest.raises(ValueError, match=r"alpha = 0.6 makes nu = V / s\^2 = .* >= 1/2"):
        allocation.limit_slopes(alpha=0.6, **ISOTROPIC)
    assert allocation.slopes(64, alpha=0.6, **ISOTROPIC).data < -2


CROSSOVER = {0.05: 800.00189635656, 1.0: 2.12925120533096, 20.0: 0.234870059025827, 1000.0: 0.146870048821083}  # tests/oracles/allocation_crossover.py


@pytest.mark.parametrize("size", CROSSOVER)
def test_crossover_against_stored_references(size):
    assert allocation.crossover(size) == pytest.approx(CROSSOVER[size], rel=1e-9)


def test_crossover_is_the_loss_near_the_target():
    noise, k = 1e-8, np.array([10**3, 10**5])
    got = allocation.voted_loss(k, 1, std=1.0, cov=CENTRED, score_noise=noise) / noise
    want = allocation.crossover(2 * k / np.sqrt(2 * np.pi) * np.sqrt(noise))
    assert got[0] == pytest.approx(want[0], rel=4e-3) and got[1] == pytest.approx(want[1], rel=1e-4)
    assert allocation.crossover(1e-3) == pytest.approx(2e6, rel=1e-5)


@pytest.mark.parametrize("budget, candidate, vote, noise", [(50, 1, 1, 0.05), (90, 5, 1, 1.0), (140, 1, 7, 0.3)])
def test_best_votes_against_every_plan(budget, candidate, vote, noise):
    plan = allocation.best_votes(
        budget, price_candidate=candidate, price_vote=vote, std=1.0, cov=covariance(0.1), score_noise=noise
    )
    everything = [
        (float(allocation.voted_loss(int(budget // (candidate + m * vote)), m, std=1.0, cov=covariance(0.1), score_noise=noise)), m)
        for m in range(1, (budget - candidate) // vote + 1)
    ]
    loss, votes = min(everything)
    assert plan.loss <= loss * 1.002 and plan.spent <= budget
    assert plan.spent == plan.k * (candidate + plan.votes * vote)


def test_large_budgets_follow_the_fifth_root():
    def plan(budget, **kind):
        return allocation.best_votes(
            budget, price_candidate=1e-6, price_vote=1.0, std=1.0, cov=covariance(0.1), score_noise=1.0, **kind
        )

    exact, limit = plan(1e7), plan(1e7, asymptotic=True)
    assert exact.loss == pytest.approx(limit.loss, rel=6e-3)
    assert exact.k == pytest.approx(limit.k, rel=0.1)
    larger = plan(1e12, asymptotic=True)
    assert larger.k / limit.k == pytest.approx(10, rel=1e-6)
    assert larger.votes / limit.votes == pytest.approx(1e4, rel=1e-6)
    assert larger.loss / limit.loss == pytest.approx(1e-2, rel=1e-6)


@pytest.mark.parametrize("budget, sample, data, noise", [(80, 1.0, 1.0, 1.0), (400, 4.0, 1.5, 0.3)])
def test_best_split_against_every_plan(budget, sample, data, noise):
    task = dict(spectrum=[1.0], teacher=[1.0], noise=noise, prior=1.0)
    plan = allocation.best_split(budget, price_sample=sample, price_data=data, dimension=10, **task)
    losses = {}
    for k in range(1, int((budget - data) // sample) + 1):
        n = int((budget - sample * k) // data)
        eq = regression.equivalents(alpha=10 / n, **task)
        losses[k] = allocation.voted_loss(k, 1, std=np.sqrt(eq.predictive_variance), cov=eq.covariance, score_noise=0.0)
    assert plan.loss <= min(losses.values()) * 1.002
    assert plan.spent == sample * plan.k + data * plan.n <= budget


def test_best_split_balances_the_slopes():
    plan = allocation.best_split(20_000, price_sample=30.0, price_data=1.0, dimension=100, **ISOTROPIC)
    got = allocation.slopes(plan.k, alpha=100 / plan.n, **ISOTROPIC)
    assert got.samples / (30 * plan.k) == pytest.approx(got.data / plan.n, rel=0.02)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: allocation.voted_loss(0, 1, std=1, cov=CENTRED, score_noise=1), "k must be integers >= 1, got 0"),
        (lambda: allocation.voted_loss(1, 0, std=1, cov=CENTRED, score_noise=1), "votes must be integers >= 1, got 0"),
        (lambda: allocation.voted_loss(1, 1, std=0, cov=CENTRED, score_noise=1), "std must be > 0, got 0"),
        (lambda: allocation.voted_loss(1, 1, std=1, cov=CENTRED, score_noise=-1), "score_noise must be a scalar >= 0, got -1"),
        (lambda: allocation.voted_loss(1, 1, std=1, cov=[[1, 2], [2, 1]], score_noise=1), "cov must be symmetric and pos"),
        (lambda: allocation.voted_loss(1, 1, std=1, cov=[1, 2], score_noise=1), r"cov must have shape \(2, 2\), got \(2,\)"),
        (lambda: allocation.slopes(1, alpha=0, **ISOTROPIC), "alpha must be > 0, got 0"),
        (lambda: allocation.limit_slopes(alpha=0.1, points=3, **ISOTROPIC), "points must be 1 or 2, got 3"),
        (lambda: allocation.crossover(0.0), "size must be > 0, got 0"),
        (
            lambda: allocation.best_split(1, price_sample=1, price_data=1, dimension=10, **ISOTROPIC),
            "budget must pay for one sample and one training example, got 1",
        ),
        (
            lambda: allocation.best_votes(1, price_candidate=1, price_vote=1, std=1, cov=CENTRED, score_noise=1),
            "budget must pay for one candidate and one vote, got 1",
        ),
        (
            lambda: allocation.best_votes(
                9, price_candidate=1, price_vote=1, std=1, cov=covariance(0.1, 2), score_noise=1, asymptotic=True
            ),
            "cov must have equal entries",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
