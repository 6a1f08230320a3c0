"""Reference values of the crossover function of a Gaussian score noise, for tests/test_allocation.py.

Candidates near the target are a Poisson process in q > 0 of rate lambda; the kept one has the
largest xi - q^2, xi standard normal. Nested tanh-sinh quadrature in 20 digits; about 10 minutes.
"""

import mpmath

mpmath.mp.dps = 20


def crossover(size):
    def tail(x):
        return mpmath.erfc(x / mpmath.sqrt(2)) / 2

    def integrand(v):
        low, high = mpmath.sqrt(max(-10 - v, 0)), mpmath.sqrt(max(10 - v, 0))
        cuts = mpmath.linspace(low, high, 4)
        rate = low + mpmath.quad(lambda q: tail(v + q * q), cuts)
        gain = mpmath.quad(lambda q: q * q * mpmath.npdf(v + q * q), cuts)
        return size * gain * mpmath.exp(-size * rate)

    depth = -((40 / mpmath.mpf(size)) ** 2) - 10
    cuts = [depth * mpmath.mpf("0.4") ** j for j in range(60) if depth * mpmath.mpf("0.4") ** j < -10]
    return mpmath.quad(integrand, cuts + [-10, -7, -4, -2, -1, 0, 1, 2, 3, 4, 5, 6, 8, 10], maxdegree=5)


for size in ("0.05", "1", "20", "1000"):
    print(size, mpmath.nstr(crossover(mpmath.mpf(size)), 15), flush=True)
