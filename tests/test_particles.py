"""Laws of the number on track against rational enumeration, against simulated particles, and against proved bounds."""

from fractions import Fraction
from itertools import product
from math import comb

import numpy as np
import pytest

from bestofk import particles


def rational_values(length, stay, error):
    """Judged values on track, as fractions."""
    reward = (1 - stay**length) / stay**length
    exact = [stay ** (length - t) * reward + 1 - stay ** (length - t) for t in range(length + 1)]
    return [value / (1 + error) ** min(t, length - t) for t, value in enumerate(exact)]


def rational_chain(particles, values, stay):
    """Law of the number on track at the end, by the plain double sum in fractions."""
    law = {particles: Fraction(1)}
    for before, after in zip(values[:-1], values[1:], strict=True):
        new = dict.fromkeys(range(particles + 1), Fraction(0))
        for n, chance in law.items():
            for kept in range(n + 1):
                weight = chance * comb(n, kept) * stay**kept * (1 - stay) ** (n - kept)
                on, off = kept * after / before, (n - kept) / before + particles - n
                share = on / (on + off)
                for j in new:
                    new[j] += weight * comb(particles, j) * share**j * (1 - share) ** (particles - j)
        law = new
    return [float(law[j]) for j in range(particles + 1)]


def enumerated_smc(count, length, value, tokens):
    """Law of the returned answer by enumerating every proposal and every resampling, in fractions.

    `tokens`: token -> probability; `value`: tuple of tokens -> judged value. Particles are whole answers here.
    """
    law = {((),) * count: Fraction(1)}
    for _ in range(length):
        new = {}
        for state, chance in law.items():
            for drawn in product(tokens, repeat=count):
                moved = [prefix + (token,) for prefix, token in zip(state, drawn, strict=True)]
                weights = [value(after) / value(before) for after, before in zip(moved, state, strict=True)]
                total, extended = sum(weights), chance
                for token in drawn:
                    extended *= tokens[token]
                for picks in product(range(count), repeat=count):
                    pick = extended
                    for i in picks:
                        pick *= weights[i] / total
                    key = tuple(moved[i] for i in picks)
                    new[key] = new.get(key, 0) + pick
        law = new
    answers = {}
    for state, chance in law.items():
        for answer in state:
            answers[answer] = answers.get(answer, 0) + chance / count
    return answers


@pytest.mark.parametrize(("count", "length", "stay", "error"), [
    (1, 3, Fraction(1, 3), Fraction(1)), (2, 3, Fraction(1, 2), Fraction(0)),
    (5, 4, Fraction(1, 3), Fraction(1, 2)), (6, 3, Fraction(9, 10), Fraction(1))])
def test_chain_is_the_rational_sum(count, length, stay, error):
    values = particles.track_values(length, stay=float(stay), error=float(error))
    exact = rational_values(length, stay, error)
    np.testing.assert_allclose(values, [float(value) for value in exact], rtol=1e-13)
    laws = particles.number_on_track(count, values, stay=float(stay))
    np.testing.assert_allclose(laws[-1], rational_chain(count, exact, stay), atol=1e-12)
    np.testing.assert_allclose(laws.sum(axis=1), 1, atol=1e-11)


@pytest.mark.parametrize("error", [Fraction(0), Fraction(1, 2)])
def test_chain_is_the_enumeration_of_whole_particles(error):
    length, stay = 3, Fraction(1, 3)
    exact = rational_values(length, stay, error)
    answers = enumerated_smc(2, length, lambda s: exact[len(s)] if all(s) else Fraction(1), {1: stay, 0: 1 - stay})
    law = particles.on_track_smc(2, [float(value) for value in exact], stay=float(stay))
    assert abs(law - float(answers[1, 1, 1])) < 1e-12


def test_types_are_the_enumeration_of_whole_particles():
    length, error, odds = 3, Fraction(1), 5

    def value(s):
        if not s:
            return Fraction(1)
        factor = (1 + error) ** -min(len(s) - 1, length - len(s)) if s[0] else 1
        return Fraction(2 * odds, 1 + odds) ** sum(s[1:]) * Fraction(2, 1 + odds) ** (len(s) - 1 - sum(s[1:])) * factor

    answers = enumerated_smc(2, length, value, {1: Fraction(1, 2), 0: Fraction(1, 2)})
    first = float(sum(chance for answer, chance in answers.items() if answer[0]))
    assert abs(first - 0.5) > 0.01
    assert abs(particles.two_type_share(2, length=length, error=1.0) - first) < 1e-12
    bound = particles.distance_bound(2, length=length, ratio=float(6), error=1.0)
    assert abs(first - 0.5) < bound


def test_total_variation_of_whole_answers_is_below_the_bound():
    length, stay = 3, Fraction(1, 2)
    exact = rational_values(length, stay, Fraction(0))
    target = {s: (exact[-1] if all(s) else 1) / 8 for s in product((0, 1), repeat=3)}
    total = sum(target.values())
    for count in (1, 2):
        answers = enumerated_smc(count, length, lambda s: exact[len(s)] if all(s) else Fraction(1),
                                 {1: stay, 0: 1 - stay})
        distance = sum(abs(answers.get(s, 0) - weight / total) for s, weight in target.items()) / 2
        assert 0 < float(distance) < particles.distance_bound(count, length=length, ratio=2.0)


