"""Are the steps of a worked answer right, not only the answer?

A right answer can be luck and a wrong one nearly right. Where a solution states
its arithmetic, "8 * 14 = 112. #### 112", three things can be checked without
knowing the question: that each stated equation holds, that the last one works out
the number asked for, and that the answer is its result. The share of failed checks
is a graded loss in [0, 1].
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?"
_EQUATION = re.compile(
    rf"(?<![\w.,])(?=\$?({_NUMBER})\s*([*x×+/-])\s*\$?({_NUMBER})\s*=\s*\$?({_NUMBER}))", re.IGNORECASE
)
_CONTINUES = re.compile(r"[*x×+/-]\s*\$?$", re.IGNORECASE)
_PLAIN = re.compile(rf"[-+]?(?:{_NUMBER})")


@dataclass(frozen=True)
class Steps:
    """Checks of worked answers; every table has the shape of the texts.

    Attributes
    ----------
    loss : float array
        1 minus the mean of the three checks; 1 where no equation could be read.
    readable : bool array
        At least one equation could be read.
    arithmetic : float array
        Share of the stated equations that hold.
    expression : bool array
        The last equation's left side has the right answer as its value.
    conclusion : bool array
        The answer is the last equation's stated result.
    """

    loss: np.ndarray
    readable: np.ndarray
    arithmetic: np.ndarray
    expression: np.ndarray
    conclusion: np.ndarray


def equations(text):
    """The two-operand equations that a text states, as (left, operator, right, result).

    Read are non-negative numbers in figures, with or without thousands separators and
    dollar signs, and the operators ``+ - * x × /``. The result of one equation may open the next
    ("3 * 4 = 12 + 5 = 17" states two). Sums of three and more terms are not read.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of tuple (Fraction, str, Fraction, Fraction)

    Examples
    --------
    >>> from bestofk import steps
    >>> [tuple(map(str, found)) for found in steps.equations("8 * 14 = 112. #### 112")]
    [('8', '*', '14', '112')]
    """
    found = []
    for match in _EQUATION.finditer(text):
        if _CONTINUES.search(text[: match.start()].rstrip()):  # the tail of a longer expression
            continue
        left, operator, right, result = match.groups()
        operator = "*" if operator in "*xX×" else operator
        found.append((_fraction(left), operator, _fraction(right), _fraction(result)))
    return found


def grade(texts, answers, gold):
    """Check the steps of worked answers.

    A text passes all three checks only if its answer is right: then the last
    left side is worth the right answer, its result is that value, and the answer is that result.
    The converse fails when errors cancel or when steps are left out.

    Parameters
    ----------
    texts : array of str or None, shape (prompts, N)
        Completions; None counts as unreadable.
    answers : array of str or None, same shape
        The answer extracted from each.
    gold : array of str, shape (prompts,)
        Right answers; they must be numbers.

    Returns
    -------
    Steps

    Raises
    ------
    ValueError
        Shapes that do not fit, or a right answer that is not a number.

    Notes
    -----
    Whether the numbers on the left come from the question is not asked, only
    whether they combine to the right value: 8 * 27 passes for 9 * 24.

    Examples
    --------
    >>> from bestofk import steps
    >>> found = steps.grade([["8 * 14 = 112. #### 112", "8 * 14 = 102. #### 102", "It is 112"]],
    ...                     [["112", "102", "112"]], ["112"])
    >>> found.loss.round(2)
    array([[0.  , 0.33, 1.  ]])
    """
    texts, answers, gold = (np.asarray(values, dtype=object) for values in (texts, answers, gold))
    if texts.ndim != 2:
        raise ValueError(f"texts must be shaped (prompts, samples), got shape {texts.shape}")
    if answers.shape != texts.shape:
        raise ValueError(f"answers must have the shape of texts, {texts.shape}, got {answers.shape}")
    if gold.shape != texts.shape[:1]:
        raise ValueError(f"gold must hold one answer for each of the {len(texts)} prompts, got shape {gold.shape}")
    targets = [_number(value) for value in gold]
    if None in targets:
        prompt = targets.index(None)
        raise ValueError(f"gold must be numbers to check steps against, got {gold[prompt]!r} at prompt {prompt}")
    checks = np.zeros((3, *texts.shape))
    readable = np.zeros(texts.shape, dtype=bool)
    for (prompt, sample), text in np.ndenumerate(texts):
        holds, value, result = _worked_out(text) if isinstance(text, str) else (None, None, None)
        if holds is not None:
            readable[prompt, sample] = True
            concluded = _number(answers[prompt, sample]) == result
            checks[:, prompt, sample] = holds, value == targets[prompt], concluded
    return Steps(
        loss=1 - checks.mean(axis=0),
        readable=readable,
        arithmetic=checks[0],
        expression=checks[1].astype(bool),
        conclusion=checks[2].astype(bool),
    )


@lru_cache(maxsize=1 << 17)
def _worked_out(text):
    """Share of a text's equations that hold, and the last one's value and stated result; None without equations."""
    stated = equations(text)
    if not stated:
        return None, None, None
    values = [_value(*equation[:3]) for equation in stated]
    holds = [value == equation[3] for value, equation in zip(values, stated)]
    return sum(holds) / len(holds), values[-1], stated[-1][3]


def _value(left, operator, right):
    """What the left side is worth; None for a division by zero."""
    if operator == "/":
        return left / right if right else None
    return {"+": left + right, "-": left - right, "*": left * right}[operator]


def _fraction(figures):
    return Fraction(figures.replace(",", ""))


@lru_cache(maxsize=1 << 16)
def _number(answer):
    """An answer as a fraction, or None if it is not a plain number."""
    text = str(answer).strip() if answer is not None else ""
    return _fraction(text) if _PLAIN.fullmatch(text) else None
