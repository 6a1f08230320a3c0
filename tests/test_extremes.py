"""Best-of-k laws against exact order-statistic integrals, closed Beta laws and simulation."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from bestofk import extremes


def exact_aligned(k, mass, p):
    """E |u|^p of the best of k: int p rho^(p-1) (1 - P(rho))^k d rho, up to where (1 - P)^k < 1e-30."""
    with mp.workdps(25):
        edge = mp.mpf(10) ** -9
        while k * mass(edge) < 80:
            edge *= mp.mpf("1.1")
        cuts = [edge * mp.mpf(2) ** -j for j in range(30, -1, -1)]

        def survive(rho):
            return p * rho ** (p - 1) * (1 - mass(rho)) ** k

        return mp.quad(survive, [0] + cuts, method="gauss-legendre", maxdegree=4)


def exact_gaussian(k, a, b):
    """Best-of-k loss of N(0, 1) with reward target a and teacher b, by mpmath."""
    with mp.workdps(30):

        def density(y):
            within = mp.ncdf(a + abs(y - a)) - mp.ncdf(a - abs(y - a))
            return (y - b) ** 2 * k * mp.npdf(y) * (1 - within) ** (k - 1)

        reach = 1 / (2 * k * mp.npdf(a))
        steps = [reach * 2**j for j in range(-3, 30) if reach * 2**j < abs(a) + 9]
        return float(mp.quad(density, [a - step for step in steps[::-1]] + [a] + [a + step for step in steps]))


def averaged_gaussian(k, nu):
    """Aligned best-of-k loss of N(a, 1), a ~ N(0, nu), by nested Gauss-Legendre quadrature."""
    node, weight = np.polynomial.legendre.leggauss(16)

    def panels(low, high, count):
        half = (high - low) / count / 2
        return (low + half * (2 * np.arange(count)[:, None] + 1 + node)).ravel(), np.tile(half * weight, count)

    target, target_weight = panels(0, max(12 * np.sqrt(nu), 14), 80)
    total = 0.0
    for a, w in zip(target, target_weight, strict=True):
        log_rho, rho_weight = panels(np.log(1e-12), np.log(a + 12), 120)
        rho = np.exp(log_rho)
        inside = special.ndtr(rho - a) - special.ndtr(-rho - a)
        outside = special.ndtr(a - rho) + special.ndtr(-rho - a)
        log_outside = np.where(inside < 0.5, np.log1p(-np.minimum(inside, 0.6)), np.log(np.maximum(outside, 1e-300)))
        loss = np.sum(rho_weight * 2 * rho**2 * np.exp(k * log_outside))
        total += 2 * w * np.exp(-(a**2) / (2 * nu)) / np.sqrt(2 * np.pi * nu) * loss
    return total


# ---- power-law density -------------------------------------------------------------------


@pytest.mark.parametrize("beta", [-0.4, 0, 0.5, 0.7, 1, 1.5, 2.3, 9.7])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_finite_k_form_is_the_beta_law(beta, p):
    # density (1+beta)/2 |u|^beta on (-1, 1): |u|^(1+beta) is uniform, its minimum of k is Beta(1, k)
    k = np.array([1, 2, 17, 18, 19, 20, 1000, 10**6])
    c = (1 + beta) / 2
    with mp.workdps(40):
        q = mp.mpf(p) / (1 + mp.mpf(beta))
        expected = [float(mp.beta(1 + q, int(n)) * int(n)) for n in k]
    value = extremes.best_of_k_loss(k, c_minus=c, c_plus=c, beta=beta, p=p)
    np.testing.assert_allclose(value, expected, rtol=4e-14)


@pytest.mark.parametrize("beta", [-0.4, 0, 0.7, 3.0])
def test_pure_power_is_off_by_its_stated_first_term(beta):
    k, q = np.array([500, 5000]), 2 / (1 + beta)
    arguments = {"c_minus": 0.3, "c_plus": 0.5, "beta": beta}
    ratio = extremes.best_of_k_loss(k, **arguments, asymptotic=True) / extremes.best_of_k_loss(k, **arguments)
    np.testing.assert_allclose((ratio - 1) * k, q * (q + 1) / 2, rtol=0.02)


def test_best_of_k_loss_by_simulation():
    rng = np.random.default_rng(5)
    k, beta, c_minus, c_plus, trials = 40, 0.7, 0.4, 1.2, 20_000
    edge = ((1 + beta) / (c_minus + c_plus)) ** (1 / (1 + beta))
    distance = edge * rng.random((trials, k)).min(axis=1) ** (1 / (1 + beta))
    for p in (1, 2):
        sample = distance**p
        expected = extremes.best_of_k_loss(k, c_minus=c_minus, c_plus=c_plus, beta=beta, p=p)
        assert abs(sample.mean() - expected) < 4 * sample.std() / np.sqrt(trials)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    beta=st.floats(-0.8, 12),
    p=st.floats(0.2, 4),
    unit=st.floats(0.1, 10),
    side=st.floats(0, 1),
    k=st.integers(1, 10**6),
)
def test_units_sides_and_monotony(beta, p, unit, side, k):
    # with lengths measured in another unit the loss scales as length^p; only c_minus + c_plus matters
    base = extremes.best_of_k_loss([k, k + 1], c_minus=1.0, c_plus=0.0, beta=beta, p=p)
    c = unit ** -(1 + beta)
    moved = extremes.best_of_k_loss([k, k + 1], c_minus=side * c, c_plus=(1 - side) * c, beta=beta, p=p)
    np.testing.assert_allclose(moved, base * unit**p, rtol=1e-11)
    assert base[1] < base[0]


# ---- corrections -------------------------------------------------------------------------


@pytest.mark.parametrize("beta,power,correction", [(0, 2, 0.4), (0.7, 1, -0.3), (-0.4, 1, 0.5), (2.3, 1.5, -0.2)])
def test_each_correction_term_gains_its_order(beta, power, correction):
    def mass(rho):
        return mp.mpf(0.8) * rho ** (1 + mp.mpf(beta)) * (1 + mp.mpf(correction) * rho ** mp.mpf(power))

    arguments = {"constant": 0.8, "beta": beta, "correction": correction, "power": power}
    # small k where the terms fall fast, so that the error stays far above rounding
    k = np.array([100, 400]) if power / (1 + beta) > 1.5 else np.array([2_000, 32_000])
    exact = np.array([float(exact_aligned(int(n), mass, 2)) for n in k])
    for order in (0, 1, 2):
        error = np.abs(extremes.small_ball_loss(k, **arguments, order=order) / exact - 1)
        slope = np.log(error[1] / error[0]) / np.log(k[1] / k[0])
        assert slope == pytest.approx(-(order + 1) * power / (1 + beta), rel=0.08), order


def test_gamma_density_with_its_target_at_the_edge():
    # u ~ Gamma(1.7): P = rho^1.7 / Gamma(2.7) (1 - 1.7/2.7 rho + ...), so beta = 0.7 on one side
    exact = float(exact_aligned(1000, lambda rho: mp.gammainc(1.7, 0, rho, regularized=True), 2))
    constant = 1 / special.gamma(2.7)
    lead = extremes.best_of_k_loss(1000, c_minus=0, c_plus=1.7 * constant, beta=0.7, asymptotic=True)
    arguments = {"constant": constant, "beta": 0.7, "correction": -1.7 / 2.7, "power": 1}
    first, second = (extremes.small_ball_loss(1000, **arguments, order=n) for n in (0, 1))
    assert lead / exact - 1 == pytest.approx(-0.024, abs=0.003)
    assert abs(first / exact - 1) < 0.03
    assert abs(second / exact - 1) < 8e-4


def test_two_sided_against_mpmath_and_limits():
    for c_minus, beta_minus, c_plus, beta_plus, p in [(1, 0, 2, 0.5, 2), (0.3, -0.5, 1, 3, 2), (1, 9.7, 1, 0, 1)]:

        def mass(rho, cm=c_minus, bm=mp.mpf(beta_minus) + 1, cp=c_plus, bp=mp.mpf(beta_plus) + 1):
            return mp.mpf(cm) * rho**bm / bm + mp.mpf(cp) * rho**bp / bp

        arguments = {"c_minus": c_minus, "beta_minus": beta_minus, "c_plus": c_plus, "beta_plus": beta_plus, "p": p}
        value = extremes.two_sided_loss([1000, 10**5], **arguments)
        exact = [float(exact_aligned(k, mass, p)) for k in (1000, 10**5)]
        np.testing.assert_allclose(value, exact, rtol=1e-12)
    k = np.array([1, 7, 10**6])
    equal = extremes.two_sided_loss(k, c_minus=0.2, beta_minus=1.3, c_plus=0.5, beta_plus=1.3, p=3)
    np.testing.assert_allclose(equal, extremes.best_of_k_loss(k, c_minus=0.2, c_plus=0.5, beta=1.3, p=3), rtol=1e-12)
    smaller = extremes.best_of_k_loss(10**6, c_minus=0.5, c_plus=0, beta=-0.9)
    both = extremes.two_sided_loss(10**6, c_minus=0.5, beta_minus=-0.9, c_plus=0.5, beta_plus=10)
    assert both == pytest.approx(smaller, rel=1e-12)


# ---- misaligned --------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 5, 300])
def test_misaligned_power_law_is_exact(k):
    c_minus, c_plus, beta, shift = mp.mpf("0.3"), mp.mpf("1.1"), mp.mpf("0.6"), mp.mpf("-0.4")
    constant = (c_minus + c_plus) / (1 + beta)
    edge = constant ** (-1 / (1 + beta))

    def survive(rho):
        return k * (1 - constant * rho ** (1 + beta)) ** (k - 1) * rho**beta

    both = mp.quad(
        lambda rho: survive(rho) * (c_plus * (shift + rho) ** 2 + c_minus * (shift - rho) ** 2), [0, edge / 8, edge]
    )
    value = extremes.misaligned_loss(k, c_minus=0.3, c_plus=1.1, beta=0.6, misspecification=-0.4)
    assert value == pytest.approx(float(both), rel=1e-11)


def test_misaligned_decay_is_half_as_fast_when_the_sides_differ():
    k = np.array([10**6, 4 * 10**6])
    for c_plus, slope, exponent in [(1.5, 0.0, -0.5), (1.0, 0.0, -1.0), (1.0, 0.4, -1.0)]:
        arguments = {"c_minus": 1.0, "c_plus": c_plus, "beta": 1.0, "slope": slope}
        excess = extremes.misaligned_loss(k, **arguments, misspecification=0.5) - 0.25
        assert np.log(excess[1] / excess[0]) / np.log(4) == pytest.approx(exponent, abs=0.01)


@pytest.mark.parametrize("beta,k,tolerance", [(0.0, 4000, 3e-6), (0.5, 10**6, 1e-6)])
def test_slope_with_unequal_sides(beta, k, tolerance):
    # density c_+- |u|^beta (1 + slope u) near the target: two terms of E[u], by exact integration
    c_minus, c_plus, slope, shift = 0.4, 0.9, 0.7, 0.8
    b = mp.mpf(beta)

    def mass(rho):
        return (c_minus + c_plus) * rho ** (1 + b) / (1 + b) + (c_plus - c_minus) * slope * rho ** (2 + b) / (2 + b)

    def density(rho):
        right = c_plus * (1 + slope * rho) * (2 * shift * rho + rho**2)
        left = c_minus * (1 - slope * rho) * (-2 * shift * rho + rho**2)
        return k * (1 - mass(rho)) ** (k - 1) * rho**b * (right + left)

    with mp.workdps(25):
        reach = mp.mpf(k) ** (-1 / (1 + b))
        exact = float(mp.quad(density, [0] + [reach * mp.mpf(2) ** j for j in range(-6, 6)]))
    arguments = {"c_minus": c_minus, "c_plus": c_plus, "beta": beta, "misspecification": shift}
    value = extremes.misaligned_loss(k, **arguments, slope=slope) - shift**2
    assert value == pytest.approx(exact, rel=tolerance)
    assert extremes.misaligned_loss(k, **arguments) - shift**2 != pytest.approx(exact, rel=20 * tolerance)


# ---- Gaussian ----------------------------------------------------------------------------


def test_gaussian_orders_at_the_stated_accuracy():
    exact = exact_gaussian(1000, 0, 0)
    law = {order: extremes.gaussian_loss(1000, mean=0, std=1, teacher=0, order=order) for order in (0, 1, 2)}
    assert law[0] / exact - 1 == pytest.approx(3e-3, rel=0.01)
    assert abs(law[1] / exact - 1) < 7e-6
    assert abs(law[2] / exact - 1) < 2e-10


@pytest.mark.parametrize("a,b", [(0.0, 0.0), (1.5, -0.5), (-0.8, 0.6), (2.0, 1.75)])
def test_gaussian_law_against_the_order_statistic_integral(a, b):
    # the first term left out is of order (k phi(a))^-6; (2, 1.75) is the point where k^-2 vanishes
    k = np.array([400, 1600])
    law = extremes.gaussian_loss(k, mean=0, std=1, teacher=b, reward=a)
    error = np.abs(law - [exact_gaussian(int(n), a, b) for n in k])
    small = 1 / (k * np.exp(-(a**2) / 2) / np.sqrt(2 * np.pi))
    assert (error < 150 * small**6).all()


def test_gaussian_units_and_shape():
    k = np.array([100, 1000, 10**4])
    value = extremes.gaussian_loss(k, mean=[[3.0], [4.0]], std=[2.0, 0.5], teacher=3.5, reward=3.2)
    assert value.shape == (2, 2, 3)
    one = extremes.gaussian_loss(1000, mean=(4.0 - 3.2) / 0.5, std=1, teacher=(3.5 - 3.2) / 0.5, reward=0)
    assert value[1, 1, 1] == pytest.approx(0.25 * one, rel=1e-13)


def test_gaussian_law_is_the_general_one():
    # beta = 0, density phi(a), logarithmic slope -a
    a, b, k = 0.9, 0.4, 10**5
    phi = np.exp(-(a**2) / 2) / np.sqrt(2 * np.pi)
    general = extremes.misaligned_loss(k, c_minus=phi, c_plus=phi, beta=0, misspecification=a - b, slope=-a)
    assert general == pytest.approx(extremes.gaussian_loss(k, mean=0, std=1, teacher=b, reward=a, order=1), rel=1e-14)


def test_against_the_exact_engine():
    gaussian = pytest.importorskip("bestofk.gaussian")
    k = np.array([10**3, 10**4, 10**6])
    for a, b in [(0.0, 0.0), (1.3, 1.3), (-0.7, -0.7), (1.0, 0.2)]:
        exact = gaussian.reranked_loss(k, 0, mean=0, std=1, teacher=b, reward=a)
        law = extremes.gaussian_loss(k, mean=0, std=1, teacher=b, reward=a)
        np.testing.assert_allclose(law, exact, rtol=1e-7)


# ---- averaged over inputs ----------------------------------------------------------------


@pytest.mark.parametrize("nu,tolerance", [(0.0, 2e-9), (0.05, 2e-8), (0.15, 2e-5)])
def test_averaged_law(nu, tolerance):
    exact = averaged_gaussian(1000, nu) if nu else exact_gaussian(1000, 0, 0)
    law = [extremes.averaged_loss(1000, std=1, squared_error=nu, order=order) for order in (0, 1, 2)]
    assert law[0] / exact - 1 > 2.5e-3
    assert abs(law[1] / exact - 1) < 5e-4
    assert abs(law[2] / exact - 1) < tolerance


def test_averaged_law_sets_in_late_near_its_limit():
    exact = np.array([averaged_gaussian(k, 0.4) for k in (100, 10**4, 10**6)])
    error = np.abs(extremes.averaged_loss([100, 10**4, 10**6], std=1, squared_error=0.4) / exact - 1)
    assert error[0] > 0.05 and error[2] < 1e-3 and (np.diff(error) < 0).all()


@pytest.mark.parametrize("nu,at_1e4,at_1e6", [(0.7, 0.963, 0.990), (1.0, 0.935, 0.965), (2.0, 0.806, 0.868)])
def test_heavy_tail_law_at_the_stated_ratio(nu, at_1e4, at_1e6):
    exact = np.array([averaged_gaussian(k, nu) for k in (10**4, 10**6)])
    ratio = extremes.heavy_tail_loss([10**4, 10**6], std=1, squared_error=nu) / exact
    np.testing.assert_allclose(ratio, [at_1e4, at_1e6], atol=2e-3)


def test_heavy_tail_mellin_constant():
    # int_0^inf 2 y Gamma(q) sinh(y)^-q dy = 2^(q-2) Gamma(q/2)^3 Gamma(1 - q/2), and its log-derivative
    def transform(s):  # y = x^4 removes the singularity at 0 for s up to about 1.75
        return mp.gamma(s) * mp.quad(lambda x: 8 * x**7 * mp.sinh(x**4) ** -s, [0, 0.5, 1, 2, (60 / s) ** 0.25])

    def closed(s):
        return 2 ** (s - 2) * mp.gamma(s / 2) ** 3 * mp.gamma(1 - s / 2)

    for q in (0.3, 1.0, 1.4, 1.7):
        assert float(closed(mp.mpf(q))) == pytest.approx(float(transform(mp.mpf(q))), rel=1e-7)
    log_kappa = np.log(2) + (3 * special.digamma(0.5) - special.digamma(0.5)) / 2
    assert log_kappa == pytest.approx(float(mp.diff(lambda s: mp.log(transform(s)), 1)), rel=1e-6)


# ---- bad input ---------------------------------------------------------------------------

POWER = {"c_minus": 1.0, "c_plus": 1.0, "beta": 0.0}
BALL = {"constant": 1.0, "beta": 0.0, "correction": 0.1, "power": 2.0}
NORMAL = {"mean": 0.0, "std": 1.0, "teacher": 0.0}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: extremes.best_of_k_loss(0, **POWER), "k .*got 0"),
        (lambda: extremes.best_of_k_loss(2.5, **POWER), "k .*got 2.5"),
        (lambda: extremes.best_of_k_loss(5, **POWER | {"beta": -1.0}), "beta .*got -1.0"),
        (lambda: extremes.best_of_k_loss(5, **POWER | {"beta": np.nan}), "beta .*got nan"),
        (lambda: extremes.best_of_k_loss(5, **POWER | {"c_plus": -2.0}), "c_plus .*got -2.0"),
        (lambda: extremes.best_of_k_loss(5, **POWER | {"c_plus": 0.0, "c_minus": 0.0}), "c_minus and c_plus"),
        (lambda: extremes.best_of_k_loss(5, **POWER, p=0), "p .*got 0.0"),
        (lambda: extremes.best_of_k_loss(5, **POWER | {"beta": -0.999, "c_plus": 1e-9}), "p / .*overflow"),
        (lambda: extremes.small_ball_loss(5, **BALL | {"constant": 0.0}), "constant .*got 0.0"),
        (lambda: extremes.small_ball_loss(5, **BALL | {"power": -1.0}), "power .*got -1.0"),
        (lambda: extremes.small_ball_loss(5, **BALL, order=-1), "order must be .*got -1"),
        (lambda: extremes.two_sided_loss(5, c_minus=1, beta_minus=-2, c_plus=1, beta_plus=0), "beta_minus .*got -2"),
        (lambda: extremes.two_sided_loss(5, c_minus=[1, 2], beta_minus=0, c_plus=1, beta_plus=0), "c_minus .*scalar"),
        (lambda: extremes.misaligned_loss(5, **POWER | {"c_minus": 0.0, "c_plus": 0.0}, misspecification=1), "c_minus"),
        (lambda: extremes.misaligned_loss(5, **POWER, misspecification=np.inf), "misspecification .*got inf"),
        (lambda: extremes.gaussian_loss(5, **NORMAL | {"std": 0.0}), "std .*got 0.0"),
        (lambda: extremes.gaussian_loss(5, **NORMAL | {"mean": 30.0}), "reward .*got 30"),
        (lambda: extremes.gaussian_loss(5, **NORMAL, order=3), "order .*got 3"),
        (lambda: extremes.averaged_loss(5, std=1, squared_error=0.5), "squared_error .*got 0.5.*heavy_tail_loss"),
        (lambda: extremes.averaged_loss(5, std=1, squared_error=0.3, order=2), "squared_error .*got 0.3"),
        (lambda: extremes.averaged_loss(5, std=1, squared_error=-0.1), "squared_error .*got -0.1"),
        (lambda: extremes.heavy_tail_loss(10**6, std=1, squared_error=0.4), "squared_error .*got 0.4.*averaged_loss"),
        (lambda: extremes.heavy_tail_loss(100, std=1, squared_error=0.55), "k must be larger"),
        (lambda: extremes.averaged_loss(5, std=1e200, squared_error=0.1), "std: the loss overflows"),
        (lambda: extremes.heavy_tail_loss(10**5, std=1, squared_error=1e10), "squared_error: the loss overflows"),
        (lambda: extremes.misaligned_loss(5, **POWER, misspecification=1e300), "misspecification, slope: .*overflows"),
        (lambda: extremes.best_of_k_loss(5, **POWER | {"beta": [0, 1, 2]}, p=[1, 2]),
         r"beta, p must broadcast .*beta \(3,\), p \(2,\)"),
        (lambda: extremes.misaligned_loss(5, **POWER | {"beta": [0, 1]}, misspecification=[0, 1, 2]),
         r"broadcast .*beta \(2,\), misspecification \(3,\)"),
    ],
)
def test_bad_input_names_the_argument_and_the_value(call, words):
    with pytest.raises(ValueError, match=words):
        call()
