"""Completions made elsewhere become a run like ours: judged, read back and reported; broken rows are named."""

import json
from pathlib import Path

import numpy as np
import papermill
import pytest

from bestofk import artifacts
from bestofk_runs import importing, judging, parameters, pools, publishing

NOTEBOOK = Path(__file__).resolve().parents[1] / "gpu_runs" / "import_completions.ipynb"
ANSWERS = np.array([[5, 6, 5], [7, 7, 8], [1, 2, 9], [4, 4, 4]])
GOLD = [5, 7, 3, 4]


def rows():
    """Four questions with three completions each, in the layout of the options in `FIELDS`."""
    return [
        {
            "number": 10 + i,
            "ask": f"What is it, {i}?",
            "suffix": " Think.",
            "right": f"some steps\n#### {gold}",
            "outputs": [
                {
                    "out": f"{a} + {j} = 99. The answer is {a}.",
                    "lp": -0.5 * (j + 1),
                    "n": 4 + j,
                    "why": "stop" if j else "max_tokens",
                }
                for j, a in enumerate(row)
            ],
        }
        for i, (gold, row) in enumerate(zip(GOLD, ANSWERS.tolist()))
    ]


FIELDS = {
    "id": "number",
    "question": "ask",
    "gold": "right",
    "completions": "outputs",
    "text": "out",
    "logprob": "lp",
    "logprob_is": "mean",
    "tokens": "n",
    "finish_reason": "why",
    "cut_off": "max_tokens",
    "prompt": "{question}{suffix}",
}


def write(path, content):
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return str(path)


def settings(tmp_path, content=None, **more):
    source = write(tmp_path / "made.jsonl", rows() if content is None else content)
    return importing.ImportCompletions(source=source, root=str(tmp_path / "runs"), **{"run": "mine", **FIELDS, **more})


def test_the_run_holds_what_the_file_says(tmp_path):
    summary = importing.run(settings(tmp_path, model="them/model", licence="MIT"))
    run = artifacts.load("mine", root=tmp_path / "runs")
    assert run.prompt_id.tolist() == ["10", "11", "12", "13"] and run.gold.tolist() == ["5", "7", "3", "4"]
    np.testing.assert_array_equal(run.y, ANSWERS)
    np.testing.assert_array_equal(run.correct, ANSWERS == np.array(GOLD)[:, None])
    np.testing.assert_allclose(run.logprob, np.tile([-0.5 * 4, -1.0 * 5, -1.5 * 6], (4, 1)))
    assert run.finish_reason[0].tolist() == ["length", "stop", "stop"]
    assert summary["accuracy"] == pytest.approx(7 / 12) and summary["truncated"] == 4
    assert run.manifest["model"]["id"] == "them/model" and run.manifest["data"]["source"] == "made.jsonl"
    assert str(tmp_path) not in (tmp_path / "runs" / "mine" / "manifest.json").read_text()


def test_it_is_judged_and_reported_like_our_own(tmp_path):
    importing.run(settings(tmp_path))
    for name, more in (("stored", {}), ("length", {"prefer": "long"})):
        judging.run(judging.Judge(run="mine", root=str(tmp_path / "runs"), judge=name, progress=False, **more))
    pool = pools.read(tmp_path / "runs" / "mine", judge="stored")
    np.testing.assert_allclose(pool.reward, np.tile([-0.5, -1.0, -1.5], (4, 1)))
    assert any("4 of 12 samples (33%) have been cut off" in note for note in pool.notes)
    with pytest.raises(ValueError, match="judge must be said: run mine has length, stored, perfect, short, long"):
        pools.read(tmp_path / "runs" / "mine")


def test_only_numbers_are_published_unless_texts_may_be(tmp_path):
    for name, texts in (("mine", False), ("open", True)):
        importing.run(settings(tmp_path, run=name, publish_texts=texts))
        target = publishing.copy(name, root=tmp_path / "runs", destination=tmp_path / "public")
        assert (target / "texts.parquet").exists() == texts and (target / "questions.parquet").exists() == texts
        assert (artifacts.load(name, root=tmp_path / "public").texts is not None) == texts


