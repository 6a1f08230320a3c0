"""One pool of N samples a prompt: the steps of ``generate.ipynb``."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import answers, engines, publishing, shards, tasks
from .parameters import identity


def prepare(settings):
    """Load the task and check everything that can be checked before a model is loaded."""
    shards.parse_part(settings.shard)
    engines.check(settings.engine, settings.model, settings.revision)
    return tasks.load(settings.task, limit=settings.limit, seed=settings.seed, examples=settings.examples)


@dataclass(frozen=True)
class Made:
    """What `pool` leaves for `publish`: the phase's folder, all its shards, the model's description."""

    folder: Path
    shards: list
    model: dict


def stop_strings(settings, task):
    """The stop strings given; else the task's own for worked examples, and none for a chat."""
    if settings.stop is not None:
        return settings.stop
    return [] if settings.chat else list(task.stop)


def pool(settings, task):
    """Sample every missing shard of this worker's part; the model is loaded only if one is missing."""
    stop = stop_strings(settings, task)
    by_id = {problem.prompt_id: problem for problem in task.problems}
    source = engines.models.resolve(settings.model, revision=settings.revision)
    what = {
        "parameters": {**identity(settings), "stop": stop},
        "template": task.template,
        "data": {"name": task.name, "source": task.source, "sha256": task.sha256},
        "model": {
            "id": source.id,
            "revision": source.revision,
            "sha256": source.sha256,
            "dtype": engines.resolve_dtype(settings.engine, settings.dtype),
        },
    }
    directory = Path(settings.root) / settings.run
    if (directory / "manifest.json").exists() and not (directory / "work" / "generate").exists():
        raise ValueError(f"{directory} is a finished run that was not generated here: choose another run name")
    if not (directory / "work" / "generate").exists():
        engines.models.reach(source)
    folder = shards.open_phase(directory, "generate", what)
    plan = shards.plan(by_id, settings.shard_size)

    @cache
    def engine():
        options = {
            "dtype": settings.dtype,
            "revision": source.revision,
            "trust_remote_code": settings.trust_remote_code,
        }
        loaded = engines.load(settings.engine, settings.model, **options, **settings.engine_options)
        tokens_in = sum(len(loaded.encode(text)) for text in asked(loaded, task.problems))
        shards.write_description(folder, {**loaded.describe(), "tokens_in": tokens_in})
        return loaded

    def asked(loaded, problems):
        return [loaded.chat(problem.prompt) if settings.chat else problem.prompt for problem in problems]

    def make(ids):
        problems = [by_id[i] for i in ids]
        sampled = engine().generate(
            asked(engine(), problems),
            settings.samples,
            sampling_temperature=settings.sampling_temperature,
            top_p=settings.top_p,
            max_tokens=settings.max_tokens,
            stop=stop,
            seeds=[prompt_seed(settings.seed, i) for i in ids],
        )
        return rows(ids, sampled)

    i, n = shards.parse_part(settings.shard)
    if len(shards.finished(folder, plan[i::n])) < len(plan[i::n]):
        engine()
    shards.work(
        folder,
        plan,
        make,
        part=settings.shard,
        progress=settings.progress,
        unit="completion",
        weight=settings.samples,
    )
    if shards.read_description(folder) is None:
        engine()
    return Made(folder, plan, shards.read_description(folder))


def prompt_seed(seed, prompt_id):
    """Seed of a prompt's first sample; sample i uses this plus i. Depends on nothing but these two."""
    return int.from_bytes(hashlib.sha256(f"{seed} {prompt_id}".encode()).digest()[:5], "big") * 2**20


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


def read_answers(table, problems):
    """The completions table: every sample with its answer extracted and compared.

    Done when a run is published, from the stored texts, so that a better
    extraction rule never needs a new generation. If any completion closes a
    thinking part, one that does not was cut off while thinking and has no answer.
    Returns the table and the share
    of samples on which a second rule, the last number, gives the same verdict.
    """
    import pyarrow as pa

    gold = {problem.prompt_id: problem.gold for problem in problems}
    found, right, value, loss, agree = [], [], [], [], 0
    texts = table["text"].to_pylist()
    thinks = any("</think>" in text for text in texts)
    for prompt_id, text in zip(table["prompt_id"].to_pylist(), texts):
        target = answers.number(gold[prompt_id])
        if thinks and "</think>" not in text:
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


def publish(settings, task, made):
    """Join the shards into the run's tables and write its manifest; return the manifest's summary.

    Returns None (and says how many are missing) while other parts are not done.
    """
    import pyarrow as pa

    missing = len(made.shards) - len(shards.finished(made.folder, made.shards))
    if missing:
        print(f"this part is done; {missing} of {len(made.shards)} shards belong to other parts and are still missing")
        return None
    table = shards.read(made.folder, made.shards, list(SAMPLED))
    completions, agreement = read_answers(table, task.problems)
    texts_too = task.publish_texts if settings.publish_texts is None else settings.publish_texts
    prompts = pa.table(
        {
            "prompt_id": [p.prompt_id for p in task.problems],
            "difficulty": pa.array([p.difficulty for p in task.problems], pa.int32()),
            "gold": [p.gold for p in task.problems],
            "prompt_sha256": [hashlib.sha256(p.prompt.encode()).hexdigest() for p in task.problems],
        }
    )
    tables = {
        "prompts": prompts,
        "questions": pa.table(
            {
                "prompt_id": [p.prompt_id for p in task.problems],
                "question": [p.question for p in task.problems],
                "prompt": [p.prompt for p in task.problems],
            }
        ),
        "completions": completions,
        "texts": table.select(["prompt_id", "sample_index", "text"]),
    }
    model = made.model
    parameters = settings.model_dump()
    parameters.pop("root")
    kind, colon, file = settings.task.rpartition(":")
    parameters["task"] = kind + colon + Path(file).name  # a file's content is named by its sha256, not by its folder
    summary = summarise(table, completions, agreement, task, model, _timed(made))
    record = {
        "class": "measured",
        **publishing.environment(),
        "parameters": {**parameters, "stop": stop_strings(settings, task)},
        "model": {key: value for key, value in model.items() if key != "tokens_in"},
        "data": {
            "name": task.name,
            "source": task.source,
            "sha256": task.sha256,
            "licence": task.licence,
            "template": task.template,
        },
        "licences": {
            "completions": f"made by {model['id']} ({model['licence'] or 'see the model card'})",
            "questions": task.licence,
        },
        "texts_published": texts_too,
        "finished": publishing.now(),
        "summary": summary,
        "gaps": [] if summary["seconds_of_work"] else ["some shards do not say how long they took"],
    }
    unpublished = () if texts_too else ("questions", "texts")
    publishing.publish_generation(Path(settings.root) / settings.run, tables, record, unpublished=unpublished)
    return summary


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


def _timed(made):
    """Seconds of work summed over the shards (all workers, kills left out), and tokens a second of work."""
    import pyarrow.compute as pc

    seconds = {shard: shards.seconds(made.folder, shard) for shard in made.shards}
    known = [shard for shard, value in seconds.items() if value]
    spent = sum(seconds[shard] for shard in known)
    tokens = pc.sum(shards.read(made.folder, known, ["tokens"])["tokens"]).as_py() if known else 0
    return {
        "seconds": round(spent, 1) if len(known) == len(made.shards) else None,
        "rate": round(tokens / spent, 1) if spent else None,
    }
