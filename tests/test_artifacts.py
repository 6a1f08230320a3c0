"""Published runs: what `bestofk.artifacts.load` returns, and what it refuses."""

import json

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")

from bestofk import artifacts  # noqa: E402
from bestofk_runs import publishing  # noqa: E402

PROMPTS, N = 3, 4


def tables(shuffle=True):
    ids = [f"p{i}" for i in range(PROMPTS)]
    prompts = pa.table(
        {
            "prompt_id": ids,
            "difficulty": pa.array([1, 1, 2], pa.int32()),
            "gold": ["7", "8", "9"],
            "prompt_sha256": ["x"] * 3,
        }
    )
    rows = [(p, i) for p in ids for i in range(N)]
    if shuffle:
        rows = [rows[j] for j in np.random.default_rng(5).permutation(len(rows))]
    value = {(p, i): 6 + int(p[1]) + i for p, i in rows}
    gold = {"p0": 7, "p1": 8, "p2": 9}
    answer = [None if (p, i) == ("p0", 0) else str(value[p, i]) for p, i in rows]
    completions = pa.table(
        {
            "prompt_id": [p for p, _ in rows],
            "sample_index": pa.array([i for _, i in rows], pa.int32()),
            "answer": pa.array(answer, pa.string()),
            "correct": [a is not None and int(a) == gold[p] for a, (p, _) in zip(answer, rows)],
            "y": pa.array([None if a is None else float(a) for a in answer], pa.float64()),
            "loss": pa.array(
                [None if a is None else (float(a) - gold[p]) ** 2 for a, (p, _) in zip(answer, rows)], pa.float64()
            ),
            "logprob": pa.array([-float(i) for _, i in rows], pa.float32()),
            "tokens": pa.array([10 + i for _, i in rows], pa.int32()),
            "finish_reason": ["stop"] * len(rows),
            "seed": pa.array(range(len(rows)), pa.int64()),
        }
    )
    texts = pa.table(
        {"prompt_id": [p for p, _ in rows], "sample_index": [i for _, i in rows], "text": [f"{p} {i}" for p, i in rows]}
    )
    scores = pa.table(
        {
            "prompt_id": [p for p, _ in rows],
            "sample_index": pa.array([i for _, i in rows], pa.int32()),
            "score": pa.array([None if (p, i) == ("p2", 3) else float(i) for p, i in rows], pa.float32()),
            "parsed": [(p, i) != ("p2", 3) for p, i in rows],
        }
    )
    return {"prompts": prompts, "completions": completions, "texts": texts}, scores


@pytest.fixture
def root(tmp_path):
    made, scores = tables()
    (tmp_path / "toy").mkdir()
    publishing.publish_generation(tmp_path / "toy", made, {"class": "synthetic"})
    publishing.add_scores(tmp_path / "toy", "index", scores, {"judge": "stored"})
    return tmp_path


def replace(root, name, table):
    """Put another table in, with a manifest that agrees."""
    manifest = json.loads((root / "toy" / "manifest.json").read_text())
    manifest["files"][name] = publishing._write(root / "toy" / name, table)
    (root / "toy" / "manifest.json").write_text(json.dumps(manifest))


def test_rows_in_any_order_become_tables_by_prompt_and_sample(root):
    run = artifacts.load("toy", root=root)
    assert run.shape == (PROMPTS, N)
    assert run.prompt_id.tolist() == ["p0", "p1", "p2"] and run.difficulty.tolist() == [1, 1, 2]
    # sample i of prompt p answers 6 + p + i, and the right answer is 7 + p: sample 1 is right everywhere
    assert (run.correct == (np.arange(N) == 1)).all()
    assert (run.loss == 1 - run.correct).all()
    assert run.texts[2, 3] == "p2 3"
    assert (run.logprob == -np.arange(N)).all() and (run.tokens == 10 + np.arange(N)).all()
    assert run.squared_error[1].tolist() == [1, 0, 1, 4]
    assert run.manifest["class"] == "synthetic"


def test_questions_come_in_the_order_of_the_prompts(root):
    assert artifacts.load("toy", root=root).questions is None
    asked = {f"p{i}": f"question {i}" for i in (2, 0, 1)}
    replace(root, "questions.parquet", pa.table({"prompt_id": list(asked), "question": list(asked.values())}))
    assert artifacts.load("toy", root=root).questions.tolist() == ["question 0", "question 1", "question 2"]
    replace(root, "questions.parquet", pa.table({"prompt_id": ["p0", "p2"], "question": ["a", "b"]}))
    with pytest.raises(ValueError, match="questions.parquet lacks the question of prompt 'p1'"):
        artifacts.load("toy", root=root)


def test_unreadable_answers_are_wrong_and_unreadable_scores_minus_infinity(root):
    run = artifacts.load("toy", root=root)
    assert run.answer[0, 0] is None and not run.correct[0, 0] and np.isnan(run.y[0, 0])
    assert run.scores["index"][2, 3] == -np.inf
    assert np.isfinite(run.scores["index"]).sum() == PROMPTS * N - 1


def test_an_unknown_run_names_the_known_ones(root):
    with pytest.raises(ValueError, match="unknown run 'tox'.*known: toy"):
        artifacts.load("tox", root=root)


def test_a_run_without_manifest_is_not_complete(root):
    (root / "toy" / "manifest.json").unlink()
    with pytest.raises(ValueError, match="toy holds no manifest.json, the mark of a complete run: .*make run RUN=toy$"):
        artifacts.load("toy", root=root)
    with pytest.raises(ValueError, match="unknown run '..' in .*known: none"):
        artifacts.load("..", root=root)


