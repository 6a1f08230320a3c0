"""One pool of N samples a prompt: the steps of ``generate.ipynb``."""

import hashlib
import time
from collections import Counter
from pathlib import Path

from . import answers, engines, publishing, shards, tasks
from .parameters import identity


def prepare(settings):
    """Load the task and check everything that can be checked before a model is loaded."""
    shards.parse_part(settings.shard)
    engines.check(settings.engine, settings.model)
    return tasks.load(settings.task, limit=settings.limit, seed=settings.seed, examples=settings.examples)


def pool(settings, task, engine):
    """Sample every missing shard of this part; return the phase's folder, its shards and the work's account."""
    stop = list(task.stop) if settings.stop is None else settings.stop
    by_id = {problem.prompt_id: problem for problem in task.problems}
    model = engine.describe()
    what = {
        "parameters": {**identity(settings), "stop": stop},
        "template": task.template,
        "data": {"name": task.name, "source": task.source, "sha256": task.sha256},
        "model": {key: model[key] for key in ("id", "revision", "sha256", "dtype")},
    }
    folder = shards.open_phase(Path(settings.root) / settings.run, "generate", what)
    plan = shards.plan(by_id, settings.shard_size)

    def make(ids):
        problems = [by_id[i] for i in ids]
        prompts = [engine.chat(p.prompt) if settings.chat else p.prompt for p in problems]
        sampled = engine.generate(
            prompts,
            settings.samples,
            sampling_temperature=settings.sampling_temperature,
            top_p=settings.top_p,
            max_tokens=settings.max_tokens,
            stop=stop,
            seeds=[prompt_seed(settings.seed, i) for i in ids],
        )
        return rows(problems, sampled)

    account = shards.work(
        folder,
        plan,
        make,
        part=settings.shard,
        progress=settings.progress,
        unit="completion",
        weight=settings.samples,
    )
    return folder, plan, account


def prompt_seed(seed, prompt_id):
    """Seed of a prompt's first sample; sample i uses this plus i. Depends on nothing but these two."""
    return int.from_bytes(hashlib.sha256(f"{seed} {prompt_id}".encode()).digest()[:5], "big") * 2**20


def rows(problems, sampled):
    """The samples of some problems as a table, answers extracted and compared."""
    import pyarrow as pa

    columns = {name: [] for name, _ in COMPLETIONS + [("text", None), ("second_rule", None)]}
    for problem, completions in zip(problems, sampled, strict=True):
        for i, c in enumerate(completions):
            answer = answers.extract(c.text)
            value = answers.number(answer)
            target = answers.number(problem.gold)
            right = answers.correct(answer, problem.gold)
            columns["prompt_id"].append(problem.prompt_id)
            columns["sample_index"].append(i)
            columns["answer"].append(answer)
            columns["correct"].append(right)
            columns["y"].append(value if target is not None else None)
            columns["loss"].append((value - target) ** 2 if None not in (value, target) else None)
            columns["logprob"].append(c.logprob)
            columns["tokens"].append(c.tokens)
            columns["finish_reason"].append(c.finish_reason)
            columns["seed"].append(c.seed)
            columns["text"].append(c.text)
            columns["second_rule"].append(answers.correct(answers.last_number(c.text), problem.gold))
    schema = [(name, getattr(pa, kind)()) for name, kind in COMPLETIONS]
    return pa.table(columns, schema=pa.schema([*schema, ("text", pa.string()), ("second_rule", pa.bool_())]))


COMPLETIONS = [
    ("prompt_id", "string"),
    ("sample_index", "int32"),
    ("answer", "string"),
    ("correct", "bool_"),
    ("y", "float64"),
    ("loss", "float64"),
    ("logprob", "float32"),
    ("tokens", "int32"),
    ("finish_reason", "string"),
    ("seed", "int64"),
]


def publish(settings, task, engine, folder, plan, account):
    """Join the shards into the run's tables and write its manifest; return the manifest's summary.

    Returns None (and says how many are missing) while other parts are not done.
    """
    import pyarrow as pa

    missing = len(plan) - len(shards.finished(folder, plan))
    if missing:
        print(f"this part is done; {missing} of {len(plan)} shards belong to other parts and are still missing")
        return None
    table = shards.read(folder, plan)
    texts_too = task.publish_texts if settings.publish_texts is None else settings.publish_texts
    prompts = pa.table(
        {
            "prompt_id": [p.prompt_id for p in task.problems],
            "difficulty": pa.array([p.difficulty for p in task.problems], pa.int32()),
            "gold": [p.gold for p in task.problems],
            "prompt_sha256": [hashlib.sha256(p.prompt.encode()).hexdigest() for p in task.problems],
        }
    )
    tables = {"prompts": prompts, "completions": table.select([name for name, _ in COMPLETIONS])}
    if texts_too:
        tables["texts"] = pa.table(
            {
                "prompt_id": table["prompt_id"],
                "sample_index": table["sample_index"],
                "text": table["text"],
            }
        )
        tables["questions"] = pa.table(
            {
                "prompt_id": [p.prompt_id for p in task.problems],
                "question": [p.question for p in task.problems],
                "prompt": [p.prompt for p in task.problems],
            }
        )
    model = engine.describe()
    parameters = settings.model_dump()
    parameters.pop("root")
    summary = summarise(table, task, model, account)
    record = {
        "class": "measured",
        **publishing.environment(),
        "parameters": {**parameters, "stop": list(task.stop) if settings.stop is None else settings.stop},
        "model": model,
        "data": {
            "name": task.name,
            "source": task.source,
            "sha256": task.sha256,
            "licence": task.licence,
            "template": task.template,
        },
        "licences": {"completions": f"made by {model['id']} ({model['licence'] or 'see the model card'})", "questions": task.licence},
        "texts_published": texts_too,
        "finished": publishing.now(),
        "summary": summary,
        "gaps": [],
    }
    publishing.publish_generation(Path(settings.root) / settings.run, tables, record)
    return summary


def summarise(table, task, model, account):
    """The integrity summary of a pool: what is in it, and what is wrong with it."""
    texts = table["text"].to_pylist()
    ids = table["prompt_id"].to_pylist()
    counts = Counter(zip(ids, texts))
    difficulty = {p.prompt_id: p.difficulty for p in task.problems}
    right = table["correct"].to_pylist()
    levels = {}
    for prompt_id, ok in zip(ids, right):
        levels.setdefault(difficulty[prompt_id], []).append(ok)
    generated = sum(table["tokens"].to_pylist())
    second = table["second_rule"].to_pylist()
    seconds = account["seconds"]
    share = account["made"] / max(1, account["made"] + account["skipped"])
    return {
        "prompts": len(difficulty),
        "completions": len(texts),
        "accuracy": sum(right) / len(right),
        "accuracy_by_difficulty": {str(level): sum(v) / len(v) for level, v in sorted(levels.items())},
        "distinct_completions": len(counts),
        "duplicates_within_prompts": len(texts) - len(counts),
        "truncated": sum(reason == "length" for reason in table["finish_reason"].to_pylist()),
        "unreadable_answers": table["answer"].null_count,
        "extraction": "last boxed, else after the last #### or 'answer is', else the last number",
        "second_rule_agrees": sum(a == b for a, b in zip(right, second)) / len(right),
        "tokens_out": generated,
        "flops_estimate": 2 * model["parameters"] * generated if model.get("parameters") else None,
        "seconds_this_session": round(seconds, 1),
        "share_made_this_session": share,
        "tokens_per_second": round(generated * share / seconds, 1) if seconds else None,
    }
