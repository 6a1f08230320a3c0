"""Which questions is the model asked? Generated arithmetic with a difficulty dial, GSM8K, or any file.

A task is a list of problems, each with its whole prompt: worked examples of the
same family and difficulty, then the question. Worked examples are our own.
"""

import hashlib
import json
import math
import random
from dataclasses import dataclass
from pathlib import Path

from . import answers

NAMES = ("Tom", "Anna", "Ben", "Mia", "Sam", "Lena", "Max", "Eva", "Leo", "Nora", "Paul", "Ida")
THINGS = ("pencils", "apples", "books", "marbles", "cookies", "stickers", "coins", "cards", "shells", "buttons")

# difficulty -> ranges of (boxes, items a box); the product is asked for
BOXES = {
    1: ((2, 9), (2, 21)),
    2: ((2, 6), (22, 59)),
    3: ((7, 9), (22, 89)),
    4: ((11, 19), (11, 39)),
}

# difficulty -> digits of both terms; the sum is asked for, and how far off an answer is counts
SUMS = {1: 1, 2: 2, 3: 3, 4: 4}

# difficulty -> digits of both factors; about how much their product is, and how far off an answer is counts
ESTIMATES = {1: (2, 1), 2: (2, 2), 3: (3, 2), 4: (3, 3)}

FEW_SHOT = "Question: {question}\nAnswer:"
ZERO_SHOT = "{question}\nReason step by step, and put the final answer into \\boxed{{}}."

GSM8K_EXAMPLES = (
    (
        "A bakery sells 12 rolls a tray. It fills 5 trays in the morning and 3 in the afternoon. "
        "How many rolls does it bake in the day?",
        "The bakery fills 5 + 3 = 8 trays. That is 8 * 12 = 96 rolls. #### 96",
    ),
    (
        "Nora has $40. She buys 3 notebooks at $6 each and a pen for $4. How much money is left?",
        "The notebooks cost 3 * 6 = 18 dollars. With the pen she spends 18 + 4 = 22 dollars. "
        "She has 40 - 22 = 18 dollars left. #### 18",
    ),
    (
        "A train has 7 coaches with 48 seats each. Half of all seats are taken. How many people sit in the train?",
        "There are 7 * 48 = 336 seats. Half of them is 336 / 2 = 168. #### 168",
    ),
    (
        "Ida reads 15 pages a day. Her book has 195 pages; she has read for 9 days. How many days does she still need?",
        "She has read 9 * 15 = 135 pages. There are 195 - 135 = 60 pages left. She needs 60 / 15 = 4 days. #### 4",
    ),
)


@dataclass(frozen=True)
class Problem:
    """One question: its id, the question, the whole prompt, the right answer, the difficulty (0 where unknown)."""

    prompt_id: str
    question: str
    prompt: str
    gold: str
    difficulty: int


@dataclass(frozen=True)
class Task:
    """Problems and where they come from."""

    name: str
    problems: tuple
    template: str
    licence: str
    source: str
    sha256: str
    stop: tuple
    publish_texts: bool


def load(name_or_file, *, limit=None, seed=0, examples=4):
    """Return a `Task`.

    Parameters
    ----------
    name_or_file : str
        ``boxes``, ``sums`` or ``estimates`` (generated, four difficulties), ``gsm8k`` (its test set, from the hub),
        ``gsm8k:FILE.jsonl`` (the same from a local file), or a ``.jsonl`` file with
        ``question`` and ``answer`` a line (optional ``id``, ``difficulty``).
    limit : int or float, optional
        Number of problems, or, below 1, their share of all (of the 600 that a generated task has by default).
        Generated problems are spread evenly over the difficulties, of a file the first are taken.
    seed : int
        Which problems a generated task draws.
    examples : int
        Worked examples before the question (0 to 4).

    Raises
    ------
    ValueError
        Unknown task, missing file, or a line that cannot be read.
    """
    if limit is not None and not (0 < limit < 1 or limit >= 1 and limit % 1 == 0):
        raise ValueError(f"limit must be a share below 1 or a whole number of at least 1, got {limit}")
    if not 0 <= examples <= 4:
        raise ValueError(f"examples must be 0 to 4, got {examples}")
    if name_or_file in FAMILIES:
        return _generated(name_or_file, limit, seed, examples)
    if name_or_file == "gsm8k":
        return _gsm8k_from_hub(limit, examples)
    if str(name_or_file).startswith("gsm8k:"):
        return _file(Path(name_or_file[len("gsm8k:") :]), limit, examples, "gsm8k")
    if str(name_or_file).endswith(".jsonl"):
        return _file(Path(name_or_file), limit, examples, Path(name_or_file).stem)
    raise ValueError(
        f"task must be {', '.join(FAMILIES)}, gsm8k, gsm8k:FILE.jsonl or a .jsonl file, got {name_or_file!r}"
    )


def _count(limit, total):
    """The number of problems that `limit` asks for of `total`; a share is rounded up, as lm-eval does."""
    return total if limit is None else math.ceil(limit * total) if limit < 1 else int(limit)


