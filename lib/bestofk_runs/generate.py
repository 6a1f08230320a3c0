"""One pool of N samples a prompt: the steps of ``generate.ipynb``."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import engines, publishing, samples, shards, tasks
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
        texts = asked(loaded, task.problems)
        tokens_in = sum(len(loaded.encode(text)) for text in texts)
        thinking = texts[0].rstrip().endswith("<think>")  # the template opens the thinking part itself
        shards.write_description(folder, {**loaded.describe(), "thinking": thinking, "tokens_in": tokens_in})
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
            seeds=[engines.first_seed(settings.seed, i) for i in ids],
        )
        return samples.rows(ids, sampled)

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


def publish(settings, task, made):
    """Join the shards into the run's tables and write its manifest; return the manifest's summary.

    Returns None (and says how many are missing) while other parts are not done.
    """
    missing = len(made.shards) - len(shards.finished(made.folder, made.shards))
    if missing:
        print(f"this part is done; {missing} of {len(made.shards)} shards belong to other parts and are still missing")
        return None
    table = shards.read(made.folder, made.shards, list(samples.SAMPLED))
    completions, agreement = samples.read_answers(table, task.problems, thinking=made.model.get("thinking", False))
    texts_too = task.publish_texts if settings.publish_texts is None else settings.publish_texts
    model = made.model
    parameters = settings.model_dump()
    parameters.pop("root")
    kind, colon, file = settings.task.rpartition(":")
    parameters["task"] = kind + colon + Path(file).name  # a file's content is named by its sha256, not by its folder
    summary = samples.summarise(table, completions, agreement, task, model, _timed(made))
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
    tables = samples.tables(task.problems, table, completions)
    unpublished = () if texts_too else ("questions", "texts")
    publishing.publish_generation(Path(settings.root) / settings.run, tables, record, unpublished=unpublished)
    return summary


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
