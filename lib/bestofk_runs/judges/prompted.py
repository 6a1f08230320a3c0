"""Judges that read a question about the solution: P(Yes), an expected digit, or a written score.

The judge prompt holds ``{question}`` and ``{solution}`` (and, if wanted, ``{answer}``), each shown whole.
"""

import re

import numpy as np

from ..engines.base import first_seed
from . import Verdict, missing, once, pairs

# what a judge reads after the solution is short: it passes the model once for every distinct solution
PROMPTS = {
    "yes": (
        "Is the proposed solution correct? Answer Yes or No.\n"
        "Question: {question}\nProposed solution: {solution}\nAnswer:"
    ),
    "yes_after": (
        "Question: {question}\nProposed solution: {solution}\n"
        "Is the proposed solution correct? Answer Yes or No.\nAnswer:"
    ),
    "yes_examples": (
        "Question: A shelf has 6 rows with 13 books in each row. How many books are on the shelf?\n"
        "Proposed solution: 6 * 13 = 78. #### 78\nIs the proposed solution correct? Answer Yes or No.\nAnswer: Yes\n\n"
        "Question: A farm has 5 pens with 17 sheep in each pen. How many sheep are on the farm?\n"
        "Proposed solution: 5 * 17 = 95. #### 95\nIs the proposed solution correct? Answer Yes or No.\nAnswer: No\n\n"
        "Question: A hall has 14 tables with 16 chairs at each table. How many chairs are in the hall?\n"
        "Proposed solution: 14 * 16 = 204. #### 204\nIs the proposed solution correct? Answer Yes or No.\nAnswer: No\n\n"
        "Question: A train has 15 wagons with 12 seats in each wagon. How many seats are on the train?\n"
        "Proposed solution: 15 * 12 = 180. #### 180\nIs the proposed solution correct? Answer Yes or No.\nAnswer: Yes\n\n"
        "Question: {question}\nProposed solution: {solution}\n"
        "Is the proposed solution correct? Answer Yes or No.\nAnswer:"
    ),
    "score": (
        "Score the solution for its reasoning and its final answer with a number from 0 (wrong) to {score_max} (right).\n"
        "Question: {question}\nSolution: {solution}\nScore:"
    ),
    "score_expected": (
        "Score the solution for its reasoning and its final answer with one digit from 0 (wrong) to 9 (right).\n"
        "Question: {question}\nSolution: {solution}\nScore:"
    ),
}
YES, NO = ("Yes", " Yes", "yes", " yes", "YES", " YES"), ("No", " No", "no", " no", "NO", " NO")


def template(judge_prompt, kind, score_max=10):
    """Return the judge prompt: the kind's own if empty, one of `PROMPTS` by name, or the text itself.

    Examples
    --------
    >>> template("Q {question} A {solution} ok?", "yes")
    'Q {question} A {solution} ok?'
    """
    text = PROMPTS.get(judge_prompt or kind, judge_prompt)
    absent = [name for name in ("{question}", "{solution}") if name not in text]
    if absent:
        raise ValueError(
            f"judge_prompt must hold {' and '.join(absent)} or be one of {', '.join(PROMPTS)}, got {judge_prompt!r}"
        )
    return text.replace("{score_max}", f"{score_max:g}")


def fill(text, item, solution, answer=""):
    """`text` with question, solution and answer put in, whatever braces these hold."""
    parts = {"{question}": item.question.strip(), "{solution}": solution.strip(), "{answer}": answer or ""}
    return re.sub(r"\{(?:question|solution|answer)\}", lambda m: parts[m.group()], text)


def _texts(engine, text, items, samples, chat):
    """The judge prompt of every sample, through the chat template if wanted."""
    filled = [fill(text, item, sample.text, sample.answer) for item, sample in pairs(items, samples)]
    return [engine.chat(t) for t in filled] if chat else filled


def single_tokens(engine, spellings):
    """Ids of those `spellings` that are one token."""
    ids = [engine.tokenizer(s, add_special_tokens=False)["input_ids"] for s in spellings]
    return sorted({x[0] for x in ids if len(x) == 1})


def yes(engine, *, judge_prompt="", chat=False, nodes=512):
    """P(Yes) against P(No) as the next token after the judge prompt, over all one-token spellings.

    Parameters
    ----------
    engine : any engine
    judge_prompt : str
        See `template`.
    chat : bool
        Put the judge prompt through the model's chat template.
    """
    text = template(judge_prompt, "yes")
    positive, negative = single_tokens(engine, YES), single_tokens(engine, NO)
    if not positive or not negative:
        raise ValueError(f"judge_model {engine.source.name!r} has no single token for Yes or No: use judge = score")

    def value(p):
        return p[: len(positive)].sum() / p.sum()

    return _next_token_judge(engine, text, chat, positive + negative, value, nodes)


