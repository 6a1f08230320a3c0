"""Reference values of the Gaussian reranked loss, by routes that share nothing with bestofk.

    python tests/oracles/gaussian_constants.py     # rewrites gaussian_constants.json, twenty minutes on a quiet core

A standard law: draws z ~ N(0, 1), reward target a, teacher b, w = exp(-tau (z - a)^2 / 2).

The first four in mpmath at 18 to 40 digits, the last in 80-bit floating point (64 bits of mantissa).

laplace   delta_k = k int_0^inf E[loss w e^(-u w)] E[e^(-u w)]^(k-1) du: Gauss-Legendre in log u outside, in z
          inside, with panels cut where e^(-u w) changes.
scores    softmax = argmax of V = log w + Gumbel noise. With F(v) = P(V <= v) and U(v) = E[loss; V > v], both
          averages of error functions over the noise, delta_k = k (k - 1) int U F^(k-2) dF for k >= 2.
orders    T = 0: delta_k = (a - b)^2 + int h'(rho) P(|z - a| > rho)^k drho, h the mean loss at distance rho.
pairs     k = 2: a double integral over sum and difference of the two draws.
wide      the integral of `laplace` as trapezoid sums in z and in v = -log u, both with steps small enough that halving
          them changes nothing above 1e-14: many laws.
"""

import json
from pathlib import Path

import mpmath as mp
import numpy as np

COUNTS = [1, 2, 3, 10, 99, 1000, 10**4, 10**5, 10**6]
LAWS = [  # a, b, tau, both routes?
    (0, 0, 1, True), (0.3, -0.7, 0.001, False), (6, -6, 3, True), (2.5, 1, 1000, False),
]
WIDE = [  # a, b, tau: the cost grows like tau^2
    (0.3, -0.7, 0.001), (6, 6, 0.7), (-2, -1.2, 0.2), (1, -6, 2e-10), (-1.5, -1.5, 0.9), (5, 1, 1.1), (0, 0, 0.03),
    (0.5, 2, 3), (1.5, 1.5, 2),
]
BEST = [(0, 0), (1, 1), (1, 0.7), (-2, 1), (3, 2.8), (6, 6), (-6, 6), (0.5, -0.5)]
CUTS = [-4, -3, -2, -1, 0, 1, 2, 4, 6, 9, 12, 16, 22, 30, 45, 60, 80]


def legendre(count):
    """Gauss-Legendre nodes and weights on [-1, 1]."""
    nodes = []
    for i in range(count):
        x = mp.cos(mp.pi * (i + mp.mpf(3) / 4) / (count + mp.mpf(1) / 2))
        for _ in range(8):  # Newton
            slope = count * (mp.legendre(count - 1, x) - x * mp.legendre(count, x)) / (1 - x * x)
            x -= mp.legendre(count, x) / slope
        nodes.append((x, 2 / ((1 - x * x) * slope**2)))
    assert abs(sum(weight for _, weight in nodes) - 2) < mp.mpf(10) ** -18
    return nodes


def quadrature(edges, nodes):
    """Nodes and weights of composite Gauss-Legendre quadrature."""
    for low, high in zip(edges, edges[1:]):
        half = (high - low) / 2
        for x, weight in nodes:
            yield low + half * (1 + x), half * weight


def split(edges, width):
    """Cut panels until none is wider than `width`."""
    out = [edges[0]]
    for low, high in zip(edges, edges[1:]):
        pieces = int(mp.ceil((high - low) / width))
        out += [low + (high - low) * i / pieces for i in range(1, pieces + 1)]
    return out


def outer(a, tau):
    """Panels in v: width 2 on the right, growing to the left by at most 0.4 in distance."""
    edges = [mp.mpf(v) for v in range(44, -5, -2)]
    while edges[-1] > -(6 + tau * (abs(a) + 9) ** 2 / 2):
        depth = -edges[-1]
        step = tau * (mp.sqrt(2 * depth / tau) + mp.mpf("0.4")) ** 2 / 2
        edges.append(-min(max(depth + 2, step), mp.mpf("1.4") * depth))
    return edges[::-1]


def normal(z):
    return mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi)


def laplace(a, b, tau, nodes):
    total = dict.fromkeys(COUNTS, mp.mpf(0))
    for v, outer_weight in quadrature(outer(a, tau), nodes):
        edges = {mp.mpf(-10), mp.mpf(10), a}
        for q in CUTS:
            if q > v:
                rho = mp.sqrt(2 * (q - v) / tau)
                edges |= {z for z in (a - rho, a + rho) if abs(z) < 10}
        lost = g = mp.mpf(0)
        u = mp.exp(-v)
        for z, weight in quadrature(split(sorted(edges), mp.mpf("1.2")), nodes):
            uw = u * mp.exp(-tau * (z - a) ** 2 / 2)
            weight *= normal(z)
            decay = mp.exp(-uw)
            lost += weight * (1 - decay if uw > 1e-7 else uw - uw**2 / 2 + uw**3 / 6)
            g += weight * (z - b) ** 2 * uw * decay
        log_f = mp.log1p(-min(lost, 1 - mp.mpf(10) ** -19))
        for k in COUNTS:
            total[k] += outer_weight * k * g * mp.exp((k - 1) * log_f)
    return total


