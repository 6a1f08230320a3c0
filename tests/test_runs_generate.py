"""generate.ipynb through papermill on the embedded model; killed and resumed it is in test_runs_kills.py."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("papermill")
pytest.importorskip("transformers")

from bestofk import artifacts  # noqa: E402
from bestofk_runs import engines, generate, parameters, run, samples, tasks  # noqa: E402

NOTEBOOK = Path(__file__).parents[1] / "gpu_runs" / "generate.ipynb"
SMALL = {
    "task": "boxes",
    "limit": 6,
    "samples": 4,
    "max_tokens": 12,
    "shard_size": 1,
    "dtype": "float32",
    "progress": "false",
}


@pytest.fixture(scope="module", autouse=True)
def model():
    try:
        engines.models.resolve("smollm2")
    except ValueError as error:
        pytest.skip(str(error))


def start(root, out, name="small", **changes):
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(NOTEBOOK),
        str(out),
        "--no-progress-bar",
        "-p",
        "run",
        name,
        "-p",
        "root",
        str(root),
    ]
    for key, value in {**SMALL, **changes}.items():
        command += ["-p", key, str(value)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A whole run: its root, its executed notebook."""
    root = tmp_path_factory.mktemp("whole")
    process = start(root, root / "out.ipynb")
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 0, output[-3000:]
    return root, (root / "out.ipynb").read_text()


def test_the_run_is_complete_and_says_how_it_was_made(whole):
    pool = artifacts.load("small", root=whole[0])
    assert pool.shape == (6, 4) and sorted(set(pool.difficulty)) == [1, 2, 3, 4]
    manifest = pool.manifest
    assert manifest["class"] == "measured" and manifest["data"]["name"] == "boxes"
    assert manifest["parameters"]["samples"] == 4 and manifest["parameters"]["sampling_temperature"] == 0.7
    assert set(parameters.Generate.model_fields) - {"root"} <= set(manifest["parameters"])
    assert manifest["model"]["licence"] == "Apache-2.0" and len(manifest["model"]["sha256"]) == 64
    summary = manifest["summary"]
    assert summary["completions"] == 24 and summary["accuracy"] == pytest.approx(pool.correct.mean())
    assert summary["duplicates_within_prompts"] == 24 - sum(len(set(row)) for row in pool.texts)
    assert summary["truncated"] == (pool.finish_reason == "length").sum()
    # each prompt is read once, and no shorter than its words
    words = [len(p.prompt.split()) for p in tasks.load("boxes", limit=6).problems]
    assert sum(words) < summary["tokens_in"] < 4 * sum(words)
    assert summary["tokens_out"] == pool.tokens.sum() and summary["seconds_of_work"] > 0
    problems = {p.prompt_id: p for p in tasks.load("boxes", limit=6).problems}
    assert [problems[i].gold for i in pool.prompt_id] == pool.gold.tolist()


def test_no_secret_and_no_environment_in_what_is_left_behind(whole, assert_no_secret):
    assert_no_secret(whole[0], ["out.ipynb", "manifest.json", "identity.json", "model.json", "texts.parquet"])


def test_a_misspelt_parameter_and_a_changed_one_are_refused(whole):
    root = whole[0]
    process = start(root, root / "refused.ipynb", sample=5)
    output = process.communicate(timeout=600)[0]
    assert process.returncode != 0 and "unknown parameter sample (did you mean samples?); known are" in output
    settings = parameters.resolve(parameters.Generate, {**SMALL, "run": "small", "root": str(root), "samples": 5})
    with pytest.raises(ValueError, match="'small' was begun with other settings .*parameters.samples was 4, now 5"):
        generate.pool(settings, generate.prepare(settings))


def test_a_finished_run_loads_no_model(whole, monkeypatch, capsys):
    root = whole[0]
    monkeypatch.setattr(engines, "load", lambda *a, **k: pytest.fail("loaded a model"))
    settings = parameters.resolve(parameters.Generate, {**SMALL, "run": "small", "root": str(root)})
    task = generate.prepare(settings)
    before = json.loads((root / "small" / "manifest.json").read_text())["files"]
    generate.publish(settings, task, generate.pool(settings, task))
    assert json.loads((root / "small" / "manifest.json").read_text())["files"] == before