def score_expected(engine, *, judge_prompt="", chat=False, nodes=512):
    """Expected digit, sum of d P(d) over d = 0..9 given that a digit comes next; parameters as in `yes`."""
    text = template(judge_prompt, "score_expected")
    tokenizer = engine.tokenizer
    digits = [tokenizer(str(d), add_special_tokens=False)["input_ids"][-1] for d in range(10)]
    spaced = [tokenizer(f" {d}", add_special_tokens=False)["input_ids"] for d in range(10)]
    if len(set(digits)) < 10 or tokenizer.decode(digits).replace(" ", "") != "0123456789":
        raise ValueError(f"judge_model {engine.source.name!r} does not write digits as single tokens: use judge = score")
    if not chat and text[-1] not in " \n" and len(spaced[0]) == 2:
        text += " "  # " 7" is two tokens for this model: a space, then the digit
        spaced = []
    digits += [ids[0] for ids in spaced if len(ids) == 1 and ids[0] not in digits]
    weight = np.resize(np.arange(10.0), len(digits))

    def value(p):
        return p @ weight / p.sum()

    return _next_token_judge(engine, text, chat, digits, value, nodes)


def _next_token_judge(engine, text, chat, tokens, value, nodes):
    from ..scoring import scorer_of

    scorer = scorer_of(engine, nodes)

    def judge(items, samples):
        def distinct(texts):
            return [_read(p, value) for p in scorer.next_token(texts, tokens)]

        return once(_texts(engine, text, items, samples, chat), distinct)

    judge.scorer = scorer
    return judge


def _read(p, value):
    mass = float(p.sum())
    if np.isnan(mass):
        return missing("too long")
    return Verdict(float(value(p)), mass=mass) if mass > 0 else missing("unparsed")


def score(
    engine, *, judge_prompt="", chat=False, score_max=10, votes=1, judge_temperature=0.0, judge_tokens=8,
    pattern=r"-?\d+(?:\.\d+)?", seed=0,
):  # fmt: skip
    """A score that the judge writes and `pattern` reads: the first number found, mean over the votes that parse.

    Parameters
    ----------
    engine : any engine
    judge_prompt, chat
        As in `yes`.
    score_max : float
        Numbers outside [0, score_max] count as unparsable.
    votes : int
        Answers asked of the judge for each distinct completion; more than one needs `judge_temperature` > 0.
    judge_temperature : float
        Sampling temperature of the judge; 0 is greedy.
    judge_tokens : int
        Most tokens that the judge may write.
    pattern : str
        Regular expression; its first group, or the whole match, is the number.
    seed : int
    """
    if votes < 1 or (votes > 1 and judge_temperature == 0):
        raise ValueError(f"votes must be 1 for a greedy judge and >= 1 for a sampled one, got {votes!r}")
    text = template(judge_prompt, "score", score_max)
    find = re.compile(pattern)

    def distinct(texts):
        fits = [len(engine.encode(t)) + judge_tokens <= engine.max_length for t in texts]
        asked = [t for t, ok in zip(texts, fits) if ok]
        options = dict(sampling_temperature=judge_temperature, max_tokens=judge_tokens)
        written = iter(engine.generate(asked, votes, seeds=[first_seed(seed, t) for t in asked], **options))
        return [
            mean_vote([parse(c.text, find, score_max) for c in next(written)]) if ok else missing("too long")
            for ok in fits
        ]

    def judge(items, samples):
        return once(_texts(engine, text, items, samples, chat), distinct)

    return judge


def parse(text, find, score_max):
    """The number that `find` reads in `text`, or None if there is none in [0, score_max].

    Examples
    --------
    >>> find = re.compile(r"-?[0-9]+(?:[.][0-9]+)?")
    >>> [parse(t, find, 10) for t in ("7.5/10", "It is good.", "-3", "100")]
    [7.5, None, None, None]
    """
    match = find.search(text)
    if match is None:
        return None
    value = float(match.group(1) if find.groups else match.group())
    return value if 0 <= value <= score_max else None


def mean_vote(votes):
    """Mean of the votes that could be read, no score if there is none.

    Examples
    --------
    >>> mean_vote([4.0, None, 6.0]).score, mean_vote([None]).reason
    (5.0, 'unparsed')
    """
    read = [v for v in votes if v is not None]
    return Verdict(float(np.mean(read))) if read else missing("unparsed")
