"""Answer extraction and comparison."""

import pytest

pytest.importorskip("math_verify")

from bestofk_runs import answers  # noqa: E402


@pytest.mark.parametrize(
    "text, answer",
    [
        ("8 * 14 = 112. #### 112", "112"),
        ("The answer is $18.", "18"),
        ("16 - 3 - 4 = 9 eggs. She makes 9 * 2 = 18 dollars. The answer is $18.", "18"),
        ("so \\boxed{42} and not 17", "42"),
        ("\\boxed{1} then \\boxed{\\frac{3}{4}}", "\\frac{3}{4}"),
        ("\\boxed{70,000}", "70000"),
        ("\\boxed{(1,234)}", "(1,234)"),
        ("#### 1,234", "1234"),
        ("#### -5", "-5"),
        ("The answer is: 3.5 dollars", "3.5"),
        ("final answer: 12 apples, of 20", "12"),
        ("#### 3 and later #### 4", "4"),
        ("He pays 3.50", "3.50"),
        ("it takes 5 hours.", "5"),
        ("12-5=7", "7"),
        ("2 * -3 = -6", "-6"),
        ("the answer is unclear, perhaps 9 or 10", "9"),
        ("the answer is unclear", None),
        ("####", None),
        ("", None),
        ("1,2,3", "3"),
        ("<think>maybe 5</think>It is 6.", "6"),
        ("so 5, no\n</think>\n\\boxed{6}", "6"),
        ("<think>maybe 5, or", None),
    ],
)
def test_extract(text, answer):
    assert answers.extract(text) == answer


def test_the_last_number_is_used_never_the_first():
    text = "Janet has 16 eggs, uses 7, sells 9 at 2 dollars: 18"
    assert answers.extract(text) == answers.last_number(text) == "18"


@pytest.mark.parametrize(
    "answer, gold, right",
    [
        ("112", "112", True), ("112.0", "112", True), ("3.50", "3.5", True), ("1e2", "100", True),
        ("113", "112", False), ("0.5", "1/2", True), ("\\frac{1}{2}", "0.5", True), ("2\\sqrt{2}", "\\sqrt{8}", True),
        (None, "3", False), ("x", "3", False),
    ],
)  # fmt: skip
def test_correct(answer, gold, right):
    assert answers.correct(answer, gold) is right


def test_a_broken_answer_is_wrong_not_an_error():
    for broken in ("\\frac{1}{", "}{", "((((", "\\boxed{", "1" * 5000):
        assert answers.correct(broken, "3") is False
        answers.extract(broken)
