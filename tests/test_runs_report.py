"""The report says of four known judges what they are, and runs as a notebook on its own."""

import itertools
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
from bestofk import pool as estimators
from bestofk_runs import analysing, parameters, pools, reporting, wording

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
        findings = reporting.analyse(pool, k=[1, 2, 4, 8, pool.N], T=[0, analysing.spread(pool) / 2], resamples=200)
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
    assert wording._held(k, held) == "1, 3 to 6"


def test_a_gain_is_not_denied_where_the_set_still_holds_one_sample(known):
    kind, findings = known
    held = np.ones_like(findings.choice.k_set)
    wide = replace(findings, choice=replace(findings.choice, k_set=held))
    assert agree(wide) in (kind, "helpful")
    if kind in ("helpful", "finite"):
        assert "The set still holds one sample (k = 1 to 16)" in reporting.verdict(wide)
        assert "From k = 1 on" not in reporting.verdict(wide)


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
    with pytest.raises(ValueError, match="has 1 prompt with 16 samples each: a report"):
        reporting.analyse(pools.read(scored("helpful", prompts=1)))
    with pytest.raises(ValueError, match="has 3 prompts with 16 samples each.*at least 4 prompts"):
        reporting.analyse(pools.read(scored("helpful", prompts=3)))


@pytest.mark.parametrize("correct, reason", [(1, "count as right"), (0, "count as wrong")])
def test_a_pool_without_differences_is_refused_by_name_and_reason(correct, reason):
    message = f"the table has 0 prompts whose scored samples differ in loss.*all scored answers {reason}; check its loss"
    with pytest.raises(ValueError, match=message):
        reporting.analyse(pools.read(scored("blind").assign(correct=correct)))


def test_one_scored_sample_a_prompt_is_not_blamed_on_the_losses():
    table = scored("helpful", prompts=20, N=4)
    message = "0 prompts whose scored samples differ .*: no prompt has two scored samples; check the scores by score"
    with pytest.raises(ValueError, match=message):
        reporting.analyse(pools.read(table.assign(score=table.score.where(table["sample"] == 2))))


def test_a_question_among_the_notes_ends_as_one():
    table = scored("helpful", prompts=20, N=4).drop(columns="sample")
    said = reporting.gaps(reporting.analyse(pools.read(pd.concat([table, table])), k=[1, 2], T=[0], resamples=100))
    assert "was the table pasted twice?\n" in said


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
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4
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


# what is left out, and what it changes


def random_subset_loss(k, T, loss, reward):
    """Mean loss over all subsets of k samples of one prompt, by listing them; at T = 0 ties share."""
    total = []
    for rows in itertools.combinations(range(len(loss)), k):
        rows = list(rows)
        top = reward[rows].max()
        high = np.zeros(k) if np.isneginf(top) else reward[rows] - top  # all unscored: one at random
        weight = (high == 0).astype(float) if T == 0 else np.exp(high / T)
        total.append((weight * loss[rows]).sum() / weight.sum())
    return np.mean(total)


def test_without_flagged_samples_their_rows_are_left_out_on_the_same_prompts():
    table = scored("helpful", prompts=40, N=7, seed=3)
    rng = np.random.default_rng(0)
    blank = (rng.random(len(table)) < 0.1) | ((table.prompt == 5) & (table["sample"] < 6))  # prompt 5 keeps one
    pool = pools.read(table.assign(score=table.score.mask(blank)))
    findings = reporting.analyse(pool, k=[1, 2, 4, 7], T=[0, 1], resamples=100)
    found = findings.unflagged
    keep = [~row for row in pool.flagged]
    sizes = np.array([row.sum() for row in keep])
    N = int(np.sort(sizes)[int(0.1 * (len(sizes) - 1))])
    prompts = np.flatnonzero(sizes >= N)
    assert (found.samples, found.N, found.prompts) == (blank.sum(), N, len(prompts)) and 5 not in prompts
    assert found.choice.k.tolist() == sorted({*[k for k in (1, 2, 4, 7) if k <= N], N})
    assert found.at == reporting.recommended(found.whole) and found.at[0] > 1
    for part, selection in ((True, found), (False, found.whole)):
        for i, k in enumerate(found.choice.k):
            for j, T in enumerate(found.choice.T):
                rows = [(p, keep[p] | (not part)) for p in prompts]
                brute = [random_subset_loss(k, T, pool.loss[p][r], pool.reward[p][r]) for p, r in rows]
                assert selection.choice.mean[i, j] == pytest.approx(np.mean(brute), abs=1e-10)
    k, T = found.at
    without = [random_subset_loss(k, T, pool.loss[p][keep[p]], pool.reward[p][keep[p]]) for p in prompts]
    gap = np.array(without) - [random_subset_loss(k, T, pool.loss[p], pool.reward[p]) for p in prompts]
    assert found.change.value == pytest.approx(gap.mean(), abs=1e-10)
    assert found.values[0] - found.values[1] == pytest.approx(gap.mean(), abs=1e-10)
    half = 1.96 * gap.std(ddof=1) / len(gap) ** 0.5  # paired: the spread of differences, not of losses
    assert found.change.high - found.change.low == pytest.approx(2 * half, rel=0.35)
    said = reporting.gaps(findings)
    assert f"Without the {blank.sum()} flagged samples (cut off, unreadable or unscored), on the {len(prompts)}" in said
    assert "the verdict stays, it helps:" in said


