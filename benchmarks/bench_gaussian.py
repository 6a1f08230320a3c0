"""Exact reranked loss against plain Monte Carlo: CPU time for a curve k = 1..99, and Monte Carlo's error at that time.

    python benchmarks/bench_gaussian.py
"""

import time

import numpy as np

from bestofk.gaussian import reranked_loss

K = np.arange(1, 100)


def monte_carlo(rng, trials, T, a, b):
    """Mean and standard error for every k in K from the same draws, cumulatively, as the official code does."""
    z = rng.standard_normal((trials, K[-1]))
    weight = np.exp(-((z - a) ** 2) / T)
    with np.errstate(invalid="ignore"):  # 0/0 where every weight underflows
        loss = np.cumsum((z - b) ** 2 * weight, axis=1) / np.cumsum(weight, axis=1)
    return loss.mean(axis=0), loss.std(axis=0) / np.sqrt(trials)


def main():
    rng = np.random.default_rng(0)
    laws = list(zip(*rng.uniform(-3, 3, (2, 200)), 2 * 10 ** rng.uniform(-3, 3, 200)))
    reranked_loss(K, 1.0, mean=0, std=1, teacher=0, reward=0)  # warm up

    start = time.process_time()
    exact = [reranked_loss(K, T, mean=0, std=1, teacher=b, reward=a) for a, b, T in laws]
    each = (time.process_time() - start) / len(laws)
    print(f"exact: {1e3 * each:.2f} ms a law, all k = 1..99 (200 random laws, tau from 1e-3 to 1e3, offsets to 3 s)")

    trials = 100
    while True:  # Monte Carlo with the same time a law
        start = time.process_time()
        monte_carlo(rng, trials, 1.0, 0.0, 0.0)
        spent = time.process_time() - start
        if spent > each:
            break
        trials *= 2
    errors, needed = [], []
    for (a, b, T), curve in zip(laws, exact):
        mean, error = monte_carlo(rng, trials, T, a, b)
        if np.isfinite(mean).all():
            errors.append(np.max(np.abs(mean / curve - 1)))
            needed.append(np.median((error / curve / 1e-10) ** 2))
    years = np.median(needed) * spent / 3.2e7
    print(f"Monte Carlo: {trials} trials in {1e3 * spent:.2f} ms; largest relative error on the curve")
    print(f"    median over laws {np.median(errors):.1e}, worst law {np.max(errors):.1e}")
    print(f"    0/0 from underflowing weights: {len(laws) - len(errors)} of {len(laws)} laws, left out above")
    print(f"    for a standard error of 1e-10: {np.median(needed):.0e} times the trials, {years:.0e} years a law")
    for error in (1e-2, 1e-3):
        ratio = np.median(needed) * (1e-10 / error) ** 2 * spent / each
        print(f"ratio of times, Monte Carlo with a relative standard error of {error:g} to exact: {ratio:.2g}")


if __name__ == "__main__":
    main()
