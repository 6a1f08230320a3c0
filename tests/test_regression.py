"""Oracles: 50-digit bisection for the ridge, closed isotropic form, exact Gaussian conditioning, simulation."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestofk import regression


def scalars(alpha, spectrum, teacher, noise, prior, reward=None):
    return dict(alpha=alpha, spectrum=spectrum, teacher=teacher, noise=noise, prior=prior, reward=reward)


def ridge_by_bisection(alpha, spectrum, bare):
    with mpmath.workdps(50):
        values = [mpmath.mpf(float(v)) for v in spectrum]
        alpha, bare = mpmath.mpf(float(alpha)), mpmath.mpf(float(bare))
        low, high = mpmath.mpf(0), bare + alpha * sum(values) / len(values) + 1
        for _ in range(220):
            middle = (low + high) / 2
            excess = middle * (1 - alpha * sum(v / (v + middle) for v in values) / len(values)) - bare
            low, high = (low, middle) if excess > 0 else (middle, high)
        return high


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.floats(-4, 2), st.floats(-10, 2), st.lists(st.floats(-3, 2), min_size=1, max_size=8), st.booleans())
def test_ridge_solves_its_equation_for_any_spectrum(log_alpha, log_bare, log_spectrum, edge):
    alpha, spectrum = 1.0 if edge else 10**log_alpha, 10 ** np.array(log_spectrum)
    noise = np.sqrt(10**log_bare / alpha)
    got = regression.equivalents(**scalars(alpha, spectrum, np.ones(spectrum.size), noise, 1.0)).ridge
    assert abs(got / ridge_by_bisection(alpha, spectrum, alpha * noise**2) - 1) < 1e-13


@pytest.mark.parametrize("alpha", [1e-3, 0.3, 1.0, 2.5])
@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_isotropic_ridge_has_its_closed_form(alpha, scale):
    noise, prior = 0.3, 0.7
    bare = alpha * noise**2 / prior**2 / scale
    eq = regression.equivalents(**scalars(alpha, [scale] * 3, [1, 2, 3], noise, prior))
    closed = scale / 2 * (alpha + bare - 1 + np.sqrt((1 - alpha - bare) ** 2 + 4 * bare))
    assert eq.ridge == pytest.approx(closed, rel=1e-12)
    gamma2 = alpha * scale**2 / (scale + closed) ** 2
    bias = closed**2 * scale * (14 / 3) / (scale + closed) ** 2
    assert eq.squared_bias == pytest.approx(bias, rel=1e-11)
    assert eq.squared_error == pytest.approx((bias + gamma2 * noise**2) / (1 - gamma2), rel=1e-11)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.floats(-4, 1.5), st.floats(-4, 1), st.lists(st.floats(-2, 2), min_size=1, max_size=6))
def test_matched_prior_makes_the_error_the_predictive_variance(log_alpha, log_noise, log_spectrum):
    spectrum, noise = 10 ** np.array(log_spectrum), 10**log_noise
    eq = regression.equivalents(**scalars(10**log_alpha, spectrum, np.full(spectrum.size, 1.7), noise, 1.7))
    excess = 1.7**2 * eq.ridge * np.mean(spectrum / (spectrum + eq.ridge))  # s^2 - noise^2, without subtraction
    assert eq.squared_error == pytest.approx(excess, rel=1e-12)
    assert eq.predictive_variance == pytest.approx(noise**2 + excess, rel=1e-12)


def test_posterior_is_the_conditional_gaussian():
    """Condition the joint Gaussian of weights and labels, formed in 40 digits."""
    rng = np.random.default_rng(3)
    for n, d, noise, prior in [(7, 3, 0.5, 2.0), (3, 5, 0.2, 1.0), (6, 4, 1e-4, 1e-3)]:
        phi, y = rng.standard_normal((n, d)), rng.standard_normal(n)
        with mpmath.workdps(40):
            P = mpmath.matrix(phi.tolist())
            gram = prior**2 * P * P.T + noise**2 * mpmath.eye(n)
            gain = prior**2 * P.T * gram**-1
            weights = np.array((gain * mpmath.matrix(y.tolist())).tolist(), float).ravel()
            covariance = np.array((prior**2 * mpmath.eye(d) - prior**2 * gain * P).tolist(), float)
        fit = regression.posterior(phi, y, noise=noise, prior=prior)
        np.testing.assert_allclose(fit.weights, weights, rtol=1e-9, atol=1e-12 * abs(weights).max())
        np.testing.assert_allclose(fit.covariance, covariance, atol=1e-11 * abs(covariance).max())
        mean, std = regression.predictive(fit, phi)
        np.testing.assert_allclose(mean, phi @ weights, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(std**2, noise**2 + np.diag(phi @ covariance @ phi.T), rtol=1e-8)


@pytest.mark.parametrize("n", [3, 6, 40])
def test_sufficient_statistics_follow_the_law_of_plain_training_sets(n):
    """Means of the error and of s^2 against training sets made row by row."""
    spectrum, teacher, reward = np.array([2.0, 1, 0.5, 0.1]), np.array([1.0, -1, 2, 0]), np.array([1.0, 1, 1, 1])
    setting = dict(noise=0.4, prior=1.2)
    sets, d = 800, 4
    short = regression.training_sets(
        np.random.default_rng(1), sets, n=n, spectrum=spectrum, teacher=teacher, reward=reward, **setting
    )
    rng = np.random.default_rng(2)
    plain = np.empty((sets, 3))
    for row in plain:
        phi = rng.standard_normal((n, d)) * np.sqrt(spectrum / d)
        fit = regression.posterior(phi, phi @ teacher + 0.4 * rng.standard_normal(n), **setting)
        error, gap = fit.weights - teacher, fit.weights - reward
        row[:] = [
            np.mean(spectrum * error**2),
            np.mean(spectrum * error * gap),
            0.16 + np.mean(spectrum * np.diag(fit.covariance)),
        ]
    quick = np.stack([short.covariance[:, 0, 0], short.covariance[:, 0, 1], short.predictive_variance], 1)
    standard_error = np.sqrt((quick.var(0) + plain.var(0)) / sets)
    assert (abs(quick.mean(0) - plain.mean(0)) < 4 * standard_error).all()


@pytest.mark.parametrize("n, power, noise, prior", [(800, 0, 0.5, 1), (150, 0, 0.5, 1), (200, 1, 0.5, 0.5), (300, 1.5, 0.1, 3)])
def test_covariance_against_simulated_training_sets(n, power, noise, prior):
    d, sets = 200, 40
    rng = np.random.default_rng(n)
    spectrum = np.arange(1.0, d + 1) ** -power
    spectrum /= spectrum.mean()
    teacher = rng.standard_normal(d)
    setting = dict(
        spectrum=spectrum, teacher=teacher, reward=teacher + rng.standard_normal(d), noise=noise, prior=prior
    )
    runs = regression.training_sets(rng, sets, n=n, **setting)
    eq = regression.equivalents(alpha=d / n, **setting)
    error = runs.covariance.std(0, ddof=1) / np.sqrt(sets)
    # 4.5 standard errors and the O(1/d) error of the theory itself
    assert (abs(runs.covariance.mean(0) - eq.covariance) < 4.5 * error + 0.01 * eq.covariance).all()
    assert runs.predictive_variance.mean() == pytest.approx(eq.predictive_variance, rel=0.01)
    if n != 150:  # the one-point value is far outside the same tolerance
        assert eq.squared_error - eq.squared_bias > 6 * error[0, 0]


def test_arrays_broadcast_like_scalars():
    alpha, noise = np.array([[0.01], [1.0], [3.0]]), np.array([0.1, 1.0])
    eq = regression.equivalents(**scalars(alpha, [1, 2], [1, 1], noise, 0.5, [0, 1]))
    assert eq.ridge.shape == (3, 2) and eq.covariance.shape == (3, 2, 2, 2)
    one = regression.equivalents(**scalars(3.0, [1, 2], [1, 1], 0.1, 0.5, [0, 1]))
    assert np.ndim(one.ridge) == 0 and one.covariance.shape == (2, 2)
    np.testing.assert_allclose(eq.covariance[2, 0], one.covariance, rtol=1e-13)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"alpha": 0}, "alpha must be > 0, got 0"),
        ({"alpha": -0.5}, "alpha must be > 0, got -0.5"),
        ({"noise": 0}, "noise must be > 0, got 0"),
        ({"prior": -1}, "prior must be > 0, got -1"),
        ({"spectrum": []}, r"spectrum must list at least one eigenvalue, got shape \(0,\)"),
        ({"spectrum": [1, -2]}, "spectrum must be >= 0, got -2"),
        ({"spectrum": [1, np.nan]}, "spectrum must be finite, got nan"),
        ({"teacher": [1]}, r"teacher must have one entry an eigenvalue \(2\), got shape \(1,\)"),
        ({"reward": [1, 2, 3]}, r"reward must have one entry an eigenvalue \(2\), got shape \(3,\)"),
        ({"alpha": [1, 2], "noise": [1, 2, 3]}, r"alpha, noise, prior must broadcast .*alpha \(2,\), noise \(3,\)"),
        ({"noise": 1e-200}, "noise 1e-200, .*choose other units"),
        ({"teacher": [1e200, 1]}, r"teacher and reward up to 1e\+200: choose other units"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        regression.equivalents(**(scalars(0.5, [1, 2], [1, 1], 0.1, 1.0) | change))


@pytest.mark.parametrize("noise, prior", [(1e-10, 1e3), (1e-150, 1.0), (1e-3, 1e60)])
def test_a_ridge_many_orders_below_the_spectrum(noise, prior):
    """With more examples than dimensions and R -> 0: R = bare / (1 - alpha), V = noise^2 alpha / (1 - alpha)."""
    eq = regression.equivalents(**scalars(0.5, [1, 2, 3], [1, 1, 1], noise, prior))
    assert abs(eq.ridge / (noise / prior) ** 2 - 1) < 1e-13
    assert abs(eq.squared_error / noise**2 - 1) < 1e-13 and abs(eq.predictive_variance / noise**2 - 2) < 1e-13


def test_bad_training_data_are_named():
    with pytest.raises(ValueError, match="rng must be an integer >= 0 or a numpy.random.Generator, got 'x'"):
        regression.training_sets("x", 1, n=1, spectrum=[1], teacher=[1], noise=1, prior=1)
    with pytest.raises(ValueError, match=r"targets must hold one label a row of features, got \(3,\)"):
        regression.posterior(np.ones((2, 2)), np.ones(3), noise=1, prior=1)
    with pytest.raises(ValueError, match=r"features must have shape \(n, d\) with d >= 1, got \(2,\)"):
        regression.posterior(np.ones(2), np.ones(2), noise=1, prior=1)
    with pytest.raises(ValueError, match="n must be integers >= 1, got 0"):
        regression.training_sets(
            np.random.default_rng(), 1, n=0, spectrum=[1], teacher=[1], noise=1, prior=1
        )
