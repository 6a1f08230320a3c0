"""Claims of speed of bestofk.pool, each measured in this run.

1. A GSM8K-sized pool (1,319 prompts x 64 samples; k = 1..64; T = 0 and ten
   temperatures from 0.01 to 10 score standard deviations): at most 20 s on two
   cores for integer scores, 40 s for continuous ones.
2. The exact average over all k-subsets against averaging random subsets: time
   at equal error, and error at equal time.
3. One pool for every k and T against regenerating per k, in completions and
   judge calls, for the default sweeps of the paper's official code (commit 444b53c).
4. 10,000 and 100,000 prompts x 64 samples: `curve`, `optimum` and `report` need no more
   memory beside the pool than the pool itself.
"""

import tracemalloc
from time import perf_counter

import numpy as np

from bestofk import pool

PROMPTS, SAMPLES = 1319, 64


def make_pool(rng, prompts, integer):
    wrong = (rng.random((prompts, SAMPLES)) < rng.beta(1, 1, (prompts, 1))).astype(float)
    score = rng.normal(size=wrong.shape) - wrong
    if integer:
        score = np.clip(np.round(6 + 2.5 * score), 0, 10)
    return wrong, score


def gsm8k_sized(rng):
    k = np.arange(1, SAMPLES + 1)
    for integer, limit in ((True, 20), (False, 40)):
        wrong, score = make_pool(rng, PROMPTS, integer)
        T = score.std() * np.append(0, np.geomspace(0.01, 10, 10))
        start = perf_counter()
        pool.reranked_loss(k, T, loss=wrong, reward=score)
        taken, kind = perf_counter() - start, "integer" if integer else "continuous"
        print(f"pool of {PROMPTS} x {SAMPLES}, 64 k x 11 T, {kind} scores: {taken:.1f} s (limit {limit})")


def random_subsets(rng, k, T, loss, reward, draws):
    """Average the softmax-weighted loss over `draws` random k-subsets of every prompt."""
    total = np.zeros(len(loss))
    for _ in range(draws):
        chosen = rng.random(loss.shape).argpartition(k - 1, axis=1)[:, :k]
        score = np.take_along_axis(reward, chosen, axis=1)
        weight = np.exp((score - score.max(axis=1, keepdims=True)) / T)
        total += (weight * np.take_along_axis(loss, chosen, axis=1)).sum(axis=1) / weight.sum(axis=1)
    return total / draws


def against_random_subsets(rng):
    prompts, draws, k = 200, 100, np.arange(1, SAMPLES + 1)
    loss, reward = make_pool(rng, prompts, False)
    T = 0.5 * reward.std()
    start = perf_counter()
    exact = pool.reranked_loss(k, T, loss=loss, reward=reward)
    exact_time = perf_counter() - start
    start = perf_counter()
    drawn = np.stack([random_subsets(rng, int(size), T, loss, reward, draws) for size in k], axis=1)
    drawn_time = perf_counter() - start
    error = np.sqrt(np.mean((drawn - exact) ** 2))
    per_draw = drawn_time / draws
    print(f"{prompts} prompts, 64 k, T = 0.5 sd: exact {exact_time:.2f} s; {draws} random subsets {drawn_time:.2f} s")
    print(f"  with {draws} subsets the error of a prompt's loss is {error:.4f} (root mean square)")
    same_time = error * np.sqrt(drawn_time / exact_time)
    print(f"  at equal time: error {same_time:.4f} against below 1e-12")
    for target in (1e-3, 1e-4):
        needed = per_draw * draws * (error / target) ** 2
        print(f"  at error {target:g}: {needed:.0f} s (by the 1/sqrt law), {needed / exact_time:.0f} times as long")


def against_regenerating():
    sweep_k = sum(range(4, 64 + 1, 4)) * PROMPTS
    sweep_T = 64 * PROMPTS
    fresh, stored = sweep_k + sweep_T, SAMPLES * PROMPTS
    ratio = fresh / stored
    print(f"completions for the official default sweeps: {fresh:,}; from one pool: {stored:,} ({ratio:.1f}x)")
    # its task has two answer filters, and every logged row is judged
    print(f"judge calls: {2 * fresh:,} against {stored:,} ({2 * fresh / stored:.1f}x)")
    every_k = PROMPTS * SAMPLES * (SAMPLES + 1) // 2
    print(f"every k = 1..64 regenerated: {every_k:,} completions against {stored:,} ({every_k / stored:.1f}x)")


def large(rng):
    every, octaves = np.arange(1, SAMPLES + 1), 2 ** np.arange(7)
    calls = {
        "curve, 64 k x 2 T": lambda **both: pool.curve(every, [0, 0.5], **both),
        "optimum, 7 k x 3 T": lambda **both: pool.optimum(octaves, [0, 0.5, 2], **both),
        "report, 7 k x 2 T": lambda **both: pool.report(octaves, [0.5, 2], **both),
    }
    for prompts in (10_000, 100_000):
        loss, reward = make_pool(rng, prompts, True)
        held = (loss.nbytes + reward.nbytes) / 2**20
        for name, call in calls.items():
            tracemalloc.start()
            start = perf_counter()
            call(loss=loss, reward=reward, seed=0, progress=True)
            taken, peak = perf_counter() - start, tracemalloc.get_traced_memory()[1] / 2**20
            tracemalloc.stop()
            print(f"{name}, of {prompts:,} x {SAMPLES}: {taken:.0f} s, {peak:.0f} MiB beside the pool's {held:.0f} MiB")


if __name__ == "__main__":
    generator = np.random.default_rng(0)
    gsm8k_sized(generator)
    against_random_subsets(generator)
    against_regenerating()
    large(generator)
