"""Stored samples of lm-eval as rows: one row a prompt and filter; the completions of all filters are read once."""

import json
from array import array
from pathlib import Path

import numpy as np

from .. import answers
from .grouping import BUILT_IN, Raw, built_in
from .jsonl import field, lines, short

METRICS = ("exact_match", "acc", "pass_at_1")


def read(paths, judge, wanted):
    """One row a prompt and filter; the completions of all filters are the same and are read once."""

    kinds = {"code": "q", "loss": "d", "reward": "d", "unreadable": "b", "row": "q", "text": "q"}
    seen, prompts, columns = {}, [], {name: array(kind) for name, kind in kinds.items()}
    filters, repeats, own = {}, 0, {}
    for path in paths:
        for line, record in lines(Path(path)):
            where = f"{path} line {line}"
            name = record.get("filter", "none")
            filters[name] = filters.get(name, 0) + 1
            if wanted is not None and name != wanted:
                continue
            doc = record.get("doc") if isinstance(record.get("doc"), dict) else {}
            completions = _completions(record, where)
            key = (record.get("doc_hash") or hash(json.dumps(doc, sort_keys=True)), str(record.get("doc_id")))
            if key in seen:
                if seen[key][0] != hash(tuple(completions)):
                    raise ValueError(
                        f"{where} repeats document {key[1]} with other completions than {seen[key][1]}: these files "
                        "mix two evaluations; name one file"
                    )
                repeats += 1
                _compare(own, record, name, seen[key][2])
                continue
            gold = _gold(doc.get("answer", record.get("target")), where)
            found = [answers.extract(text) for text in completions]
            losses = [0.0 if answers.correct(answer, gold) else 1.0 for answer in found]
            seen[key] = (hash(tuple(completions)), where, (1.0 - losses[0], 1.0 - sum(losses) / len(losses)))
            _compare(own, record, name, seen[key][2])
            scores = _lm_eval_scores(record, judge, losses, completions, where)
            columns["code"].extend([len(prompts)] * len(completions))
            columns["loss"].extend(losses)
            columns["reward"].extend(scores)
            columns["unreadable"].extend(answer is None for answer in found)
            columns["row"].extend([line] * len(completions))
            columns["text"].extend(map(hash, completions))
            prompts.append(key[1])
    if wanted is not None and wanted not in filters:
        raise ValueError(f"{paths[0]} has no filter {wanted!r}, only {', '.join(map(str, filters))}")
    if not prompts:
        raise ValueError(f"{', '.join(paths)} hold no rows")
    notes = [
        "correctness is computed from the completions (last boxed, 'answer is' or last number), not from the filters"
    ]
    notes += _disagreements(own)
    if repeats:
        kinds = ", ".join(map(str, filters))
        notes.insert(0, f"{repeats} rows repeat a prompt under another filter ({kinds}): each prompt is read once")
    return Raw(
        name=Path(paths[0]).name if len(paths) == 1 else f"{len(paths)} files like {Path(paths[0]).name}",
        source="samples stored by lm-eval",
        judge=judge,
        prompts=prompts,
        judge_tokens=0.0 if judge in BUILT_IN else None,
        notes=tuple(notes),
        **{name: np.array(values, dtype=bool if name == "unreadable" else None) for name, values in columns.items()},
    )


def _compare(own, record, filter, correct):
    """Count whether the row's own metric is the first completion's correctness, or the mean over completions."""
    for metric in METRICS:
        value = record.get(metric)
        if isinstance(value, (bool, int, float)) and not str(filter).startswith("maj"):  # a vote is another answer
            rows = own.setdefault((metric, filter), [0, 0])
            rows[0] += all(abs(value - ours) > 1e-6 for ours in correct)
            rows[1] += 1


def _disagreements(own):
    """A note for every metric of the file that says otherwise than the correctness computed here."""
    notes = []
    for metric in METRICS:
        found = {filter: rows for (name, filter), rows in own.items() if name == metric}
        differ, rows = (sum(row[i] for row in found.values()) for i in (0, 1))
        if differ:
            kinds = ", ".join(f"{filter} ({row[0]} of {row[1]})" for filter, row in found.items())
            word = "filters" if len(found) > 1 else "filter"
            notes.append(f"{differ} of {rows} rows disagree with the file's own {metric}; the file's {word}: {kinds}")
    return notes


def _completions(record, where):
    """All completions of an lm-eval row: ``resps`` is a list of texts, or of one list of repeats."""
    resps = record.get("resps", record.get("filtered_resps"))
    if isinstance(resps, list) and len(resps) == 1 and isinstance(resps[0], list):
        resps = resps[0]
    if isinstance(resps, list) and all(isinstance(item, list) and len(item) == 1 for item in resps):
        resps = [item[0] for item in resps]
    if not isinstance(resps, list) or not resps or not all(isinstance(text, str) for text in resps):
        raise ValueError(
            f"{where}: resps must list the completions as texts (a generate_until task), got {short(resps)}"
        )
    return resps


def _gold(answer, where):
    """The right answer of a document: what follows ``####``, or the whole, without thousands separators."""
    if answer is None:
        raise ValueError(f"{where}: no right answer (doc.answer or target)")
    return answers.of_solution(answer)


def _lm_eval_scores(record, judge, losses, completions, where):
    known = built_in(judge, losses, [len(text) for text in completions])
    if known is not None:
        return list(known)
    scores = field(record, judge) if judge else None
    if scores is None:
        asked = f"no judge {judge!r}" if judge else "judge must be said"
        raise ValueError(
            f"{where}: {asked}. lm-eval stores no judge scores: use perfect, short or long, name a field that lists "
            "one number a completion, or import the file (import_completions.ipynb) and judge it (judge.ipynb)"
        )
    if not isinstance(scores, list) or len(scores) != len(completions):
        raise ValueError(f"{where}: {judge} must list {len(completions)} numbers, got {short(scores)}")
    return [_score(value, f"{where}, {judge}[{i}]") for i, value in enumerate(scores)]


def _score(value, where):
    if value is None:
        return np.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value == np.inf:
        raise ValueError(f"{where} must be a number below infinity, or null for no score, got {short(value)}")
    return np.nan if value == -np.inf else float(value)
