"""Which answer does a completion give, and is it right?

The answer is the last boxed expression; else what follows the last "####" or
"the answer is"; else the last number. (Never the first number: on solutions
that show their work it is almost always an intermediate one.) A second rule,
the last number alone, is reported beside it, so that a reader sees how much
the choice matters.
"""

import re
from decimal import Decimal, InvalidOperation
from functools import lru_cache

NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[-+]?\.\d+"
_NUMBER = re.compile(rf"(?<![\w.])(?:{NUMBER})(?![\w])|(?:{NUMBER})")
_MARK = re.compile(r"####|answer\s*(?:is|:|=)", re.IGNORECASE)


def extract(text):
    """The answer in `text`, as a string, or None if there is none.

    >>> extract("8 * 14 = 112. #### 112")
    '112'
    >>> extract("The answer is $18.")
    '18'
    >>> extract("So we get \\\\boxed{\\\\frac{1}{2}}.")
    '\\\\frac{1}{2}'
    >>> extract("first 3, then 1,250 apples")
    '1250'
    >>> extract("I do not know") is None
    True
    """
    text = split_thinking(text)[1]
    boxed = _last_boxed(text)
    if boxed is not None:
        return _plain(boxed) if re.fullmatch(NUMBER, boxed) else boxed
    marks = list(_MARK.finditer(text))
    if marks:
        marked = _NUMBER.search(text[marks[-1].end() :].split("\n", 1)[0])
        if marked:
            return _plain(marked[0])
    return last_number(text)


def split_thinking(text):
    """The thinking part and the answer part of a reasoning model's completion.

    >>> split_thinking("<think>7? no, 8</think>It is 8.")
    ('<think>7? no, 8</think>', 'It is 8.')
    >>> split_thinking("It is 8.")
    ('', 'It is 8.')
    >>> split_thinking("<think>7? no,")
    ('<think>7? no,', '')
    """
    end = text.rfind("</think>")
    if end >= 0:
        end += len("</think>")
        return text[:end], text[end:]
    return (text, "") if text.lstrip().startswith("<think>") else ("", text)


def of_solution(text):
    """The right answer of a worked solution: what follows its last ``####``, or the whole, without thousands separators.

    >>> of_solution("8 * 150 = 1200. #### 1,200")
    '1200'
    """
    return str(text).rsplit("####", 1)[-1].strip().replace(",", "")


def last_number(text):
    """The last number in `text` without thousands separators, or None; the second rule.

    >>> last_number("3 * 14 = 42. #### 42")
    '42'
    """
    numbers = [match[0] for match in _NUMBER.finditer(text)]
    return _plain(numbers[-1]) if numbers else None


def number(answer):
    """The answer as a float, or None if it is not a plain number.

    >>> number("1.50")
    1.5
    """
    try:
        return float(Decimal(answer))
    except (InvalidOperation, TypeError, ValueError):
        return None


@lru_cache(maxsize=100_000)
def correct(answer, gold):
    """True if `answer` equals `gold`: as numbers, else by math-verify.

    >>> correct("112.0", "112"), correct("\\\\frac{1}{2}", "0.5"), correct(None, "3")
    (True, True, False)
    """
    if answer is None:
        return False
    if answer == gold:
        return True
    mine, theirs = number(answer), number(gold)
    if mine is not None and theirs is not None:
        return Decimal(answer) == Decimal(gold)
    from math_verify import parse, verify

    return bool(verify(parse(f"${gold}$"), parse(f"${answer}$")))


def _plain(number):
    return number.replace(",", "").lstrip("+")


def _last_boxed(text):
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 0, start + len("\\boxed")
    for i in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[begin + 1 : i].strip().strip("$").replace(",\\!", "") or None
    return None
