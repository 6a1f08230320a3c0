"""What does a run hold? The tables of its files, and what they add up to, for samples made here and imported ones."""

import hashlib

from . import answers

SAMPLED = {
    "prompt_id": "string",
    "sample_index": "int32",
    "text": "string",
    "logprob": "float32",
    "tokens": "int32",
    "finish_reason": "string",
    "seed": "int64",
}


def rows(ids, sampled):
    """The samples of some prompts as a table: what the engine said, nothing else."""
    import pyarrow as pa

    records = [
        (prompt_id, i, c.text, c.logprob, c.tokens, c.finish_reason, c.seed)
        for prompt_id, completions in zip(ids, sampled, strict=True)
        for i, c in enumerate(completions)
    ]
    schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in SAMPLED.items()])
    return pa.table([list(column) for column in zip(*records)], schema=schema)


def read_answers(table, problems, thinking=False):
    """The completions table: every sample with its answer extracted and compared.

    Done when a run is published, from the stored texts, so that a better
    extraction rule never needs a new generation. If any completion closes a
    thinking part, or the prompts opened one (`thinking`), a completion that does
    not close it was cut off while thinking and has no answer.
    Returns the table and the share of samples on which a second rule, the last
    number, gives the same verdict.
    """
    import pyarrow as pa

    gold = {problem.prompt_id: problem.gold for problem in problems}
    found, right, value, loss, agree = [], [], [], [], 0
    texts = table["text"].to_pylist()
    thinking = thinking or any("</think>" in text for text in texts)
    for prompt_id, text in zip(table["prompt_id"].to_pylist(), texts):
        target = answers.number(gold[prompt_id])
        if thinking and "</think>" not in text:
            text = ""
        found.append(answers.extract(text))
        right.append(answers.correct(found[-1], gold[prompt_id]))
        value.append(answers.number(found[-1]) if target is not None else None)
        loss.append((value[-1] - target) ** 2 if value[-1] is not None else None)
        agree += right[-1] == answers.correct(answers.last_number(text), gold[prompt_id])
    columns = {
        "prompt_id": table["prompt_id"],
        "sample_index": table["sample_index"],
        "answer": pa.array(found, pa.string()),
        "correct": pa.array(right, pa.bool_()),
        "y": pa.array(value, pa.float64()),
        "loss": pa.array(loss, pa.float64()),
        **{name: table[name] for name in ("logprob", "tokens", "finish_reason", "seed")},
    }
    return pa.table(columns), agree / len(found)


def tables(problems, table, completions):
    """The tables of a run's files: prompts, questions, completions and texts.

    Parameters
    ----------
    problems : sequence of bestofk_runs.tasks.Problem
    table : pyarrow.Table
        From `rows`.
    completions : pyarrow.Table
        From `read_answers`.

    Returns
    -------
    dict of pyarrow.Table
        By file name, without ``.parquet``.
    """
    import pyarrow as pa

    ids = [p.prompt_id for p in problems]
    prompts = {
        "prompt_id": ids,
        "difficulty": pa.array([p.difficulty for p in problems], pa.int32()),
        "gold": [p.gold for p in problems],
        "prompt_sha256": [hashlib.sha256(p.prompt.encode()).hexdigest() for p in problems],
    }
    questions = {
        "prompt_id": ids,
        "question": [p.question for p in problems],
        "prompt": [p.prompt for p in problems],
    }
    return {
        "prompts": pa.table(prompts),
        "questions": pa.table(questions),
        "completions": completions,
        "texts": table.select(["prompt_id", "sample_index", "text"]),
    }


def summarise(table, completions, agreement, task, model, timed):
    """The integrity summary of a pool: what is in it, and what is wrong with it."""
    ids = table["prompt_id"].to_pylist()
    distinct = len(set(zip(ids, table["text"].to_pylist())))
    difficulty = {p.prompt_id: p.difficulty for p in task.problems}
    right = completions["correct"].to_pylist()
    levels = {}
    for prompt_id, ok in zip(ids, right):
        levels.setdefault(difficulty[prompt_id], []).append(ok)
    generated = sum(table["tokens"].to_pylist())
    return {
        "prompts": len(difficulty),
        "completions": len(ids),
        "accuracy": sum(right) / len(right),
        "accuracy_by_difficulty": {str(level): sum(v) / len(v) for level, v in sorted(levels.items())},
        "distinct_completions": distinct,
        "duplicates_within_prompts": len(ids) - distinct,
        "with_thinking_part": sum("</think>" in text for text in table["text"].to_pylist()),
        "truncated": sum(reason == "length" for reason in table["finish_reason"].to_pylist()),
        "unreadable_answers": completions["answer"].null_count,
        "extraction": "last boxed, else after the last #### or 'answer is', else the last number",
        "second_rule": "the last number",
        "second_rule_agrees": agreement,
        "tokens_in": model["tokens_in"],
        "tokens_out": generated,
        "flops_estimate": 2 * model["parameters"] * (model["tokens_in"] + generated) if model["parameters"] else None,
        "seconds_of_work": timed["seconds"],
        "tokens_per_second": timed["rate"],
    }