def scores(a, b, tau, nodes):
    def inside(rho):  # P(|z - a| < rho)
        return (mp.erf((a + rho) / mp.sqrt(2)) - mp.erf((a - rho) / mp.sqrt(2))) / 2

    def loss_inside(rho):  # E[(z - b)^2; |z - a| < rho]
        low, high = a - rho, a + rho
        return (1 + b * b) * inside(rho) + (low - 2 * b) * normal(low) - (high - 2 * b) * normal(high)

    total = dict.fromkeys(COUNTS[1:], mp.mpf(0))
    for v, outer_weight in quadrature(outer(a, tau), nodes):
        # V > v where the noise G exceeds v + tau rho^2 / 2; G = start + s^2 takes the root at G = v away
        start = max(v, mp.mpf(-5))
        edges = [mp.sqrt(q - start) for q in [start] + [mp.mpf(q) for q in CUTS if q > start]]
        lost = density = loss = mp.mpf(0)
        for s, weight in quadrature(split(edges, min(mp.mpf(1), mp.sqrt(tau))), nodes):
            noise = start + s * s
            gumbel = 2 * s * weight * mp.exp(-noise - mp.exp(-noise))
            rho = mp.sqrt(2 * (noise - v) / tau)
            here = gumbel * inside(rho)
            lost += here
            density += here * (1 - mp.exp(-noise))  # dF/dv: the Gumbel density's derivative is itself times e^-G - 1
            loss += gumbel * loss_inside(rho)
        log_f = mp.log1p(-min(lost, 1 - mp.mpf(10) ** -30))
        for k in total:
            total[k] += outer_weight * k * (k - 1) * loss * density * mp.exp((k - 2) * log_f)
    return total


def wide(a, b, tau):
    a, b, tau = (np.longdouble(x) for x in (a, b, tau))
    steps = int(24 * max(20, 25 * float(tau) ** 0.5, 4 * float(tau) * (abs(float(a)) + 9)))
    z = np.linspace(np.longdouble(-12), np.longdouble(12), steps + 1)
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.longdouble(np.pi)) * (z[1] - z[0])
    density /= density.sum()
    weight = np.exp(-tau * (z - a) ** 2 / 2)
    step = np.longdouble(1) / 6
    v = np.arange(-float(tau) * (abs(float(a)) + 9) ** 2 / 2 - 6, 54, float(step), dtype=np.longdouble)
    total = dict.fromkeys(COUNTS, np.longdouble(0))
    for one in v:
        uw = np.exp(-one) * weight
        lost = density @ -np.expm1(-uw)
        g = (density * (z - b) ** 2) @ (uw * np.exp(-uw))
        for k in COUNTS:
            total[k] += step * k * g * np.exp((k - 1) * np.log1p(-min(lost, 1 - np.longdouble(1e-19))))
    return total


def orders(a, b):
    def slope(rho):  # derivative of h(rho) = (a - b)^2 + rho^2 - 2 (a - b) rho tanh(a rho)
        return 2 * rho - 2 * (a - b) * (mp.tanh(a * rho) + a * rho / mp.cosh(a * rho) ** 2)

    def survive(rho):
        return (mp.erfc((a + rho) / mp.sqrt(2)) + mp.erfc((rho - a) / mp.sqrt(2))) / 2

    edges = [0] + [mp.mpf(2) ** j for j in range(-28, 0)] + [mp.mpf(j) / 2 for j in range(2, 36)]
    return {
        k: (a - b) ** 2 + mp.quad(lambda rho: slope(rho) * survive(rho) ** k, edges, method="gauss-legendre")
        for k in COUNTS
    }


def pairs(a, b, tau):
    """z_1,2 = (p +- q) / sqrt 2: the mean of the two losses is (p/sqrt2 - b)^2 + q^2 / 2, their half difference
    q (p - sqrt2 b), and the difference of the log-weights -tau q (p - sqrt2 a)."""
    root = mp.sqrt(2)
    edges = list(range(-10, 11))

    def given(q):
        cut = [root * a + c / (tau * max(abs(q), mp.mpf("1e-6"))) for c in (-40, -8, -2, 0, 2, 8, 40)]
        points = sorted([mp.mpf(e) for e in edges] + [c for c in cut if abs(c) < 10])
        return mp.quad(
            lambda p: normal(p) * q * (p - root * b) * mp.tanh(tau * q * (p - root * a) / 2),
            points,
            method="gauss-legendre",
        )

    tilt = 2 * mp.quad(lambda q: normal(q) * given(q), [0, mp.mpf("0.1"), *range(1, 11)], method="gauss-legendre")
    return 1 + b**2 - tilt


def main():
    def text(values):
        return {str(k): mp.nstr(value, 16) for k, value in values.items()}

    path = Path(__file__).with_suffix(".json")
    cold = json.loads(path.read_text())["cold"]  # made by gaussian_cold.py
    store = {"laws": [], "best": [], "pairs": [], "wide": [], "cold": cold}
    for law in WIDE:
        values = {str(k): np.format_float_scientific(value, precision=16) for k, value in wide(*law).items()}
        store["wide"].append(dict(zip(("a", "b", "tau"), law)) | {"values": values})
    mp.mp.dps = 30
    for a, b in BEST:
        store["best"].append({"a": a, "b": b, "orders": text(orders(mp.mpf(a), mp.mpf(b)))})
    mp.mp.dps = 18
    for a, b, tau in [(0, 0, 1), (1, -0.5, 3), (0.5, 2, 0.3), (2, 1, 10)]:
        store["pairs"].append({"a": a, "b": b, "tau": tau, "value": mp.nstr(pairs(*map(mp.mpf, (a, b, tau))), 15)})
    for a, b, tau, both in LAWS:
        record = {"a": a, "b": b, "tau": tau}
        args = [mp.mpf(x) for x in (a, b, tau)]
        mp.mp.dps = 22
        record["laplace"] = text(laplace(*args, legendre(12)))
        if both:
            mp.mp.dps = 40
            record["scores"] = text(scores(*args, legendre(12)))
        store["laws"].append(record)
        path.write_text(json.dumps(store, indent=1) + "\n")


if __name__ == "__main__":
    main()
