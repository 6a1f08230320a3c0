"""Reference values of the Gaussian reranked loss at low temperature, in mpmath.

    python tests/oracles/gaussian_cold.py     # rewrites "cold" in gaussian_constants.json, ten minutes on a quiet core

The notation is that of gaussian_constants.py.

race    The route `scores` of gaussian_constants.py, in 25 digits, with another density. At large tau F(v) is nearly
        constant over the noise G, and `scores` takes dF/dv from E[P(|z - a| < rho) (1 - e^-G)], where nearly all cancels
        (nine digits are left at tau = 2e6). Here it is E[p(rho) / rho] / tau, p the density of |z - a|, rho its value at
        G: all terms are positive.
second  k = 2, the closed form at T = 0 plus the first correction. With p, q of `pairs` and x = p - sqrt(2) a,
        tanh(tau q x / 2) is the sign of x less 2 / (exp(tau q x) + 1), so that the loss exceeds its value at T = 0 by

            I(tau) = int_0^inf int_0^inf P(q) g(x) 2 / (exp(tau q x) + 1) dq dx,   P(q) = 2 q phi(q),

        g twice the odd part of phi(x + sqrt2 a) (x + sqrt2 (a - b)). The Mellin transform of I is

            (2 / pi) 2^-s Gamma(1 - s/2)^2 e^(-a a) B(s) 2 Gamma(s) eta(s),
            B(s) = 1F1(1 - s/2; 1/2; a a) - 2 a (a - b) 1F1(1 - s/2; 3/2; a a),

        with a double pole at s = 2: I = -4 H'(2) - 4 gamma H(2) + O(log(tau) / tau^4), H the rest times tau^-s.
"""

import json
from pathlib import Path

import mpmath as mp
from gaussian_constants import COUNTS, CUTS, legendre, normal, outer, quadrature, split

LAWS = [(0, 0, 2e8), (1, 1, 2e6), (2, 0.5, 2e8), (6, 6, 2e6)]  # a, b, tau


def race(a, b, tau, nodes):
    def gumbel(start):
        """Nodes G = start + s^2 of the noise and the weights of its law."""
        edges = [mp.sqrt(q - start) for q in [start] + [mp.mpf(q) for q in CUTS if q > start]]
        for s, weight in quadrature(split(edges, mp.mpf(1)), nodes):
            noise = start + s * s
            yield noise, 2 * s * weight * mp.exp(-noise - mp.exp(-noise))

    root = mp.sqrt(2)
    early = [(noise, weight) for noise, weight in gumbel(mp.mpf(-5)) if weight > mp.mpf(10) ** -28]
    total = dict.fromkeys(COUNTS[1:], mp.mpf(0))
    for v, outer_weight in quadrature(outer(a, tau), nodes):
        lost = density = loss = mp.mpf(0)
        for noise, weight in early if v <= -5 else gumbel(v):
            rho = mp.sqrt(2 * (noise - v) / tau)
            low, high = a - rho, a + rho
            below, above = normal(low), normal(high)
            inside = weight * (mp.erf(high / root) - mp.erf(low / root)) / 2
            lost += inside
            density += weight * (below + above) / rho
            loss += (1 + b * b) * inside + weight * ((low - 2 * b) * below - (high - 2 * b) * above)
        log_f = mp.log1p(-min(lost, 1 - mp.mpf(10) ** -24))
        for k in total:
            total[k] += outer_weight * k * (k - 1) * loss * density / tau * mp.exp((k - 2) * log_f)
    return total


def second(a, b, tau):
    def rest(s):
        inner = mp.hyp1f1(1 - s / 2, mp.mpf(1) / 2, a * a) - 2 * a * (a - b) * mp.hyp1f1(1 - s / 2, mp.mpf(3) / 2, a * a)
        return 4 / mp.pi * mp.gamma(s) * mp.altzeta(s) * (2 * tau) ** -s * mp.exp(-a * a) * inner

    cold = 1 + b * b - 2 / mp.pi * mp.exp(-a * a) - 2 / mp.sqrt(mp.pi) * b * mp.erf(a)
    return cold - 4 * mp.diff(rest, 2) - 4 * mp.euler * rest(mp.mpf(2))


def main():
    path = Path(__file__).with_name("gaussian_constants.json")
    mp.mp.dps = 25
    cold = []
    for law in LAWS:
        args = [mp.mpf(x) for x in law]
        values, closed = race(*args, legendre(14)), second(*args)
        assert abs(values[2] / closed - 1) < mp.mpf(10) ** -13, (law, values[2], closed)
        record = {"race": {str(k): mp.nstr(value, 16) for k, value in values.items()}, "second": mp.nstr(closed, 16)}
        cold.append(dict(zip(("a", "b", "tau"), law)) | record)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"cold": cold}, indent=1) + "\n")


if __name__ == "__main__":
    main()