def test_again_is_the_same_and_anything_else_is_refused(tmp_path):
    importing.run(settings(tmp_path))
    before = (tmp_path / "runs" / "mine" / "completions.parquet").read_bytes()
    importing.run(settings(tmp_path))
    assert (tmp_path / "runs" / "mine" / "completions.parquet").read_bytes() == before
    with pytest.raises(ValueError, match="begun with other settings .import.: parameters.logprob_is was mean, now sum"):
        importing.run(settings(tmp_path, logprob_is="sum"))
    with pytest.raises(ValueError, match="begun with other settings .import.: file was"):
        importing.run(settings(tmp_path, rows()[:3]))


def test_plain_texts_with_lists_beside_them_and_nothing_known(tmp_path):
    content = [{"q": f"q{i}", "gold": 3, "texts": ["3", "4"], "lp": [-1, -2]} for i in range(3)]
    importing.run(
        settings(
            tmp_path, content, id="", question="q", gold="gold", completions="texts", prompt="{q}", logprob_is="sum"
        )
    )
    run = artifacts.load("mine", root=tmp_path / "runs")
    np.testing.assert_array_equal(run.logprob, [[-1, -2]] * 3)
    assert "6 of 6 completions have no token counts" in run.manifest["gaps"]
    assert "tokens_out" not in run.manifest["summary"] and "truncated" not in run.manifest["summary"]
    np.testing.assert_array_equal(pools.read(tmp_path / "runs" / "mine", judge="perfect").loss, [[0, 1]] * 3)


def test_stored_samples_of_lm_eval(tmp_path):
    content = [
        {"doc_id": i, "doc": {"question": f"q{i}", "answer": "#### 3"}, "resps": [["3", "4"]], "filter": name}
        for name in ("strict-match", "flexible-extract")
        for i in range(3)
    ]
    names = {
        "id": "doc_id",
        "question": "doc.question",
        "gold": "doc.answer",
        "completions": "resps.0",
        "prompt": "{question}",
    }
    summary = importing.run(settings(tmp_path, content, **names))
    assert summary["prompts"] == 3 and summary["completions"] == 6
    assert "3 rows repeat an id with the same completions (lm-eval: a row a filter): read once" in summary["gaps"]


def changed(i, **more):
    content = rows()
    content[i].update(more)
    return content


def completion(i, j, **more):
    content = rows()
    content[i]["outputs"][j].update(more)
    return content


@pytest.mark.parametrize(
    "content, more, message",
    [
        (rows(), {"question": "query"}, r"line 1: no text at query \(question\); its fields are number, ask"),
        (changed(2, right=None), {}, r"line 3: no right answer at right \(gold\)"),
        (changed(1, outputs=[]), {}, r"line 2: no list at outputs \(completions\)"),
        (changed(1, outputs=[5]), {}, r"line 2, completion 0: no text, got 5"),
        (completion(1, 2, out=None), {}, r"line 2, completion 2: no text at out"),
        (completion(3, 1, lp="low"), {}, r"line 4, completion 1: lp \(logprob\) must be a number at most 0, got 'low'"),
        (completion(3, 1, lp=2.5), {}, r"line 4, completion 1: lp \(logprob\) must be a number at most 0, got 2.5"),
        (completion(3, 1, n=1.5), {}, r"line 4, completion 1: n \(tokens\) must be a whole number, got 1.5"),
        (completion(3, 1, n=None), {}, r"line 4, completion 1: logprob_is = 'mean' needs the number of tokens"),
        (changed(3, number=10), {}, r"line 4: id '10' occurs on line 1 with other completions"),
        (
            changed(2, outputs=rows()[2]["outputs"][:2]),
            {},
            r"line 3 has 2 completions and others have 3: say samples = n",
        ),
        (rows(), {"samples": 9}, r"no question has samples = 9 completions, the most is 3"),
        (rows(), {"prompt": "{ask}{tail}"}, r"line 1: prompt = '\{ask\}\{tail\}' cannot be filled in: 'tail'"),
        ([], {}, "made.jsonl holds no rows"),
    ],
)
def test_broken_rows_are_named(tmp_path, content, more, message):
    with pytest.raises(ValueError, match=message):
        importing.run(settings(tmp_path, content, **more))
    assert not (tmp_path / "runs" / "mine" / "manifest.json").exists()


