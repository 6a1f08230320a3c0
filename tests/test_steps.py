"""Steps of worked answers: hand-written texts, random solutions graded as they are made, and the runs' questions."""

import random
import re
from fractions import Fraction

import numpy as np
import pytest

from bestofk import artifacts, pool, steps

F = Fraction

HAND_WRITTEN = [
    ("8 * 14 = 112. #### 112", [(8, "*", 14, 112)]),
    (" 4 * 4 = 16.#### 16", [(4, "*", 4, 16)]),
    ("Sam has 2 x 20 = 40 pencils. #### 40", [(2, "*", 20, 40)]),
    ("3×4=12", [(3, "*", 4, 12)]),
    ("She pays 3 * $6 = $18.", [(3, "*", 6, 18)]),
    ("1,200 + 34 = 1,234", [(1200, "+", 34, 1234)]),
    ("1234567 - 1 = 1234566", [(1234567, "-", 1, 1234566)]),
    ("7 / 2 = 3.5", [(7, "/", 2, F(7, 2))]),
    ("5 + 3 = 8 trays. That is 8 * 12 = 96 rolls.", [(5, "+", 3, 8), (8, "*", 12, 96)]),
    ("3 * 4 = 12 + 5 = 17", [(3, "*", 4, 12), (12, "+", 5, 17)]),
    ("Max * 12 = 12 * 12 = 144. #### 144", [(12, "*", 12, 144)]),
    ("Max * 2 = 20. #### 20", []),
    ("1 + 1 + 1 = 3", []),
    ("2 * 3 * 4 = 24", []),
    ("The answer is 42.", []),
    ("8 * = 112", []),
    ("", []),
]


@pytest.mark.parametrize("text, expected", HAND_WRITTEN)
def test_equations_of_hand_written_texts(text, expected):
    assert steps.equations(text) == [(F(a), o, F(b), F(c)) for a, o, b, c in expected]


GRADED = [  # text, answer, right answer, arithmetic, expression, conclusion
    ("8 * 14 = 112. #### 112", "112", "112", 1, 1, 1),
    ("8 * 14 = 102. #### 102", "102", "112", 0, 1, 1),
    ("8 * 4 = 32. #### 32", "32", "112", 1, 0, 1),
    ("8 * 14 = 112. #### 12", "12", "112", 1, 1, 0),
    ("8 * 4 = 112. #### 112", "112", "112", 0, 0, 1),  # two slips that cancel
    ("8 * 14 = 102. #### 112", "112", "112", 0, 1, 0),
    ("5 + 3 = 8. 8 * 12 = 96. #### 96", "96", "96.0", 1, 1, 1),
    ("5 + 3 = 9. 9 * 12 = 108. #### 108", "108", "96", 0.5, 0, 1),
    ("7 / 0 = 7. #### 7", "7", "7", 0, 0, 1),
    ("8 * 14 = 112.", None, "112", 1, 1, 0),
    ("8 * 14 = 112.", "a dozen", "112", 1, 1, 0),
    ("2 - 5 = 3. #### -3", "-3", "-3", 0, 1, 0),
]


@pytest.mark.parametrize("text, answer, gold, arithmetic, expression, conclusion", GRADED)
def test_checks_of_hand_written_texts(text, answer, gold, arithmetic, expression, conclusion):
    found = steps.grade([[text]], [[answer]], [gold])
    assert found.readable.all()
    checks = [table[0, 0] for table in (found.arithmetic, found.expression, found.conclusion)]
    assert checks == [arithmetic, expression, conclusion]
    assert found.loss[0, 0] == pytest.approx(1 - (arithmetic + expression + conclusion) / 3, abs=1e-15)


def test_unreadable_texts_have_loss_one():
    found = steps.grade([["It is 112. #### 112", "", None]], [["112", None, None]], ["112"])
    assert found.loss.tolist() == [[1, 1, 1]] and not found.readable.any()
    assert not (found.arithmetic.any() or found.expression.any() or found.conclusion.any())


def test_random_solutions_are_graded_as_they_were_made():
    rng = random.Random(4)
    texts, answers, expected = [], [], []
    for _ in range(500):
        a, b = rng.randint(2, 99), rng.randint(2, 99)
        shown = (a, b) if rng.random() < 0.5 else (a, b + 1)
        stated = shown[0] * shown[1] + (rng.random() < 0.5)
        answer = stated + 3 * (rng.random() < 0.5)
        times, end = rng.choice("*x×"), rng.choice([". ", ".", " things. "])
        texts.append(f" {shown[0]} {times} {shown[1]} = {stated}{end}#### {answer}")
        answers.append(str(answer))
        checks = (stated == shown[0] * shown[1]) + (shown[1] == b) + (answer == stated)
        expected.append((str(a * b), 1 - checks / 3))
    gold, loss = zip(*expected)
    found = steps.grade([[t] for t in texts], [[a] for a in answers], list(gold))
    assert np.allclose(found.loss[:, 0], loss, atol=1e-15)


@pytest.mark.parametrize("name", ["smollm2-arithmetic", "smollm2-sums"])
def test_on_the_runs(name):
    run = artifacts.load(name)
    found = steps.grade(run.texts, run.answer, run.gold)
    assert run.correct[found.loss == 0].all()  # all checks passed implies a right answer
    assert found.readable.mean() > 0.95
    operands = [sorted(map(int, re.findall(r"\d+", question))) for question in run.questions]
    other = same = 0
    for prompt, sample in np.argwhere(found.expression):
        left, _, right, _ = steps.equations(run.texts[prompt, sample])[-1]
        same += sorted((left, right)) == operands[prompt]
        other += sorted((left, right)) != operands[prompt]
    assert same > 1000 and other < same / 1000  # the value of the left side stands in for the question's operands


def test_graded_loss_is_a_loss_for_the_pool():
    found = steps.grade([["8 * 14 = 112", "8 * 14 = 102", "none"]], [["112", "102", "112"]], ["112"])
    best = pool.reranked_loss([1, 2, 3], 0, loss=found.loss, reward=-found.loss)
    assert np.allclose(best, [[4 / 9, 1 / 9, 0]])


BAD = [
    (dict(texts=["a"], answers=["a"], gold=["1"]), r"texts.*\(1,\)"),
    (dict(texts=[["a", "b"]], answers=[["a"]], gold=["1"]), r"answers.*\(1, 2\).*\(1, 1\)"),
    (dict(texts=[["a"]], answers=[["a"]], gold=["1", "2"]), r"gold.*1 prompts.*\(2,\)"),
    (dict(texts=[["a"]] * 2, answers=[["a"]] * 2, gold=["1", "x+1"]), r"gold.*'x\+1' at prompt 1"),
]


@pytest.mark.parametrize("arguments, message", BAD)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        steps.grade(**arguments)