def _generated(family, limit, seed, examples):
    levels, operands, write = FAMILIES[family]
    limit = _count(limit, 600)
    levels = sorted(levels)[: min(limit, len(levels))]
    problems = []
    for position, level in enumerate(levels):
        rng = random.Random(f"{family} {level} {seed}")
        pairs = operands(level)
        rng.shuffle(pairs)
        shots = "".join(
            f"Question: {question}\nAnswer: {worked}\n\n"
            for question, worked, _ in (write(rng, a, b) for a, b in pairs[:examples])
        )
        wanted = limit // len(levels) + (position < limit % len(levels))
        for i, (a, b) in enumerate(pairs[4 : 4 + wanted]):
            question, _, answer = write(rng, a, b)
            prompt = shots + FEW_SHOT.format(question=question)
            problems.append(Problem(f"{family}-{level}-{i:03d}", question, prompt, str(answer), level))
    return Task(
        name=family,
        problems=tuple(problems),
        template=FEW_SHOT,
        licence="CC-BY-4.0",
        source=f"generated by bestofk_runs.tasks ({family}, seed {seed})",
        sha256=_digest(problems),
        stop=("\n",),
        publish_texts=True,
    )


def _box_pairs(level):
    (low, high), (least, most) = BOXES[level]
    return [(a, b) for a in range(low, high + 1) for b in range(least, most + 1)]


def _box(rng, boxes, items):
    product = boxes * items
    return _box_question(rng, boxes, items), f"{boxes} * {items} = {product}. #### {product}", product


def _box_question(rng, boxes, items):
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    return f"{name} has {boxes} boxes. Each box holds {items} {thing}. How many {thing} does {name} have?"


def _sum_pairs(level):
    low, high = (0 if SUMS[level] == 1 else 10 ** (SUMS[level] - 1)), 10 ** SUMS[level]
    if (high - low) ** 2 <= 10_000:
        return [(a, b) for a in range(low, high) for b in range(low, high)]
    rng = random.Random(f"sums {level}")
    return list(dict.fromkeys((rng.randrange(low, high), rng.randrange(low, high)) for _ in range(10_000)))


def _sum(rng, a, b):
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    question = f"{name} has {a} {thing} and gets {b} more. How many {thing} does {name} have now?"
    return question, f"{a} + {b} = {a + b}. #### {a + b}", a + b


def _estimate_pairs(level):
    ranges = [range(2 if digits == 1 else 10 ** (digits - 1) + 1, 10**digits) for digits in ESTIMATES[level]]
    rng = random.Random(f"estimates {level}")
    return list(dict.fromkeys(tuple(map(rng.choice, ranges)) for _ in range(10_000)))


def _estimate(rng, a, b):
    """The worked example rounds both factors to one digit; what is right is the product itself."""
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    question = f"{name} has {a} boxes. Each box holds {b} {thing}. About how many {thing} does {name} have?"
    near_a, near_b = _one_digit(a), _one_digit(b)
    about = near_a * near_b
    return question, f"About {near_a} * {near_b} = {about}. #### {about}", a * b


def _one_digit(number):
    """Round to one significant digit, halves up."""
    unit = 10 ** (len(str(number)) - 1)
    return (2 * number + unit) // (2 * unit) * unit


# name -> (difficulties, operands of a difficulty, (rng, a, b) -> question, worked answer, right answer)
FAMILIES = {
    "boxes": (BOXES, _box_pairs, _box),
    "sums": (SUMS, _sum_pairs, _sum),
    "estimates": (ESTIMATES, _estimate_pairs, _estimate),
}


def _gsm8k_from_hub(limit, examples):
    try:
        import pyarrow.parquet as pq
        from huggingface_hub import hf_hub_download

        file = hf_hub_download("openai/gsm8k", "main/test-00000-of-00001.parquet", repo_type="dataset")
        rows = pq.read_table(file).to_pylist()
    except Exception as error:
        raise ValueError(
            f"task gsm8k could not be fetched from the hub ({type(error).__name__}): give a file, task gsm8k:FILE.jsonl"
        ) from None
    return _questions(list(enumerate(rows, 1)), "openai/gsm8k", limit, examples, "gsm8k")


def _file(path, limit, examples, name):
    if not path.is_file():
        raise ValueError(f"task file {str(path)!r} does not exist")
    rows = []
    for count, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            try:
                rows.append((count, json.loads(line)))
            except ValueError:
                rows.append((count, None))
    return _questions(rows, path.name, limit, examples, name)


def _questions(rows, source, limit, examples, name):
    """A task from numbered rows with question and answer; GSM8K's answers end in ``#### number``."""
    shots = "".join(f"Question: {q}\nAnswer: {a}\n\n" for q, a in GSM8K_EXAMPLES[:examples])
    template = FEW_SHOT if examples else ZERO_SHOT
    problems = []
    for count, row in rows[: _count(limit, len(rows))]:
        try:
            question, answer = str(row["question"]), str(row["answer"])
        except (KeyError, TypeError):
            raise ValueError(f"{source} line {count} is not a JSON object with question and answer") from None
        gold = answers.of_solution(answer)
        prompt = shots + template.format(question=question)
        prompt_id = str(row.get("id", f"{name}-{count - 1:05d}"))
        problems.append(Problem(prompt_id, question, prompt, gold, int(row.get("difficulty", 0))))
    if not problems:
        raise ValueError(f"{source} holds no questions")
    if len({p.prompt_id for p in problems}) < len(problems):
        raise ValueError(f"{source} holds the same id twice")
    gsm8k = name == "gsm8k"
    return Task(
        name=name,
        problems=tuple(problems),
        template=template,
        licence="MIT (GSM8K)" if gsm8k else "as the file's owner says",
        source=source,
        sha256=_digest(problems),
        stop=("\n\n", "\nQuestion:"),
        publish_texts=False,
    )


def _digest(problems):
    text = json.dumps([[p.prompt_id, p.prompt, p.gold, p.difficulty] for p in problems], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