def test_unequal_counts_are_cut_only_when_asked(tmp_path):
    content = changed(2, outputs=rows()[2]["outputs"][:1])
    summary = importing.run(settings(tmp_path, content, samples=2))
    assert summary["prompts"] == 3 and summary["completions"] == 6
    assert "1 of 4 questions have fewer than 2 completions: left out" in summary["gaps"]


def test_an_empty_source_names_the_parameter_and_where_the_file_is_from():
    way = 'give the file to import, as -p source PATH, or make run RUN=NAME ARGS="-p source PATH"'
    with pytest.raises(ValueError, match=f"^parameter source = '': {way}$"):
        importing.run(importing.ImportCompletions())
    recorded = importing.ImportCompletions(source="gone.jsonl", origin="example.org/file", origin_revision="2e304a5")
    known = "it comes from example.org/file, at revision 2e304a5"
    with pytest.raises(ValueError, match=f"^parameter source = 'gone.jsonl': there is no such file; {way}; {known}$"):
        importing.run(recorded)


def test_an_unknown_run_is_not_judged_and_the_known_ones_are_named(tmp_path):
    importing.run(settings(tmp_path))
    with pytest.raises(ValueError, match="^run 'mime' is not finished .*generate it first, or .* those in .* are: mine$"):
        judging.run(judging.Judge(run="mime", root=str(tmp_path / "runs"), judge="length"))
    with pytest.raises(ValueError, match="those in .* are: none$"):
        judging.run(judging.Judge(run="mine", root=str(tmp_path), judge="length"))


def test_a_judge_model_that_is_not_there_leaves_nothing_behind(tmp_path, monkeypatch):
    def offline(*given, **options):
        raise OSError("no connection to the hub\nmore about it")

    importing.run(settings(tmp_path))
    before = sorted((tmp_path / "runs" / "mine").rglob("*"))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    asked = {"run": "mine", "root": str(tmp_path / "runs"), "judge": "loglik", "revision": "abc"}
    with pytest.raises(ValueError, match="^model 'models/llama' is no directory here, .* hub id: no connection to the hub$"):
        judging.run(judging.Judge(judge_model="models/llama", **asked))
    with pytest.raises(ValueError, match="^revision = 'abc' has no effect on model 'smollm2'"):
        judging.run(judging.Judge(**asked))
    assert sorted((tmp_path / "runs" / "mine").rglob("*")) == before


def test_a_misspelt_parameter_is_refused():
    with pytest.raises(ValueError, match="unknown parameter complations .did you mean completions"):
        parameters.resolve(importing.ImportCompletions, {"complations": "x"})


def test_the_notebook(tmp_path, assert_no_secret):
    given = {"source": write(tmp_path / "made.jsonl", rows()), "root": str(tmp_path / "runs"), "run": "mine", **FIELDS}
    papermill.execute_notebook(NOTEBOOK, tmp_path / "out.ipynb", parameters=given, progress_bar=False)
    notebook = json.loads((tmp_path / "out.ipynb").read_text())
    assert "prompts: 4" in "".join(notebook["cells"][-1]["outputs"][0]["text"])
    assert artifacts.load("mine", root=tmp_path / "runs").shape == (4, 3)
    assert_no_secret(tmp_path, ["out.ipynb", "manifest.json", "identity.json", "texts.parquet"])