def test_without_repeats_every_text_of_a_prompt_counts_once():
    rng = np.random.default_rng(1)
    prompts, N = 60, 12
    text = rng.integers(0, 9, (prompts, N))
    right = (text + np.arange(prompts)[:, None]) % 3 == 0
    table = pd.DataFrame(
        {
            "prompt": np.repeat(np.arange(prompts), N),
            "correct": right.ravel().astype(int),
            "score": (text * 7 % 9 + right * 3.0).ravel(),
            "completion": [f"text {t}" for t in text.ravel()],
        }
    )
    pool = pools.read(table)
    findings = reporting.analyse(pool, k=[1, 2, 3], T=[0, 2], resamples=100)
    found = findings.distinct
    rows = [np.unique(row, return_index=True)[1] for row in text]
    sizes = np.array([len(row) for row in rows])
    assert found.samples == text.size - sizes.sum() and found.prompts == (sizes >= found.N).sum() and found.N > 3
    kept = np.flatnonzero(sizes >= found.N)
    brute = [random_subset_loss(2, 2.0, pool.loss[p][rows[p]], pool.reward[p][rows[p]]) for p in kept]
    assert found.choice.mean[1, 1] == pytest.approx(np.mean(brute), abs=1e-10)
    said = f"Without the {found.samples} repeated texts (every text of a prompt kept once, which is another law"
    assert said in reporting.gaps(findings)
    assert found.whole.choice.k.tolist() == [1, 2, 3]
    once = reporting.analyse(pools.read(table.assign(completion=range(len(table)))), k=[1, 2], T=[0], resamples=100)
    assert once.distinct is None and "- No text repeats within a prompt." in reporting.gaps(once)
    unknown = reporting.analyse(pools.read(table.drop(columns="completion")), k=[1, 2], T=[0], resamples=100)
    assert "the pool has no texts, so the verdict without repeats cannot be checked" in reporting.gaps(unknown)


def test_a_verdict_that_rests_on_flagged_samples_is_said_at_the_top():
    """The judge only tells cut-off answers, which are wrong: without them it knows nothing."""
    rng = np.random.default_rng(2)
    right = rng.random((200, 16)) < 0.5
    cut = ~right & (rng.random(right.shape) < 0.4)
    pool = pools.Pool(
        "p", "a run", "j", list(map(str, range(200))), 1.0 - right, rng.normal(size=right.shape) - 4 * cut, cut, 16, ()
    )
    findings = reporting.analyse(pool, T=[0], resamples=200)
    assert reporting.regime(findings) == "helpful" and reporting.regime(findings.unflagged) == "blind"
    said = "- Without the flagged samples the verdict changes: no gain shown (last section)."
    assert said in reporting.advice(findings)
    assert "the verdict **changes from “it helps” to “no gain shown”**: k = 1 (with them k = " in reporting.gaps(findings)