def test_a_folder_in_place_of_a_file_and_a_root_that_is_no_path(root):
    (root / "toy" / "prompts.parquet").unlink()
    (root / "toy" / "prompts.parquet").mkdir()
    with pytest.raises(ValueError, match="prompts.parquet is missing"):
        artifacts.load("toy", root=root)
    with pytest.raises(ValueError, match="root must be a folder that holds runs, got 3"):
        artifacts.load("toy", root=3)


@pytest.mark.parametrize("name", ["completions.parquet", "prompts.parquet", "scores-index.parquet"])
def test_a_changed_or_truncated_file_is_refused(root, name):
    path = root / "toy" / name
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    way_out = "restore it from git, or make it again: make run RUN=toy$"
    with pytest.raises(ValueError, match=f"{name} does not match its manifest .sha256 .*: {way_out}"):
        artifacts.load("toy", root=root)
    path.write_bytes(data)
    artifacts.load("toy", root=root)
    path.unlink()
    with pytest.raises(ValueError, match=f"{name} is missing, but the manifest names it: {way_out}"):
        artifacts.load("toy", root=root)


def test_a_damaged_file_with_a_matching_hash_is_refused(root):
    import hashlib

    path = root / "toy" / "completions.parquet"
    path.write_bytes(path.read_bytes()[:200])
    manifest = json.loads((root / "toy" / "manifest.json").read_text())
    manifest["files"]["completions.parquet"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (root / "toy" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="completions.parquet is damaged, .*: restore it from git, or .* make run RUN=toy$"):
        artifacts.load("toy", root=root)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": "bestofk-run-1"}', '{"schema": "bestofk-run-1", "files": {"a": 1}}']
)
def test_a_damaged_manifest_is_refused(root, text):
    (root / "toy" / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match="manifest.json is damaged, .*: restore it from git, or .* make run RUN=toy$"):
        artifacts.load("toy", root=root)


def test_another_schema_is_refused(root):
    file = root / "toy" / "manifest.json"
    file.write_text(file.read_text().replace("bestofk-run-1", "bestofk-run-9"))
    with pytest.raises(ValueError, match="'bestofk-run-9'"):
        artifacts.load("toy", root=root)


def test_a_manifest_cannot_point_outside_its_folder(root):
    file = root / "toy" / "manifest.json"
    file.write_text(file.read_text().replace("texts.parquet", "../texts.parquet"))
    with pytest.raises(ValueError, match="not parquet files beside it"):
        artifacts.load("toy", root=root)


def test_missing_columns_rows_and_repeated_rows_are_refused(root):
    completions = tables()[0]["completions"]
    replace(root, "completions.parquet", completions.drop_columns(["correct"]))
    with pytest.raises(ValueError, match="lacks the columns correct"):
        artifacts.load("toy", root=root)
    replace(root, "completions.parquet", completions.slice(1))
    with pytest.raises(ValueError, match="11 rows, 11 of them distinct, instead of 3 prompts x 4 samples"):
        artifacts.load("toy", root=root)
    replace(root, "completions.parquet", pa.concat_tables([completions.slice(1), completions.slice(1, 1)]))
    with pytest.raises(ValueError, match="12 rows, 11 of them distinct"):
        artifacts.load("toy", root=root)
    replace(root, "completions.parquet", completions)
    scores = tables()[1]
    replace(root, "scores-index.parquet", scores.filter(pa.compute.less(scores["sample_index"], 3)))
    with pytest.raises(ValueError, match="scores-index.parquet scores 3 samples a prompt, the pool has 4"):
        artifacts.load("toy", root=root)


def test_what_an_imported_pool_does_not_know_is_marked(root):
    completions = tables()[0]["completions"]
    for name in ("tokens", "logprob", "finish_reason", "seed"):
        column = pa.nulls(completions.num_rows, completions.schema.field(name).type)
        completions = completions.set_column(completions.schema.get_field_index(name), name, column)
    replace(root, "completions.parquet", completions)
    run = artifacts.load("toy", root=root)
    assert (run.tokens == -1).all() and np.isnan(run.logprob).all() and (run.finish_reason == None).all()  # noqa: E711


def test_the_default_root_is_the_checkout_then_the_environment(monkeypatch, root, tmp_path):
    monkeypatch.setattr(artifacts, "__file__", str(tmp_path / "x" / "lib" / "bestofk" / "artifacts.py"))
    monkeypatch.delenv("BESTOFK_DATA", raising=False)
    with pytest.raises(ValueError, match="root="):
        artifacts.load("toy")
    monkeypatch.setenv("BESTOFK_DATA", str(root))
    assert artifacts.load("toy").shape == (PROMPTS, N)
    (tmp_path / "x" / "gpu_runs" / "data").mkdir(parents=True)
    with pytest.raises(ValueError, match="unknown run 'toy'"):
        artifacts.load("toy")


def test_cards_say_what_the_manifest_says(root):
    run = artifacts.load("toy", root=root)
    card = artifacts.card(run)
    assert card["pool"] == f"{PROMPTS} x {N}" and card["class"] == "synthetic" and card["judges"] == "index"
    assert card["accuracy"] == f"{run.correct.mean():.3f}" and card["distinct"] == "not known"
    lines = artifacts.cards([run, run]).splitlines()
    assert len(lines) == len(card) + 1 and all(line.count("|") == 4 for line in lines)
    with pytest.raises(ValueError, match="runs must hold at least one run"):
        artifacts.cards([])