def test_a_damaged_description_is_renewed_and_a_run_made_elsewhere_is_left_alone(whole, tmp_path):
    root = whole[0]
    settings = parameters.resolve(parameters.Generate, {**SMALL, "run": "small", "root": str(root)})
    task = generate.prepare(settings)
    description = root / "small" / "work" / "generate" / "model.json"
    before = json.loads(description.read_text())
    description.write_text("{")
    assert generate.pool(settings, task).model == before == json.loads(description.read_text())
    shutil.copytree(root / "small", tmp_path / "small", ignore=shutil.ignore_patterns("work"))
    elsewhere = settings.model_copy(update={"root": str(tmp_path)})
    with pytest.raises(ValueError, match="is a finished run that was not generated here: choose another run name"):
        generate.pool(elsewhere, task)


def test_seeds_depend_on_the_run_seed_and_the_prompt_only():
    seeds = [engines.first_seed(s, p) for s in range(3) for p in ("a", "b", "c")]
    assert len(set(seeds)) == 9 and seeds[0] == engines.first_seed(0, "a")
    # a million samples a prompt before two prompts could share a seed, and all fit into 63 bits
    assert min(abs(a - b) for i, a in enumerate(seeds) for b in seeds[:i]) >= 2**20 and max(seeds) < 2**62


def test_a_completion_cut_off_while_thinking_has_no_answer():
    pa = pytest.importorskip("pyarrow")
    problems = tasks.load("boxes", limit=1).problems
    gold = problems[0].gold
    texts = [f"hm</think>#### {gold}", f"perhaps {gold}", f"{gold}?</think>\n\\boxed{{1}}"]
    columns = {name: [None] * 3 for name in samples.SAMPLED} | {
        "prompt_id": [problems[0].prompt_id] * 3,
        "text": texts,
    }
    table, agreement = samples.read_answers(pa.table(columns), problems)
    assert table["answer"].to_pylist() == [gold, None, "1"] and table["correct"].to_pylist() == [True, False, False]
    assert agreement == 1
    # all cut off: nothing in the texts tells, so the template must
    unclosed = pa.table({name: column[1:2] for name, column in columns.items()})
    assert samples.read_answers(unclosed, problems)[0]["answer"].to_pylist() == [gold]
    assert samples.read_answers(unclosed, problems, thinking=True)[0]["answer"].to_pylist() == [None]


def test_a_chat_is_not_stopped_at_a_blank_line():
    task = tasks.load("boxes", limit=1)
    settings = [parameters.resolve(parameters.Generate, v) for v in ({}, {"chat": True}, {"chat": True, "stop": ["x"]})]
    assert [generate.stop_strings(s, task) for s in settings] == [["\n"], [], ["x"]]


def test_the_driver_knows_its_runs(tmp_path):
    commands = run.steps("demo", root=tmp_path, overrides=[("engine", "vllm")])
    assert commands[0][0] == "generate" and commands[0][1][-2:] == ["engine", "vllm"]
    assert all("--log-output" in command for _, command in commands)
    assert [name.split("-")[0] for name, _ in commands[1:]] == ["judge"] * (len(commands) - 1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "import.yaml").write_text("run: mine")
    ((name, command),) = run.steps("mine", root=tmp_path, overrides=[("source", "x.jsonl")], params=tmp_path)
    assert (
        name == "import" and command[-2:] == ["source", "x.jsonl"] and any("import_completions" in c for c in command)
    )
    with pytest.raises(ValueError, match="-p root would reach the first step only: .* with --root DIR"):
        run.steps("demo", root=tmp_path, overrides=[("limit", "4"), ("root", "elsewhere")])
    with pytest.raises(ValueError, match="no parameters for run 'demx'.*known: .*demo"):
        run.steps("demx", root=tmp_path)
    (tmp_path / "mine" / "judge-yes.yaml").write_text("judge_model: smollm2\nrevision: abc")
    with pytest.raises(ValueError, match="judge-yes.yaml of run 'mine': revision = 'abc' has no effect"):
        run.steps("mine", root=tmp_path, params=tmp_path)
    (tmp_path / "mine" / "judge-yes.yaml").write_text("judge_model: ./gone")
    with pytest.raises(ValueError, match="judge-yes.yaml of run 'mine': model './gone' is neither"):
        run.steps("mine", root=tmp_path, params=tmp_path)


def test_the_parameters_of_every_published_run_are_known_ones():
    import yaml

    for file in (NOTEBOOK.parent / "params").glob("*/generate.yaml"):
        settings = parameters.resolve(parameters.Generate, yaml.safe_load(file.read_text()))
        assert settings.run == file.parent.name
