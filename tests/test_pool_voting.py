"""bestofk.pool.majority_vote against all subsets written out, closed cases and drawn subsets."""

from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
import pytest

from bestofk import pool


def written_out(k, loss, answer):
    """Mean over all k-subsets of the loss of a most frequent answer, exactly."""
    total = Fraction(0)
    for subset in combinations(range(len(loss)), k):
        votes = {}
        for i in subset:
            if answer[i] is not None:
                votes.setdefault(answer[i], []).append(Fraction(loss[i]))
        votes = list(votes.values()) or [[Fraction(loss[i]) for i in subset]]
        winners = [costs for costs in votes if len(costs) == max(map(len, votes))]
        total += sum(sum(costs) / len(costs) for costs in winners) / len(winners)
    return float(total / comb(len(loss), k))


@pytest.mark.parametrize("kinds", [1, 2, 3, 5, 40])
@pytest.mark.parametrize("n", [1, 2, 5, 9, 11])
def test_equals_all_subsets(kinds, n):
    """Many ties, many single votes, abstentions, and losses that differ within an answer."""
    rng = np.random.default_rng([kinds, n])
    for silent in (0.0, 0.3):
        answer = [None if rng.random() < silent else int(x) for x in rng.integers(0, kinds, n)]
        loss = rng.normal(size=n)
        found = pool.majority_vote(np.arange(1, n + 1), loss=[loss], answer=[answer])[0]
        expected = [written_out(k, loss, answer) for k in range(1, n + 1)]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * np.abs(loss).max())


def test_nobody_votes():
    loss = np.array([[1.0, 4.0, 7.0]])
    np.testing.assert_allclose(pool.majority_vote([1, 2, 3], loss=loss, answer=[[None, np.nan, None]])[0], 4.0)


def test_two_answers_are_the_hypergeometric_law():
    """Right c times of N, wrong the same answer each time: P(more wrong than right) + half of a tie."""
    n, right = 200, 90
    wrong = np.repeat([0.0, 1.0], [right, n - right])[None]
    k = np.array([1, 2, 7, 64, 199, 200])
    expected = []
    for size in k.tolist():
        share = [Fraction(comb(right, j) * comb(n - right, size - j), comb(n, size)) for j in range(size + 1)]
        lost = sum(p * (Fraction(1, 2) if 2 * j == size else int(2 * j < size)) for j, p in enumerate(share))
        expected.append(float(lost))
    np.testing.assert_allclose(pool.majority_vote(k, loss=wrong, answer=wrong)[0], expected, rtol=1e-11)


def test_all_different_is_one_random_sample():
    """Every sample its own answer: all tie at one vote, at any k (200 answers: the longest rule in theta)."""
    loss = np.random.default_rng(1).random((1, 200))
    found = pool.majority_vote([1, 2, 30, 200], loss=loss, answer=np.arange(200)[None])
    np.testing.assert_allclose(found[0], loss.mean(), rtol=1e-11)


def test_against_drawn_subsets():
    """A pool of 128 with 12 answers: 40,000 drawn subsets, within 4.5 standard errors."""
    rng = np.random.default_rng(5)
    answer = rng.choice(12, size=128, p=rng.dirichlet(np.full(12, 0.7)))
    cost = rng.random(12)
    for k in (5, 40):
        drawn = np.argsort(rng.random((40_000, 128)), axis=1)[:, :k]
        votes = (answer[drawn][:, :, None] == np.arange(12)).sum(axis=1)
        top = votes == votes.max(axis=1, keepdims=True)
        loss = (top * cost).sum(axis=1) / top.sum(axis=1)
        found = pool.majority_vote(k, loss=[cost[answer]], answer=[answer])[0]
        assert abs(loss.mean() - found) < 4.5 * loss.std() / 200


def test_whole_pool_is_best_of_n_by_frequency():
    rng = np.random.default_rng(2)
    answer, loss = rng.integers(0, 6, (20, 30)), rng.random((20, 30))
    frequency = (answer[:, :, None] == answer[:, None, :]).sum(axis=2)
    expected = pool.reranked_loss(30, 0, loss=loss, reward=frequency)
    # best-of-N shares among tied samples, the vote among tied answers: equal because tied answers have equal counts
    np.testing.assert_allclose(pool.majority_vote(30, loss=loss, answer=answer), expected, rtol=1e-12)


def test_names_of_the_answers_and_order_do_not_matter():
    rng = np.random.default_rng(3)
    answer, loss = rng.integers(0, 4, (3, 12)), rng.random((3, 12))
    k = [1, 3, 6, 12]
    found = pool.majority_vote(k, loss=loss, answer=answer)
    order = rng.permutation(12)
    np.testing.assert_allclose(pool.majority_vote(k, loss=loss[:, order], answer=answer[:, order]), found, rtol=1e-12)
    named = np.array(["two", "one", "no", "yes"])[answer]
    np.testing.assert_allclose(pool.majority_vote(k, loss=loss, answer=named), found, rtol=1e-12)
    frame = pd.DataFrame(answer)
    np.testing.assert_allclose(pool.majority_vote(k, loss=pd.DataFrame(loss), answer=frame), found, rtol=1e-12)


def test_shapes_and_ragged_pools():
    rng = np.random.default_rng(4)
    loss, answer = [rng.random(n) for n in (5, 8)], [rng.integers(0, 3, n) for n in (5, 8)]
    assert pool.majority_vote(3, loss=loss, answer=answer).shape == (2,)
    assert pool.majority_vote([3], loss=loss, answer=answer).shape == (2, 1)
    for prompt in range(2):
        one = pool.majority_vote([2, 5], loss=loss[prompt : prompt + 1], answer=answer[prompt : prompt + 1])
        np.testing.assert_array_equal(pool.majority_vote([2, 5], loss=loss, answer=answer)[prompt], one[0])


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(k=5), "k=5 but prompt 0 has 4"),
        (dict(k=0), "k must be integers >= 1, got 0"),
        (dict(answer=[[1, 2, 3]]), r"answer must hold one value a sample, got shape \(3,\) for 4 samples at prompt 0"),
        (dict(answer=5), r"answer must be shaped \(prompts, samples\).*got 5"),
        (dict(answer=[[1, 1, 1, 1]] * 2), "answer has 2 prompts and loss has 1"),
        (dict(loss=[[0, 1, np.nan, 1]]), "loss must be finite, got nan at prompt 0, sample 2"),
        (dict(k=600, loss=np.zeros((1, 1200)), answer=np.zeros((1, 1200))), "k=600 of 1200 samples has over 1e290"),
    ],
)
def test_bad_input(change, message):
    given = dict(k=2, loss=[[0, 1, 1, 1]], answer=[[1, 2, 2, 3]]) | change
    with pytest.raises(ValueError, match=message):
        pool.majority_vote(**given)