def test_a_verdict_of_fewer_prompts_and_k_is_not_held_against_that_of_all():
    findings = reporting.analyse(pools.read("gemma3-sums", judge="length"), resamples=200)
    found = findings.distinct
    assert reporting.regime(findings) == "harmful" and found.N == 3 and found.choice.k.tolist() == [1, 2, 3]
    assert reporting.regime(found.whole) == reporting.regime(found) == "blind"
    said = reporting.gaps(findings)
    assert "the verdict is “no gain shown” with and without them (on all prompts and k “it does harm”): k = 1." in said
    other = replace(findings, distinct=replace(found, harm=estimators.Estimate(0.2, 0.1, 0.3)))
    said = "the verdict is “no gain shown” with them, “it does harm” without (on all prompts and k “it does harm”)"
    assert said in reporting.gaps(other) and "the verdict changes" not in reporting.advice(other)


def test_too_few_samples_without_the_flagged_ones_are_no_verdict():
    table = scored("helpful", prompts=20, N=6)
    pool = pools.read(table.assign(score=table.score.where((table["sample"] < 2) | (table.prompt < 3))), judge="score")
    findings = reporting.analyse(pool, k=[1, 2], T=[0], resamples=100)
    assert findings.unflagged == "without them only 3 prompts keep 3 samples, too few for a verdict"
    assert "- Flagged samples: without them only 3 prompts keep 3 samples" in reporting.gaps(findings)


# the expansion, the turn, the cost


def test_the_expansion_is_that_of_the_two_covariances_of_every_prompt(known):
    _, findings = known
    card, loss, score = findings.card, np.array(findings.pool.loss), np.array(findings.pool.reward)
    first = [np.cov(a, b)[0, 1] for a, b in zip(loss, score)]
    assert card.covariance.value == pytest.approx(np.mean(first), abs=1e-12)
    shares = [np.mean(np.array(first) < 0), np.mean(np.array(first) == 0), np.mean(np.array(first) > 0)]
    assert card.covariance_signs == pytest.approx(shares)
    k, T = card.k[0], card.T[-1]
    bend = (k - 1) * (k - 2) / (2 * k**2) * card.curvature.value
    predicted = loss.mean() + (k - 1) / k * np.mean(first) / T + bend / T**2
    assert card.expansion[0, -1] == pytest.approx(predicted, abs=1e-12)
    said = reporting.numbers(findings)
    for value, signs in ((card.covariance, card.covariance_signs), (card.curvature, card.curvature_signs)):
        assert f"| {value} |" in said
        assert f"negative on {signs[0]:.0%} of prompts, zero on {signs[1]:.0%}, positive on {signs[2]:.0%}" in said


def test_where_the_expansion_holds_is_read_off_the_card():
    card = reporting.analyse(pools.read(scored("finite", prompts=60)), T=[0, 1], resamples=100).card
    start = analysing.expands_from(card)
    share = np.abs(card.measured - card.expansion)[0] / np.abs(card.measured[0] - card.loss.value)
    at = list(card.T).index(start)
    assert (share[at:] <= 0.1).all() and share[at - 1] > 0.1 and at > 0
    assert analysing.expands_from(replace(card, expansion=card.expansion + 1)) is None
    good = replace(card, expansion=card.measured)
    assert analysing.expands_from(good) == card.T[0]


def test_the_turn_is_that_of_regimes_and_the_measured_sets_are_the_verdicts(known):
    _, findings = known
    choice = findings.choice
    T = choice.T[choice.T > 0]
    data = {"loss": findings.pool.loss, "reward": findings.pool.reward}
    oracle = estimators.regimes(choice.k, T, **data, seed=1, resamples=2000)
    found = analysing.turns(findings)
    assert list(found) == T.tolist()
    for t, predicted, turn, low, high in zip(T, oracle.predicted, oracle.turn, oracle.turn_low, oracle.turn_high):
        card = list(findings.card.T).index(t)
        assert findings.card.turn[card] == pytest.approx(turn, abs=1e-12)
        if min(abs(low), abs(high)) > 0.2 * (high - low):  # clear of the resamples' noise
            assert found[t][0] == predicted
        assert found[t][1] == (not choice.k_set[-1, list(choice.T).index(t)])
        assert re.search(rf"{found[t][0]} at T = [^|;]*\b{t:g}\b", reporting.numbers(findings))


