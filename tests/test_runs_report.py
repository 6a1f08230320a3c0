"""The report says of four known judges what they are, and runs as a notebook on its own."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import papermill
import pytest

from bestofk import artifacts
from bestofk_runs import parameters, pools, reporting

NOTEBOOK = Path(__file__).resolve().parents[1] / "gpu_runs" / "report.ipynb"


def scored(kind, prompts=150, N=16, seed=0):
    rng = np.random.default_rng(seed)
    right = rng.random((prompts, N)) < rng.beta(0.8, 0.8, (prompts, 1))
    score = rng.normal(size=(prompts, N))
    if kind == "harmful":
        score = score - right
    if kind in ("helpful", "finite"):
        score = score + 1.5 * right
    if kind == "finite":  # a few wrong answers that the judge loves
        score = score + 8 * (~right & (rng.random((prompts, N)) < 0.1))
    return pd.DataFrame(
        {
            "prompt": np.repeat(np.arange(prompts), N),
            "sample": np.tile(np.arange(N), prompts),
            "correct": right.ravel().astype(int),
            "score": score.ravel(),
        }
    )


@pytest.fixture(scope="module", params=["helpful", "finite", "harmful", "blind"])
def known(request):
    findings = reporting.analyse(pools.read(scored(request.param)), T=[0, 1, 4], resamples=300)
    return request.param, findings


def test_the_verdict_names_what_the_judge_is(known):
    kind, findings = known
    assert reporting.regime(findings) == kind
    words = {
        "helpful": "**`score` helps.**",
        "finite": "**`score` helps, up to a point.**",
        "harmful": "**Do not select with `score`: it does harm.**",
        "blind": "**No gain from `score` was shown on these 150 prompts.**",
    }
    assert reporting.verdict(findings).startswith(words[kind])
    advice = reporting.advice(findings)
    assert ("- **k = 1**" in advice) == (kind in ("harmful", "blind"))
    assert ("is the sign of the score right?" in advice) == (kind == "harmful")


def test_the_numbers_are_the_pools(known):
    kind, findings = known
    error = np.mean([row.mean() for row in findings.pool.loss])
    assert findings.random.value == pytest.approx(error, abs=1e-12)
    assert f"{error:.1%}" in reporting.verdict(findings) and f"{error:.1%}" in reporting.numbers(findings)
    best = np.mean([row.min() for row in findings.pool.loss])
    assert findings.perfect[-1] == pytest.approx(best, abs=1e-12)
    top = np.mean([loss[score.argmax()] for loss, score in zip(findings.pool.loss, findings.pool.reward, strict=True)])
    assert findings.harm.value == pytest.approx(top - error, abs=1e-12)


def test_a_set_without_one_sample_and_a_gain_that_holds_zero_are_said():
    findings = reporting.analyse(pools.read("qwen2.5-0.5b-gsm8k", judge="short"))
    held = findings.choice.k[findings.choice.k_set[:, 0]]
    assert held.min() == 3 and held.max() == 16 and findings.choice.over_one_sample.low < 0
    said, advice = reporting.verdict(findings), reporting.advice(findings)
    assert said.startswith("**Whether `short` helps cannot be told from these 200 prompts.**")
    assert "The set excludes one sample (it holds k = 3 to 16), the gain on the other" in said
    assert "the gain on the other half does not exclude zero (" in said
    assert said.endswith(" points): too few prompts.") and "within what other prompts" not in said
    assert "- **k = 1** until more prompts decide" in advice and "(the set of k is 3 to 16)" in advice
    assert "cannot be told from it" not in advice


def test_all_samples_are_worse_only_if_the_set_and_the_paired_gain_say_so():
    findings = reporting.analyse(pools.read("gemma3-sums", judge="stored"))
    choice = findings.choice
    assert not choice.k_set[-1, list(choice.T).index(choice.best[1])] and choice.over_most_samples.low < 0
    said = reporting.verdict(findings)
    assert "worse with" not in said and reporting.regime(findings) == "helpful"
    assert "with all 64 samples it is 74.8%, and whether that differs cannot be told: the set of k excludes 64" in said
    assert "the gain over all 64 samples does not exclude zero" in said
    assert "falls as k" not in reporting.numbers(findings)


def published():
    """The first prompts and samples of every published run with every judge of it."""
    for name in artifacts.known():
        run = artifacts.load(name)
        part = np.s_[:60, :24]
        scores = {judge: values[part] for judge, values in run.scores.items()} | {"perfect": -run.loss[part]}
        for judge, reward in scores.items():
            loss = run.loss[part]
            yield pools.Pool(name, "a run", judge, list(run.prompt_id[:60]), loss, reward, loss < 0, loss.shape[1], ())


def test_the_sentences_agree_with_the_sets_on_every_published_run():
    seen = set()
    for pool in published():
        findings = reporting.analyse(pool, k=[1, 2, 4, 8, pool.N], T=[0, reporting.spread(pool) / 2], resamples=200)
        seen.add(agree(findings))
    assert seen >= {"helpful", "harmful", "blind"}


def agree(findings):
    """Assert that verdict and advice say what the sets and intervals say; return the regime."""
    choice, kind = findings.choice, reporting.regime(findings)
    said, advice = reporting.verdict(findings), reporting.advice(findings)
    held = choice.k_set[:, list(choice.T).index(choice.best[1])]
    gain, most = choice.over_one_sample, choice.over_most_samples
    k = reporting.recommended(findings)[0]
    assert (" helps." in said or " helps, up" in said) == (k > 1) == (gain.low > 0 and choice.best[0] > 1)
    assert ("worse with" in said) == (k > 1 and not held[-1] and most.low > 0)
    if k > 1 and k < choice.k.max():
        agreed = held[-1] == (most.low <= 0 <= most.high)
        assert ("whether that differs cannot be told" in said) == (not agreed and "worse with" not in said)
    assert ("excludes one sample" in said) == (not held[0] and gain.low <= 0)
    assert ("still holds one sample" in said) == (held[0] and gain.low > 0)
    assert "cheapest of these is k = 1." not in advice
    assert "No gain" not in said or (held[0] and gain.low <= 0 and kind == "blind")
    for low, high in re.findall(r"(\d+) to (\d+) cannot be told from it", advice.split("**T")[0]):
        assert held[list(choice.k).index(k)] and choice.k[held].max() == int(high) and int(low) in choice.k[held]
    return kind


def test_ranges_show_their_gaps():
    k = np.array([1, 2, 3, 4, 6, 8])
    held = np.array([True, False, True, True, True, False])
    assert reporting._held(k, held) == "1, 3 to 6"


def test_a_gain_is_not_denied_where_the_set_still_holds_one_sample(known):
    kind, findings = known
    held = np.ones_like(findings.choice.k_set)
    wide = replace(findings, choice=replace(findings.choice, k_set=held))
    assert agree(wide) in (kind, "helpful")
    if kind in ("helpful", "finite"):
        assert "The set still holds one sample (k = 1 to 16)" in reporting.verdict(wide)
        assert "From k = 1 on" not in reporting.verdict(wide)


def test_the_verdict_without_flagged_prompts():
    table = scored("helpful")
    table.loc[table.prompt < 50, "score"] = table.score.where(table["sample"] > 0)
    findings = reporting.analyse(pools.read(table), k=[1, 4], T=[0], resamples=100)
    count, random, chosen, at = findings.clean
    assert count == 100 and at == (4, 0.0)
    assert random.value == pytest.approx(1 - table.correct[table.prompt >= 50].mean(), abs=1e-12)
    assert "On the 100 prompts without any flagged sample" in reporting.gaps(findings)


def test_a_real_valued_loss_is_not_called_an_error_rate():
    rng = np.random.default_rng(1)
    y = rng.normal(size=(60, 8))
    table = pd.DataFrame(
        {"prompt": np.repeat(np.arange(60), 8), "loss": y.ravel() ** 2, "score": -((y.ravel() - 0.3) ** 2)}
    )
    findings = reporting.analyse(pools.read(table), T=[0], resamples=100)
    assert "mean loss" in reporting.verdict(findings) and "%" not in reporting.verdict(findings)


def test_scores_that_are_all_equal_are_no_gain():
    findings = reporting.analyse(pools.read(scored("blind").assign(score=1.0)), resamples=100)
    assert reporting.regime(findings) == "blind" and findings.card.top_tie == 1.0


def test_too_small_a_pool_is_refused():
    with pytest.raises(ValueError, match="has 3 prompts with 16 samples each.*at least 4 prompts"):
        reporting.analyse(pools.read(scored("helpful", prompts=3)))


@pytest.mark.parametrize("correct, reason", [(1, "count as right"), (0, "count as wrong")])
def test_a_pool_without_differences_is_refused_by_name_and_reason(correct, reason):
    message = f"the table has 0 prompts whose scored samples differ in loss.*all scored answers {reason}; check its loss"
    with pytest.raises(ValueError, match=message):
        reporting.analyse(pools.read(scored("blind").assign(correct=correct)))


@pytest.mark.parametrize(
    "name, text, value",
    [
        ("columns", '{"prompt": "q"}', {"prompt": "q"}),
        ("k_values", "[1,2,4]", [1, 2, 4]),
        ("level", "0.9", 0.9),
        ("progress", "false", False),
        ("judge", "no", "no"),
        ("pool", "2024-01-01", "2024-01-01"),
        ("columns", "{broken", "{broken"),
    ],
)
def test_parameters_of_the_command_line_are_parsed(name, text, value):
    assert reporting.value_of(name, text) == value


def test_columns_and_k_are_taken_from_the_command_line(tmp_path):
    scored("finite", prompts=20, N=4).rename(columns={"prompt": "q"}).to_csv(tmp_path / "mine.csv", index=False)
    given = ["-p", "columns", '{"prompt": "q"}', "-p", "k_values", "[1,2,4]", "-p", "resamples", "100"]
    reporting.main([str(tmp_path / "mine.csv"), "--judge", "score", "--out", str(tmp_path / "r.html"), *given])
    assert "mine.csv" in (tmp_path / "r.html").read_text()


def test_the_recipe_of_the_readme_works_as_written():
    recipe = re.search(r"```python\n(.*?)```", (NOTEBOOK.parent / "README.md").read_text(), flags=re.DOTALL).group(1)
    names = {"frame": scored("helpful", prompts=20, N=8)}
    exec(recipe, names)
    assert names["findings"].pool.N == 8 and len(names["figure"].axes) == 2


def test_a_report_needs_no_model_library():
    heavy = "print([m for m in ('torch', 'transformers', 'vllm') if m in sys.modules])"
    code = f"import sys; from bestofk_runs import importing, parameters, pools, reporting, sweeping; {heavy}"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_misspelt_parameter_is_refused():
    with pytest.raises(ValueError, match="unknown parameter jugde .did you mean judge.*known are T_values"):
        parameters.resolve(reporting.Report, {"pool": "x", "jugde": "y"})


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    scored("finite", prompts=60, N=8).to_csv(folder / "mine.csv", index=False)
    given = {
        "pool": str(folder / "mine.csv"),
        "judge": "score",
        "resamples": 100,
        "T_values": [0, 1],
        "progress": False,
    }
    papermill.execute_notebook(NOTEBOOK, folder / "out.ipynb", parameters=given, progress_bar=False)
    return folder


def test_the_notebook_runs_and_its_page_needs_nothing_else(executed, assert_no_secret):
    notebook = json.loads((executed / "out.ipynb").read_text())
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert not any(output["output_type"] in ("stream", "error") for output in outputs)
    page = reporting.to_html(executed / "out.ipynb").read_text()
    assert "http" not in page.replace("http://www.w3.org", "") and "papermill" not in page
    assert "Judge <code>score</code> on mine.csv" in page and "What was missing" in page
    assert_no_secret(executed, ["out.ipynb", "out.html"])


def test_the_notebook_refuses_a_broken_pool(tmp_path):
    (tmp_path / "broken.csv").write_text("prompt,correct,score\na,1,2\na,0,high\n")
    with pytest.raises(papermill.PapermillExecutionError, match="row 2, column score: 'high' is not a number"):
        papermill.execute_notebook(
            NOTEBOOK, tmp_path / "out.ipynb", parameters={"pool": str(tmp_path / "broken.csv")}, progress_bar=False
        )


def test_no_gain_but_harm_at_large_k_is_harmful():
    rng = np.random.default_rng(4)
    right = rng.random((200, 16)) < 0.5
    trap = ~right & (rng.random(right.shape) < 0.15)  # no information, and a few wrong answers that the judge loves
    table = pd.DataFrame({"prompt": np.repeat(np.arange(200), 16), "correct": right.ravel().astype(int)})
    findings = reporting.analyse(
        pools.read(table.assign(score=(rng.normal(size=right.shape) + 5 * trap).ravel())),
        T=[0, 0.5, 2, 8],
        resamples=300,
    )
    assert reporting.regime(findings) == "harmful" and reporting.recommended(findings) == (1, 0.0)
    assert findings.harm.low > 0.2 and "Gain of the best setting tried" in reporting.advice(findings)
