"""The official finite-T figure: exact averages over inputs against the simulation that the official code runs.

    python benchmarks/bench_official_figure.py            # simulation at a stated fraction of the official size
    python benchmarks/bench_official_figure.py --full     # all of it: 10^6 inputs x 100 trials, three curves; the
                                                          # simulation is stored for the book (book/simulations)

delta / sigma^2 for k = 1..99 at T / (2 sigma^2) = 10 and c = 5, 10, 15; n = 10^4, d = 10, S = 1, sigma = 1e-4,
gamma = 1e-3 (parameters of BLR_non_zero_T.py in the official code at 444b53c). Both sides take the same fitted
model, one training set, and constant predictive variance; the simulation is in float64.
"""

import argparse
import hashlib
import json
import platform
import time
from pathlib import Path

import numpy as np

from bestofk.gaussian import generalization_error, reranked_loss

K = np.arange(1, 100)
N, D, SIGMA, GAMMA, COLDNESS = 10**4, 10, 1e-4, 1e-3, 10
C = (5, 10, 15)
INPUTS, TRIALS, SEED = 10**6, 100, 1
STORE = Path(__file__).resolve().parents[1] / "book" / "simulations" / "official-figure"


def fit(rng):
    """Posterior of one training set: variance of mean - teacher over inputs, and mean predictive variance."""
    teacher = 2 * rng.standard_normal(D)
    x = rng.standard_normal((N, D)) / np.sqrt(D)
    y = x @ teacher + SIGMA * rng.standard_normal(N)
    posterior = np.linalg.inv(np.eye(D) / GAMMA**2 + x.T @ x / SIGMA**2)
    error = posterior @ x.T @ y / SIGMA**2 - teacher
    return error @ error / D, SIGMA**2 + np.trace(posterior) / D


def exact(variance, std):
    """Three curves in units of sigma^2: mean - reward = (1 + c) (mean - teacher)."""
    cov = variance * np.array([[[1, 1 + c], [1 + c, (1 + c) ** 2]] for c in C])
    return generalization_error(K, COLDNESS * 2 * SIGMA**2, std=std, cov=cov) / SIGMA**2


def simulate(rng, variance, std, inputs, trials):
    """The same curves by Monte Carlo: for each input `trials` sets of 99 draws, weights cumulated over k."""
    T = COLDNESS * 2 * SIGMA**2
    means, errors = np.empty((2, len(C), K.size))
    for row, c in enumerate(C):
        total, square = np.zeros((2, K.size))
        for start in range(0, inputs, 100):
            off = np.sqrt(variance) * rng.standard_normal((min(100, inputs - start), 1))
            weights, losses, curve = np.zeros((off.size, trials)), np.zeros((off.size, trials)), []
            for _ in K:
                z = std * rng.standard_normal((off.size, trials))
                w = np.exp(-((z + (1 + c) * off) ** 2) / T)
                weights += w
                losses += (z + off) ** 2 * w
                curve.append((losses / weights).mean(axis=1))
            total += np.sum(curve, axis=1)
            square += np.sum(np.square(curve), axis=1)
        means[row] = total / inputs
        errors[row] = np.sqrt((square / inputs - means[row] ** 2) / inputs)
    return means / SIGMA**2, errors / SIGMA**2


def store(variance, std, means, errors, seconds):
    """Write the simulated curves as a table, and beside it what made them."""
    rows = [(c, k, means[i, j], errors[i, j]) for i, c in enumerate(C) for j, k in enumerate(K)]
    table = "c,k,loss,standard_error\n" + "".join(f"{c},{k},{mean:.17g},{se:.17g}\n" for c, k, mean, se in rows)
    STORE.parent.mkdir(exist_ok=True)
    STORE.with_suffix(".csv").write_text(table)
    manifest = {
        "what": "simulated delta / sigma^2 of the official finite-temperature figure, at its size",
        "builder": "python benchmarks/bench_official_figure.py --full",
        "built": time.strftime("%Y-%m-%d"),
        "cpu_seconds": round(seconds),
        "parameters": {
            "n": N, "d": D, "sigma": SIGMA, "gamma": GAMMA, "temperature / (2 sigma^2)": COLDNESS, "c": C,
            "inputs": INPUTS, "trials": TRIALS, "seed": SEED,
        },
        "trained model": {"V / sigma^2": variance / SIGMA**2, "s^2 / sigma^2": std**2 / SIGMA**2},
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "sha256": {STORE.with_suffix(".csv").name: hashlib.sha256(table.encode()).hexdigest()},
    }  # fmt: skip
    STORE.with_suffix(".json").write_text(json.dumps(manifest, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="simulate at the official size, and store it")
    fraction = 1.0 if parser.parse_args().full else 1e-3
    rng = np.random.default_rng(SEED)
    variance, variance_of_draws = fit(rng)
    std = np.sqrt(variance_of_draws)
    exact(variance, std)  # warm up
    start = time.process_time()
    curves = exact(variance, std)
    quick = time.process_time() - start

    finer = np.empty_like(curves)  # an unrelated average: 200 Hermite nodes instead of halved trapezoids
    x, weight = np.polynomial.hermite_e.hermegauss(200)
    for row, c in enumerate(C):
        off = np.sqrt(variance) * x
        loss = reranked_loss(K, COLDNESS * 2 * SIGMA**2, mean=0, std=std, teacher=-off, reward=-(1 + c) * off)
        finer[row] = weight @ loss / weight.sum() / SIGMA**2
    apart = np.abs(curves / finer - 1).max()
    print(f"exact: {quick:.3f} s of CPU time for three curves, k = 1..99; {apart:.0e} from a 200-node Hermite average")

    inputs = int(INPUTS * fraction)
    start = time.process_time()
    means, errors = simulate(rng, variance, std, inputs, TRIALS)
    slow = time.process_time() - start
    size = f"{inputs} inputs x {TRIALS} trials, {fraction:g} of the official size"
    if fraction == 1:
        store(variance, std, means, errors, slow)
    print(f"simulation: {slow:.1f} s of CPU time for {size}")
    print(f"    standard error / value: median {np.median(errors / means):.1e}, largest {np.max(errors / means):.1e}")
    print(f"    deviation from exact in standard errors: rms {np.sqrt(np.mean(((means - curves) / errors) ** 2)):.2f}")
    if fraction < 1:
        print(f"    at the official size, extrapolated in proportion to the inputs: {slow / fraction / 60:.1f} minutes")
    print(f"ratio of times at the official size: {slow / fraction / quick:.0f}")


if __name__ == "__main__":
    main()