def test_a_turn_that_rises_is_said():
    rng = np.random.default_rng(1)
    answer = rng.normal(size=(300, 32))
    table = pd.DataFrame({"prompt": np.repeat(np.arange(300), 32), "loss": answer.ravel() ** 2})
    findings = reporting.analyse(
        pools.read(table.assign(score=-((answer - 2).ravel() ** 2))), k=[1, 2, 4, 8, 32], T=[0.5, 40], resamples=200
    )
    assert analysing.turns(findings) == {0.5: ("rises", True), 40.0: ("falls", False)}
    said = reporting.numbers(findings)
    assert "| rises at T = 0.5; falls at T = 40 |" in said and "all 32 samples excluded as best at T = 0.5 |" in said


def test_the_cost_counts_samples_prompts_and_judge():
    base = reporting.analyse(pools.read(scored("helpful", prompts=30, N=8)), k=[1, 2, 4], T=[0], resamples=100)
    k = reporting.recommended(base)[0]
    assert k > 1

    def cost(**known):
        return list(wording._cost(replace(base, pool=replace(base.pool, **known))))

    assert cost() == [
        ("Tokens of a sample", "not known", "the pool does not say"),
        ("... that the judge reads for it", "not known", "the judge's own cost is not in the pool"),
    ]
    (_, tokens, total), (_, judged, said) = cost(tokens=50.0, prompt_tokens=30.0, judge_tokens=400.0)
    assert (tokens, judged) == ("50", "50") and total == f"{50 * k} a prompt at k = {k}, and 30 of the prompt once"
    assert said.startswith("400 a prompt for all 8 samples") and said.endswith(f"at k = {k} between {400 * k // 8} and 400")
    whole = reporting.analyse(replace(base.pool, judge_tokens=9.0), k=[8], T=[0], resamples=100)
    assert reporting.recommended(whole)[0] == 8
    assert list(wording._cost(whole))[1][1:] == ("1.1", "9 a prompt for all 8 samples, what they share read once")
    assert cost(judge_tokens=0.0)[1][1:] == ("0", "it asks no model")


def test_scored_samples_are_named_where_some_are_not():
    """Where unscored answers are the worst, a random sample and a random scored one differ, and are told apart."""
    table = scored("blind", prompts=60, N=8)
    missing = (table.correct == 0) & (table["sample"] % 2 == 0)
    findings = reporting.analyse(pools.read(table.assign(score=table.score.mask(missing))), T=[0], resamples=100)
    assert findings.card.loss.value < findings.random.value - 0.05
    assert "a random scored sample" in reporting.reading(findings)
    assert "with a perfect judge among the scored samples" in reporting.numbers(findings)


@pytest.mark.parametrize("apart", [False, True])
def test_figures_are_drawn_together_or_apart(known, apart):
    import matplotlib.pyplot as plt

    _, findings = known
    for draw in (reporting.curves, reporting.ranking):
        figures = draw(findings, apart=apart)
        axes = [axis for figure in (figures if apart else [figures]) for axis in figure.axes]
        assert len(axes) == 2 and all(axis.get_xlabel() and axis.get_ylabel() for axis in axes)
    expansion = axes[1].lines[-1]
    card = findings.card
    for t, value in zip(card.T, card.expansion[0]):  # the drawn line passes through the card's numbers
        drawn = np.interp(t, expansion.get_xdata(), expansion.get_ydata())
        assert drawn == pytest.approx(value, abs=2e-3 * max(1, abs(value)))
    plt.close("all")


def test_blank_scores_are_unscored_in_the_recipe_and_in_the_report(tmp_path, monkeypatch):
    table = scored("helpful", prompts=30, N=6)
    table["score"] = table.score.mask(np.arange(len(table)) % 7 == 0)
    table.to_csv(tmp_path / "samples.csv", index=False)
    monkeypatch.chdir(tmp_path)
    (recipe,) = re.findall(r"```python\n(.*?)```", (NOTEBOOK.parents[1] / "README.md").read_text(), re.S)
    scope = {}
    exec(recipe, scope)
    pool = pools.read(tmp_path / "samples.csv")
    np.testing.assert_array_equal(np.array(scope["reward"]), pool.reward)
    assert np.isneginf(pool.reward).sum() == table.score.isna().sum() > 0
    assert scope["curve"].mean[1, 0] == pytest.approx(
        np.mean([random_subset_loss(2, 0, a, b) for a, b in zip(pool.loss, pool.reward)]), abs=1e-10
    )
    assert f"- {table.score.isna().sum()} of 180 samples (14%) have no score: kept only if" in reporting.gaps(
        reporting.analyse(pool, k=[1, 2], T=[0], resamples=100)
    )