def test_simulated_particles():
    rng = np.random.default_rng(2)
    count, stay, runs = 30, 0.6, 4000
    values = particles.track_values(10, stay=stay, error=0.5)
    n = np.full(runs, count)
    for before, after in zip(values[:-1], values[1:], strict=True):
        kept = rng.binomial(n, stay)
        on = kept * after / before
        n = rng.binomial(count, on / (on + (n - kept) / before + (count - n)))
    law = particles.number_on_track(count, values, stay=stay)[-1]
    assert abs(n.mean() / count - law @ np.arange(count + 1) / count) < 4 * n.std() / count / np.sqrt(runs)
    assert abs((n == 0).mean() - law[0]) < 4 * np.sqrt(law[0] * (1 - law[0]) / runs)


def test_one_particle_is_the_model():
    values = particles.track_values(7, stay=0.7, error=0.3)
    assert abs(particles.on_track_smc(1, values, stay=0.7) - 0.7**7) < 1e-12


def test_many_particles_are_the_target():
    values = particles.track_values(6, stay=0.5)
    far = 0.5 - particles.on_track_smc([500, 1000], values, stay=0.5)
    assert far[1] < 0.002
    assert abs(far[0] / far[1] - 2) < 0.01  # the distance falls as 1 / N


def test_one_token_is_softmax_selection():
    values = particles.track_values(1, stay=1 / 64)
    ends = particles.on_track_softmax([1, 5, 60], length=1, stay=1 / 64)
    np.testing.assert_allclose(particles.on_track_smc([1, 5, 60], values, stay=1 / 64), ends, rtol=1e-10)


@pytest.mark.parametrize(("k", "length"), [(1, 5), (19, 4), (85, 6)])
def test_softmax_selection_is_the_rational_sum(k, length):
    alive, reward = Fraction(1, 2**length), Fraction(2**length - 1)
    total = sum(comb(k, n) * alive**n * (1 - alive) ** (k - n) * n * reward / (n * reward + k - n)
                for n in range(k + 1))
    value = particles.on_track_softmax(k, length=length, stay=0.5)
    assert abs(value - float(total)) < 1e-12
    assert value <= k * 0.5**length


def test_limit_share_and_its_waist():
    length, stay, error = 24, 0.5, 0.5
    share = particles.on_track_limit(particles.track_values(length, stay=stay, error=error), stay=stay)
    half, low = stay ** (length // 2), (1 + error) ** (length // 2)
    alive = 1 + half - 2 * stay**length
    assert share.argmin() == length // 2 and abs(share[-1] - 0.5) < 1e-12
    assert abs(share[length // 2] - alive / (alive + low * (1 - half))) < 1e-14


def test_costs():
    exact = [particles.particles_needed(particles.track_values(m, stay=0.5), stay=0.5, tolerance=0.1)
             for m in (6, 12, 18, 24)]
    assert exact == [11, 21, 30, 40]
    assert [particles.samples_needed(m, stay=0.5, tolerance=0.1) for m in (4, 10, 16)] == [20, 1382, 88538]
    values = particles.track_values(6, stay=0.5, error=1.0)
    count = particles.particles_needed(values, stay=0.5, tolerance=0.1)
    before, at = particles.on_track_smc([count - 1, count], values, stay=0.5)
    assert before < 0.4 <= at and count == 42


def test_guided_sampling():
    values = particles.track_values(9, stay=0.3)
    assert abs(particles.on_track_guided(values, stay=0.3) - 0.5) < 1e-12
    assert particles.on_track_guided(particles.track_values(9, stay=0.3, error=0.5), stay=0.3) < 0.45


def test_bound_holds_and_is_the_product():
    for error, length in [(0.0, 8), (0.1, 8)]:
        values = particles.track_values(length, stay=0.5, error=error)
        ratio = (values[1:] / values[:-1]).max()
        for count in (5, 50, 300):
            bound = particles.distance_bound(count, length=length, ratio=ratio, error=error)
            assert abs(particles.on_track_smc(count, values, stay=0.5) - 0.5) < bound
    assert particles.distance_bound(1, length=400, ratio=50.0, error=1.0) == 1
    assert abs(particles.distance_bound([10, 20], length=2, ratio=3.0)[1] - 0.5 * np.sqrt(1.1**2 - 1)) < 1e-14


@pytest.mark.parametrize(("call", "words"), [
    (lambda: particles.track_values(0, stay=0.5), ["length", "0"]),
    (lambda: particles.track_values(5, stay=1.0), ["stay", "1.0"]),
    (lambda: particles.track_values(5, stay=0.5, error=-1), ["error", "-1"]),
    (lambda: particles.track_values(2000, stay=0.5), ["length", "2000"]),
    (lambda: particles.number_on_track(5000, [1, 2], stay=0.5), ["particles", "5000"]),
    (lambda: particles.number_on_track([3, 4], [1, 2], stay=0.5), ["particles", "(2,)"]),
    (lambda: particles.on_track_smc(3, [1.0, -2.0], stay=0.5), ["values", "-2.0"]),
    (lambda: particles.on_track_smc(3, [1.0], stay=0.5), ["values", "(1,)"]),
    (lambda: particles.particles_needed([1, 2], stay=0.5, tolerance=0.7), ["tolerance", "0.7"]),
    (lambda: particles.particles_needed([1, 2], stay=0.5, tolerance=0.1), ["values", "0.6667"]),
    (lambda: particles.distance_bound(5, length=3, ratio=0.5), ["ratio", "0.5"]),
    (lambda: particles.distance_bound(5, length=3, ratio=2, error=-0.1), ["error", "-0.1"]),
    (lambda: particles.two_type_share(900, length=3, error=0.1), ["particles", "900"])])
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError) as raised:
        call()
    for word in words:
        assert word in str(raised.value)
